"""The page's own files, for a server without a proxy. A name that no file can have is not found, and no error of ours."""

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.exceptions import SuspiciousOperation
from django.http import FileResponse, Http404, HttpRequest, HttpResponse


class StaticFiles(ASGIStaticFilesHandler):
    """Django's handler, which says nothing of what leads out of its directories but a stack trace."""

    def serve(self, request: HttpRequest) -> HttpResponse | FileResponse:
        """Answer with a file. Raises Http404."""
        try:
            return super().serve(request)
        except (SuspiciousOperation, ValueError, OSError):  # `..`, NUL, longer than the disk takes
            raise Http404(f"{request.path} is no file here") from None
