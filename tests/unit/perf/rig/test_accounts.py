"""Accounts: what provision prints is read, and what is none is said in one line."""

from pathlib import Path

import pytest

from perf.rig.accounts import BadAccounts, load, parse

LINE = '{"user": "u", "username": "ann", "device": "d", "token": "t", "conversations": ["c"]}'


def test_lines_that_are_no_json_are_passed_over() -> None:
    (account,) = parse(["Made 1 device.", LINE, ""])
    assert (account.device, account.conversations) == ("d", ("c",))


@pytest.mark.parametrize("lines", [[], ["nothing"], ['{"user": "u"}']])
def test_a_list_without_an_account_is_refused(lines: list[str]) -> None:
    with pytest.raises(BadAccounts):
        parse(lines)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadAccounts, match=r"none\.jsonl"):
        load(tmp_path / "none.jsonl")
