"""Settings of presence that could not keep what it promises are refused before anything starts."""

from typing import Any

import pytest

from presence import checks, conf


def test_the_defaults_are_fit(settings: Any) -> None:
    settings.LOCKSTEP_PRESENCE = {}
    assert conf.current() == conf.Settings(offline_after_s=2.0, lease_s=6.0, beat_s=2.0)
    assert checks.check_settings() == []


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"lease": 6}, "presence.E001"),
        ({"lease_s": 5.9}, "presence.E002"),
        ({"beat_s": 2.1}, "presence.E002"),
        ({"beat_s": 0}, "presence.E002"),
        ({"offline_after_s": -1}, "presence.E002"),
    ],
)
def test_what_does_not_fit_is_said_with_the_mend(
    settings: Any, given: dict[str, float], code: str
) -> None:
    settings.LOCKSTEP_PRESENCE = given
    [found] = checks.check_settings()
    assert found.id == code
    assert "LOCKSTEP_PRESENCE" in found.msg
    assert found.hint


def test_no_debounce_at_all_is_a_choice(settings: Any) -> None:
    settings.LOCKSTEP_PRESENCE = {"offline_after_s": 0, "lease_s": 3, "beat_s": 1}
    assert checks.check_settings() == []
