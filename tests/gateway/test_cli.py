"""The `utter` command for operators: help, settings, migrations, `serve`."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from bench.stack import Stack
from tests.support.cli import DATABASE_URL, ENDS_SECONDS, STAGING, command, plain, refusal, utter, utter_alone
from tests.support.postgres import TestDatabase

ROOT = Path(__file__).parents[2]

COMMANDS = [
    "dev",
    "token",
    "say",
    "voices",
    "orphans",
    "serve",
    "migrate",
    "config",
    "doctor",
    "smoke",
    "drill",
    "usage",
]
"""Those with a help text of their own; `emulate` and `bench` show that of the program behind them."""

MIGRATIONS = len(list((ROOT / "schema" / "migrations").glob("*.sql")))

LOADED = """
import sys
from gateway.cli import main
print(*sorted({"hypercorn", "starlette", "asyncpg"} & set(sys.modules)))
"""

integration = pytest.mark.integration


class TestHelp:
    def test_the_commands_are_listed_with_examples(self) -> None:
        text = plain(utter("--help").stdout)
        for name in (*COMMANDS, "emulate", "bench"):
            assert f" {name} " in text
        assert 'utter say "Good morning." -o morning.mp3' in text

    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_command_shows_an_example(self, name: str) -> None:
        result = utter(name, "--help")
        assert result.exit_code == 0
        shown = plain(result.stdout).partition(" Options ")[0].partition("Usage:")[2]
        assert re.search(rf"utter {name}\b.*\butter {name}\b", shown), "the usage line, then an example"

    def test_an_unknown_command_is_a_usage_error(self) -> None:
        result = utter("sing")
        assert result.exit_code == 2
        assert "sing" in result.stderr

    @pytest.mark.parametrize(("arguments", "said"), [(["emulate", "--help"], "--first-audio-delay"), (["bench"], "")])
    def test_the_bench_behind_a_command_speaks_for_itself(self, arguments: list[str], said: str) -> None:
        ran = subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=ENDS_SECONDS)
        direct = subprocess.run(
            [sys.executable, "-m", "bench", *[word for word in arguments if word != "bench"]],
            capture_output=True,
            text=True,
            check=False,
            timeout=ENDS_SECONDS,
        )
        assert (ran.returncode, ran.stdout, ran.stderr) == (direct.returncode, direct.stdout, direct.stderr)
        assert said in ran.stdout

    def test_help_loads_no_server(self) -> None:
        ran = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, cwd=ROOT)
        assert ran.stdout.split() == []


class TestConfig:
    def test_values_and_sources_are_shown_and_secrets_are_not(self) -> None:
        result = utter("config", environment=STAGING)
        assert result.exit_code == 0, result.stderr
        assert "UTTER_ENV=staging  (environment)" in result.stdout
        assert "TTS_PROVIDER_MODE=qwen  (derived)" in result.stdout
        assert "DASHSCOPE_REALTIME_URL=wss://dashscope-intl.aliyuncs.com/api-ws/v1/realtime  (derived)" in result.stdout
        assert "QWEN_MAX_TEXT_CHARS=2000  (default)" in result.stdout
        for name, value in STAGING.items():
            if name not in {"UTTER_ENV", "DATABASE_URL"}:
                assert value not in result.stdout
                assert f"{name}=********  (environment)" in result.stdout
        assert "hunter2" not in result.stdout
        assert "127.0.0.1:1/utter" in result.stdout

    def test_in_json(self) -> None:
        result = utter("config", "--json", environment=STAGING)
        report = json.loads(result.stdout)
        rows = {row["name"]: row for row in report["settings"]}
        assert (result.exit_code, report["problems"]) == (0, [])
        assert set(rows["UTTER_ENV"]) == {"name", "value", "source", "doc"}
        assert (rows["UTTER_ENV"]["value"], rows["UTTER_ENV"]["source"]) == ("staging", "environment")
        assert rows["TTS_PROVIDER_MODE"]["source"] == "derived"
        assert rows["DASHSCOPE_API_KEY"]["value"] == "********"
        for secret in (*(value for name, value in STAGING.items() if "SECRET" in name or "KEY" in name), "hunter2"):
            assert secret not in result.stdout

    def test_problems_in_json(self) -> None:
        result = utter("config", "--json", environment={**STAGING, "TTS_PROVIDER_MODE": "piano", "DATABASE_URL": ""})
        report = json.loads(result.stdout)
        assert (result.exit_code, report["settings"]) == (1, [])
        assert {problem.split()[0] for problem in report["problems"]} >= {"TTS_PROVIDER_MODE", "DATABASE_URL"}

    @integration
    def test_those_of_a_running_demo(self, stack: Stack) -> None:
        result = utter("config", "--json", "--data-dir", stack.data_dir)
        rows = {row["name"]: row["value"] for row in json.loads(result.stdout)["settings"]}
        assert rows["UTTER_ENV"] == "local"
        assert stack.emulator_key not in result.stdout
        assert rows["DASHSCOPE_BASE_URL"] == stack.emulator_rest_url

    def test_every_problem_is_reported_at_once(self) -> None:
        wrong = {**STAGING, "QWEN_MAX_TEXT_CHARS": "9000", "TTS_PROVIDER_MODE": "piano", "UTTER_DEV_TOKENS": "true"}
        said = refusal(utter("config", environment={**wrong, "DATABASE_URL": ""}))
        for name in ("QWEN_MAX_TEXT_CHARS", "TTS_PROVIDER_MODE", "UTTER_DEV_TOKENS", "DATABASE_URL"):
            assert name in said


class TestMigrate:
    @integration
    def test_up_status_and_down(self, empty_database: TestDatabase) -> None:
        url = {"DATABASE_URL": empty_database.admin_url}
        assert utter("migrate", "status", environment=url).stdout.split().count("pending") == MIGRATIONS
        assert utter("migrate", environment=url).stdout.split().count("applied") == MIGRATIONS
        lines = utter("migrate", "down", environment=url).stdout.split()
        assert (lines.count("applied"), lines.count("pending")) == (MIGRATIONS - 1, 1)
        assert utter("migrate", "up", environment=url).stdout.split().count("pending") == 0

    @integration
    def test_the_database_of_a_running_demo(self, stack: Stack) -> None:
        result = utter("migrate", "status", "--data-dir", stack.data_dir)
        assert result.stdout.split().count("applied") == MIGRATIONS
        assert "pending" not in result.stdout

    def test_a_data_directory_never_falls_back_to_the_shells_database(self, tmp_path: Path) -> None:
        result = utter("migrate", "down", "--data-dir", tmp_path, environment={"DATABASE_URL": DATABASE_URL})
        assert "No `utter dev` runs" in refusal(result)

    def test_no_database_and_no_direction(self) -> None:
        assert "Which database?" in refusal(utter("migrate"))
        url = {"DATABASE_URL": DATABASE_URL}
        assert "up, down or status" in refusal(utter("migrate", "sideways", environment=url))

    def test_a_database_that_is_not_there(self) -> None:
        said = refusal(utter("migrate", environment={"DATABASE_URL": DATABASE_URL}))
        assert "dbmate" in said
        assert "hunter2" not in said


@pytest.mark.slow
class TestServe:
    def test_it_does_not_start_without_an_environment(self) -> None:
        said = refusal(utter_alone("serve", environment={**STAGING, "UTTER_ENV": ""}))
        assert "UTTER_ENV is not set" in said
        for name in ("local", "staging", "production"):
            assert name in said

    def test_production_refuses_an_emulator(self) -> None:
        production = {**STAGING, "UTTER_ENV": "production", "DASHSCOPE_BASE_URL": "http://127.0.0.1:9000"}
        assert "does not speak to an emulator" in refusal(utter_alone("serve", environment=production))

    def test_a_database_that_is_not_there(self, tmp_path: Path) -> None:
        said = refusal(utter_alone("serve", environment={**STAGING, "OBJECTS_URL": str(tmp_path)}))
        assert "Check DATABASE_URL" in said
        assert "hunter2" not in said

    def test_a_store_that_cannot_be_used(self) -> None:
        said = refusal(utter_alone("serve", environment={**STAGING, "OBJECTS_URL": "/dev/null/objects"}))
        assert "Check OBJECTS_URL" in said

    @integration
    def test_a_port_in_use(self, database: TestDatabase, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            environment = serving(database, tmp_path, UTTER_BIND_PORT=str(port))
            said = refusal(utter_alone("serve", environment=environment))
        assert f"port {port}: another program uses it" in said
        assert "UTTER_BIND_PORT" in said

    @integration
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_it_serves_until_told_to_stop(self, database: TestDatabase, tmp_path: Path, number: signal.Signals) -> None:
        environment = {**os.environ, **serving(database, tmp_path)}
        with subprocess.Popen(command("serve"), stderr=subprocess.PIPE, env=environment, text=True) as process:
            assert process.stderr is not None
            line = next(line for line in process.stderr if "server.listening" in line)
            url = line.partition('"url":')[2].split('"')[1]
            assert httpx.get(f"{url}/api/ready").json()["ready"] is True
            assert httpx.post(f"{url}/api/dev/token").status_code == 404
            process.send_signal(number)
            rest = process.stderr.read()
            assert process.wait(ENDS_SECONDS) == 0
        assert "server.stopped" in rest
        assert "hunter2" not in line + rest


def serving(database: TestDatabase, folder: Path, **changes: str) -> dict[str, str]:
    """Settings of a gateway that can start."""
    return {
        **STAGING,
        "DATABASE_URL": database.gateway_url,
        "OBJECTS_URL": str(folder / "objects"),
        "UTTER_BIND_PORT": "0",
        **changes,
    }
