"""Somebody who has left a trace in every column that there is, for tests of what is left of them."""

from datetime import timedelta
from io import StringIO

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.backends.db import SessionStore
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import connection
from django.utils.timezone import now

from messaging.conversations import ensure_direct, ensure_self
from messaging.files.contents import place_of, storage
from messaging.models import Attachment, Conversation, Membership, Message, Receipt
from presence.models import Connection, Device, LinkCode, Node, Status, User
from tests import scene

MARK = "quackenbush"  # in everything that the person says, or is called
SHA256 = "5e" * 32
TOKEN_HASH = b"\x7a" * 32


class Person:
    """A user who has left a trace in every column that there is, and one other."""

    def __init__(self) -> None:
        self.user = self._user()
        self.other = User.objects.create_user("bystander")
        self.devices = [self._device(n) for n in range(2)]
        self.group = Conversation.objects.create(title="Team")
        for member in (self.user, self.other):
            Membership.objects.create(conversation=self.group, user=member)
        Membership.objects.filter(user=self.user).update(role="admin")
        self.messages = [
            self._message(room, n)
            for n, room in enumerate(
                [
                    self.group,
                    self.group,
                    ensure_self(self.user.pk),
                    ensure_direct(self.user, self.other)[0],
                ]
            )
        ]
        Message.objects.create(conversation=self.group, body="an answer", reply_to=self.messages[0])
        self._files()
        self._admin()

    def _user(self) -> User:
        user = User.objects.create_user(
            MARK,
            f"{MARK}@example.org",
            f"password of {MARK}",
            first_name=f"Mina {MARK}",
            last_name=MARK,
        )
        moments = {"last_login": now(), "date_joined": now()}
        User.objects.filter(pk=user.pk).update(is_staff=True, is_superuser=True, **moments)
        user.groups.add(Group.objects.get_or_create(name="editors")[0])
        user.user_permissions.add(Permission.objects.all()[0])
        Status.objects.create(
            user=user, text=f"{MARK} is out", text_until=now() + timedelta(days=1), invisible=True
        )
        return user

    def _device(self, n: int) -> Device:
        device = Device.objects.create(
            user=self.user,
            installation=f"{MARK}-{n}",
            name=f"{MARK}'s phone",
            platform=f"{MARK}OS",
            token_hash=TOKEN_HASH[:-1] + bytes([n]),
            last_seen=now(),
        )
        Connection.objects.create(device=device, node=Node.objects.create(name="dead", lease=now()))
        code = LinkCode.objects.create(issuer=device, code_hash=bytes([n]) * 32)
        LinkCode.objects.filter(pk=code.pk).update(used=now(), redeemed_by=device)
        return device

    def _message(self, room: Conversation, n: int) -> Message:
        device = self.devices[n % 2]
        message = Message.objects.create(
            conversation=room,
            device=device,
            client_id=f"{MARK}-{n}",
            body=f"{MARK} says",
            fingerprint=b"\x7a" * 16,
        )
        Message.objects.filter(pk=message.pk).update(body=f"{MARK} says {n}")  # edited
        with scene.connect() as sql:
            sql.execute("SET lockstep.writer = 'journal'")
            change = "UPDATE messaging_message SET change_id = %s WHERE id = %s"
            sql.execute(change, [f"{device.pk}:{MARK}-{n}", message.pk])
        room.refresh_from_db()
        Receipt.objects.update_or_create(
            device=device, conversation=room, defaults={"delivered": room.last_seq, "read": 1}
        )
        return message

    def _files(self) -> None:
        storage().save(place_of(SHA256), ContentFile(f"secrets of {MARK}".encode()))
        for message in (self.messages[0], None):
            Attachment.objects.create(
                device=self.devices[0],
                message=message,
                file=place_of(SHA256),
                name=f"{MARK}.txt",
                size=20,
                type=f"text/{MARK}",
                sha256=SHA256,
            )

    def _admin(self) -> None:
        for row in (self.user, *self.devices):
            LogEntry.objects.create(
                user=self.user,
                content_type=ContentType.objects.get_for_model(row),
                object_id=str(row.pk),
                object_repr=str(row),
                action_flag=2,
                change_message=f"renamed to {MARK}",
            )
        session = SessionStore()
        session["_auth_user_id"] = str(self.user.pk)
        session.create()


def erase_now(*arguments: str) -> str:
    said = StringIO()
    try:
        call_command("erase_user", *arguments, stdout=said)
    finally:
        connection.close()
    return said.getvalue()
