"""Parts that the shapes of several nouns share: lines of text, references to users, times."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from presence.models import User

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PAGE = 200  # most rows in one answer


class Given(BaseModel):
    """The body of a request: a JSON object. (A ninja Schema would take a list for an empty one.)"""

    model_config = ConfigDict(frozen=True)


class Shown(BaseModel):
    """The body of an answer. (A ninja Schema costs four times as much, for sources we don't have.)"""

    model_config = ConfigDict(frozen=True)


class AttachmentOut(Shown):
    """A file, as a message shows it on the socket."""

    id: str
    name: str
    size: int = Field(description="Bytes.")
    type: str
    sha256: str


def storable(text: str) -> str:
    """Return the text, or raise ValueError if PostgreSQL can't hold it."""
    if "\x00" in text:
        raise ValueError("NUL characters can't be stored")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("lone surrogates can't be stored") from None
    return text


Text = Annotated[str, AfterValidator(storable)]
Username = Annotated[
    Text, Field(max_length=150), AfterValidator(User.normalize_username)
]  # as names are stored
Key = Annotated[Text, Field(min_length=1, max_length=64)]
Limit = Annotated[int, Field(ge=1, le=PAGE)]


def milliseconds(moment: datetime) -> int:
    """Milliseconds since the Unix epoch, rounded as the database rounds them for the wire."""
    return ((moment - EPOCH) // timedelta(microseconds=1) + 500) // 1000


def known_milliseconds(moment: datetime | None) -> int | None:
    """`milliseconds`, or None for a moment that has not come."""
    return None if moment is None else milliseconds(moment)
