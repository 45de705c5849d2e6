"""`utter say` and `utter voices`: the product from a terminal, through the same HTTP API as everybody."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import httpx
import typer
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.cli.target import DATA_DIR, Target, fail, find_target
from gateway.data_dir import DEFAULT_DATA_DIR

CONNECT_SECONDS = 5.0
"""A gateway that does not answer a connection in this time is not there."""

READ_SECONDS = 60.0
"""Longest silence while speech is made: the gateway's own first-audio limit is 30 s."""

COLUMNS = {"id": 36, "source": 8, "tts_provider": 12, "language": 10, "name": 0}
"""Fields of a voice and how many characters they may take; the name has no bound, so it comes last."""

_terminal = Console(stderr=True)

BaseUrl = Annotated[str | None, typer.Option(help="The gateway's address. Default: the one `utter dev` runs.")]
Token = Annotated[str | None, typer.Option(envvar="UTTER_TOKEN", help="Access token. Default: the demo user's.")]


def say(
    text: Annotated[str, typer.Argument(help="What to speak.")],
    out: Annotated[str, typer.Option("--out", "-o", help="MP3 file to write; `-` writes to standard output.")] = "-",
    voice: Annotated[str | None, typer.Option(help="Name or id of the voice. Default: the newest.")] = None,
    language: Annotated[str, typer.Option(help="A name from /api/languages.")] = "Auto",
    base_url: BaseUrl = None,
    token: Token = None,
    data_dir: DATA_DIR = DEFAULT_DATA_DIR,
) -> None:
    """Speak a text and save or play it while it is being made.

    utter say "Good morning." -o morning.mp3

    utter say "Good morning." | mpg123 -
    """
    _check_output(out)
    with _client(find_target(base_url, token, data_dir)) as client:
        body = {"voice_id": _choose_voice(client, voice), "text": text, "language": language}
        with client.stream("POST", "/api/generate/stream", json=body) as response:
            _require_success(response)
            with _open_output(out) as sink:
                _copy_with_progress(response, sink)


def voices(
    search: Annotated[str | None, typer.Option(help="Only voices whose name contains this.")] = None,
    base_url: BaseUrl = None,
    token: Token = None,
    data_dir: DATA_DIR = DEFAULT_DATA_DIR,
) -> None:
    """List the voices you can speak with.

    utter voices --search narrator
    """
    with _client(find_target(base_url, token, data_dir)) as client:
        rows = _list_voices(client, search)
    # Columns of text, not a fitted table: an id is there to be copied, also from a narrow terminal.
    for row in ({name: name for name in COLUMNS}, *rows):
        typer.echo("  ".join(str(row[name]).ljust(width) for name, width in COLUMNS.items()))


@contextmanager
def _client(target: Target) -> Iterator[httpx.Client]:
    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    headers = {"Authorization": f"Bearer {target.token}"}
    with httpx.Client(base_url=target.base_url, headers=headers, timeout=timeout) as client:
        try:
            yield client
        except httpx.ConnectError:
            fail(f"Nothing answers at {target.base_url}. Start it with `utter dev`, or give --base-url.")
        except httpx.RemoteProtocolError:
            fail("The speech broke off before its end; what came is incomplete.")
        except httpx.TimeoutException:
            fail(f"{target.base_url} took too long to answer.")
        except (httpx.TransportError, httpx.InvalidURL) as error:
            fail(f"{target.base_url} cannot be reached: {error}. Check --base-url.")


def _choose_voice(client: httpx.Client, wanted: str | None) -> str:
    rows = _list_voices(client, None)
    found = next((row for row in rows if wanted is None or wanted in {row["id"], row["name"]}), None)
    if found is None:
        names = ", ".join(row["name"] for row in rows) or "none"
        fail(f"There is no voice called {wanted!r}. Yours: {names}.")
    return str(found["id"])


def _list_voices(client: httpx.Client, search: str | None) -> list[dict[str, Any]]:
    query: dict[str, str | int] = {"per_page": 100}
    if search:
        query["search"] = search
    response = client.get("/api/voices", params=query)
    _require_success(response)
    rows: list[dict[str, Any]] = response.json()["voices"]
    return rows


def _require_success(response: httpx.Response) -> None:
    if response.status_code == httpx.codes.OK:
        return
    response.read()
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):  # not the gateway's words: a proxy's, or another program's
        detail = response.reason_phrase
    fail(f"{detail} ({response.status_code})")


def _check_output(out: str) -> None:
    """Before anything is spoken, since that is paid for."""
    if out == "-" and sys.stdout.isatty():
        fail("This would print an MP3 to your terminal. Use -o FILE, or pipe it into a player.")
    if out != "-" and not os.access(Path(out).absolute().parent, os.W_OK):
        fail(f"Nothing can be written to {Path(out).absolute().parent}. Choose another -o FILE.")


@contextmanager
def _open_output(out: str) -> Iterator[BinaryIO]:
    """The file, or standard output. Ends the command when whoever reads that leaves."""
    if out != "-":
        with Path(out).open("wb") as file:
            yield file
        return
    try:
        yield sys.stdout.buffer
    except BrokenPipeError:
        # Or Python would fail once more, with a traceback, when it flushes standard output at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None


def _copy_with_progress(response: httpx.Response, sink: BinaryIO) -> None:
    columns = (TextColumn("speaking"), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_terminal) as progress:
        task = progress.add_task("speaking", total=None)
        for piece in response.iter_raw():
            sink.write(piece)
            sink.flush()
            progress.update(task, advance=len(piece))
