"""The browser client sends a file and fetches it again, in real Chromium against a real server."""

from typing import Any

import psycopg
import pytest
from selenium.webdriver import Chrome

from project import services
from tests.acceptance.site import Serving

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FRED = """
    INSERT INTO presence_user (username, password, first_name, last_name, email, is_superuser,
                               is_staff, is_active, date_joined)
    SELECT 'fred', password, '', '', '', false, false, true, now()
    FROM presence_user WHERE username = 'alice'
"""  # with the demo user's password

RUN = """
const answer = arguments[0];
(async () => {
  const { Client, register } = await import("/static/messaging/lockstep.js");
  const { token, user } = await register({ username: "fred", password: "lockstep", installation: "js", name: "js" });
  const client = new Client({ token });
  const content = Uint8Array.from({ length: 300_000 }, (_, place) => place % 251);
  const shares = [];
  const file = await client.upload(new File([content], "Füße.bin"), { progress: (share) => shares.push(share) });
  const shown = new Promise((resolve) => client.addEventListener("change", () => {
    const messages = client.conversations.get(user)?.ordered() ?? [];
    const found = messages.find(({ attachments }) => attachments);
    if (found) resolve(found);
  }));
  client.connect();
  client.send({ conversation: user, body: "look", attachments: [file] });
  const message = await shown;
  const blob = await client.download(file);
  const fetched = new Uint8Array(await blob.arrayBuffer());
  const refused = await client.download("00000000-0000-7000-8000-000000000000").catch(({ code }) => code);
  const damaged = await client.download({ ...file, sha256: "0".repeat(64) }).catch(({ code }) => code);
  const ended = await client.upload(new File([content], "no"), { signal: AbortSignal.abort() }).catch(({ name }) => name);
  client.close();
  return { file, message, refused, damaged, ended, shares, same: fetched.length === content.length && fetched.every((byte, place) => byte === content[place]) };
})().then(answer, (error) => answer({ error: String(error) }));
"""


@pytest.fixture
def origin(own_chromium: Chrome, site: Serving) -> Chrome:
    """A browser on a page of the site that runs no script of its own."""
    with psycopg.connect(services.locate(site.directory).database_url, autocommit=True) as sql:
        sql.execute(FRED)
    own_chromium.get(f"{site.address}static/messaging/icon.svg")
    return own_chromium


def test_a_file_goes_out_with_a_message_and_comes_back_the_same(origin: Chrome) -> None:
    found: dict[str, Any] = origin.execute_async_script(RUN)
    assert "error" not in found, found
    assert found["same"]
    assert found["message"]["attachments"] == [found["file"]]
    assert (found["file"]["name"], found["file"]["size"]) == ("Füße.bin", 300_000)
    assert (found["refused"], found["damaged"]) == ("no_such_attachment", "damaged")
    assert (found["ended"], found["shares"][-1]) == ("AbortError", 1)
