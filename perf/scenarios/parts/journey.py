"""A user's whole journey: log in, talk, invite, edit, share, read, link, go offline, come back, revoke, leave.

Ann has a phone and, later, a laptop; Bob is who she talks to; Cid is invited and leaves. Each step is a check
by name: what was looked at, and whether it was so.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from perf.history.events import Revoked
from perf.history.recorder import Recorder
from perf.history.testimony import clock
from perf.load.device import Device
from perf.load.fleet import Fleet, FleetError, until
from perf.load.observer import Sent
from perf.measure.latency import Latency
from perf.rig.accounts import Account
from perf.scenarios.parts.floor import ENTER_S
from perf.scenarios.parts.phonebook import Phonebook
from perf.scenarios.parts.shelves import Shelves

SEEN_S = 10.0  # patience with what should take milliseconds
MISSED = 20  # messages that the laptop misses
FILE_BYTES = 1_000_000
REFUSED = range(400, 500)


@dataclass(kw_only=True)
class Journey:
    """One journey, over `fleet` and `book` of the same server. Times of what people wait for; `late` are
    devices that were registered when something had been said already."""

    book: Phonebook
    fleet: Fleet
    shelves: Shelves
    recorder: Recorder
    appeared: Latency = field(default_factory=Latency)
    read: Latency = field(default_factory=Latency)  # from the send to the receipt at the sender
    back: Latency = field(default_factory=Latency)  # from the connect to having all that was missed
    fetched: Latency = field(default_factory=Latency)
    checks: dict[str, tuple[int, int]] = field(default_factory=dict)
    late: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)

    async def run(self, names: list[str], password: str) -> list[Account]:
        """The whole way; returns the accounts it began with. Raises NoAnswer, FleetError."""
        wrong = {"username": names[0], "password": secrets.token_hex(8)}
        answer = await self.book.rest.ask("POST", "/api/login", body=wrong)
        self._check("a wrong password is refused", held=answer.status in REFUSED)
        accounts = [
            await self.book.log_in(name, password, installation=f"{name}-phone") for name in names
        ]
        ann, bob, cid = [await self._enter(account) for account in accounts]
        room = await self._talk(ann, bob, cid)
        await self._share(ann, bob, room)
        await self._read(ann, bob, room)
        laptop = await self._link(ann, bob, room)
        await self._offline(laptop, ann, bob, room)
        await self._revoke(ann, laptop, bob, room)
        await self._leave(cid, ann, bob, room)
        return accounts

    async def _talk(self, ann: Device, bob: Device, cid: Device) -> str:
        """A conversation, a message, an invitation, an edit."""
        room = await self.book.gather(ann.account, "our journey", [bob.account.user])
        first = await self._says(ann, room, bob)
        await self.book.invite(ann.account, room, cid.account.user)
        await self._says(ann, room, bob, cid)
        await self._says(cid, room, ann, bob)
        text = f"better: {secrets.token_hex(8)}"
        ann.edit(first, text)
        ann.flush()
        edited = await until(lambda: self.shelves.has(bob, first, version=2), within_s=SEEN_S)
        self._check("an edit appears", held=edited)
        pages = await self.book.history(cid.account, room)
        shown = [one["body"] for one in pages if one["id"] == first.message]
        self._check("who was invited reads what was said before", held=shown == [text])
        return room

    async def _share(self, ann: Device, bob: Device, room: str) -> None:
        file = await self.book.upload(ann.account, "photo.bin", secrets.token_bytes(FILE_BYTES))
        sent = ann.send(room, "a photo", attachments=(file.id,))
        ann.flush()
        await self._appears(sent, bob)
        item = self.shelves.items[bob.number].get(sent.message or "")
        named = item is not None and item.files == ((file.id, file.sha256),)
        self._check("a message names its file", held=named)
        begun = clock()
        status, content = await self.book.fetch(bob.account, file.id)
        self.fetched.record(clock() - begun)
        same = (status, content) == (200, file.content)
        self._check("a file is the same, byte for byte", held=same)

    async def _read(self, ann: Device, bob: Device, room: str) -> None:
        sent = await self._says(ann, room, bob)
        bob.read(room)
        bob.flush()

        def told() -> float | None:
            return self.shelves.told_read(ann, bob, sent)

        held = await until(lambda: told() is not None, within_s=SEEN_S)
        self._check("the sender is told that it was read", held=held)
        if (moment := told()) is not None:
            self.read.record(moment - sent.actual)
        delivered, read = await self.book.ticks(ann.account, sent.message or "")
        self._check("the ticks say so, too", held=delivered >= read >= 1)

    async def _link(self, ann: Device, bob: Device, room: str) -> Device:
        """A second device, by a code of the first: it has what follows, and pages back for the rest."""
        account = await self.book.link(ann.account, installation=f"{ann.account.device}-laptop")
        listed = await self.book.devices(ann.account)
        self._check("the first device lists the second", held=account.device in listed)
        laptop = await self._enter(account)
        self.late.add(laptop.number)
        await self._says(bob, room, ann, laptop)
        await self._says(laptop, room, ann, bob)
        ids = {one["id"] for one in await self.book.history(account, room)}
        known = {
            name
            for name, item in self.shelves.items[ann.number].items()
            if item.position == item.seq and name not in ids
        }
        self._check("the second device can page back to all that the first has", held=not known)
        again = await self.book.used_code_is_refused(ann.account)
        self._check("a link code is good for one device", held=again)
        return laptop

    async def _offline(self, laptop: Device, ann: Device, bob: Device, room: str) -> None:
        """What the laptop misses it has when it is back: messages, an edit and a deletion among them."""
        kept, erased = await self._says(bob, room, laptop), await self._says(bob, room, laptop)
        laptop.leave()
        for number in range(MISSED):
            last = bob.send(room, f"missed {number}: {secrets.token_hex(8)}")
            bob.flush()
        bob.edit(kept, "edited meanwhile")
        bob.delete(erased)
        bob.flush()
        await until(lambda: not bob.pending, within_s=SEEN_S)
        begun = clock()
        await self.fleet.open(laptop)
        whole = await until(
            lambda: (
                self.shelves.has(laptop, last)
                and self.shelves.has(laptop, kept, version=2)
                and self.shelves.has(laptop, erased, version=2)
            ),
            within_s=SEEN_S,
        )
        self._check("who comes back has all that was missed", held=whole)
        self.back.record(clock() - begun)
        item = self.shelves.items[laptop.number].get(erased.message or "")
        self._check("a deletion reaches who was away", held=item is not None and item.deleted)

    async def _revoke(self, ann: Device, laptop: Device, bob: Device, room: str) -> None:
        self.gone.add(laptop.number)
        await self.book.revoke(ann.account, laptop.account.device)
        self.recorder.record(Revoked(t=self.recorder.now(), id=laptop.account.device))
        closed = await until(lambda: not laptop.online, within_s=SEEN_S)
        self._check("a revoked device is cut off", held=closed)
        sent = await self._says(bob, room, ann)
        self._check("a revoked device hears nothing more", held=not self.shelves.has(laptop, sent))
        status = await self._status(laptop, room)
        self._check("a revoked device is refused by the API", held=status in REFUSED)
        laptop.leave()

    async def _leave(self, cid: Device, ann: Device, bob: Device, room: str) -> None:
        await self.book.leave(cid.account, room)
        told = await until(lambda: room in cid.client.left, within_s=SEEN_S)
        self._check("who leaves is told where the stay ended", held=told)
        sent = await self._says(bob, room, ann)
        self._check("who has left hears nothing more", held=not self.shelves.has(cid, sent))
        found = await self.book.history(cid.account, room)
        shown = any(one["id"] == sent.message for one in found)
        self._check("who has left reads nothing more", held=not shown)

    # Small steps

    async def _enter(self, account: Account) -> Device:
        device = self.fleet.device(account, starts={})
        self.fleet.devices.append(device)
        if not (await self.fleet.open(device) or await self.fleet.come(device, within_s=ENTER_S)):
            raise FleetError(f"a device could not connect: {self.fleet.failures[-1]}")
        return device

    async def _says(self, device: Device, room: str, *others: Device) -> Sent:
        sent = device.send(room, secrets.token_hex(20))
        device.flush()
        await self._appears(sent, *others)
        return sent

    async def _appears(self, sent: Sent, *others: Device) -> None:
        for other in others:
            came = await until(lambda other=other: self.shelves.has(other, sent), within_s=SEEN_S)  # type: ignore[misc]
            self._check("what one device sends appears on the others", held=came)
            if came:
                moment = self.shelves.items[other.number][sent.message or ""].moment
                self.appeared.record(moment - sent.actual)
        await until(lambda: bool(sent.seq), within_s=SEEN_S)

    async def _status(self, device: Device, room: str) -> int:
        path = f"/api/conversations/{room}"
        return (await self.book.rest.ask("GET", path, token=device.account.token)).status

    def _check(self, name: str, *, held: bool) -> None:
        checked, times = self.checks.get(name, (0, 0))
        self.checks[name] = (checked + 1, times + held)
