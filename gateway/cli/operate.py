"""`utter serve`, `migrate`, `config`, `emulate` and `bench`: what a deployment runs."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from gateway.cli.deployment import AS_JSON, DEPLOYMENT, find_environment
from gateway.cli.target import fail

PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Every argument, `--help` too, belongs to the program behind the command."""


def serve(
    workers: Annotated[
        int | None, typer.Option(help="Processes that share the port. Default: UTTER_WORKERS, which is 1.")
    ] = None,
) -> None:
    """Run the gateway with the settings of the environment. `utter config` shows them.

    UTTER_ENV=production DATABASE_URL=... DASHSCOPE_API_KEY=... utter serve

    utter serve --workers 4

    SIGTERM and Ctrl-C let running work finish, for UTTER_DRAIN_SECONDS at most; a second one ends it at once. With
    several workers, SIGHUP replaces them one after the other, and nobody who listens notices; one that dies is
    started again.
    """
    from gateway.server import run
    from gateway.serving import CANNOT_START, advice, run_gateway
    from gateway.settings import load_settings
    from gateway.worker_process import WorkerFailed
    from gateway.workers import run_workers

    environment = os.environ if workers is None else {**os.environ, "UTTER_WORKERS": str(workers)}
    try:
        settings = load_settings(environment)
        run(partial(run_gateway if settings.workers == 1 else run_workers, settings))
    except CANNOT_START as error:
        fail(advice(error))
    except WorkerFailed as error:
        fail(str(error))


def migrate(
    direction: Annotated[str, typer.Argument(help="`up`, `down` (one step) or `status`.")] = "up",
    database_url: Annotated[
        str | None, typer.Option(envvar="DATABASE_URL", help="The schema owner's login, not the gateway's.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Migrate the database of `utter dev` there instead.")] = None,
) -> None:
    """Bring a database to this version's schema, or say where it stands.

    DATABASE_URL=postgres://owner@host/utter utter migrate
    """
    from gateway.data_dir import DataDir
    from storage import migrate as migrations

    url = database_url
    if data_dir is not None:
        # DATABASE_URL is no fall-back here: who names a folder does not mean the database of their shell.
        record = DataDir(data_dir).running_record()
        if record is None:
            fail(f"No `utter dev` runs in {data_dir}, so its database is not up. Start it first.")
        url = record.admin_url
    if not url:
        fail("Which database? Set DATABASE_URL, or give --data-dir of a running `utter dev`.")
    steps = {"up": migrations.migrate, "down": migrations.rollback, "status": migrations.status}
    if direction not in steps:
        fail(f"{direction!r} is no direction. Use up, down or status.")
    try:
        report = steps[direction](url)
    except migrations.MigrationError as error:
        fail(str(error))
    for name in report.applied:
        typer.echo(f"applied  {name}")
    for name in report.pending:
        typer.echo(f"pending  {name}")


def config(as_json: AS_JSON = False, data_dir: DEPLOYMENT = None) -> None:
    """Show every setting, its value and where it came from; secrets are masked.

    UTTER_ENV=staging utter config

    utter config --json | jq -r '.settings[] | select(.source == "environment") | .name'

    Exit status 0 when they can be used; 1 when not, with what to do about each problem.
    """
    import msgspec

    from gateway.settings import SettingsError, describe, load_settings
    from storage.embedded import LOGIN

    # Without a folder it is the environment that is asked for, also where it is too poor to be a deployment's.
    environment = os.environ if data_dir is None else find_environment(data_dir, LOGIN)
    rows, problems = [], []
    try:
        rows = describe(load_settings(environment))
    except SettingsError as error:
        problems = error.problems
    if as_json:
        typer.echo(msgspec.json.encode({"settings": rows, "problems": problems}).decode())
        raise typer.Exit(1 if problems else 0)
    if problems:
        fail("\n".join(problems))
    # Not a table: a narrow terminal would cut the very names and values that people look for here.
    for row in rows:
        typer.echo(f"{row.name}={row.value}  ({row.source})")
        typer.echo(f"    {row.doc}")


def emulate(context: typer.Context) -> None:
    """Run the provider emulator; `utter emulate --help` lists its options.

    utter emulate --speed 2 --state /tmp/emulator
    """
    _become_bench(["emulate", *context.args])


def bench(context: typer.Context) -> None:
    """Run a bench against this machine; `utter bench --help` lists them.

    utter bench latency
    """
    _become_bench(context.args)


def _become_bench(arguments: list[str]) -> NoReturn:
    """Replace this process: the bench is a program of its own, which the gateway never imports."""
    os.execv(sys.executable, [sys.executable, "-m", "bench", *arguments])  # noqa: S606 - no shell is the point
