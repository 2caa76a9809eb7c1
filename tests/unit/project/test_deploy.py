"""The files in deploy/, compose.yaml and the runbooks agree with each other and with what the server exports.

`compose-spec.json` is the schema of github.com/compose-spec/compose-spec (schema/compose-spec.json at commit
170098ba, Apache License 2.0).
"""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from prometheus_client import REGISTRY

from messaging import metrics
from messaging.api.refusals import Problem
from messaging.protocol.errors import CloseCode, Refusal

ROOT = Path(__file__).resolve().parents[3]
DEPLOY, RUNBOOKS = ROOT / "deploy", ROOT / "docs/runbooks"
PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if "lockstep_" in page.read_text())
NAME = re.compile(r"\b(lockstep_\w+)")
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}


def loaded(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def alerts() -> list[Any]:
    return [rule for group in loaded("deploy/alerts.yml")["groups"] for rule in group["rules"]]


def dashboard() -> list[str]:
    panels = json.loads((DEPLOY / "grafana/dashboards/lockstep.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def exported() -> dict[str, set[str]]:
    """The names on /metrics, by the name that they were declared with."""
    assert metrics.exposition()
    families = [one for one in REGISTRY.collect() if one.name.startswith("lockstep_")]
    return {one.name: {one.name + suffix for suffix in SUFFIXES[one.type]} for one in families}


def expressions() -> list[str]:
    return [rule["expr"] for rule in alerts()] + dashboard()


@pytest.mark.parametrize("expression", expressions())
def test_every_query_names_only_metrics_that_the_server_exports(expression: str) -> None:
    known = set().union(*exported().values())
    assert set(NAME.findall(expression)) <= known


def test_every_metric_is_on_the_dashboard() -> None:
    """What nobody sees need not be measured."""
    seen = set(NAME.findall(" ".join(dashboard())))
    assert [name for name, names in exported().items() if not names & seen] == []


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_has_a_runbook_with_its_name(rule: Any) -> None:
    page = (ROOT / rule["annotations"]["runbook"]).read_text()
    assert page.startswith(f"# {rule['alert']}\n")
    for part in ("**Symptom.**", "**What it means.**", "**Look at.**", "**Mend.**", "```sh"):
        assert part in page


def test_every_runbook_has_an_alert_and_is_linked() -> None:
    pages = {f"docs/runbooks/{page.name}" for page in RUNBOOKS.glob("*.md")}
    assert pages == {rule["annotations"]["runbook"] for rule in alerts()}
    operations = (ROOT / "docs/operations.md").read_text()
    assert [page for page in pages if page.removeprefix("docs/") not in operations] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_metric_that_a_page_names_is_exported(page: Path) -> None:
    """Also in the short forms of a runbook's grep, as `lockstep_(queued_writes|sessions)`."""
    known = {*exported(), *set().union(*exported().values())}
    for stem, several in re.findall(r"\b(lockstep_\w*)(?:\(([\w|]+)\))?", page.read_text()):
        for part in several.split("|"):
            assert any(metric.startswith(stem + part) for metric in known), stem + part


def test_what_a_runbook_looks_for_in_the_log_is_said_there() -> None:
    """A grep that finds nothing looks like a log that says nothing."""
    sources = [
        path for app in ("project", "messaging", "presence") for path in (ROOT / app).rglob("*.py")
    ]
    said = "\n".join(path.read_text() for path in sources) + "Traceback"
    runbooks = "".join(page.read_text() for page in RUNBOOKS.glob("*.md"))
    found = re.findall(r"grep -E '([^']+)' \"\$LOG\"", runbooks)
    assert len(found) > 3
    assert [words for one in found for words in one.split("|") if words not in said] == []


def test_the_labels_in_queries_are_labels_that_exist() -> None:
    codes = {one.code for one in (*Refusal, *Problem)}
    reasons = {code.reason for code in CloseCode} | {"client"}
    for expression in expressions():
        for metric, label, known in (
            ("lockstep_refusals_total", "code", codes),
            ("lockstep_closes_total", "reason", reasons),
            ("lockstep_repairs_total", "found", {"hole", "pass"}),
        ):
            for asked in re.findall(metric + r"\{" + label + r'=~?"([^"]+)"', expression):
                assert set(asked.split("|")) <= known


@pytest.mark.slow
def test_what_an_alert_counts_the_first_of_is_on_the_page_before_it() -> None:
    """`increase` of a series that is born with 1 is none: the first error after a start raised no alarm."""
    page = "from messaging import metrics; print(metrics.exposition()[0].decode())"
    said = subprocess.check_output([sys.executable, "-c", page], cwd=ROOT, text=True)
    counted = {
        selected
        for rule in alerts()
        for selected in re.findall(r"increase\((\w+\{\w+=\"\w+\")", rule["expr"])
    }
    assert counted
    assert {one for one in counted if f"\n{one}" not in said} == set()


def judge(compose: Any) -> list[str]:
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
    return [error.message for error in jsonschema_rs.validator_for(schema).iter_errors(compose)]


def test_compose_yaml_is_valid_by_the_specification() -> None:
    assert judge(loaded("compose.yaml")) == []


@pytest.mark.parametrize(
    ("service", "key", "value"),
    [
        ("app1", "imagee", "x"),
        ("haproxy", "ports", "8080"),
        ("redis", "healthcheck", {"tests": []}),
    ],
)
def test_a_compose_file_with_a_mistake_is_found_out(service: str, key: str, value: Any) -> None:
    broken = copy.deepcopy(loaded("compose.yaml"))
    broken["services"][service][key] = value
    assert judge(broken) != []


def test_whom_the_servers_trust_is_who_they_are_behind() -> None:
    services = loaded("compose.yaml")["services"]
    app = services["app1"]["environment"]
    addresses = {
        name: services[name]["networks"]["site"]["ipv4_address"]
        for name in ("haproxy", "prometheus")
    }
    assert app["TRUSTED_PROXIES"] == addresses["haproxy"]
    assert app["METRICS_FROM"] == addresses["prometheus"]


def test_every_server_of_compose_is_behind_the_proxy_and_watched() -> None:
    services = loaded("compose.yaml")["services"]
    apps = {name for name, service in services.items() if service.get("image") == "lockstep"}
    for name in apps:
        address = services[name]["networks"]["site"]["ipv4_address"]
        assert services["haproxy"]["environment"][name.upper()] == f"{address}:8000"
    (targets,) = loaded("deploy/targets/lockstep.yml")
    assert set(targets["targets"]) == {f"{name}:8000" for name in apps}
    config = (DEPLOY / "haproxy.cfg").read_text()
    for name in apps:
        assert config.count(f'server {name} "${{{name.upper()}-') == 2  # ready, and alive
        assert name in services["app1"]["environment"]["ALLOWED_HOSTS"]
