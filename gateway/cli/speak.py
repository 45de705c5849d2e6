"""`utter say`: the product from a terminal, through the same HTTP API as everybody."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import httpx
import typer
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.cli.api import BaseUrl, Token, list_voices, open_client, require_success
from gateway.cli.target import DATA_DIR, fail, find_target
from gateway.data_dir import DEFAULT_DATA_DIR

_terminal = Console(stderr=True)


def say(
    text: Annotated[str, typer.Argument(help="What to speak.")],
    out: Annotated[str, typer.Option("--out", "-o", help="MP3 file to write; `-` writes to standard output.")] = "-",
    voice: Annotated[str | None, typer.Option(help="Its name or id. Default: the newest that can speak.")] = None,
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
    with open_client(find_target(base_url, token, data_dir)) as client:
        body = {"voice_id": _choose_voice(client, voice), "text": text, "language": language}
        with client.stream("POST", "/api/generate/stream", json=body) as response:
            require_success(response)
            with _open_output(out) as sink:
                _copy_with_progress(response, sink)


def _choose_voice(client: httpx.Client, wanted: str | None) -> str:
    rows = list_voices(client, None)
    if wanted is None:
        active = _active_provider(client)
        rows = [row for row in rows if row["tts_provider"] == active]
        if not rows:
            fail("You have no voice that can speak now. Clone or design one on the page, or choose another --voice.")
        return str(rows[0]["id"])
    found = next((row for row in rows if wanted in {row["id"], row["name"]}), None)
    if found is None:
        names = ", ".join(row["name"] for row in rows) or "none"
        fail(f"There is no voice called {wanted!r}. Yours: {names}.")
    return str(found["id"])


def _active_provider(client: httpx.Client) -> str:
    """Only its voices can be used now (product decision 1)."""
    answer = client.get("/api/languages")
    require_success(answer)
    return str(answer.json()["provider"])


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
