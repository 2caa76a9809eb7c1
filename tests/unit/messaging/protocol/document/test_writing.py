"""The protocol page and the AsyncAPI document say what the code does."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from messaging.protocol.__main__ import main
from messaging.protocol.codec import CLIENT_TYPES, CODECS, SERVER_TYPES
from messaging.protocol.document import asyncapi
from messaging.protocol.document import writing as document
from messaging.protocol.document.examples import STORY
from messaging.protocol.document.glossary import FIELDS, meaning
from messaging.protocol.document.tables import VALUES
from messaging.protocol.errors import CloseCode, FrameError, Refusal
from messaging.protocol.frames import ClientFrame, ServerFrame

STRUCTS = [*ClientFrame.__args__, *ServerFrame.__args__, *VALUES]


def test_documents_are_up_to_date() -> None:
    """If this fails: python -m messaging.protocol."""
    assert document.stale() == []


def test_stale_documents_are_found_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A check that can't fail proves nothing."""
    monkeypatch.setattr(document, "stale", lambda docs=tmp_path: _stale(docs))
    page = tmp_path / document.PAGE
    text = (document.DOCS / document.PAGE).read_text()
    page.write_text(text.replace("`conflict` | yes", "`conflict` | no"))
    monkeypatch.setattr("sys.argv", ["messaging.protocol", "--check"])
    assert main() == 1
    assert "docs/protocol.md differs" in capsys.readouterr().out
    assert [path.name for path in document.write(tmp_path)] == [document.PAGE, document.ASYNCAPI]
    assert main() == 0
    assert page.read_text() == text


_stale = document.stale


def test_a_page_without_a_generated_part_is_refused() -> None:
    """A deleted marker must not delete a table from the page."""
    with pytest.raises(ValueError, match="limits"):
        document.render("<!-- generated: story -->\n<!-- end -->")


def test_every_code_and_frame_is_on_the_page() -> None:
    """A stranger finds what the server says."""
    page = (document.DOCS / document.PAGE).read_text()
    for name in [*(it.code for it in Refusal), *(it.reason for it in CloseCode)]:
        assert f"`{name}`" in page
    for struct in STRUCTS:
        assert f"#### `{struct.__struct_config__.tag or struct.__name__}`" in page


def test_every_field_has_a_meaning_and_every_meaning_a_field() -> None:
    """Nothing undocumented, nothing left over."""
    used = set()
    for struct in STRUCTS:
        owner = struct.__name__.lower()
        for field in struct.__struct_fields__:
            assert meaning(owner, field)
            used |= {field, f"{owner}.{field}"}
    assert FIELDS.keys() - used <= {"type"}  # the tag of every frame


def test_a_table_tells_what_an_absent_field_means_and_what_a_number_may_be() -> None:
    """A stranger reads no code: an absent list is an empty one, and a limit of 501 is refused."""
    page = (document.DOCS / document.PAGE).read_text()
    assert "| `messages` | array of Message | default `[]` |" in page
    assert '| `title` | string | default `""` |' in page
    assert "| `limit` | integer from 1 to 500 | default `200` |" in page
    assert "| `base_version` | integer from 1 | required |" in page


@pytest.mark.parametrize("codec", CODECS.values(), ids=list(CODECS))
def test_every_frame_of_the_example_passes_the_codec(codec: Any) -> None:
    """The example is what really crosses the wire."""
    for _, turns in STORY:
        for arrow, sent in turns:
            decode = codec.decode_client if arrow == "->" else codec.decode_server
            found = list(decode(codec.encode(sent)))
            assert found == sent
            assert not any(isinstance(it, FrameError) for it in found)


def test_every_field_of_the_asyncapi_document_says_what_it_means() -> None:
    """Whoever generates a client from it reads no page."""
    schemas = asyncapi.document()["components"]["schemas"]
    for struct in STRUCTS:
        shapes = schemas[struct.__name__]["properties"]
        for field in struct.__struct_fields__:
            assert shapes[field]["description"] == meaning(struct.__name__.lower(), field)


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    """A tool that follows them finds a schema."""
    whole = asyncapi.document()
    references = re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(whole))
    assert references
    for reference in references:
        found: Any = whole
        for step in reference.split("/"):
            found = found[step]
        assert found
    named = whole["channels"]["session"]["messages"]
    assert set(named) == {*CLIENT_TYPES, *SERVER_TYPES, "typed"}
    assert named["typing"] != named["typed"]  # the one name that both peers say
