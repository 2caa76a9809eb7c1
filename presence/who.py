"""Who is here, as the database knows it: one statement for many users, all of one moment, by its clock."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from django.db import connection

from presence import conf
from presence.line import Line
from presence.liveness import Here, Seat

STATEMENT_TIMEOUT_MS = 3_000  # older news is no news

# A session that was asked to end counts no more, but its absence begins only when it has ended.
# A process whose lease is over has been silent for all of it: so long its sessions are gone at least.
# LIMIT 1 keeps it one look by the key for each user, also in a plan from when nobody had said anything.
WHO = """
SELECT asked.id::text, x.seats::text, x.idle, CASE WHEN s.lasts THEN s.text ELSE '' END,
       CASE WHEN s.lasts THEN (extract(epoch FROM s.until) * 1000)::bigint END,
       CASE WHEN s.lasts THEN extract(epoch FROM s.until - now())::float8 END,
       coalesce(s.invisible, false), (extract(epoch FROM x.last_seen) * 1000)::bigint,
       extract(epoch FROM x.gone)::float8
  FROM unnest(%s::uuid[]) AS asked (id)
  LEFT JOIN LATERAL (SELECT *, nullif(text_until, 'infinity') AS until, coalesce(text_until > now(), true) AS lasts
                       FROM presence_status WHERE user_id = asked.id LIMIT 1) s ON true
 CROSS JOIN LATERAL (
    SELECT json_agg(json_build_array(d.id, n.id, c.state, n.lease > now() AND c.state <> 'ending'))
               FILTER (WHERE n.id IS NOT NULL AND d.revoked IS NULL) AS seats,
           array_agg(d.id::text) FILTER (WHERE n.id IS NULL AND d.revoked IS NULL) AS idle,
           greatest(max(d.last_seen), max(n.lease) FILTER (WHERE n.lease <= now())) AS last_seen,
           least(now() - max(d.last_seen),
                 now() - max(n.lease) FILTER (WHERE n.lease <= now()) + make_interval(secs => %s),
                 min(interval '0') FILTER (WHERE n.lease > now() AND c.state = 'ending')) AS gone
      FROM presence_device d
      LEFT JOIN presence_connection c ON c.device_id = d.id
      LEFT JOIN presence_node n ON n.id = c.node_id
     WHERE d.user_id = asked.id) x
"""
LIVE_NODES = """
SELECT id::text, extract(epoch FROM lease - now())::float8 FROM presence_node WHERE lease > now()
"""

_seats = msgspec.json.Decoder(list[Seat]).decode


class Reader:
    """A process's connection for such questions. Every method raises psycopg.Error when the database is away."""

    def __init__(self) -> None:
        self._line = Line(
            "lockstep presence", timeout_ms=STATEMENT_TIMEOUT_MS, enable_seqscan="off"
        )

    async def who_is_here(self, users: Iterable[str]) -> dict[str, Here]:
        """The presence of each of these users; somebody unknown is simply not here."""
        rows = await self._line.ask(WHO, (list(users), conf.current().lease_s))
        return {row[0]: _here(row) for row in rows}

    async def live_nodes(self) -> dict[str, float]:
        """The server processes whose lease lasts, and for how many seconds more."""
        return dict(await self._line.ask(LIVE_NODES))

    async def close(self) -> None:
        """Close the connection; who asks from now on gets psycopg.OperationalError."""
        await self._line.close()


def who_is_here(users: Iterable[str]) -> dict[str, Here]:
    """The same on Django's connection, for views and the admin. Raises django.db.Error."""
    with connection.cursor() as cursor:
        cursor.execute(WHO, [list(users), conf.current().lease_s])
        return {row[0]: _here(row) for row in cursor.fetchall()}


def _here(row: tuple[Any, ...]) -> Here:
    user, seats, idle, text, until, text_left, invisible, last_seen, gone = row
    return Here(
        user=user,
        seats=tuple(_seats(seats)) if seats else (),
        idle=tuple(idle or ()),
        text=text or "",
        until=until,
        text_left=text_left,
        invisible=invisible,
        last_seen=last_seen,
        gone=gone,
    )
