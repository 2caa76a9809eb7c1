"""A template is taken as it was kept, made anew by other code, and never a reason to fail."""

import pwd
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from perf.rig import keeper, template
from perf.rig.cleanup import workplace
from perf.rig.database import connected

TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Templates of this test only; and nothing of the tests' own servers leaks in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("DATABASE_URL", "REDIS_URL", "LOCKSTEP_DATA"):
        monkeypatch.delenv(name, raising=False)
    return template.directory()


@pytest.fixture
def cluster(tmp_path: Path) -> Callable[[str], Path]:
    """Makes what looks like a stopped cluster."""

    def make(content: str) -> Path:
        data = tmp_path / f"data-{content}"
        (data / "base").mkdir(parents=True)
        (data / "base" / "1").write_text(content)
        return data

    return make


def take(named: str, into: Path) -> str | None:
    """What was taken."""
    owner = into.parent.stat()
    taken = template.take(named, into=into, uid=owner.st_uid, gid=owner.st_gid)
    return (into / "base" / "1").read_text() if taken else None


def test_it_is_taken_as_it_was_kept(tmp_path: Path, cluster: Callable[[str], Path]) -> None:
    named = template.name()
    assert take(named, tmp_path / "before") is None
    template.keep(named, cluster("a"))
    assert take(named, tmp_path / "one") == "a"
    (tmp_path / "one" / "base" / "1").write_text("changed")
    assert take(named, tmp_path / "two") == "a"
    template.forget(named)
    assert take(named, tmp_path / "three") is None
    assert not (tmp_path / "three.draft").exists()


def test_a_user_without_a_home_keeps_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: Callable[[str], Path]
) -> None:
    """As in a container with a number for a user."""

    def unknown(_: int) -> None:
        raise KeyError("getpwuid(): uid not found")

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    named = template.name()
    template.keep(named, cluster("a"))
    assert take(named, tmp_path / "one") is None
    template.forget(named)


def test_other_code_has_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: Callable[[str], Path]
) -> None:
    named = template.name()
    migration = tmp_path / "messaging" / "migrations" / "sql" / "0001.sql"
    migration.parent.mkdir(parents=True)
    (tmp_path / "messaging" / "__init__.py").touch()
    (tmp_path / "perf").mkdir()
    (tmp_path / "perf" / "models.py").touch()
    monkeypatch.setattr(template, "ROOT", tmp_path)
    names = [named]
    for text in ("SELECT 1", "SELECT 2"):
        migration.write_text(text)
        names.append(template.name())
    assert len(set(names)) == 3
    template.keep(named, cluster("a"))  # while it was made the code has changed
    assert take(named, tmp_path / "one") is None


def test_the_newest_are_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch, cluster: Callable[[str], Path]
) -> None:
    for number in range(template.KEPT + 2):
        monkeypatch.setattr(template, "name", lambda number=number: f"postgres-{number}")
        template.keep(f"postgres-{number}", cluster(str(number)))
    assert sorted(one.name for one in cache.iterdir()) == ["postgres-2", "postgres-3", "postgres-4"]


def test_where_nothing_can_be_kept_nothing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: Callable[[str], Path]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    template.keep(template.name(), cluster("a"))
    template.forget(template.name())


@pytest.mark.long
async def test_services_begin_migrated_with_and_without_it_and_with_a_broken_one(
    tmp_path: Path, cache: Path
) -> None:
    counts = []
    for damage in (False, False, True):
        if damage:
            _damage(cache)
        with workplace() as directory:
            async with (
                keeper.services(directory, logs=tmp_path) as kept,
                connected(kept.addresses["DATABASE_URL"]) as connection,
            ):
                counts.append(await _count(connection))
    assert counts[0] > 20
    assert set(counts) == {counts[0]}
    assert _control(cache) > 1_000  # the broken one was replaced


def _damage(cache: Path) -> None:
    (cache / template.name() / "global" / "pg_control").write_bytes(b"damaged")


def _control(cache: Path) -> int:
    """How large the file is that we damage, in the only template."""
    (kept,) = cache.iterdir()
    return (kept / "global" / "pg_control").stat().st_size


async def _count(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> int:
    row = await (await connection.execute(TABLES)).fetchone()
    return int(str(row[0])) if row else 0
