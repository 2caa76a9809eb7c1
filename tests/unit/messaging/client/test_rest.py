"""What a client makes of a QR code."""

import pytest

from messaging.client.rest import LinkCode, read_link


def test_a_qr_code_tells_the_server_and_the_code() -> None:
    said = "lockstep://link?server=https%3A%2F%2Fchat.example.org%2F&code=0A1B-2C3D"
    assert read_link(f" {said}\n") == ("https://chat.example.org/", "0A1B-2C3D")


@pytest.mark.parametrize(
    "said",
    [
        "https://chat.example.org/",
        "lockstep://link?server=https%3A%2F%2Fchat.example.org%2F",
        "lockstep://link?code=0A1B-2C3D",
        "lockstep://pay?server=x&code=y",
        "",
    ],
)
def test_anything_else_is_refused_with_what_it_should_look_like(said: str) -> None:
    with pytest.raises(ValueError, match=r"^A link looks like lockstep://link\?"):
        read_link(said)


def test_a_code_is_not_shown_where_values_are_printed() -> None:
    code = LinkCode(code="0A1B-2C3D", qr="lockstep://link?server=x&code=0A1B-2C3D", expires=1)
    assert "0A1B" not in repr(code)
