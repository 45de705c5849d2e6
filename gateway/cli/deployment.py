"""Which deployment an operator's command works on: that of the environment, or `utter dev` on this machine."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from gateway.cli.target import fail

if TYPE_CHECKING:  # they bring the whole gateway along
    from gateway.settings import Settings

DEPLOYMENT = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Work on the `utter dev` that runs there, not on the environment's settings."),
]
AS_JSON = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]

T = TypeVar("T")


def find_settings(data_dir: Path | None) -> Settings:
    """The settings of the environment; those of `utter dev` with `data_dir`, or where nothing says UTTER_ENV.

    Ends the command with words when neither can be used. Logs go to standard error from now on.
    """
    from gateway.logs import configure_logging
    from gateway.settings import SettingsError, load_settings
    from storage.embedded import SUPERUSER

    try:
        settings = load_settings(find_environment(data_dir, SUPERUSER))
    except SettingsError as error:
        fail("\n".join(error.problems))
    configure_logging(settings)
    return settings


def find_environment(data_dir: Path | None, login: str) -> Mapping[str, str]:
    """The variables of this process; those of `utter dev` with `data_dir`, or where nothing says UTTER_ENV, at whose
    database they name `login`. Ends the command with words when no `utter dev` runs there."""
    from gateway.data_dir import DEFAULT_DATA_DIR

    if data_dir is None and os.environ.get("UTTER_ENV", "").strip():
        return os.environ
    return _local(data_dir or DEFAULT_DATA_DIR, login)


def run(work: Callable[[Settings], Awaitable[T]], settings: Settings) -> T:
    """What `work` gives. Ends the command with words for an operator when the provider or the database fails it."""
    import anyio

    from protocol.errors import ProviderFailure
    from storage.audio_spool import SpoolUnavailable
    from storage.errors import StorageError
    from storage.objects import ObjectStoreRefused, ObjectStoreUnavailable

    try:
        return anyio.run(work, settings)
    except ProviderFailure as failure:
        fail(f"The speech provider failed ({failure.fault.value}). {failure.fault.facts.remedy}")
    except (ObjectStoreRefused, ObjectStoreUnavailable) as error:
        fail(f"The object store failed: {error}. Check OBJECTS_URL.")
    except SpoolUnavailable as error:
        fail(f"The spool cannot be read: {error}. Check UTTER_SPOOL_DIR.")
    except StorageError as error:
        fail(f"The database failed: {error}. Check DATABASE_URL, and that `utter migrate` has run.")


def _local(data_dir: Path, login: str) -> dict[str, str]:
    """The environment that `utter dev` made for itself."""
    from gateway.data_dir import DataDir
    from gateway.dev import environment
    from gateway.emulator_process import EmulatorAddress
    from storage.embedded import as_login

    home = DataDir(data_dir)
    record = home.running_record()
    if record is None:
        fail(f"No `utter dev` runs in {data_dir}. Start it, or set UTTER_ENV and the settings of a deployment.")
    address = EmulatorAddress(record.emulator_rest_url, record.emulator_realtime_url, record.emulator_modal_url)
    return environment(os.environ, home, home.secrets(), 0, address, as_login(record.admin_url, login))
