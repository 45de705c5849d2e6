"""`utter doctor`: is this deployment fit to run, and to be switched over (product section 16)?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from gateway.cli.deployment import AS_JSON, DEPLOYMENT, find_environment
from gateway.cli.findings import show
from gateway.findings import Finding

if TYPE_CHECKING:  # they bring the whole gateway along
    from gateway.doctor import Diagnosis, Report


def doctor(
    probe_other_lane: Annotated[
        bool,
        typer.Option(
            "--probe-other-lane", help="When the key is refused, show it to the vendor's other region as well."
        ),
    ] = False,
    as_json: AS_JSON = False,
    data_dir: DEPLOYMENT = None,
) -> None:
    """Look at everything a deployment needs, and say what to do about what is wrong. Nothing is billed.

    utter doctor

    utter doctor --json | jq -r '.findings[] | select(.verdict != "ok") | .detail'

    Exit status 0 when all is well; 1 when new work would fail; 3 with warnings; 4 when all works, but the lane to
    switch to (Modal in Qwen mode, Qwen in Modal mode) does not.
    """
    from storage.embedded import LOGIN

    report = _report(find_environment(data_dir, LOGIN), probe_other_region=probe_other_lane)
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    else:
        show([_with_lane(found) for found in report.findings])
    raise typer.Exit(int(report.exit_status))


def _report(environment: Mapping[str, str], *, probe_other_region: bool) -> Report:
    import anyio

    from gateway.doctor import examine, unusable
    from gateway.logs import configure_logging
    from gateway.settings import SettingsError, load_settings
    from gateway.settings.names import LogLevel

    try:
        settings = load_settings(environment)
    except SettingsError as error:
        return unusable(error)
    # The findings are what is to be read; steps of the drivers are not.
    configure_logging(replace(settings, log_level=LogLevel.WARNING))
    return anyio.run(partial(examine, settings, probe_other_region=probe_other_region))


def _with_lane(found: Diagnosis) -> Finding:
    if not (found.standby and found.remedy):
        return found
    return msgspec.structs.replace(found, detail=f"{found.detail} (standby lane)")
