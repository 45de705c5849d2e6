"""`utter doctor`, as a process: its words, its JSON, its exit statuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.stack import Stack
from tests.gateway.doctor.deployment import SECRET, Deployment
from tests.support.cli import Ran, plain, refusal, utter, utter_alone
from tests.support.emulator import API_KEY, start_emulator
from tests.support.postgres import TestDatabase

pytestmark = pytest.mark.integration


@pytest.fixture
def deployment(database: TestDatabase, tmp_path: Path) -> Iterator[Deployment]:
    with start_emulator(tmp_path / "emulator") as emulator:
        yield Deployment(database, emulator, tmp_path)


def doctor(deployment: Deployment, *arguments: str) -> Ran:
    ran = utter_alone("doctor", *arguments, environment=deployment.environment)
    for secret in (API_KEY, SECRET):
        assert secret not in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    return ran


def test_each_status_means_what_help_says(deployment: Deployment) -> None:
    ran = doctor(deployment)
    assert (ran.exit_code, ran.stderr) == (0, ""), ran
    assert [line.split()[0] for line in ran.stdout.splitlines()] == ["ok"] * len(ran.stdout.splitlines())
    deployment.set(DATABASE_URL=deployment.login("postgres"))
    ran = doctor(deployment)
    assert ran.exit_code == 3
    assert "row level security" in ran.stdout
    deployment.set(MODAL_JOB_STATUS="http://127.0.0.1:1/status")
    ran = doctor(deployment)
    assert ran.exit_code == 4
    assert "(standby lane)" in ran.stdout
    deployment.set(DASHSCOPE_API_KEY="sk-not-the-right-one")
    ran = doctor(deployment, "--probe-other-lane")
    assert ran.exit_code == 1
    assert "belongs to the other region" in ran.stdout
    assert "qwen.other_region" in ran.stdout
    assert "sk-not" not in ran.stdout + ran.stderr


def test_in_json(deployment: Deployment) -> None:
    deployment.set(TTS_PROVIDER_MODE="modal", DASHSCOPE_API_KEY="")
    report = json.loads(doctor(deployment, "--json").stdout)
    assert report["exit_status"] == 4
    rows = {row["check"]: row for row in report["findings"]}
    assert set(rows["qwen.key"]) == {"check", "verdict", "detail", "remedy", "seconds", "standby"}
    assert (rows["qwen.key"]["verdict"], rows["qwen.key"]["standby"]) == ("warning", True)
    assert rows["qwen.vc_model"]["verdict"] == "not run"


def test_settings_that_cannot_be_used_are_all_named(deployment: Deployment) -> None:
    deployment.set(UTTER_SIGNING_SECRET="short", TTS_PROVIDER_MODE="quen", DATABASE_URL="")
    ran = doctor(deployment)
    assert ran.exit_code == 1
    for name in ("UTTER_SIGNING_SECRET", "TTS_PROVIDER_MODE", "DATABASE_URL"):
        assert name in ran.stdout


def test_the_running_demo_is_well(stack: Stack) -> None:
    ran = utter_alone("doctor", "--json", "--data-dir", stack.data_dir, environment={})
    assert ran.exit_code == 0, ran


def test_no_demo_and_no_deployment(tmp_path: Path) -> None:
    assert "No `utter dev` runs" in refusal(utter_alone("doctor", "--data-dir", tmp_path, environment={}))


def test_help_shows_how() -> None:
    said = plain(utter("doctor", "--help").stdout)
    assert "utter doctor --json" in said
    assert "4 when all works, but the lane to switch to" in said
