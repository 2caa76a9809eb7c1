"""Files over REST: uploaded, taken along, fetched by who may read the message, and by nobody else."""

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.core.files.storage import FileSystemStorage, storages
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import AsyncClient, Client, override_settings

from messaging.files import contents
from messaging.models import Attachment
from presence.models import Device
from project.addresses import POOL
from tests import scene
from tests.integration.messaging.api.conftest import Answer, Person

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20
FORM = "multipart/form-data; boundary=x"


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path) -> Iterator[Path]:
    """The directory of the storage of files."""
    own = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": tmp_path / "files"},
    }
    with override_settings(STORAGES=django_settings.STORAGES | {"files": own}):
        yield tmp_path / "files"


def head(person: Person) -> dict[str, str]:
    return {"Authorization": f"Bearer {person.token}"}


def upload(
    person: Person, content: bytes = PNG, name: str = "a.png", kind: str = "", **parts: Any
) -> Answer:
    given = parts or {"file": SimpleUploadedFile(name, content, kind or None)}
    found = Client().post("/api/files", given, headers=head(person))
    return Answer(status=found.status_code, json=found.json(), headers=found.headers)


aupload = sync_to_async(upload)


class Bucket(FileSystemStorage):
    """A storage behind a network that is down. Its errors are of a kind of their own, as those of S3 are (`botocore`)."""

    class Unreachable(Exception):
        pass

    def _down(self, *_: Any, **__: Any) -> Any:
        raise self.Unreachable("no route to the bucket")

    exists = delete = _save = _open = listdir = _down


BUCKET = {"files": {"BACKEND": f"{__name__}.Bucket"}}


def upload_alone(person: Person, content: bytes) -> int:
    """The status of an upload in a thread of its own."""
    try:
        return upload(person, content).status
    finally:
        connections.close_all()


def raw(person: Person, body: bytes, kind: str = FORM) -> Answer:
    found = Client().post("/api/files", body, content_type=kind, headers=head(person))
    return Answer(status=found.status_code, json=found.json(), headers=found.headers)


async def fetch(
    person: Person, file: str, *, method: str = "GET", **headers: str
) -> tuple[Any, bytes]:
    """The answer and its content; a refusal is JSON."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    ask = AsyncClient().get if method == "GET" else AsyncClient().head
    found: Any = await ask(f"/api/files/{file}", headers=head(person) | given)
    if found.streaming:
        return found, b"".join([part async for part in found.streaming_content])
    return found, found.content


async def status(person: Person, file: str) -> int:
    found, _ = await fetch(person, file)
    if found.status_code != 200:
        assert found.json()["code"] in {"no_such_attachment", "revoked"}
    return int(found.status_code)


def test_uploads_to_a_slow_storage_leave_the_others_connections(
    ann: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is far away takes seconds for each, and eight of them held all that the pool has."""
    keep, store = contents.keep, contents._store
    came, far_away = threading.Semaphore(0), threading.Event()

    def kept(*given: Any, **named: Any) -> Attachment:
        came.release()
        return keep(*given, **named)

    def stored(intake: Any) -> str:
        assert far_away.wait(scene.PATIENCE_S)
        return store(intake)

    monkeypatch.setattr(contents, "keep", kept)
    monkeypatch.setattr(contents, "_store", stored)
    connections.close_all()
    with ThreadPoolExecutor(POOL["max_size"]) as threads:
        uploads = [threads.submit(upload_alone, ann, bytes([n])) for n in range(POOL["max_size"])]
        assert all(came.acquire(timeout=scene.PATIENCE_S) for _ in uploads)
        others = bob.call("GET", "/devices").status
        far_away.set()
    assert (others, {one.result() for one in uploads}) == (200, {201})


async def sent(person: Person, group: str, *files: str, key: str = "") -> Answer:
    body = {"client_id": key or uuid4().hex, "body": "look", "attachments": list(files)}
    return await person.acall("POST", f"/conversations/{group}/messages", body)


class TestUpload:
    def test_an_upload_is_answered_with_what_messages_show(self, ann: Person) -> None:
        answer = upload(ann, kind="text/html")
        assert answer.status == 201
        assert answer.json == {
            "id": answer.json["id"],
            "name": "a.png",
            "size": len(PNG),
            "type": "image/png",
            "sha256": hashlib.sha256(PNG).hexdigest(),
        }
        row = Attachment.objects.get(pk=answer.json["id"])
        assert row.device_id == ann.device.pk
        with storages["files"].open(row.file) as content:
            assert content.read() == PNG

    @pytest.mark.parametrize(
        ("name", "kept"),
        [
            ("../../etc/passwd", "passwd"),
            ("C:\\temp\\a.png", "a.png"),
            ("Füße 😀.png", "Füße 😀.png"),
            ("n" * 300 + ".png", "n" * 251 + ".png"),
        ],
    )
    def test_a_name_is_a_name_and_no_path(self, ann: Person, name: str, kept: str) -> None:
        disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'
        body = f"--x\r\n{disposition}\r\n\r\nhello\r\n--x--\r\n".encode()
        assert raw(ann, body).json["name"] == kept

    @pytest.mark.parametrize(
        ("body", "kind"),
        [
            (b"", FORM),
            (b"hello", "text/plain"),
            (b"{}", "application/json"),
            (b"hello", "multipart/form-data"),
            (b"--x\r\nbroken", FORM),
            (b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nv\r\n--x--\r\n', FORM),
            (
                b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nv\r\n--x--\r\n',
                FORM,
            ),
            (
                b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n'
                b"Content-Transfer-Encoding: base64\r\n\r\n!\r\n--x--\r\n",
                FORM,
            ),
        ],
    )
    def test_what_is_no_upload_is_refused(
        self, ann: Person, shelf: Path, body: bytes, kind: str
    ) -> None:
        answer = raw(ann, body, kind)
        assert (answer.status, answer.code) == (422, "invalid_request")
        assert not Attachment.objects.exists()
        assert not shelf.exists()

    def test_two_files_in_one_request_are_refused(self, ann: Person) -> None:
        parts = {name: SimpleUploadedFile("a", b"x") for name in ("file", "other")}
        answer = upload(ann, **parts)
        assert (answer.status, answer.code) == (422, "invalid_request")
        assert "with a request of its own" in answer.json["message"]

    def test_a_file_above_the_limit_is_refused_and_one_at_it_is_not(
        self, ann: Person, shelf: Path
    ) -> None:
        with override_settings(LOCKSTEP_MESSAGING={"file_bytes": 1000}):
            answer = upload(ann, b"x" * 1001)
            assert (answer.status, answer.code) == (413, "file_too_large")
            assert answer.json["message"].startswith("A file has at most 1000 bytes;")
            assert not shelf.exists()
            assert upload(ann, b"x" * 1000).status == 201

    def test_other_types_are_refused_where_only_some_are_taken(self, ann: Person) -> None:
        only = {"only_file_types": True, "file_types": ["text/plain"]}
        with override_settings(LOCKSTEP_MESSAGING=only):
            answer = upload(ann, b"<html>", kind="text/html")
            assert (answer.status, answer.code) == (415, "file_type")
            assert "text/html" in answer.json["message"]
            assert upload(ann, b"hello", kind="text/plain").status == 201
            assert upload(ann, PNG).status == 201

    def test_who_uploads_without_end_and_sends_nothing_is_stopped(
        self, ann: Person, bob: Person
    ) -> None:
        with override_settings(LOCKSTEP_MESSAGING={"files_waiting": 2}):
            assert [upload(who).status for who in (ann, ann.another_device(), bob)] == [201] * 3
            answer = upload(ann)
            assert (answer.status, answer.code) == (429, "too_many_files")
            assert answer.json["message"].startswith("You have 2 uploads")

    def test_a_storage_that_does_not_work_is_told_in_one_line(
        self, ann: Person, shelf: Path
    ) -> None:
        shelf.write_text("not a directory")
        answer = upload(ann)
        assert (answer.status, answer.code) == (503, "files_unavailable")

    @pytest.mark.usefixtures("running")
    async def test_so_is_one_behind_a_network_by_every_way_to_it(self, ann: Person) -> None:
        file = (await aupload(ann)).json["id"]
        with override_settings(STORAGES=django_settings.STORAGES | BUCKET):
            for content in (PNG, b"another"):
                answer = await aupload(ann, content)
                assert (answer.status, answer.code) == (503, "files_unavailable")
            found, _ = await fetch(ann, file)
            assert (found.status_code, found.json()["code"]) == (503, "files_unavailable")
            with pytest.raises(CommandError, match=r"no route to the bucket\. Run it again"):
                await sync_to_async(call_command)("clean_files", hours=0)

    def test_a_disk_without_room_for_what_comes_is_told_in_one_line(
        self, ann: Person, shelf: Path
    ) -> None:
        with override_settings(FILE_UPLOAD_TEMP_DIR=shelf):  # which is not there
            answer = upload(ann)
        assert (answer.status, answer.code) == (503, "files_unavailable")
        assert not Attachment.objects.exists()

    def test_a_stranger_and_a_revoked_device_upload_nothing(self, ann: Person) -> None:
        Device.objects.update(revoked="2026-01-01T00:00Z")
        assert upload(ann).status == 401
        assert (
            Client().post("/api/files", {"file": SimpleUploadedFile("a", b"x")}).status_code == 401
        )
        assert not Attachment.objects.exists()


@pytest.mark.usefixtures("running")
class TestSend:
    async def test_a_message_shows_its_files_wherever_it_is_read(
        self, ann: Person, bob: Person, group: str
    ) -> None:
        file = (await aupload(ann)).json
        answer = await sent(ann, group, file["id"], key="k")
        assert answer.status == 201
        assert (await sent(ann, group, file["id"], key="k")).json == answer.json
        page = (await bob.acall("GET", f"/conversations/{group}/messages")).json
        one = (await bob.acall("GET", f"/messages/{answer.json['message']}")).json
        assert one["attachments"] == [file]
        assert page["messages"][0] == one
        assert "attachments" not in page["messages"][1]

    async def test_a_file_is_of_one_message(self, ann: Person, bob: Person, group: str) -> None:
        file = (await aupload(ann)).json["id"]
        assert (await sent(bob, group, file)).code == "no_such_attachment"
        assert (await sent(ann, group, file)).status == 201
        answer = await sent(ann, group, file)
        assert (answer.status, answer.code) == (404, "no_such_attachment")

    async def test_eleven_files_are_too_many(self, ann: Person, group: str) -> None:
        answer = await sent(ann, group, *[str(uuid4()) for _ in range(11)])
        assert (answer.status, answer.code) == (422, "invalid_request")


@pytest.mark.usefixtures("running")
class TestFetch:
    async def test_an_upload_is_its_users_until_a_message_has_it(
        self, ann: Person, bob: Person, group: str
    ) -> None:
        file = (await aupload(ann)).json["id"]
        tablet = await sync_to_async(ann.another_device)()
        assert [await status(who, file) for who in (ann, tablet, bob)] == [200, 200, 404]
        await sent(ann, group, file)
        assert await status(bob, file) == 200

    async def test_strangers_former_members_and_revoked_devices_get_nothing(
        self, ann: Person, bob: Person, cid: Person, group: str
    ) -> None:
        file = (await aupload(ann)).json["id"]
        await sent(ann, group, file)
        lost = await sync_to_async(bob.another_device)()
        await bob.acall("DELETE", f"/devices/{lost.device.pk}")
        assert await status(lost, file) == 401
        assert await status(cid, file) == 404
        assert (await AsyncClient().get(f"/api/files/{file}")).status_code == 401
        await ann.acall("DELETE", f"/conversations/{group}/members/{bob.id}")
        assert await status(bob, file) == 404
        assert (await fetch(ann, str(uuid4())))[0].status_code == 404

    async def test_who_came_later_sees_what_the_history_rule_shows(
        self, ann: Person, cid: Person, group: str
    ) -> None:
        before, after = (
            (await aupload(ann, b"before")).json["id"],
            (await aupload(ann, b"after")).json["id"],
        )
        await ann.acall("PATCH", f"/conversations/{group}", {"history": "since_joined"})
        await sent(ann, group, before)
        await ann.acall("POST", f"/conversations/{group}/members", {"user": cid.id})
        await sent(ann, group, after)
        assert [await status(cid, file) for file in (before, after)] == [404, 200]

    async def test_with_its_message_deleted_a_file_is_gone_for_all(
        self, ann: Person, bob: Person, group: str
    ) -> None:
        file = (await aupload(ann)).json["id"]
        message = (await sent(ann, group, file)).json["message"]
        path = f"/messages/{message}?base_version=1&client_id=d"
        assert (await ann.acall("DELETE", path)).status == 200
        assert [await status(who, file) for who in (ann, bob)] == [404, 404]

    async def test_the_content_comes_byte_for_byte_with_headers_that_run_nothing(
        self, ann: Person
    ) -> None:
        content = bytes(range(256)) * 4000  # several parts
        file = (await aupload(ann, content, "page.html", "text/html")).json["id"]
        found, body = await fetch(ann, file)
        assert body == content
        assert found.headers["Content-Type"] == "application/octet-stream"
        assert found.headers["Content-Disposition"] == 'attachment; filename="page.html"'
        assert found.headers["Content-Length"] == str(len(content))
        assert found.headers["X-Content-Type-Options"] == "nosniff"
        assert found.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
        image, _ = await fetch(ann, (await aupload(ann)).json["id"])
        assert image.headers["Content-Disposition"].startswith("inline")

    async def test_what_a_client_has_is_not_sent_again(self, ann: Person) -> None:
        file = (await aupload(ann)).json["id"]
        tag = (await fetch(ann, file))[0].headers["ETag"]
        for known in (tag, f'"x", {tag}', f"W/{tag}", "*"):
            found, body = await fetch(ann, file, If_None_Match=known)
            assert (found.status_code, body, found.headers["ETag"]) == (304, b"", tag)
        assert (await fetch(ann, file, If_None_Match='"x"'))[0].status_code == 200

    async def test_a_broken_download_goes_on_where_it_ended(self, ann: Person) -> None:
        file = (await aupload(ann)).json["id"]
        found, rest = await fetch(ann, file, Range="bytes=100-")
        assert (found.status_code, rest) == (206, PNG[100:])
        assert found.headers["Content-Range"] == f"bytes 100-{len(PNG) - 1}/{len(PNG)}"
        assert found.headers["Content-Length"] == str(len(rest))
        beyond, _ = await fetch(ann, file, Range=f"bytes={len(PNG)}-")
        assert (beyond.status_code, beyond.json()["code"]) == (416, "no_such_range")
        assert beyond.headers["Content-Range"] == f"bytes */{len(PNG)}"  # so it was all there

    async def test_a_head_tells_the_length_alone(self, ann: Person) -> None:
        file = (await aupload(ann)).json["id"]
        found, body = await fetch(ann, file, method="HEAD")
        assert (found.status_code, body) == (200, b"")
        assert found.headers["Content-Length"] == str(len(PNG))
        assert found.headers["ETag"]

    async def test_a_content_that_is_lost_is_told_in_one_line(
        self, ann: Person, shelf: Path
    ) -> None:
        file = (await aupload(ann)).json["id"]
        await asyncio.to_thread(shelf.rename, shelf.with_name("elsewhere"))
        found, _ = await fetch(ann, file)
        assert (found.status_code, found.json()["code"]) == (503, "files_unavailable")

    async def test_an_empty_file_is_a_file(self, ann: Person) -> None:
        answer = await aupload(ann, b"", "empty")
        assert (answer.status, answer.json["size"]) == (201, 0)
        found, body = await fetch(ann, answer.json["id"])
        assert (found.status_code, body) == (200, b"")
