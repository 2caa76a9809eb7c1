"""The result as JUnit XML, which every CI reads: a case for each target, guarantee, property and run.

Invalid is a failure, unknown an error: a CI that only counts failures must not take it for a pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from junitparser import Error, Failure, JUnitXml, TestCase, TestSuite

from perf.coverage import Covered
from perf.report.wording import WORDS, number, sign_of
from perf.scenario import Result
from perf.targets import Outcome

ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2


def write(result: Result, path: Path) -> None:
    """Write the XML. Raises OSError."""
    document = JUnitXml("perf")
    for one in result.runs or [result]:
        document.add_testsuite(_suite(one))
    document.update_statistics()  # type: ignore[no-untyped-call]
    document.write(str(path), pretty=True)


def _suite(result: Result) -> TestSuite:
    suite = TestSuite(f"perf {result.scenario}")
    suite.timestamp = result.started
    for name in ("seed", "command"):
        suite.add_property(name, _legal(str(getattr(result, name))))
    for name, value in result.environment.items():
        suite.add_property(name, _legal(str(value)))
    suite.add_testcases(list(_cases(result)))
    return suite


def _cases(result: Result) -> Iterator[TestCase]:
    yield _scenario(result)
    for outcome in result.targets:
        yield _target(result, outcome)
    for name, count in result.anomalies.items():
        witnesses = "\n".join(result.witnesses.get(name, []))
        yield _case(
            result, "guarantee", f"no {name}", f"{count} found\n{witnesses}" if count else ""
        )
    for covered in result.coverage:
        yield _property(result, covered)


def _scenario(result: Result) -> TestCase:
    case = _case(result, "scenario", result.scenario, "", time=result.duration_s)
    said = _legal("; ".join([WORDS[result.verdict], *result.problems]))
    if result.verdict != "valid":
        case.result = [Failure(said) if result.verdict == "invalid" else Error(said)]
    return case


def _target(result: Result, outcome: Outcome) -> TestCase:
    limit = f"{sign_of(outcome.name)} {number(outcome.limit)} {outcome.unit}"
    if outcome.passed is None:
        return _case(result, "target", outcome.name, "", unknown=f"no sample; must be {limit}")
    failed = f"{number(outcome.measured)} {outcome.unit} is not {limit}"
    return _case(result, "target", outcome.name, "" if outcome.passed else failed)


def _property(result: Result, covered: Covered) -> TestCase:
    problem = covered.problem or ""
    if covered.met is None:
        return _case(result, "property", covered.name, "", unknown=problem)
    return _case(result, "property", covered.name, problem)


def _case(
    result: Result, kind: str, name: str, failure: str, *, unknown: str = "", time: float = 0.0
) -> TestCase:
    case = TestCase(name, f"perf.{result.scenario}.{kind}", time)
    if failure:
        case.result = [Failure(_legal(failure))]
    elif unknown:
        case.result = [Error(_legal(unknown))]
    return case


def _legal(text: str) -> str:
    """The text with what XML can't have as Python writes it."""
    return ILLEGAL.sub(lambda found: ascii(found[0])[1:-1], text)
