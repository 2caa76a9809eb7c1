"""Which of the processes of `-n` runs which tests, as `--dist loadfile` decides it, but for two things.

The files that share a site and browsers go to one process: each would start its own. They are the longest, so they
come first. And the last process begins at the other end, with the tests that only compute: the others' wait for
servers, and leave it time.
"""

from fnmatch import fnmatch

from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]
from xdist.workermanage import WorkerController  # type: ignore[import-untyped]

SHARED = "the tests of the whole on one site"
SHARERS = ("client", "client_presence", "linked_devices", "lockstep_js", "page", "page_*")


class Turns(LoadFileScheduling):  # type: ignore[misc]
    """The tests of a file together and in order; the shared site, then files in order, or from the end for the last process."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        shares = any(fnmatch(file, f"tests/acceptance/test_{name}.py") for name in SHARERS)
        return SHARED if shares else file

    def _assign_work_unit(self, node: WorkerController) -> None:
        last = node is self.nodes[-1]
        if SHARED in self.workqueue and not last:
            self.workqueue.move_to_end(SHARED, last=False)
        elif last:
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)
