"""`utter dev` and `utter token`: the product on this machine."""

from __future__ import annotations

from functools import partial
from typing import Annotated
from uuid import UUID

import typer

from gateway.cli.target import DATA_DIR, fail
from gateway.data_dir import DEFAULT_DATA_DIR

DEFAULT_PORT = 8080


def dev(
    port: Annotated[int, typer.Option(help="Port of the page and the API; 0 takes a free one.")] = DEFAULT_PORT,
    data_dir: DATA_DIR = DEFAULT_DATA_DIR,
    speed: Annotated[float, typer.Option(help="Pace of the emulated provider; 1.0 is playback time.")] = 1.0,
    first_audio_delay: Annotated[float, typer.Option(help="Seconds before its first audio.")] = 0.1,
) -> None:
    """Run everything here: database, emulated provider, gateway and page.

    utter dev

    utter dev --port 9000 --data-dir /tmp/utter
    """
    from gateway.data_dir import AlreadyRunning
    from gateway.demo import DemoFailed
    from gateway.dev import DevOptions, run_dev
    from gateway.emulator_process import ChildDied
    from gateway.server import CannotListen, run
    from gateway.settings import SettingsError
    from storage.errors import StorageError

    options = DevOptions(data_dir, port, speed, first_audio_delay)
    try:
        run(partial(run_dev, options, typer.echo))
    except AlreadyRunning as error:
        fail(f"{error}. Stop it, or choose another --data-dir.")
    except CannotListen as error:
        fail(f"{error} Here that is --port; 0 takes a free one.")
    except (ChildDied, DemoFailed, StorageError) as error:
        fail(str(error))
    except SettingsError as error:
        fail("\n".join(error.problems))


def token(
    user: Annotated[str | None, typer.Option(help="User id; created when missing. Default: the demo user.")] = None,
    hours: Annotated[float, typer.Option(help="How long it works.")] = 24.0,
    data_dir: DATA_DIR = DEFAULT_DATA_DIR,
) -> None:
    """Print an access token for the local gateway.

    curl -H "Authorization: Bearer $(utter token)" http://127.0.0.1:8080/api/me
    """
    import anyio

    from gateway.auth import mint_token
    from gateway.data_dir import DataDir
    from gateway.demo import DEMO_USER, create_user
    from storage.errors import StorageError

    home = DataDir(data_dir)
    record = home.running_record()
    if record is None:
        fail(f"No `utter dev` runs in {data_dir}, so there is nobody to sign in to. Start it first.")
    try:
        owner = DEMO_USER if user is None else UUID(user)
    except ValueError:
        fail(f"{user!r} is not a user id. It must be a UUID.")
    try:
        anyio.run(create_user, record.admin_url, owner)
    except StorageError as error:
        fail(f"The user could not be made: {error}.")
    typer.echo(mint_token(home.secrets().token_secret, owner, hours * 3600))
