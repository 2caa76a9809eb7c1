"""Who may do what: every route, every frame and every page, asked by everybody, on a real server.

The tables are the promise. A route, a frame or a page that is in none of them fails the first test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.contrib import admin
from django.core.cache import cache
from django.urls import get_resolver

from messaging.protocol.codec import CLIENT_TYPES
from tests import scene
from tests.acceptance.frames import FRAMES, said
from tests.acceptance.world import FILE, ROLES, World
from tests.integration.conftest import shared_database  # noqa: F401  (a fixture)
from tests.server import Server

ROUTES = """
route                                              nobody revoked inactive stranger former member admin phone sister staff root
POST   /api/login                                     422     422      422      422    422    422   422   422    422   422  422
POST   /api/devices                                   401     401      401      401    401    401   401   401    401   401  401
POST   /api/devices/link                              200     200      200      200    200    200   200   200    200   200  200
POST   /api/devices/link-codes                        401     401      401      200    200    200   200   200    200   401  401
GET    /api/devices                                   401     401      401      200    200    200   200   200    200   401  401
POST   /api/devices/token                             401     401      401      200    200    200   200   200    200   401  401
DELETE /api/devices/{device}                          401     401      401      200    200    200   200   200    200   401  401
GET    /api/users                                     401     401      401      200    200    200   200   200    200   401  401
GET    /api/conversations                             401     401      401      200    200    200   200   200    200   401  401
POST   /api/conversations                             401     401      401      201    201    201   201   201    201   401  401
GET    /api/conversations/{conversation}              401     401      401      404    200    200   200   200    200   401  401
PATCH  /api/conversations/{conversation}              401     401      401      404    404    403   200   403    403   401  401
GET    /api/conversations/{conversation}/members      401     401      401      404    404    200   200   200    200   401  401
POST   /api/conversations/{conversation}/members      401     401      401      404    404    403   201   403    403   401  401
PATCH  /api/conversations/{conversation}/members/{user} 401   401      401      404    404    403   200   403    403   401  401
DELETE /api/conversations/{conversation}/members/{user} 401   401      401      404    404    403   200   403    403   401  401
GET    /api/conversations/{conversation}/messages     401     401      401      404    200    200   200   200    200   401  401
POST   /api/conversations/{conversation}/messages     401     401      401      404    404    201   201   201    201   401  401
GET    /api/messages/{message}                        401     401      401      404    200    200   200   200    200   401  401
PATCH  /api/messages/{message}                        401     401      401      404    404    403   403   200    200   401  401
DELETE /api/messages/{message}                        401     401      401      404    404    403   200   200    200   401  401
GET    /api/messages/{message}/receipts               401     401      401      404    404    200   200   200    200   401  401
POST   /api/files                                     401     401      401      201    201    201   201   201    201   401  401
GET    /api/files/{file}                              401     401      401      404    404    200   200   200    200   401  401
HEAD   /api/files/{file}                              401     401      401      404    404    200   200   200    200   401  401
GET    /api/presence                                  401     401      401      200    200    200   200   200    200   401  401
PUT    /api/presence                                  401     401      401      200    200    200   200   200    200   401  401
"""

SOCKET = """
frame            nobody revoked inactive stranger                former                  member    admin     phone   sister  staff root
before hello     not_ready not_ready not_ready not_ready         not_ready               not_ready not_ready not_ready not_ready not_ready not_ready
hello            4500   4500    4500     welcome                 welcome                 welcome   welcome   welcome welcome 4500  4500
send             -      -       -        no_such_conversation    no_such_conversation    ok        ok        ok      ok      -     -
send.attachment  -      -       -        no_such_conversation    no_such_conversation    no_such_attachment no_such_attachment ok ok - -
send.reply       -      -       -        no_such_conversation    no_such_conversation    no_such_message no_such_message no_such_message no_such_message - -
edit             -      -       -        no_such_message         no_such_message         forbidden forbidden ok      ok      -     -
delete           -      -       -        no_such_message         no_such_message         forbidden ok        ok      ok      -     -
receipt          -      -       -        ok                      ok                      ok        ok        ok      ok      -     -
sync             -      -       -        no_such_conversation    no_such_conversation    events    events    events  events  -     -
presence.set     -      -       -        ok                      ok                      ok        ok        ok      ok      -     -
presence.watch   -      -       -        0                       0                       1         1         1       1       -     -
typing           -      -       -        no_such_conversation    no_such_conversation    silence   silence   silence silence -     -
ping             -      -       -        pong                    pong                    pong      pong      pong    pong    -     -
"""

PAGES = """
page              nobody stranger staff root
/                    200      200   200  200
/api/docs            200      200   200  200
/api/openapi.json    200      200   200  200
/healthz             200      200   200  200
/readyz              200      200   200  200
/metrics             403      403   200  200
/static/admin/css/base.css 200 200  200  200
/static/../manage.py 404      404   404  404
/nowhere             404      404   404  404
/admin/              302      302   200  200
/admin/logout/       302      302   405  405
/admin/{model}/      302      302   403  200
/admin/{model}/add/  302      302   403  200|403
/admin/{model}/{id}/change/  302 302 403 200|302|404
/admin/{model}/{id}/delete/  302 302 403 200|302|403
/admin/{model}/{id}/history/ 302 302 302|403 200|302
/admin/messaging/message/{message}/change/           302 302 403 200
/admin/messaging/message/{message}/history/          302 302 403 200
/admin/messaging/conversation/{conversation}/change/ 302 302 403 200
/admin/presence/device/{device}/change/              302 302 403 200
/admin/presence/user/{user}/change/                  302 302 403 200
/admin/presence/user/{user}/password/                302 302 403 200
/admin/presence/user/{id}/password/ 302 302 403|404 404
/admin/perf/run/7/report/ 302 302 403|404 404
/admin/jsi18n/       302      302   200  200
/admin/autocomplete/ 302      302   403  403
"""

NO_DATABASE = [pytest.mark.django_db]
Try = Callable[[World, str], tuple[str, Any]]


def table(text: str) -> dict[str, dict[str, str]]:
    """The cells of a table, by row and column."""
    head, *lines = [re.split(r"\s+", line.strip()) for line in text.strip().splitlines()]
    wide = len(head) - 1
    return {
        " ".join(words[:-wide]): dict(zip(head[1:], words[-wide:], strict=True)) for words in lines
    }


# What each route is asked: its path with what is used up for it, and a body.
TRIES: dict[str, Try] = {
    "POST /api/login": lambda w, _: ("", {}),  # asked for nothing but what is in its body
    "POST /api/devices": lambda w, _: ("", {"installation": str(uuid4())}),
    "POST /api/devices/link": lambda w, _: (
        "",
        {"code": w.new_code(), "installation": str(uuid4())},
    ),
    "DELETE /api/devices/{device}": lambda w, role: (w.new_device(role), None),
    "GET /api/users": lambda w, _: ("?search=u", None),
    "POST /api/conversations": lambda w, _: ("", {"title": "Mine"}),
    "PATCH /api/conversations/{conversation}": lambda w, _: ("", {"title": "Ours"}),
    "POST /api/conversations/{conversation}/members": lambda w, _: (
        "",
        {"user": scene.new_user(w.sql)},
    ),
    "PATCH /api/conversations/{conversation}/members/{user}": lambda w, _: (
        w.new_member(),
        {"role": "admin"},
    ),
    "DELETE /api/conversations/{conversation}/members/{user}": lambda w, _: (w.new_member(), None),
    "POST /api/conversations/{conversation}/messages": lambda w, _: (
        "",
        {"client_id": str(uuid4()), "body": "hi"},
    ),
    "GET /api/messages/{message}": lambda w, _: (w.message, None),
    "PATCH /api/messages/{message}": lambda w, _: (
        w.new_message(),
        {"client_id": str(uuid4()), "body": "new", "base_version": 1},
    ),
    "DELETE /api/messages/{message}": lambda w, _: (
        f"{w.new_message()}?base_version=1&client_id=d",
        None,
    ),
    "GET /api/messages/{message}/receipts": lambda w, _: (w.message, None),
    "POST /api/files": lambda w, _: ("", FILE.format("x")),
    "GET /api/files/{file}": lambda w, _: (w.file, None),
    "HEAD /api/files/{file}": lambda w, _: (w.file, None),
    "GET /api/presence": lambda w, _: (f"?user={w.author}", None),
    "PUT /api/presence": lambda w, _: ("", {"text": "here"}),
}


def test_no_route_no_frame_and_no_page_is_forgotten() -> None:
    """What is new has to say whom it is for."""
    document = json.loads(
        (settings.BASE_DIR / "docs" / "openapi.json").read_text()
    )  # as it is served
    routes = {f"{m.upper()} {path}" for path, found in document["paths"].items() for m in found}
    assert routes == set(table(ROUTES))
    assert {name.split(".attach")[0].split(".reply")[0] for name in table(SOCKET)} == {
        "before hello",
        *CLIENT_TYPES,
    }
    assert set(FRAMES) >= CLIENT_TYPES
    top = {str(one.pattern) for one in get_resolver().url_patterns}
    assert top == {"", "metrics", "admin/", "api/"}
    inside = {str(one.pattern) for one in admin.site.get_urls()}
    models = {f"{m._meta.app_label}/{m._meta.model_name}/" for m in admin.site._registry}
    assert inside - models == {
        *("", "login/", "logout/", "password_change/", "password_change/done/", "jsi18n/"),
        *("autocomplete/", "r/<path:content_type_id>/<path:object_id>/", "(?P<url>.*)$"),
        next(one for one in inside if one.startswith("^(?P<app_label>")),
    }
    assert all(set(row) == set(ROLES) for row in [*table(ROUTES).values(), *table(SOCKET).values()])


@pytest.fixture(scope="module")
def world(
    shared_database: None,  # noqa: F811
    redis_url: str,
    django_db_blocker: Any,
) -> Iterator[World]:
    cache.clear()  # other tests may have guessed too often from this address
    server = Server("uvicorn", {"DATABASE_URL": scene.database_url(), "REDIS_URL": redis_url})
    try:
        with django_db_blocker.unblock(), scene.connect() as psql:
            yield World(psql, server.port)
    finally:
        server.stop()


def path_of(world: World, route: str, last: str) -> str:
    """The route with the world's ids; the last one, and what follows it, is given."""
    path = route.partition(" ")[2].replace("{conversation}", world.room.id)
    path, found = re.subn(r"\{(device|user|message|file)\}", last.partition("?")[0], path)
    query = last.partition("?")[2] if found else last.lstrip("?")
    return f"{path}?{query}" if query else path


@pytest.mark.long
@pytest.mark.django_db
@pytest.mark.parametrize("route", table(ROUTES))
def test_a_route_answers_each_as_the_table_says(world: World, route: str) -> None:
    expected, found = table(ROUTES)[route], {}
    method = route.partition(" ")[0]
    for role in ROLES:
        last, body = TRIES.get(route, lambda w, r: ("", None))(world, role)
        path = path_of(world, route, last)
        answer = world.ask(role, method, path, body)
        found[role] = str(answer.status)
        if answer.status == 404:
            foreign = world.ask(role, method, re.sub(ID, lambda _: str(uuid4()), path), body)
            assert (foreign.status, foreign.body) == (404, answer.body), "it tells that it is there"
        if route == "POST /api/devices/token" and answer.status == 200:
            take_token(world, role, answer.json["token"])
    assert found == expected


ID = r"[0-9a-f]{8}-[0-9a-f-]{27}"


def take_token(world: World, role: str, token: str) -> None:
    seat = world.seats[role]
    world.seats[role] = type(seat)(device=seat.device, user=seat.user, token=token)


@pytest.mark.long
@pytest.mark.django_db
@pytest.mark.parametrize("kind", table(SOCKET))
def test_a_frame_is_answered_as_the_table_says(world: World, kind: str) -> None:
    expected = table(SOCKET)[kind]
    found = {role: said(world, role, kind) if expected[role] != "-" else "-" for role in ROLES}
    assert found == expected


def pages() -> Iterator[tuple[str, dict[str, str]]]:
    """Every page, of every model in the admin."""
    for page, row in table(PAGES).items():
        if "{model}" not in page:
            yield page, row
        else:
            for model in admin.site._registry:
                name = f"{model._meta.app_label}/{model._meta.model_name}"
                yield page.replace("{model}", name), row


@pytest.mark.long
@pytest.mark.django_db
def test_a_page_answers_each_as_the_table_says(world: World) -> None:
    wrong = []
    phone = world.seats["phone"]
    ids = {"id": str(uuid4()), "message": world.message, "conversation": world.room.id}
    ids |= {"device": phone.device, "user": phone.user}
    for page, row in pages():
        for role, allowed in row.items():
            path = page.format(**ids)
            answer = world.ask(role, "GET", path, **{"X-Forwarded-For": "192.0.2.1"})
            if str(answer.status) not in allowed.split("|"):
                wrong.append((page, role, answer.status, allowed))
            if answer.status == 302 and role != "root":
                assert answer.headers["Location"].startswith(("/admin/login/", "/admin/")), page
    assert wrong == [], "\n".join(map(str, wrong))


@pytest.mark.long
@pytest.mark.django_db
def test_the_admin_takes_no_form_without_its_token(world: World) -> None:
    """A cookie alone proves nothing: another site's form sends it, too."""
    for role in ("staff", "root"):
        answer = world.ask(role, "POST", "/admin/presence/user/add/", "username=eve")
        assert (answer.status, b"CSRF" in answer.body) == (403, True)


@pytest.mark.long
@pytest.mark.django_db
def test_a_refusal_changed_nothing(world: World) -> None:
    """Of all that was tried above, only what the tables permit was done."""
    seen = world.ask("phone", "GET", f"/api/messages/{world.message}").json
    assert (seen["body"], seen["version"]) == ("hello", world.version)
    members = world.ask("phone", "GET", f"/api/conversations/{world.room.id}/members").json
    users = {member["user"] for member in members["members"]}
    assert not {world.seats["stranger"].user, world.seats["former"].user} & users
