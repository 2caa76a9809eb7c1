"""HTTP under Daphne, which takes a whole request into a file before it asks the application anything.

So what `bodies` bounds is bounded here, too, while it comes: bytes, time, and uploads of strangers. What comes
in too much is dropped for a while; when it ends in time, it is the application that refuses it.
It is imported when the application is there, since it needs Django.
"""

from urllib.parse import unquote

from daphne.http_protocol import WebRequest
from daphne.server import reactor  # first of all: it installs the reactor for asyncio
from django.http import HttpResponse
from twisted.internet.base import DelayedCall
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http import Request as HttpRequest

from messaging.api.refusals import refuse
from messaging.protocol.errors import Refusal
from project import bodies
from project.limits import HEAD_S


class Channel(HTTPChannel):
    """A connection that ends if the head of a request is not there in time, however it drips in."""

    _head: DelayedCall | None = None

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """The first request is to come."""
        super().connectionMade()  # type: ignore[no-untyped-call]
        self._expect_head(HEAD_S)

    def allHeadersReceived(self) -> None:  # noqa: N802 - Twisted's name
        """The head is here."""
        self._forget_head()
        super().allHeadersReceived()  # type: ignore[no-untyped-call]

    def requestDone(self, request: HttpRequest) -> None:  # noqa: N802 - Twisted's name
        """The next request may come, as late as Twisted lets a connection idle; it may be here already."""
        self._expect_head(float(self.timeOut or HEAD_S))
        super().requestDone(request)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # noqa: N802 - Twisted's name
        """Nothing more will come."""
        self._forget_head()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def _expect_head(self, seconds: float) -> None:
        self._forget_head()
        self._head = reactor.callLater(seconds, self.timeoutConnection)

    def _forget_head(self) -> None:
        if self._head is not None and self._head.active():
            self._head.cancel()


class Request(WebRequest):  # type: ignore[misc]
    """A request whose body is bounded. Its sender hears why it ends, as from `bodies`."""

    _end: DelayedCall | None = None  # of a body that is too slow, or dropped for too long
    _left = 0  # bytes that are still kept: one more than allowed, so that the application sees that it is too large
    _answer: HttpResponse | None = None  # to a body that is dropped

    def __init__(self, channel: HTTPChannel, queued: object) -> None:
        # Django parses forms. Twisted would, too, in memory and in the loop.
        super().__init__(channel, queued, parsePOSTFormSubmission=False)

    def gotLength(self, length: int | None) -> None:  # noqa: N802 - Twisted's name
        """The head is here: the body is to come, of so many bytes, or nobody knows how many."""
        super().gotLength(length)
        if length == 0:
            return
        path = unquote(self.channel._path.partition(b"?")[0].decode("latin-1"))
        upload = bodies.is_upload(self.channel._command.decode("latin-1"), path)
        self._is_upload, self._pace = upload, bodies.Pace()
        self._left = bodies.most(upload=upload) + 1
        self._end = reactor.callLater(self._pace.left, self._tell)
        if length is not None and length >= self._left:
            self._drop(bodies.too_large(upload=upload))
        elif upload:
            self.channel._networkProducer.pauseProducing()
            asked = deferToThread(bodies.refusal_of, self.getHeader(b"authorization") or b"")
            asked.addErrback(lambda _: None)  # the application asks again, and says what is wrong
            asked.addCallback(self._judged)

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Keep a part of the body, or drop it."""
        if self._answer is not None or self._end is None:
            return
        kept = data[: self._left]
        self._left -= len(kept)
        super().handleContentChunk(kept)
        if self._left:
            self._pace.took(len(kept))
            self._end.reset(self._pace.left)
        else:
            self._drop(bodies.too_large(upload=self._is_upload))

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802 - Twisted's name
        """All of it is here."""
        self._forget_end()
        super().requestReceived(command, path, version)

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """Nothing more will come."""
        self._forget_end()
        super().connectionLost(reason)

    def _judged(self, stranger: Refusal | None) -> None:
        """Go on reading; of a stranger's upload nothing is kept."""
        if self.finished or self._disconnected:
            return
        self.channel._networkProducer.resumeProducing()
        if stranger is not None and self._end is not None and self._end.active():
            self.content.seek(0)
            self.content.truncate()
            self._drop(refuse(stranger))

    def _drop(self, answer: HttpResponse) -> None:
        """Keep nothing more, and answer when the patience ends, if the body does not."""
        self._answer = answer
        if self._end is not None:
            self._end.reset(bodies.DROP_S)

    def _tell(self) -> None:
        """Answer in the middle of the body, and hang up."""
        answer = self._answer or bodies.too_slow()
        self.clientproto = b"HTTP/1.1"
        self.setResponseCode(answer.status_code)
        for name, value in answer.items():
            self.responseHeaders.addRawHeader(name, value)
        self.responseHeaders.setRawHeaders("Content-Length", [str(len(answer.content))])
        self.responseHeaders.setRawHeaders("Connection", ["close"])
        self.write(answer.content)
        self.channel.timeoutConnection()

    def _forget_end(self) -> None:
        if self._end is not None and self._end.active():
            self._end.cancel()
