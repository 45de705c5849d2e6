"""`python -m bench cancel`: how soon the provider's socket is closed when nobody wants the speech any more.

Three ways lead there: `POST /api/tasks/:id/cancel`, `DELETE /api/tasks/:id`, and a listener that leaves a stream begun
with `on_disconnect: cancel`. They take turns in one run. Each time counts from just before the request (or the close)
to the moment the emulator sees its socket closed, on the clock that all processes of a machine share.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import track

from bench.http_reader import Reader, request_bytes
from bench.live_streams import address_of
from bench.stack import Stack, running_stack
from bench.statistics import summarize, summary_table
from bench.texts import english

END_SECONDS = 5.0
"""Longest wait for an end; later is a failure, not a figure."""

POLL_SECONDS = 0.02

LISTEN_SECONDS = 0.05
"""What is heard before the end is asked for, so that the stream is well under way."""

WAYS = ("cancel", "delete", "disconnect")


def main(argv: list[str]) -> int:
    """Print the table, write JSON when asked to. Exit status 0."""
    parser = argparse.ArgumentParser(prog="python -m bench cancel", description=__doc__)
    parser.add_argument("--runs", type=int, default=40, help="of each way (default 40)")
    parser.add_argument("--characters", type=int, default=400, help="length of the text (default 400)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args(argv)
    limits = {"QWEN_STARTS_PER_SECOND": "1000", "QWEN_STARTS_PER_MINUTE": "60000"}
    with running_stack(environment=limits) as stack:
        figures = asyncio.run(_measure(stack, options))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))
    return 0


async def _measure(stack: Stack, options: argparse.Namespace) -> dict[str, Any]:
    console = Console()
    voice = stack.voices()[0]["id"]
    ms: dict[str, list[float]] = {way: [] for way in WAYS}
    async with httpx.AsyncClient(base_url=stack.base_url, headers=stack.headers) as client:
        for number in track(range(-1, options.runs), "measuring", console=Console(stderr=True)):
            for way in WAYS:
                # The end of the text tells its session from all others; the emulator renders what comes before once.
                text = english(options.characters) + f" {way} {number + 1}"
                took = await _once(stack, client, voice, text, way)
                if number >= 0:  # the round before the first one warms up
                    ms[way].append(took)
    rows = {way: summarize(found) for way, found in ms.items()}
    console.print(summary_table("asked for to the provider's socket closed", "ms", rows))
    return {way: asdict(row) for way, row in rows.items()}


async def _once(stack: Stack, client: httpx.AsyncClient, voice: str, text: str, way: str) -> float:
    """Milliseconds. Raises RuntimeError when the stream or its end was refused, TimeoutError when there was no end."""
    body = {"voice_id": voice, "text": text, "language": "English"}
    if way == "disconnect":
        body["on_disconnect"] = "cancel"
    reader = Reader(request_bytes("POST", "/api/generate/stream", stack.headers, json.dumps(body).encode()))
    await asyncio.get_running_loop().create_connection(lambda: reader, *address_of(stack))
    await reader.answered
    if reader.status != httpx.codes.OK:
        raise RuntimeError(f"the stream was answered {reader.status}")
    await asyncio.sleep(LISTEN_SECONDS)
    began = time.monotonic_ns()
    await _end(client, reader, way)
    ended = await _ended(stack, text)
    reader.leave()
    return (ended - began) / 1e6


async def _end(client: httpx.AsyncClient, reader: Reader, way: str) -> None:
    task = f"/api/tasks/{reader.headers['x-utter-task-id']}"
    match way:
        case "cancel":
            (await client.post(f"{task}/cancel")).raise_for_status()
        case "delete":
            (await client.delete(task)).raise_for_status()
        case _:
            reader.leave()
            await reader.over  # only then is the socket really closed


async def _ended(stack: Stack, text: str) -> int:
    """When the emulator's session of this text saw its client leave (`time.monotonic_ns`)."""
    wanted = hashlib.sha256(text.encode()).hexdigest()
    async with asyncio.timeout(END_SECONDS):
        while True:
            for row in stack.sessions():
                if row["text_sha256"] == wanted and row["ended_monotonic_ns"] is not None:
                    if row["outcome"] != "client_closed":
                        raise RuntimeError(f"the session ended as {row['outcome']}")
                    return int(row["ended_monotonic_ns"])
            await asyncio.sleep(POLL_SECONDS)
