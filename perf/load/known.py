"""What exists, for the fuzzer to ask about: chance names no id of anything. Told to schemathesis in its own configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

OFTEN = 0.7  # how often what exists is asked about; the rest is for chance

PLACES: Mapping[str, str] = {
    "path.conversation": "conversations",
    "path.message": "messages",
    "path.user": "users",
    "path.file": "files",
    "query.user": "users",
    "query.base_version": "versions",
    "body.base_version": "versions",
    "body.user": "users",
    "body.members[*].user": "users",
    "body.reply_to": "messages",
    "body.attachments[*]": "files",
    "body.code": "codes",
}
"""Which values belong where in a request, of any operation."""

LOG_IN, REGISTER = "POST /api/login", "POST /api/devices"
OF_LOG_IN = {"body.username": "names", "body.password": "passwords"}


@dataclass(frozen=True, kw_only=True)
class Known:
    """Values by what they are (see PLACES), and the proof of a log-in with which devices are registered."""

    values: Mapping[str, Sequence[str | int]]
    proof: str = ""

    def configuration(self) -> str:
        """A schemathesis.toml. What JSON can say of texts, numbers and lists of them, TOML says alike."""
        return "\n".join([*self._dictionaries(), *self._parameters(), *self._operations(), ""])

    def _dictionaries(self) -> Iterator[str]:
        for name, values in self.values.items():
            yield f"[dictionaries.{name}]\nvalues = {json.dumps(list(values))}"

    def _parameters(self) -> Iterator[str]:
        yield "[parameters]"
        yield from self._bound(PLACES)

    def _operations(self) -> Iterator[str]:
        yield f'[[operations]]\ninclude-name = "{LOG_IN}"\n[operations.parameters]'
        yield from self._bound(OF_LOG_IN)
        if self.proof:
            header = json.dumps(f"Login {self.proof}")
            yield f'[[operations]]\ninclude-name = "{REGISTER}"\nheaders = {{ Authorization = {header} }}'

    def _bound(self, places: Mapping[str, str]) -> Iterator[str]:
        for place, name in places.items():
            if name in self.values:
                yield f'"{place}" = {{ dictionary = "{name}", probability = {OFTEN} }}'
