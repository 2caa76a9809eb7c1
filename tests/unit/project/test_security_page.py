"""The page on security names tests that there are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = sorted(set(re.findall(r"`((?:unit|integration|acceptance)/[\w/]+\.py)(?:::(\w+))?`", PAGE)))


@pytest.mark.parametrize(("module", "name"), NAMED)
def test_a_test_that_the_page_names_exists(module: str, name: str) -> None:
    source = (ROOT / "tests" / module).read_text()
    assert (
        re.search(rf"^(async )?def {name or 'test_'}", source, re.MULTILINE)
        or f"    def {name}" in source
    )


def test_every_threat_is_shown_by_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| [STRIDE] \|", line)]
    assert len(rows) > 20
    assert all(re.search(r"`(unit|integration|acceptance)/", row) for row in rows)
