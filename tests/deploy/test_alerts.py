"""The dashboard and the alerts ask for what the gateway tells, and fire when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from gateway.metrics import REGISTRY

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "alerts.yaml"
BOARD = DEPLOY / "grafana-dashboard.json"

NAME = re.compile(r"\butter_\w+")


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool on this machine: install Debian's package prometheus")
    return found


def told() -> dict[str, str]:
    """Every name that can be asked for, and the metric that it belongs to."""
    names: dict[str, str] = {}
    for family in REGISTRY.collect():
        names |= {f"{family.name}{ending}": family.name for ending in _ENDINGS[family.type]}
    return names


_ENDINGS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}


def asked_by_the_board() -> list[str]:
    board = json.loads(BOARD.read_text())
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def asked_by_the_alerts() -> list[str]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("asked", [asked_by_the_board(), asked_by_the_alerts()], ids=["dashboard", "alerts"])
def test_nothing_is_asked_for_that_is_not_told(asked: list[str]) -> None:
    names = {name for expression in asked for name in NAME.findall(expression)}
    assert names <= told().keys()


def test_everything_that_is_told_is_shown() -> None:
    shown = {told()[name] for expression in asked_by_the_board() for name in NAME.findall(expression)}
    assert shown == set(told().values())


def test_labels_have_few_values_and_none_is_anybodys() -> None:
    labels = {label for family in REGISTRY.collect() for sample in family.samples for label in sample.labels}
    assert labels <= {"provider", "flow", "ending", "outcome", "category", "fault", "heard", "kind", "le"}


def test_every_alert_names_a_page_that_there_is() -> None:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            assert (DEPLOY.parent / rule["annotations"]["runbook"]).exists(), rule["alert"]


def test_the_rules_fire_when_they_should_and_only_then(promtool: str) -> None:
    for command in (
        ["check", "rules", str(RULES)],
        ["test", "rules", str(Path(__file__).with_name("alerts.test.yaml"))],
    ):
        done = subprocess.run([promtool, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
