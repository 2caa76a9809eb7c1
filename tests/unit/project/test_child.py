"""How a server process is started."""

from pathlib import Path

import pytest

from project.child import Child


async def test_a_process_finds_its_program_wherever_serve_was_called_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """From a unit without a working directory, or from a folder that has a `project` of its own."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    child = await Child.spawn(["--help"], metrics=str(tmp_path))
    assert await child.ended() == 0, capfd.readouterr().err
