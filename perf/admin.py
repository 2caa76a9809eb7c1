"""Runs in the admin: read only, with the verdict, the targets and the whole report.

The report is a file that others may have sent: it is shown in a sandbox that can run nothing.
The engine is loaded when someone looks, so that a server does not carry it.
"""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.clickjacking import xframe_options_sameorigin

from perf.models import Run

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Run]
else:  # Django's own class takes no parameters at run time
    ModelAdmin = admin.ModelAdmin

TONES = {"valid": "#157f54", "invalid": "#c2362b", "unknown": "#9a6a08", "aborted": "#6b7480"}
SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@admin.register(Run)
class RunAdmin(ModelAdmin):
    """What was measured, when, on which commit, and how it ended."""

    list_display = ("decided", "scenario", "started", "took", "held", "headline", "commit", "seed")
    list_display_links = ("scenario",)
    list_filter = ("verdict", "scenario", "started", "commit")
    search_fields = ("name", "scenario", "commit", "command")
    date_hierarchy = "started"
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        """Without the pages: a list of them would be megabytes."""
        return super().get_queryset(request).defer("page_gzip", "result", "environment")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        """Nobody changes."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        """Nobody deletes."""
        return False

    # Columns

    @admin.display(description="verdict", ordering="verdict")
    def decided(self, run: Run) -> SafeString:
        """The verdict in its colour."""
        return format_html(
            '<b style="color:#fff;background:{};padding:2px 9px;border-radius:9px;font-size:12px">{}</b>',
            TONES[run.verdict],
            run.verdict,
        )

    @admin.display(description="targets")
    def held(self, run: Run) -> str:
        """How many of its targets held."""
        return f"{run.held} of {len(run.targets)}" if run.targets else "–"

    @admin.display(description="took", ordering="duration_s")
    def took(self, run: Run) -> str:
        """How long it was."""
        from perf.report.wording import duration  # noqa: PLC0415

        return duration(run.duration_s)

    @admin.display(description="figure")
    def headline(self, run: Run) -> str:
        """The most telling figure."""
        from perf.report import rows  # noqa: PLC0415

        found = rows.tiles({"figures": run.figures})
        return (
            f"{found[0]['value']} {found[0]['unit'] or found[0]['label'].lower()}" if found else "–"
        )

    # Pages

    def get_urls(self) -> list[URLPattern]:
        """The report has an address of its own."""
        report = self.admin_site.admin_view(self.report)
        return [path("<int:pk>/report/", report, name="perf_run_report"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The run: its facts, its targets, its report."""
        from perf.report import rows  # noqa: PLC0415

        run = self._found(request, object_id)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"{run.scenario}: {run.verdict}",
            "run": run,
            "tone": TONES[run.verdict],
            "took": self.took(run),
            "tiles": rows.tiles(run.result),
            "targets": [rows.target(one) for one in run.targets],
            "problems": run.result.get("problems") or [],
            "report": reverse("admin:perf_run_report", args=[run.pk]),
        }
        return TemplateResponse(request, "perf/run.html", context)

    @method_decorator(xframe_options_sameorigin)
    def report(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The stored page, in a sandbox."""
        page = self._found(request, str(pk)).page
        return HttpResponse(page, headers={"Content-Security-Policy": SANDBOX})

    def _found(self, request: HttpRequest, pk: str) -> Run:
        run = self.get_object(request, pk)
        if not self.has_view_permission(request, run):
            raise PermissionDenied
        if run is None:
            raise Http404(f"there is no run {pk}")
        return run
