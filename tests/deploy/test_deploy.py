"""The files of deploy/. No container engine, Kubernetes or systemd is here to run them: they are read, their settings
are loaded as the gateway would load them, and what can run by itself, the wheel and the login's SQL, does."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import pytest
import yaml
from starlette.routing import Route

from gateway.routes import all_routes
from gateway.settings import ProviderMode, Settings, load_settings
from gateway.workers import ENDING_SECONDS
from storage.embedded import GATEWAY_ROLE
from storage.programs import programs
from tests.support.postgres import TestDatabase

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

SECRET = "s" * 32

FILLED = {
    "UTTER_SIGNING_SECRET": SECRET,
    "POSTGRES_PASSWORD": "owner-word",
    "GATEWAY_PASSWORD": "gateway-word",
    "STORE_KEY": "store-key",
    "STORE_SECRET": "store-secret",
    "DASHSCOPE_API_KEY": "sk-of-nobody",
    "DASHSCOPE_BASE_URL": "https://dashscope-intl.aliyuncs.com",
    "SUPABASE_URL": "https://project.supabase.co",
    "SUPABASE_ANON_KEY": "public",
    "PUBLIC_BASE_URL": "https://speech.example",
}
"""An example.env that somebody has filled in."""


def compose() -> dict[str, Any]:
    text = (DEPLOY / "compose.yaml").read_text()
    filled = re.sub(r"\$\{([A-Z_]+):\?see deploy/example\.env\}", lambda name: FILLED[name[1]], text)
    assert "${" not in filled, "a value that nobody is asked for"
    document: dict[str, Any] = yaml.safe_load(filled)
    return document


def kubernetes() -> dict[str, dict[str, Any]]:
    return {one["kind"]: one for one in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}


def unit() -> configparser.SectionProxy:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read(DEPLOY / "utter.service")
    return parser["Service"]


def loaded(environment: dict[str, str]) -> Settings:
    """As the gateway reads it; fails for a name it does not know."""
    known = {*FILLED, "TTS_PROVIDER_MODE", "DATABASE_URL", "OBJECTS_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    settings = load_settings(environment)
    told = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "config"],
        env={**environment, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    unknown = {name for name in environment if f"\n{name}=" not in f"\n{told}"}
    assert not unknown - known, unknown
    return settings


def test_whoever_fills_in_the_example_is_asked_for_all_of_it() -> None:
    lines = (DEPLOY / "example.env").read_text().splitlines()
    asked = {line.partition("=")[0]: line.partition("=")[2] for line in lines if line and not line.startswith("#")}
    assert asked.keys() == FILLED.keys()
    assert {name for name, value in asked.items() if value} == {"DASHSCOPE_BASE_URL"}, "a secret, or a guess"


def test_compose_starts_a_gateway_with_settings_that_are_good() -> None:
    gateway = compose()["services"]["gateway"]
    settings = loaded(gateway["environment"])
    assert settings.provider_mode is ProviderMode.QWEN
    assert float(gateway["stop_grace_period"].removesuffix("s")) >= settings.drain_seconds + ENDING_SECONDS
    assert all(port.startswith("127.0.0.1:") for port in gateway["ports"]), "TLS is the proxy's"


def test_compose_runs_the_gateway_with_nothing_it_need_not_have() -> None:
    services = compose()["services"]
    for name in ("gateway", "schema"):
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["security_opt"] == ["no-new-privileges:true"]
    assert "owner-word" not in str(services["gateway"]), "the owner's password is for the schema"
    for name, service in services.items():
        for other, condition in service.get("depends_on", {}).items():
            healthy = condition["condition"] == "service_healthy"
            assert not healthy or "healthcheck" in services[other], f"{name} waits for {other} for ever"


def test_kubernetes_drains_and_probes_what_there_is() -> None:
    pod = kubernetes()["StatefulSet"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    given = {one["name"]: one.get("value", "10.0.0.7") for one in container["env"]}
    secret = {name: FILLED[name] for name in ("DASHSCOPE_API_KEY", "SUPABASE_URL", "UTTER_SIGNING_SECRET")}
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "DATABASE_URL": "postgresql://u:p@db/utter"}
    settings = loaded({**given, **secret, **keys})
    (sleep,) = container["lifecycle"]["preStop"]["exec"]["command"][1:]
    least = float(sleep) + settings.drain_seconds + ENDING_SECONDS
    assert pod["terminationGracePeriodSeconds"] >= least
    served = {route.path for route in all_routes() if isinstance(route, Route)}
    for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
        assert container[probe]["httpGet"]["path"] in served
    assert container["livenessProbe"]["httpGet"]["path"] == "/api/health", "a database that is away kills nobody"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted == {"/var/lib/utter", "/tmp"}


def test_systemd_waits_for_the_end_and_gives_little_away() -> None:
    service = unit()
    environment = dict(pair.split("=", 1) for pair in service["Environment"].split())
    settings = loaded({**environment, **{name: FILLED[name] for name in ("DASHSCOPE_API_KEY", "SUPABASE_URL")},
                       "UTTER_SIGNING_SECRET": SECRET, "DATABASE_URL": "postgresql://u:p@db/utter"})  # fmt: skip
    assert float(service["TimeoutStopSec"]) >= settings.drain_seconds + ENDING_SECONDS
    assert int(service["LimitNOFILE"]) > 2 * settings.max_connections
    assert service["KillMode"] == "mixed", "SIGTERM goes to the parent, which drains its workers"
    hardened = ("NoNewPrivileges", "DynamicUser", "PrivateTmp", "ProtectHome")
    assert {service[name] for name in hardened} == {"yes"}
    assert service["ProtectSystem"] == "strict"
    assert "/var/lib/utter" in environment["UTTER_DATA_DIR"]
    assert service["StateDirectory"] == "utter"


def test_the_image_is_made_of_what_is_locked_and_runs_as_nobody_special() -> None:
    lines = (DEPLOY / "Containerfile").read_text()
    assert "--require-hashes -r requirements.lock" in lines
    final = lines[lines.rindex("FROM") :]
    assert re.search(r"^USER 10001", final, re.MULTILINE)
    assert "STOPSIGNAL SIGTERM" in final
    assert "/api/ready" in final
    copied = set(re.findall(r"^COPY (\w+) \./\1$", lines, re.MULTILINE))
    packages = {file.parent.name for file in ROOT.glob("*/__init__.py")} - {"tests", "tools"}
    assert copied == packages


def test_the_wheel_that_the_image_installs_is_complete(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "-q", "--no-deps"]
    source = tmp_path / "source"
    names = [
        file.relative_to(ROOT)
        for package in ("protocol", "schema", "storage", "gateway", "bench")
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and "results" not in file.parts
    ]
    for name in (*names, Path("pyproject.toml"), Path("README.md")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([*command, "--no-build-isolation", "-w", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    wanted = {str(name) for name in names if "deferred" not in name.parts}
    assert wanted <= held, sorted(wanted - held)
    assert not [name for name in held if "deferred" in name]


@pytest.mark.integration
@pytest.mark.anyio
async def test_the_login_is_made_as_often_as_it_is_asked_for(database: TestDatabase) -> None:
    service = compose()["services"]["login"]
    (script,) = service["command"]
    # The cluster is shared with other tests, who must not meet this login.
    name = "utter_login_of_compose"
    script = script.replace("$$", "$").replace("utter_login", name)
    environment = {
        **os.environ,
        **service["environment"],
        "OWNER_URL": database.admin_url,
        "PATH": f"{programs()}:{os.environ['PATH']}",
    }
    for _ in range(2):
        await anyio.run_process([*service["entrypoint"], script], env=environment)
    connection = await asyncpg.connect(database.admin_url)
    try:
        member = await connection.fetchval("select pg_has_role($1, $2, 'member')", name, GATEWAY_ROLE)
        can = await connection.fetchrow("select rolcanlogin, rolsuper from pg_roles where rolname = $1", name)
        await connection.execute(f"drop role {name}")
    finally:
        await connection.close()
    assert member is True
    assert can is not None
    assert tuple(can) == (True, False)
