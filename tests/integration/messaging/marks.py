"""A room to have marks in, and what is stored of them."""

from messaging.protocol.frames import Mark
from tests import scene
from tests.scene import Psql, Room


def new_room(sql: Psql) -> Room:
    """Its last change is number 12."""
    made = scene.new_room(sql)
    for n in range(10):
        scene.insert(sql, made.id, str(n))
    return made


def stored(sql: Psql, room: Room, device: str) -> tuple[int, int] | None:
    return sql.execute(
        "SELECT delivered, read FROM messaging_receipt WHERE conversation_id = %s AND device_id = %s",
        [room.id, device],
    ).fetchone()


def mark(room: Room, delivered: int, read: int = 0) -> list[Mark]:
    return [Mark(conversation=room.id, delivered=delivered, read=read)]
