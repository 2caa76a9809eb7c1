"""Accounts: what provision prints is read, and what is none is said in one line."""

from pathlib import Path

import pytest

from perf.evidence import starts_of
from perf.rig.accounts import BadAccounts, load, parse
from perf.rig.children import RigError
from perf.rig.environment import Environment, look_at

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


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadAccounts, match="picture"):
        load(tmp_path / "picture")


@pytest.mark.parametrize("url", ["localhost:8000", "ws://here", "http://", "http://here:x", ""])
def test_an_address_that_is_none_is_refused_at_once(url: str, tmp_path: Path) -> None:
    with pytest.raises(RigError, match="--url"):
        look_at(url, tmp_path / "none.jsonl")


async def test_a_database_that_lets_nobody_in_is_said_with_its_mend() -> None:
    address = "postgres://me:secret@127.0.0.1:1/none"
    place = Environment(url="http://here", accounts=[], database_url=address)
    with pytest.raises(RigError, match=r"--database \(or DATABASE_URL\)") as caught:
        await starts_of(place)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
