"""The one place where committed changes are announced.

`messages_committed` is sent after COMMIT and before the acknowledgements, once per journal batch,
with `batches` (list of protocol Batch, one per conversation); `receipts_committed` with `marks`
({conversation: [DeviceMark]}). A receiver that raises is logged and never delays an answer.
Changes that did not pass the journal are found by the hub and not sent here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime

from django.db.models.signals import post_save
from django.dispatch import Signal
from msgspec import to_builtins

from messaging.protocol.frames import DeviceMark
from messaging.protocol.server.batch import Batch

logger = logging.getLogger(__name__)

messages_committed = Signal()
receipts_committed = Signal()


def announce_messages(batches: list[Batch]) -> None:
    """Tell everyone that these changes are committed."""
    _send(messages_committed, batches=batches)
    _announce_models(batches)


def announce_receipts(marks: dict[str, list[DeviceMark]]) -> None:
    """Tell everyone that these marks are stored."""
    _send(receipts_committed, marks=marks)


def _send(signal: Signal, sender: object = None, **facts: object) -> None:
    try:
        for receiver, response in signal.send_robust(sender=sender, **facts):
            if isinstance(response, Exception):
                logger.error("receiver %r failed", receiver, exc_info=response)
    except RuntimeError:  # Django's own, once the others were called
        logger.exception("an async receiver was not called; connect a plain function")


def _announce_models(batches: Iterable[Batch]) -> None:
    """Send Django's own `post_save` of Message, if an integrator listens to it."""
    from messaging.models import Message  # noqa: PLC0415 - after the app registry is ready

    if not post_save.has_listeners(Message):
        return
    for batch in batches:
        for message in batch.messages:
            instance = Message(
                id=message.id,
                conversation_id=batch.conversation,
                seq=message.seq,
                position=message.position,
                device_id=message.device,
                client_id=message.client_id,
                kind=message.kind,
                body=message.body,
                reply_to_id=message.reply_to,
                version=message.version,
                created=datetime.fromtimestamp(message.created / 1000, UTC),
                edited=_moment(message.edited),
                deleted=_moment(message.deleted),
                attachments=list(map(to_builtins, message.attachments)) or None,
            )
            instance._state.adding = False
            created = message.version == 1
            _send(
                post_save,
                sender=Message,
                instance=instance,
                created=created,
                raw=False,
                using="default",
                update_fields=None,
            )


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
