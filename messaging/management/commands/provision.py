"""`manage.py provision`: many users, devices and groups at once, for load and for demonstrations.

Everything is named after --prefix and found again by it, so a repeat makes nothing twice; it gives
every device a fresh token, because stored tokens can't be shown again. Plain SQL, one statement a
table: the ORM would take ten times as long. Prints a JSON line a device.
"""

import json
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, LiteralString
from uuid import UUID, uuid5

from django.contrib.auth.hashers import make_password
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction

from presence.tokens import new_token

GROUPS = UUID("6c6f636b-7374-4570-8000-67726f757073")  # the namespace of these groups' ids

# The address tells afterwards whom this command made: nobody else has one like it, for mail reaches nobody there (RFC 2606).
USERS = """
INSERT INTO presence_user (username, password, first_name, last_name, email,
                           is_active, is_staff, is_superuser, date_joined)
SELECT name, %s, '', '', name || '@provision.invalid', true, false, false, now() FROM unnest(%s::text[]) AS name
    ON CONFLICT (username) DO NOTHING
"""
USER_IDS = """
SELECT u.id, u.email = name || '@provision.invalid' FROM unnest(%s::text[]) WITH ORDINALITY AS n (name, place)
  JOIN presence_user u ON u.username = n.name ORDER BY n.place
"""
CONVERSATIONS = """
INSERT INTO messaging_conversation (id, kind, title)
SELECT id, %s, title FROM unnest(%s::uuid[], %s::text[]) AS g (id, title)
    ON CONFLICT (id) DO NOTHING
"""
STAYS = """
INSERT INTO messaging_membership (conversation_id, user_id, role)
SELECT conversation, who, role FROM unnest(%s::uuid[], %s::uuid[], %s::text[]) AS s (conversation, who, role)
    ON CONFLICT (conversation_id, user_id) WHERE left_seq IS NULL DO NOTHING
"""
# A revoked device keeps its hash, and is not among the rows returned.
DEVICES = """
INSERT INTO presence_device (user_id, installation, name, platform, token_hash)
SELECT who, name, name, 'provision', hash FROM unnest(%s::uuid[], %s::text[], %s::bytea[]) AS d (who, name, hash)
    ON CONFLICT (user_id, installation) DO UPDATE SET token_hash = excluded.token_hash
 WHERE presence_device.revoked IS NULL
RETURNING token_hash, id
"""
# What the planner knew of these tables is of before: it takes thousands of rows for a few, and a join of
# all devices' marks for seconds, until autovacuum comes by (PostgreSQL, section 14.4: "run ANALYZE afterwards").
ANALYZE = """
ANALYZE presence_user, presence_device, messaging_conversation, messaging_membership, messaging_inbox,
        messaging_message, messaging_receipt
"""


class Command(BaseCommand):
    """Make users, devices and groups in bulk."""

    help = "Makes users, devices and groups in bulk and prints the devices' tokens as JSON lines."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the numbers; none is needed."""
        parser.add_argument("--users", type=int, default=2, help="default: %(default)s")
        parser.add_argument("--devices", type=int, help="in all, spread evenly (default: one each)")
        parser.add_argument(
            "--conversations", type=int, default=1, help="groups (default: %(default)s)"
        )
        parser.add_argument("--members", type=int, help="of each (default: enough for every user)")
        parser.add_argument("--prefix", default="load", help="of all names (default: load)")
        parser.add_argument("--password", help="of new users (default: none, tokens only)")

    def handle(self, **options: Any) -> None:
        """Make what is missing in one transaction, then print."""
        prefix, numbers = options["prefix"], _numbers(options)
        with transaction.atomic():
            users = make_users(prefix, numbers["users"], password=options["password"])
            groups = make_groups(prefix, numbers["conversations"], numbers["members"], users)
            devices = make_devices(prefix, numbers["devices"], users)
        _run(ANALYZE)
        for n, (device, token) in enumerate(devices):
            place = n % len(users)
            line = {
                "user": str(users[place]),
                "username": f"{prefix}-{place}",
                "device": str(device),
                "token": token,
                "conversations": groups[users[place]],
            }
            self.stdout.write(json.dumps(line))


def make_users(prefix: str, count: int, *, password: str | None) -> list[UUID]:
    """Return the users `<prefix>-0` and so on, each with the conversation with oneself. Raises CommandError if one is somebody else."""
    names = [f"{prefix}-{n}" for n in range(count)]
    _run(USERS, make_password(password), names)  # one hash for all: it takes long on purpose
    found = _run(USER_IDS, names)
    for name, (_, is_made) in zip(names, found, strict=True):
        if not is_made:  # whoever has the tokens that are printed would be them
            raise CommandError(f"{name} is somebody's already; choose another --prefix.")
    users = [user for user, _ in found]
    _run(CONVERSATIONS, "self", users, [""] * count)
    _run(STAYS, users, users, ["member"] * count)
    return users


def make_groups(
    prefix: str, count: int, members: int, users: list[UUID]
) -> defaultdict[UUID, list[str]]:
    """Make the groups, each of the next `members` users in turn; return the groups of each user."""
    names = [f"{prefix}-{n}" for n in range(count)]
    groups = [uuid5(GROUPS, name) for name in names]
    _run(CONVERSATIONS, "group", groups, names)
    stays = [
        (group, users[(n * members + place) % len(users)], "member" if place else "admin")
        for n, group in enumerate(groups)
        for place in range(members)
    ]
    if stays:
        _run(STAYS, *map(list, zip(*stays, strict=True)))
    of_user: defaultdict[UUID, list[str]] = defaultdict(list)
    for group, user, _ in stays:
        of_user[user].append(str(group))
    return of_user


def make_devices(prefix: str, count: int, users: list[UUID]) -> Iterator[tuple[UUID, str]]:
    """Return devices with fresh tokens; the n-th is of the n-th user, and round again."""
    tokens = [new_token() for _ in range(count)]
    hashes = [digest for _, digest in tokens]
    owners = [users[n % len(users)] for n in range(count)]
    rows = _run(DEVICES, owners, [f"{prefix}-{n}" for n in range(count)], hashes)
    stored = {bytes(digest): device for digest, device in rows}
    if len(stored) < count:
        raise CommandError(f"Devices of {prefix!r} are revoked, for ever; choose another --prefix.")
    return ((stored[digest], token) for token, digest in tokens)


def _run(statement: LiteralString, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def _numbers(options: dict[str, Any]) -> dict[str, int]:
    """The four numbers, with their defaults. Raises CommandError for ones that can't be."""
    users, conversations = options["users"], options["conversations"]
    if users < 1 or conversations < 0:
        raise CommandError("Give at least one user, and no negative number of conversations.")
    devices = users if options["devices"] is None else options["devices"]
    enough = max(min(2, users), -(-users // max(conversations, 1)))
    members = enough if options["members"] is None else options["members"]
    if devices < 0 or not 1 <= members <= users:
        raise CommandError(f"--members is from 1 to {users} (--users), and --devices not negative.")
    return {
        "users": users,
        "devices": devices,
        "conversations": conversations,
        "members": members,
    }
