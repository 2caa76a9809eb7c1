"""Who may start a sabotaged server: the rig, on a database that it has made, for this machine only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from perf.rig.children import MARK
from perf.rig.cleanup import addresses_of, in_use
from perf.sabotage import BY_NAME, VARIABLE

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def refusal(environ: Mapping[str, str], arguments: Sequence[str]) -> str | None:
    """Why this server must not be sabotaged, in one line; None if it may be."""
    if environ.get(VARIABLE, "") not in BY_NAME:
        return f"{VARIABLE} must be one of {', '.join(BY_NAME)}"
    directory = environ.get(MARK, "")
    if not directory or not in_use(Path(directory)):
        return "perf.sabotage breaks the server on purpose: only `perf e2e` may start it"
    ours = addresses_of(Path(directory))
    if not ours or any(environ.get(name) != address for name, address in ours.items()):
        return "perf.sabotage is only for a database that `perf` has made for the moment"
    if not {_value(arguments, "--host") or "127.0.0.1"} <= LOOPBACK:
        return "perf.sabotage only serves this machine: leave out --host"
    return None


def _value(arguments: Sequence[str], flag: str) -> str | None:
    """The value of a flag, given as two arguments or with an equals sign."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = argument.partition("=")
        if name == flag:
            return value if equals else following
    return None
