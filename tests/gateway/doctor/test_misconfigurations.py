"""The doctor on a deployment in which all is right but one thing: it names that thing, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from gateway.doctor import ExitStatus
from gateway.doctor.qwen import CROWDED_VOICES, clock, other_region
from gateway.findings import Verdict
from gateway.settings import load_settings
from storage.migrate import rollback
from tests.gateway.doctor.deployment import Deployment, answering, complaints
from tests.support.emulator import Emulator, start_emulator
from tests.support.migrations import NAMES
from tests.support.postgres import TestDatabase
from tests.support.s3 import S3Server, start_s3
from tests.support.transaction_pooler import transaction_pooler

pytestmark = [pytest.mark.integration, pytest.mark.anyio]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with start_emulator(tmp_path_factory.mktemp("emulator")) as running:
        yield running


@pytest.fixture
def deployment(database: TestDatabase, emulator: Emulator, tmp_path: Path) -> Iterator[Deployment]:
    yield Deployment(database, emulator, tmp_path)
    emulator.clear_faults()


async def test_a_deployment_in_which_all_is_right(deployment: Deployment) -> None:
    for mode in ("qwen", "modal"):
        deployment.set(TTS_PROVIDER_MODE=mode)
        report = await deployment.examined()
        assert {finding.verdict for finding in report.findings} == {Verdict.OK}, report
        assert report.exit_status is ExitStatus.OK
        assert {"settings", "database.notifications", "objects.references", "qwen.vd_model", "modal.job_submit"} <= {
            finding.check for finding in report.findings
        }
    assert not list((deployment.folder / "objects").rglob("doctor-*"))


# One thing wrong each: how, the check that says so, words that name the cause, and the status the command ends with.


def changed(**changes: str) -> Callable[[Deployment], None]:
    return lambda deployment: deployment.set(**changes)


def never_migrated(deployment: Deployment) -> None:
    deployment.database.run("drop schema utter cascade")


def one_migration_behind(deployment: Deployment) -> None:
    deployment.database.run("delete from utter.schema_migrations where version = '20260715090000'")


def two_steps_back(deployment: Deployment) -> None:
    rollback(deployment.database.admin_url)
    rollback(deployment.database.admin_url)


def one_migration_ahead(deployment: Deployment) -> None:
    deployment.database.run("insert into utter.schema_migrations (version) values ('20990101000000')")


def login_of(name: str) -> Callable[[Deployment], None]:
    def change(deployment: Deployment) -> None:
        deployment.set(DATABASE_URL=deployment.login(name))

    return change


def no_such_database(deployment: Deployment) -> None:
    deployment.set(DATABASE_URL=deployment.database.gateway_url.replace(deployment.database.name, "missing"))


def listens_elsewhere(deployment: Deployment) -> None:
    deployment.set(DATABASE_LISTEN_URL=deployment.database.server.url("utter", "postgres"))


def folder_in_a_file(variable: str) -> Callable[[Deployment], None]:
    def change(deployment: Deployment) -> None:
        (deployment.folder / "file").write_text("in the way")
        deployment.set(**{variable: str(deployment.folder / "file" / "below")})

    return change


def fault(key: str, name: str) -> Callable[[Deployment], None]:
    return lambda deployment: deployment.emulator.order_faults(key, name)


def slow_clock(deployment: Deployment) -> None:
    """A function that stands before the built-in one for this login, as nothing can set the server's clock."""
    deployment.database.run(
        """
        create schema skewed;
        grant usage on schema skewed to public;
        create function skewed.clock_timestamp() returns timestamptz language sql
          as $$ select pg_catalog.clock_timestamp() - interval '1 minute' $$;
        """
    )
    separator = "&" if "?" in deployment.database.gateway_url else "?"
    path = "skewed,pg_catalog,public"
    deployment.set(DATABASE_URL=f"{deployment.database.gateway_url}{separator}search_path={path}")


CASES: dict[str, tuple[Callable[[Deployment], None], str, str, ExitStatus]] = {
    "no environment named": (changed(UTTER_ENV=""), "settings", "UTTER_ENV", ExitStatus.FAILED),
    "a mode that is none": (changed(TTS_PROVIDER_MODE="quen"), "settings", "TTS_PROVIDER_MODE", ExitStatus.FAILED),
    "no key in qwen mode": (
        changed(DASHSCOPE_API_KEY=""),
        "settings",
        "DASHSCOPE_API_KEY is not set",
        ExitStatus.FAILED,
    ),
    "a short secret": (changed(UTTER_SIGNING_SECRET="short"), "settings", "UTTER_SIGNING_SECRET", ExitStatus.FAILED),
    "no database server": (
        changed(DATABASE_URL="postgresql://utter@127.0.0.1:1/utter"),
        "database",
        "nothing answers at its address. Check host and port in DATABASE_URL",
        ExitStatus.FAILED,
    ),
    "a login that is none": (login_of("stranger"), "database", "it refuses the login. Check user", ExitStatus.FAILED),
    "a database that is none": (no_such_database, "database", "the server has no such database", ExitStatus.FAILED),
    "never migrated": (
        never_migrated,
        "database.migrations",
        f"lacks {NAMES[-1]} at least. Run `utter migrate`",
        ExitStatus.FAILED,
    ),
    "one migration behind": (
        one_migration_behind,
        "database.migrations",
        "lacks 20260715090000_task_events.sql. Run `utter migrate`",
        ExitStatus.FAILED,
    ),
    "one migration ahead": (
        one_migration_ahead,
        "database.migrations",
        "this version does not know: 20990101000000",
        ExitStatus.WARNINGS,
    ),
    "the superuser's login": (
        login_of("postgres"),
        "database.rights",
        "row level security, which keeps users apart, does not hold",
        ExitStatus.WARNINGS,
    ),
    "too many connections": (
        changed(DATABASE_MAX_CONNECTIONS="200"),
        "database.connections",
        "may open 202 connections",
        ExitStatus.WARNINGS,
    ),
    "listening to another database": (
        listens_elsewhere,
        "database.notifications",
        "they are not the same database. Set DATABASE_LISTEN_URL",
        ExitStatus.FAILED,
    ),
    "the database's clock": (slow_clock, "database.clock", "behind this machine's", ExitStatus.FAILED),
    "a store that is no folder": (
        folder_in_a_file("OBJECTS_URL"),
        "objects.references",
        "OBJECTS_URL",
        ExitStatus.FAILED,
    ),
    "a spool that is no folder": (
        folder_in_a_file("UTTER_SPOOL_DIR"),
        "spool",
        "Not a directory. Set UTTER_SPOOL_DIR",
        ExitStatus.FAILED,
    ),
    "a wrong key": (
        changed(DASHSCOPE_API_KEY="sk-of-somebody-else"),
        "qwen.key",
        "DASHSCOPE_API_KEY is wrong, or belongs to the other region",
        ExitStatus.FAILED,
    ),
    "the provider's address": (
        changed(DASHSCOPE_BASE_URL="http://127.0.0.1:1"),
        "qwen.key",
        "unreachable. No connection to the vendor",
        ExitStatus.FAILED,
    ),
    "arrears": (fault("customization", "rest_500"), "qwen.key", "status 500", ExitStatus.FAILED),
    "the customization model": (
        changed(QWEN_DESIGN_MODEL="qwen-voice-desing"),
        "qwen.design",
        "model_gone",
        ExitStatus.FAILED,
    ),
    "a model for clones that is gone": (
        changed(QWEN_VC_TARGET_MODEL="qwen3-tts-vc-realtime-2024-01-01"),
        "qwen.vc_model",
        "QWEN_VC_TARGET_MODEL",
        ExitStatus.FAILED,
    ),
    "a model for designs that is gone": (
        changed(QWEN_VD_TARGET_MODEL="qwen3-tts-vd-realtime-2024-01-01"),
        "qwen.vd_model",
        "QWEN_VD_TARGET_MODEL",
        ExitStatus.FAILED,
    ),
    "Modal's app was stopped": (
        fault("modal:submit", "modal_stopped"),
        "modal.job_submit",
        "No app answers for MODAL_JOB_SUBMIT",
        ExitStatus.STANDBY,
    ),
    "Modal's app fails": (fault("modal:status", "modal_500"), "modal.job_status", "fails (500)", ExitStatus.STANDBY),
    "an endpoint of Modal is not set": (
        changed(MODAL_JOB_RESULT=""),
        "modal.endpoints",
        "MODAL_JOB_RESULT is not set, but other endpoints",
        ExitStatus.STANDBY,
    ),
    "nothing answers at an endpoint of Modal": (
        changed(MODAL_ENDPOINT_VOICE_DESIGN="http://127.0.0.1:1/design"),
        "modal.endpoint_voice_design",
        "MODAL_ENDPOINT_VOICE_DESIGN cannot be reached",
        ExitStatus.STANDBY,
    ),
}


CONSEQUENCES = {"never migrated": ("database.rights",)}
"""What is wrong as well then."""


@pytest.mark.parametrize("name", CASES)
async def test_one_thing_is_wrong_and_named(deployment: Deployment, name: str) -> None:
    change, check, words, exit_status = CASES[name]
    change(deployment)
    report = await deployment.examined()
    found = complaints(report)
    assert check in found, report
    assert words in f"{found[check].detail} {found[check].remedy}"
    assert report.exit_status is exit_status
    assert found.keys() <= {check, *CONSEQUENCES.get(name, ())}, "it complains about what is in order"


async def only_complaint(deployment: Deployment, check: str) -> str:
    """What it says, where it has one thing to say."""
    found = complaints(await deployment.examined())
    assert found.keys() == {check}, found
    return f"{found[check].detail} {found[check].remedy}"


async def test_a_login_without_the_gateways_rights(deployment: Deployment) -> None:
    role = f"bare_{deployment.database.name}"
    deployment.database.run('create role :"name" login', name=role)
    try:
        deployment.set(DATABASE_URL=deployment.login(role))
        found = complaints(await deployment.examined())
        assert f"grant utter_gateway to {role};" in found["database.rights"].remedy
    finally:
        deployment.database.run('drop role :"name"', name=role)


async def test_a_transaction_pooler_and_nobody_to_listen_to(deployment: Deployment) -> None:
    direct = deployment.environment["DATABASE_URL"]
    async with transaction_pooler(deployment.database) as pooler:
        deployment.set(DATABASE_URL=pooler.gateway_url)
        said = await only_complaint(deployment, "database.notifications")
        assert said.startswith("DATABASE_URL goes through a transaction pooler")
        assert "Set DATABASE_LISTEN_URL to a direct connection" in said
        deployment.set(DATABASE_LISTEN_URL=direct)
        report = await deployment.examined()
        assert report.exit_status is ExitStatus.OK
        assert any("as it should be" in finding.detail for finding in report.findings)
        deployment.set(DATABASE_URL=direct, DATABASE_LISTEN_URL=pooler.gateway_url)
        said = await only_complaint(deployment, "database.notifications")
        assert said.startswith("DATABASE_LISTEN_URL goes through a transaction pooler")


async def test_a_direct_connection_that_cannot_be_made(deployment: Deployment) -> None:
    deployment.set(DATABASE_LISTEN_URL="postgresql://utter@127.0.0.1:1/utter")
    said = await only_complaint(deployment, "database.notifications")
    assert "The database of DATABASE_LISTEN_URL cannot be used: nothing answers" in said


async def test_an_s3_that_is_wrong_in_four_ways(
    deployment: Deployment, s3_server: S3Server, s3_credentials: None, tmp_path: Path
) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "key-of-nobody", "AWS_SECRET_ACCESS_KEY": "hunter2-secret"}
    deployment.set(OBJECTS_URL=s3_server.location(), **keys)
    assert complaints(await deployment.examined()) == {}
    deployment.set(OBJECTS_URL=f"s3://no-such-bucket-here?endpoint={s3_server.url}")
    assert "has no bucket s3://no-such-bucket-here" in await only_complaint(deployment, "objects.references")
    deployment.set(OBJECTS_URL="s3://bucket?endpoint=http://127.0.0.1:1")
    assert "OBJECTS_URL" in await only_complaint(deployment, "objects.references")
    deployment.set(AWS_SECRET_ACCESS_KEY="")
    assert "AWS_SECRET_ACCESS_KEY is not set" in await only_complaint(deployment, "settings")
    with start_s3(tmp_path) as guarded:
        deployment.set(OBJECTS_URL=guarded.location(), **keys)
        guarded.close_doors()
        said = await only_complaint(deployment, "objects.references")
    assert "turns us away" in said
    assert "AWS_ACCESS_KEY_ID" in said


async def test_sign_in_keys_that_nobody_publishes(deployment: Deployment) -> None:
    deployment.set(SUPABASE_JWT_SECRET="", SUPABASE_URL="http://127.0.0.1:1")
    assert "cannot be fetched" in await only_complaint(deployment, "sign_in")
    with answering(200, b'{"keys": []}') as url:
        deployment.set(SUPABASE_URL=url)
        assert "nobody could sign in" in await only_complaint(deployment, "sign_in")


async def test_the_socket_of_the_provider_is_elsewhere(deployment: Deployment) -> None:
    with answering(403) as url:
        deployment.set(DASHSCOPE_REALTIME_URL=url.replace("http", "ws"))
        found = complaints(await deployment.examined())
    assert found.keys() == {"qwen.vc_model", "qwen.vd_model"}
    assert url.replace("http", "ws") in found["qwen.vc_model"].remedy


async def test_the_clock_of_the_provider(deployment: Deployment) -> None:
    async def said_of(offset: timedelta) -> str:
        date = format_datetime(datetime.now(UTC) + offset, usegmt=True)
        with answering(200, Date=date) as url:
            settings = load_settings({**deployment.environment, "DASHSCOPE_BASE_URL": url})
            result = await clock(settings)
            return f"{result.verdict}: {result.detail}"

    assert (await said_of(timedelta(0))).startswith("ok: ")
    assert "behind this machine's" in await said_of(timedelta(minutes=-5))
    assert (await said_of(timedelta(minutes=5))).startswith("failed: ")
    assert (await said_of(timedelta(seconds=12))).startswith("warning: ")


async def test_a_key_of_the_other_region(deployment: Deployment, tmp_path: Path) -> None:
    here = deployment.environment["DASHSCOPE_BASE_URL"]
    settings = load_settings({**deployment.environment, "DASHSCOPE_API_KEY": "sk-of-there"})
    with start_emulator(tmp_path / "there", ("--api-key", "sk-of-there")) as there:
        found = await other_region(settings, {here: there.rest_url})
        assert "The key is one of the account at" in found.detail
        wrong = load_settings({**deployment.environment, "DASHSCOPE_API_KEY": "sk-of-nobody"})
        assert "it is wrong" in (await other_region(wrong, {here: there.rest_url})).detail
    assert "not known which other region" in (await other_region(settings)).detail
    right = await other_region(load_settings(deployment.environment), {here: "http://127.0.0.1:1"})
    assert right.verdict is Verdict.OK


async def test_nobody_shows_the_key_elsewhere_unless_asked(deployment: Deployment) -> None:
    assert "qwen.other_region" not in {finding.check for finding in (await deployment.examined()).findings}
    asked = await deployment.examined(probe_other_region=True)
    assert "qwen.other_region" in {finding.check for finding in asked.findings}


async def test_an_account_that_is_nearly_full(deployment: Deployment, tmp_path: Path) -> None:
    state = tmp_path / "crowded"
    state.mkdir()
    made = {"kind": "vd", "target_model": "m", "language": "en", "gmt_create": "", "gmt_modified": ""}
    voices = [{"voice": f"v{number}", **made} for number in range(CROWDED_VOICES)]
    (state / "voices.json").write_text(json.dumps(voices))
    with start_emulator(state) as account:
        deployment.set(DASHSCOPE_BASE_URL=account.rest_url)
        assert f"{CROWDED_VOICES} of 1000 voices" in await only_complaint(deployment, "qwen.voices")


async def test_the_lane_that_is_active_makes_the_difference(deployment: Deployment) -> None:
    deployment.set(MODAL_JOB_SUBMIT="http://127.0.0.1:1/submit")
    for mode, exit_status in (("qwen", ExitStatus.STANDBY), ("modal", ExitStatus.FAILED)):
        deployment.set(TTS_PROVIDER_MODE=mode)
        report = await deployment.examined()
        assert complaints(report).keys() == {"modal.job_submit"}
        assert report.exit_status is exit_status
    deployment.set(DASHSCOPE_API_KEY="", **dict.fromkeys(deployment.emulator.modal_endpoints(), ""))
    report = await deployment.examined()
    assert report.exit_status is ExitStatus.FAILED
    assert complaints(report)["qwen.key"].standby
    assert "no lane to switch to" in complaints(report)["modal.endpoints"].detail


async def test_what_depends_on_what_failed_is_not_looked_at(deployment: Deployment) -> None:
    deployment.set(DATABASE_URL="postgresql://utter@127.0.0.1:1/utter")
    skipped = [finding for finding in (await deployment.examined()).findings if finding.verdict is Verdict.NOT_RUN]
    assert {finding.check for finding in skipped} >= {"database.migrations", "database.notifications"}
    assert all("because of database" in finding.detail for finding in skipped)
