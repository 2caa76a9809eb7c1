"""The pages name what there is: files, tests, commands and their options, settings. Metrics: `test_deploy`."""

import argparse
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from itertools import chain
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from messaging import conf
from presence import conf as presence_conf

ROOT = Path(__file__).resolve().parents[3]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
TESTS = {path.name for path in (ROOT / "tests").rglob("*.py")}
PLACES = [ROOT, ROOT / "messaging", ROOT / "messaging/protocol", ROOT / "tests"]
SETTINGS = (*fields(conf.Settings), *fields(presence_conf.Settings))
OURS = [
    name
    for name, app in get_commands().items()
    if app in ("messaging", "presence", "project", "perf")
]
each_page = pytest.mark.parametrize("name", PAGES)


def anchors(text: str) -> set[str]:
    """The names under which headings are linked, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_every_link_leads_somewhere(name: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[name]):
        path, _, anchor = link.partition("#")
        if ":" not in path:
            target = (ROOT / name).parent / path if path else ROOT / name
            assert target.exists(), link
            assert not anchor or anchor in anchors(target.read_text()), link


@each_page
def test_every_file_that_is_named_exists(name: str) -> None:
    assert set(re.findall(r"\btest_\w+\.py\b", PAGES[name])) <= TESTS
    for path in re.findall(
        r"`((?:\w[\w.-]*/)+\w[\w.-]*\.(?:py|sql|js|json|cfg|ya?ml|md))[`:]", PAGES[name]
    ):
        assert any((place / path).exists() for place in PLACES), path


@cache
def parser(command: str) -> argparse.ArgumentParser:
    """Raises KeyError for a command that there is not."""
    app = get_commands()[command]
    loaded = app if not isinstance(app, str) else load_command_class(app, command)
    return loaded.create_parser("manage.py", command)


def actions(one: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """What a command takes, its verbs' options included."""
    for action in one._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            yield from chain.from_iterable(map(actions, action.choices.values()))


@cache
def options(command: str) -> set[str]:
    """What may stand behind `manage.py <command>`."""
    words: set[str] = set()
    for action in actions(parser(command)):
        words |= {*action.option_strings, *([] if action.option_strings else action.choices or [])}
    return words


@pytest.mark.parametrize("command", OURS)
def test_help_says_what_a_command_does_and_what_each_option_means(command: str) -> None:
    assert re.match(r"[A-Z][a-z]+s\b", str(parser(command).description))
    unsaid = [action.option_strings for action in actions(parser(command)) if not action.help]
    assert [names for names in unsaid if names] == []


@each_page
def test_every_command_takes_the_options_that_are_named_with_it(name: str) -> None:
    for command, rest in re.findall(r"manage\.py (\w+)([^`#|\n]*)", PAGES[name]):
        assert set(re.findall(r"(?<!\S)--[a-z][a-z-]*", rest)) <= options(command), command
    for words in re.findall(r"\bperf ((?:[a-z0-9]+ )?[a-z0-9-]+)`", PAGES[name]):
        assert set(words.split()) <= options("perf"), words


def test_every_setting_is_on_a_page_with_its_default() -> None:
    rows = re.findall(r"^\| (`[^|]+`) \| ([^|]+) \|", "\n".join(PAGES.values()), re.MULTILINE)
    told = dict(re.findall(r"^ +\"(\w+)\": ([\d.]+),", PAGES["docs/presence.md"], re.MULTILINE))
    for names, defaults in rows:
        values = re.split(r", (?=\d)", defaults)
        told |= dict(zip(re.findall(r"`(\w+)`", names), values, strict=False))
    for setting in SETTINGS:
        if type(setting.default) in (int, float) and setting.name in told:
            number = told[setting.name].replace(",", "")
            assert float(number) == setting.default, setting.name
        else:
            assert any(
                f"`{setting.name}`" in page or f'"{setting.name}"' in page
                for page in PAGES.values()
            )
    assert sum(setting.name in told for setting in SETTINGS) > 18


def test_every_variable_of_the_environment_is_told() -> None:
    read = re.findall(r"environ\.get\(\"(\w+)\"", (ROOT / "project/settings.py").read_text())
    assert [name for name in read if f"`{name}`" not in PAGES["docs/operations.md"]] == []
