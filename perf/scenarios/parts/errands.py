"""What people of a team do over REST in the course of a day: share a file, join, leave, link, revoke.

What a deploy interrupts is asked again; all of these calls may be repeated. Each raises NoAnswer when it
could not be done for good.
"""

from __future__ import annotations

import secrets

from perf.history.events import Revoked
from perf.history.testimony import clock
from perf.load.fleet import until
from perf.load.rest import NoAnswer
from perf.scenarios.parts.days import Moment
from perf.scenarios.parts.floor import PATIENCE_S, Floor

FILE_BYTES = 20_000
LOOK_S = 0.02


async def share(floor: Floor, it: Moment) -> None:
    """Upload a file, send it, and have somebody else of the room fetch it, byte for byte."""
    room, book = floor.rooms[it.room], floor.book(it.person)
    device = floor.speaker((it.person, it.device), room)
    if device is None:
        return
    content = secrets.token_bytes(FILE_BYTES)
    file = await floor.patiently(lambda: book.upload(device.account, "notes.bin", content))
    if it.person not in room.members:
        return  # they have left meanwhile; nobody is shown the file
    sent = device.send(room.id, "see the file", attachments=(file.id,))
    device.flush()
    await until(lambda: bool(sent.seq) or device.away, within_s=PATIENCE_S, look_s=LOOK_S)
    reader = next((one for one in sorted(room.members) if one != it.person), None)
    if not sent.seq or reader is None:
        return  # it went home before the answer came: what it said follows when it is back
    begun = clock()
    status, fetched = await floor.patiently(lambda: book.fetch(floor.people[reader][0], file.id))
    floor.files.record(clock() - begun)
    if reader in room.members and (status, fetched) != (200, content):
        raise NoAnswer(f"a file was fetched with {status} and {len(fetched)} bytes")


async def join(floor: Floor, it: Moment) -> None:
    """Be invited to a room by its founder."""
    room, user = floor.rooms[it.room], floor.people[it.person][0].user
    founder = floor.people[room.founder][0]
    await floor.patiently(lambda: floor.book(it.person).invite(founder, room.id, user))
    room.members.add(it.person)


async def leave(floor: Floor, it: Moment) -> None:
    """Leave a room, once nothing of theirs is on its way to it."""
    room = floor.rooms[it.room]
    room.members.discard(it.person)
    mine = [one for (person, _), one in floor.devices.items() if person == it.person]

    def said() -> bool:
        under_way = (sent for one in mine for sent in one.pending.values())
        return not any(sent.conversation == room.id for sent in under_way)

    if not await until(said, within_s=PATIENCE_S, look_s=LOOK_S):
        room.members.add(it.person)
        floor.done["stayed, as a device of theirs had something to say"] += 1
        return
    account = floor.people[it.person][0]
    await floor.patiently(lambda: floor.book(it.person).leave(account, room.id))


async def link(floor: Floor, it: Moment) -> None:
    """One more device, by a code that the first one asks for."""
    first, key = floor.people[it.person][0], (it.person, it.device)
    book, name = floor.book(it.person), f"linked-{it.device}"
    account = await floor.patiently(lambda: book.link(first, installation=name))
    if not await floor.enter(key, account):
        raise NoAnswer("the linked device could not connect")
    floor.late.add(floor.devices[key].number)


async def revoke(floor: Floor, it: Moment) -> None:
    """A device is lost: another of the user revokes it, and it hears nothing more."""
    key, first = (it.person, it.device), floor.people[it.person][0]
    if not await until(lambda: floor.came(key), within_s=PATIENCE_S, look_s=LOOK_S):
        raise NoAnswer(f"the device to be revoked had not come {PATIENCE_S:.0f} s later")
    device = floor.devices[key]
    floor.gone.add(key)
    floor.present.discard(key)
    await until(lambda: not device.pending, within_s=PATIENCE_S, look_s=LOOK_S)
    await floor.patiently(lambda: floor.book(it.person).revoke(first, device.account.device))
    floor.recorder.record(Revoked(t=floor.recorder.now(), id=device.account.device))
    cut = await until(lambda: not device.online, within_s=PATIENCE_S, look_s=LOOK_S)
    device.leave()
    if not cut:
        raise NoAnswer("a revoked device was not cut off")
