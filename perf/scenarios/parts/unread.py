"""What waits for devices that are away, what is unread, and marks that are older than what is known."""

from __future__ import annotations

from collections.abc import Sequence

from messaging.protocol import frames
from perf.history.testimony import clock
from perf.load.device import Device
from perf.load.fleet import until
from perf.scenario import Options
from perf.scenarios.parts.backlog import Homecoming
from perf.scenarios.parts.receiving import DEVICES_EACH, FEW, Receiving
from perf.scenarios.parts.ticks import SEEN_S

MISSED, QUICK_MISSED = 5_000, 300  # messages of a backlog
HOURS = 8  # over which it was written
HOME_S = 60.0  # patience with the return
BACKLOG = """
INSERT INTO messaging_message (conversation_id, body, created)
SELECT %(conversation)s::uuid, %(conversation)s || ' of hour ' || n * %(hours)s / %(count)s || ', ' || n,
       now() - make_interval(secs => 3600.0 * %(hours)s * (%(count)s - n) / %(count)s)
  FROM generate_series(1, %(count)s) AS n
"""
MARK = "SELECT delivered, read FROM messaging_receipt WHERE conversation_id = %s AND device_id = %s"


def missed(options: Options) -> int:
    """Messages of the backlog."""
    return QUICK_MISSED if options.quick else MISSED


async def backlog(it: Receiving) -> None:
    """Two users' devices are away for hours; when they come back everything is there, in order."""
    count = missed(it.stage.options)
    leaving = it.devices[DEVICES_EACH:]
    for user in range(1, FEW):  # so that all of the backlog is unread
        it.devices[user * DEVICES_EACH].read(it.small)
        it.devices[user * DEVICES_EACH].flush()
    await _badge(it, leaving, 0)
    for device in leaving:
        device.leave()
    facts = {"conversation": it.small, "count": count, "hours": HOURS}
    await it.connection.execute(BACKLOG, facts)
    sent = await it.say(it.small, "after the backlog")
    it.home = Homecoming(
        fleet=it.fleets[0],
        goals={it.small: sent.seq, it.large: sent.seq},
        within_s=HOME_S,
        seed=it.stage.options.seed,
    )
    late = await it.home.run(leaving)
    home = len(leaving) - late
    it.checks.note("who was away for hours has everything", held=home, of=len(leaving))
    await _badge(it, leaving, count + 1)


async def _badge(it: Receiving, devices: Sequence[Device], wanted: int) -> None:
    """Every device, and the API, show so many unread messages."""

    def right() -> list[bool]:
        return [it.marks.badge(one, it.small, _own(it, one)) == wanted for one in devices]

    await until(lambda: all(right()), within_s=SEEN_S)
    shown = [it.marks.badge(one, it.small, _own(it, one)) for one in devices]
    held = sum(right())
    it.checks.note("badges on devices count what no device of the user has read", held=held, of=len(devices), witness=f"wanted {wanted}: {shown}")  # fmt: skip
    for account in {one.account.user: one.account for one in devices}.values():
        unread = await it.desk.unread(account, it.small)
        witness = f"wanted {wanted}: {unread}"
        it.checks.note("the API says how much is unread", held=unread == wanted, witness=witness)


def _own(it: Receiving, device: Device) -> list[str]:
    """The ids of the user's devices."""
    return [one.account.device for one in it.devices if one.account.user == device.account.user]


async def badges(it: Receiving) -> None:
    """What one device reads, part by part and then all, is no longer unread on the user's others."""
    user = it.devices[DEVICES_EACH : 2 * DEVICES_EACH]
    reader, others = user[0], user[1:]
    last = reader.client.cursors[it.small]
    unread = it.marks.badge(reader, it.small, _own(it, reader))
    parts = 2 * it.rounds
    for left in (unread * part // parts for part in reversed(range(parts))):
        begun, seq = clock(), last - left
        reader.read(it.small, seq)
        reader.flush()
        for device in others:

            def cleared(device: Device = device, seq: int = seq) -> float | None:
                return it.marks.read_at(device, it.small, reader.account.device, seq)

            if await until(lambda: cleared() is not None, within_s=SEEN_S):
                it.badges.record((cleared() or begun) - begun)
        await _badge(it, user, left)


async def old_marks(it: Receiving) -> None:
    """A device that says older marks than before changes nothing; one beyond the end is refused."""
    await it.say(it.small, "the last one")
    before = await _stored(it)
    for back in (1, 10, 100):
        mark = frames.Mark(conversation=it.small, delivered=before[0] - back, read=0)
        await it.old.ask(frames.Receipt(marks=[mark]))
        now = await _stored(it)
        it.checks.note("old marks change nothing", held=now >= before, witness=f"{before}, {now}")
    beyond = frames.Mark(conversation=it.small, delivered=before[0] + 1_000_000)
    answer = await it.old.ask(frames.Receipt(marks=[beyond]))
    refused = isinstance(answer, frames.Error) and answer.code == "cursor_ahead"
    it.checks.note("a mark beyond the end is refused", held=refused, witness=str(answer))


async def _stored(it: Receiving) -> tuple[int, int]:
    """The marks of the device that says old ones."""
    row = await (await it.connection.execute(MARK, [it.small, it.old_device])).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)
