"""The page of a run: one HTML file that needs nothing else, from what its directory has."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec

from perf.history.rundir import RunDirectory
from perf.measure.limiting import generator_was_the_bottleneck, limiting
from perf.measure.usage import usage_of
from perf.report import parts, rows
from perf.report.material import Material, load
from perf.report.wording import WORDS, Word, duration, plural

TEMPLATES = Path(__file__).parent / "templates"
VOLATILE = {"load_before", "environment"}  # facts that differ from run to run on one machine
BANNER = "the generator was the bottleneck"  # how a scenario begins to say it
LOOKED_AT = ("messages", "deliveries", "promises")


def write(directory: RunDirectory) -> Path:
    """Make the page of a run, or make it again, and return its path. Raises OSError."""
    directory.report.write_text(render(load(directory)), encoding="utf-8")
    return directory.report


def render(material: Material) -> str:
    """The page."""
    from markupsafe import Markup  # noqa: PLC0415 - comes with Jinja2

    css = (TEMPLATES / "report.css").read_text()
    template = _environment().get_template("report.html")
    return str(template.render(**context(material), css=Markup(css)))  # noqa: S704 - our own file


@cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def context(material: Material) -> dict[str, Any]:
    """What the template shows."""
    verdict: Word = material.said("verdict", "unknown") if material.result else "aborted"
    result = material.result or {}
    scenario = str(material.said("scenario", material.directory.path.parent.name))
    return {
        "scenario": scenario,
        "name": scenario.replace("-", " ").capitalize(),
        "title": material.said("title", ""),
        "verdict": verdict,
        "word": verdict,
        "sentence": sentence(material, verdict),
        "started": str(result.get("started", "")).replace("T", " ").removesuffix("+00:00"),
        "duration": duration(material.said("duration_s", material.length_s)),
        "commit": material.environment.get("commit", ""),
        "fingerprint": fingerprint(material.environment),
        "seed": material.said("seed", "?"),
        "directory": _short(material.directory.path),
        "command": material.said("command", ""),
        **_limits(material),
        "tiles": rows.tiles(result),
        "targets": [rows.target(one) for one in result.get("targets") or []],
        "anomalies": rows.anomalies(result),
        "witnesses": rows.witnesses(result),
        "liveness": result.get("liveness") or {},
        "looked_at": _looked_at(result),
        "parts": parts.all_parts(material),
    }


def _limits(material: Material) -> dict[str, Any]:
    """What limited the run and what is wrong with it, each said once.

    If the generator was the limit, its banner says so, and neither the problems nor the next lever again.
    """
    result = material.result or {}
    usage = usage_of(material.lines, cpus=int(material.environment.get("cpus") or 1))
    banner = (result.get("figures") or {}).get("banner") or generator_was_the_bottleneck(usage)
    said = result.get("limiting") or (limiting(usage) if material.lines else "")
    problems = [one for one in result.get("problems") or [] if not (banner and BANNER in one)]
    return {
        "bottleneck": str(banner).removeprefix(f"{BANNER}: ") if banner else "",
        "limiting": "" if banner and "load generator" in said else said,
        "problems": problems,
    }


def sentence(material: Material, verdict: Word) -> str:
    """One sentence below the verdict: how much stands behind it."""
    if material.result is None:
        return (
            f"{WORDS['aborted'].capitalize()}: {plural(len(material.lines), 'second')} of figures."
        )
    targets = material.result.get("targets") or []
    held = sum(one.get("passed") is True for one in targets)
    reached = sum(one.get("reached") is True for one in targets)
    anomalies = sum((material.result.get("anomalies") or {}).values())
    said = [f"{held} of {plural(len(targets), 'target')} held"] if targets else []
    if reached:
        said.append(f"{reached} at {'its goal' if reached == 1 else 'their goals'}")
    if any(_checked(material.result).values()):
        said.append(plural(anomalies, "anomaly").replace("anomalys", "anomalies"))
    reason = "" if verdict == "valid" else f"{WORDS[verdict].capitalize()}. "
    return f"{reason}{', '.join(said)}." if said else f"{WORDS[verdict].capitalize()}."


def fingerprint(facts: Mapping[str, Any]) -> str:
    """Eight digits that differ when the machine or its software does; empty without facts."""
    lasting = {name: facts[name] for name in sorted(facts) if name not in VOLATILE | {"commit"}}
    return f"{crc32(msgspec.json.encode(lasting)):08x}" if lasting else ""


def _checked(result: Mapping[str, Any]) -> dict[str, int]:
    found = (result.get("figures") or {}).get("checked") or {}
    return {name: int(found.get(name) or 0) for name in LOOKED_AT}


def _looked_at(result: Mapping[str, Any]) -> str:
    checked = _checked(result)
    if not any(checked.values()):
        return "no message history was judged"
    return "judged by identity: " + ", ".join(
        f"{count:,} {name}" for name, count in checked.items()
    )


def _short(path: Path) -> str:
    """The last three parts: a report that is sent around names no home directory."""
    return "/".join(path.parts[-3:])
