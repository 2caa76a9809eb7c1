"""The page's own files, for a server without a proxy. A name that no file can have is not found, and no error of ours.

A browser asks each time whether a file has changed. Left to itself it keeps one for a tenth of its age, each for a time of its
own: after an upgrade a page of old and new modules would not start, for days.
"""

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.exceptions import SuspiciousOperation
from django.http import FileResponse, Http404, HttpRequest, HttpResponse

from project.handler import Handler


class StaticFiles(ASGIStaticFilesHandler, Handler):  # type: ignore[misc]  # as in Django, whose stubs differ
    """Django's handler, which says nothing of what leads out of its directories but a stack trace."""

    def serve(self, request: HttpRequest) -> HttpResponse | FileResponse:
        """Answer with a file. Raises Http404."""
        try:
            answer = super().serve(request)
        except (SuspiciousOperation, ValueError, OSError):  # `..`, NUL, longer than the disk takes
            raise Http404(f"{request.path} is no file here") from None
        answer["Cache-Control"] = "no-cache"
        return answer
