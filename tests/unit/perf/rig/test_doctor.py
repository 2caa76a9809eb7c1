"""The doctor says what it found and how to mend it, and knows what is wrong from what is not ideal."""

import resource

import psutil
import pytest

from perf.rig import doctor
from perf.rig.doctor import Check
from perf.rig.limits import raise_file_limit


@pytest.fixture(autouse=True)
def glance(monkeypatch: pytest.MonkeyPatch) -> None:
    """How busy the others are takes half a second to see; here nobody asks how exactly."""
    monkeypatch.setattr(doctor, "BUSY_LOOK_S", 0.01)


def of(name: str) -> Check:
    return next(check for check in doctor.look() if check.name == name)


def test_whatever_is_not_fine_has_a_mend_in_one_line() -> None:
    for check in doctor.look():
        assert bool(check.mend) == (check.grade != "fine"), check
        assert "\n" not in check.mend


@pytest.mark.parametrize(
    ("hard", "grade"), [(1_024, "wrong"), (4_096, "warning"), (65_536, "fine")]
)
def test_few_open_files_are_wrong_and_not_enough_for_a_crowd_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, hard: int, grade: str
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, hard))
    assert of("open files").grade == grade


def test_too_little_memory_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=100 << 20))
    assert of("memory").grade == "wrong"


def test_other_peoples_load_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 90.0)
    assert of("other processes").grade == "warning"


def test_a_missing_library_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LIBRARIES", ("no_such_library",))
    assert of("libraries").found == "missing: no_such_library"


def test_an_old_postgresql_is_wrong_and_so_is_none() -> None:
    old, bus = doctor._versions({"postgres": "14.2", "valkey": "9.1"})
    assert (old.grade, bus.grade) == ("wrong", "fine")
    assert [check.grade for check in doctor._versions({})] == ["wrong", "wrong"]


def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[1]), before[1]))
    try:
        assert raise_file_limit() == min(before[1], 1 << 20)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
