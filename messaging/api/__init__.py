"""The REST API under /api/, for what needs no socket. Its page is /api/docs, its contract docs/openapi.json.

One module per noun; `access` decides who may, `refusals` and `handlers` how a refusal reads.
"""

from ninja import NinjaAPI

from messaging.api import (
    auth,
    conversations,
    devices,
    files,
    handlers,
    links,
    members,
    messages,
    presence,
    receipts,
    users,
)

__all__ = ["api"]

api = NinjaAPI(
    title="Lockstep",
    version="1",
    description=(
        "Log in, register a device once, then send its token as `Authorization: Bearer …`. "
        "Ids are UUIDs, times are milliseconds since the Unix epoch, positions and seqs count a "
        "conversation's changes from 1. Every refusal is `{code, message}`; one with "
        "`retry_after` may be repeated then, and a message with the same `client_id` is never "
        "stored twice, nor is a group opened twice. A request is at most 1 MiB, a message body 64 KiB."
    ),
    auth=auth.Bearer(),
    urls_namespace="api",
)
handlers.install(api)
for noun in (
    auth,
    links,
    devices,
    users,
    conversations,
    members,
    messages,
    files,
    receipts,
    presence,
):
    api.add_router("", noun.router)
