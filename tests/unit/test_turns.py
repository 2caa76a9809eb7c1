"""Files that share a site are one process's, the last process begins at the other end, and nothing is left out."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.turns import SHARED, Turns

FILES = [
    "tests/integration/messaging/test_bus.py",
    "tests/acceptance/test_client.py",
    "tests/acceptance/test_files.py",
    "tests/acceptance/test_page.py",
    "tests/acceptance/test_page_files.py",
    "tests/integration/messaging/test_page.py",
    "tests/unit/perf/test_page.py",
    "tests/unit/test_last.py",
]
TESTS = [f"{file}::test_{number}" for file in FILES for number in range(4)]


class Worker:
    """What xdist knows of a process: it is told the numbers of its tests."""

    def __init__(self, name: str) -> None:
        self.gateway, self.shutting_down = SimpleNamespace(id=name), False
        self.told: list[int] = []

    def send_runtest_some(self, numbers: list[int]) -> None:
        self.told += numbers

    def shutdown(self) -> None:
        self.shutting_down = True


def played(count: int) -> list[list[str]]:
    """The tests of each process, where all are equally fast."""
    option = SimpleNamespace(loadscopereorder=False)
    config: Any = SimpleNamespace(getvalue=lambda _: [f"{count}*popen"], option=option)
    turns = Turns(config)
    workers: list[Any] = [Worker(f"gw{number}") for number in range(count)]
    for worker in workers:
        turns.add_node(worker)
        turns.add_node_collection(worker, TESTS)
    turns.schedule()
    for number in range(len(TESTS)):
        for worker in workers:
            if number < len(worker.told):
                turns.mark_test_complete(worker, worker.told[number])
    assert turns.tests_finished
    return [[TESTS[number] for number in worker.told] for worker in workers]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_test_is_run_once_and_a_file_s_tests_together_and_in_order(count: int) -> None:
    by_process = played(count)
    assert sorted(one for tests in by_process for one in tests) == sorted(TESTS)
    for tests in by_process:
        for file in {one.split("::")[0] for one in tests}:
            assert [one for one in tests if one.startswith(file)] == [
                one for one in TESTS if one.startswith(file)
            ]


@pytest.mark.parametrize("count", [2, 3])
def test_the_files_of_one_site_are_begun_first_by_one_process_and_the_last_begins_at_the_other_end(
    count: int,
) -> None:
    first, *_, last = played(count)
    on_site = [one for file in FILES for one in TESTS if one.startswith(file) and shared(file)]
    assert first[: len(on_site)] == on_site
    assert last[0].startswith(FILES[-1])


def shared(file: str) -> bool:
    return file.startswith("tests/acceptance/") and file != "tests/acceptance/test_files.py"


def test_a_page_of_another_folder_shares_nothing() -> None:
    option = SimpleNamespace(loadscopereorder=False)
    config: Any = SimpleNamespace(getvalue=lambda _: ["popen"], option=option)
    scope = Turns(config)._split_scope
    assert scope("tests/acceptance/test_page_trouble.py::test_x[a::b]") == SHARED
    assert (
        scope("tests/unit/perf/report/test_page.py::test_x")
        == "tests/unit/perf/report/test_page.py"
    )
