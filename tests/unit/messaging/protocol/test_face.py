"""The package's face is its only door, and an independent one."""

import subprocess
import sys

import pytest

import messaging.protocol as face


def test_every_name_of_the_face_exists() -> None:
    """And there are few of them."""
    assert all(hasattr(face, name) for name in face.__all__)
    assert len(face.__all__) <= 25
    assert face.__all__ == sorted(
        face.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name)
    )


@pytest.mark.slow
def test_protocol_and_client_need_no_django() -> None:
    """A program that only talks to a server installs msgspec and websockets."""
    program = (
        "import sys, messaging.protocol.__main__, messaging.client.__main__;"
        "print([name for name in sys.modules if name.split('.')[0] in ('django', 'channels')])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert found.stdout.decode().strip() == "[]"
