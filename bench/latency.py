"""`python -m bench latency`: what the gateway adds between the provider's first delta and the listener's first byte.

Each run speaks the same text twice, once through the gateway and once straight from the emulator, in alternating
order on the same machine, so that noise falls on both sides. The emulator stamps its first delta on the clock that
all processes of a machine share; both clients stamp their first audio byte on it too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
from rich.console import Console
from rich.progress import track
from websockets.asyncio.client import connect

from bench.stack import Stack, running_stack
from bench.statistics import Summary, summarize, summary_table
from bench.texts import english

READ_SECONDS = 60.0
"""Longest silence on a stream before the run is called failed."""

MAX_MESSAGE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Run:
    """One utterance. `first_audio_ms` counts from the request; `behind_provider_ms` from the emulator's first delta
    to the listener's first byte."""

    first_audio_ms: float
    behind_provider_ms: float


def main(argv: list[str]) -> int:
    """Print the table, write JSON when asked to. Exit status 0."""
    parser = argparse.ArgumentParser(prog="python -m bench latency", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="paired runs (default 20)")
    parser.add_argument("--characters", type=int, default=2000, help="length of the text (default 2000)")
    parser.add_argument("--speed", type=float, default=1.0, help="emulator pace, 1.0 being playback (default)")
    parser.add_argument("--first-audio-delay", type=float, default=0.1, help="the emulator's own delay, seconds")
    parser.add_argument("--whole", action="store_true", help="also play one text to its end, for the last byte")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args(argv)
    limits = {"QWEN_STARTS_PER_SECOND": "1000", "QWEN_STARTS_PER_MINUTE": "60000"}
    with running_stack(speed=options.speed, first_audio_delay=options.first_audio_delay, environment=limits) as stack:
        figures = asyncio.run(_measure(stack, options))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))
    return 0


async def _measure(stack: Stack, options: argparse.Namespace) -> dict[str, Any]:
    console = Console()
    text = english(options.characters)
    voice = stack.voices()[0]
    sides: dict[str, Callable[[], Awaitable[Run]]] = {
        "gateway": lambda: _through_gateway(stack, voice["id"], text),
        "emulator": lambda: _straight(stack, voice["provider_voice_id"], voice["provider_target_model"], text),
    }
    for side in sides.values():
        await side()  # warm-up: first imports, the emulator renders and caches the text
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    for number in track(range(options.runs), "measuring", console=Console(stderr=True)):
        for name in sorted(sides, reverse=bool(number % 2)):
            runs[name].append(await sides[name]())
    first = {name: summarize([run.first_audio_ms for run in found]) for name, found in runs.items()}
    behind = {name: summarize([run.behind_provider_ms for run in found]) for name, found in runs.items()}
    added = summarize(_paired(runs["gateway"], runs["emulator"]))
    console.print(summary_table("request to first audio byte", "ms", {**first, "gateway minus emulator": added}))
    console.print(summary_table("emulator's first delta to the listener's first byte", "ms", behind))
    console.print(
        f"{len(text)} characters at {options.speed} times playback, "
        f"the emulator waits {options.first_audio_delay * 1000:.0f} ms before its first delta"
    )
    figures = _figures(first_audio=first, behind_provider=behind, added={"gateway": added})
    if options.whole:
        figures["whole"] = await _whole(stack, voice["id"], text)
        console.print(
            "one text to its end: {first_s:.2f} s to the first byte, {last_s:.2f} s to the last".format_map(
                figures["whole"]
            )
        )
    return figures


def _paired(left: list[Run], right: list[Run]) -> list[float]:
    return [one.first_audio_ms - other.first_audio_ms for one, other in zip(left, right, strict=True)]


def _figures(**groups: dict[str, Summary]) -> dict[str, Any]:
    return {group: {name: asdict(row) for name, row in rows.items()} for group, rows in groups.items()}


async def _through_gateway(stack: Stack, voice: str, text: str) -> Run:
    timeout = httpx.Timeout(READ_SECONDS)
    async with httpx.AsyncClient(base_url=stack.base_url, headers=stack.headers, timeout=timeout) as client:
        began = time.monotonic_ns()
        body = {"voice_id": voice, "text": text, "language": "English"}
        async with client.stream("POST", "/api/generate/stream", json=body) as response:
            response.raise_for_status()
            await anext(response.aiter_raw())
            arrived = time.monotonic_ns()
        await client.post(f"/api/tasks/{response.headers['X-Utter-Task-Id']}/cancel")
    return _run(stack, began, arrived)


async def _straight(stack: Stack, voice: str, model: str, text: str) -> Run:
    url = f"{stack.emulator_realtime_url}?model={model}"
    headers = {"Authorization": f"Bearer {stack.emulator_key}"}
    session = {
        "voice": voice,
        "mode": "server_commit",
        "response_format": "mp3",
        "sample_rate": 24000,
        "language_type": "English",
    }
    flight = (
        {"type": "session.update", "event_id": "event_1", "session": session},
        {"type": "input_text_buffer.append", "event_id": "event_2", "text": text},
        {"type": "session.finish", "event_id": "event_3"},
    )
    began = time.monotonic_ns()
    async with connect(url, additional_headers=headers, compression=None, max_size=MAX_MESSAGE_BYTES) as socket:
        await socket.recv()
        for event in flight:
            await socket.send(json.dumps(event))
        while msgspec.json.decode(await socket.recv())["type"] != "response.audio.delta":
            pass
        arrived = time.monotonic_ns()
    return _run(stack, began, arrived)


def _run(stack: Stack, began: int, arrived: int) -> Run:
    session = max(stack.sessions(), key=lambda row: row["first_delta_monotonic_ns"] or 0)
    return Run((arrived - began) / 1e6, (arrived - session["first_delta_monotonic_ns"]) / 1e6)


async def _whole(stack: Stack, voice: str, text: str) -> dict[str, float]:
    async with httpx.AsyncClient(base_url=stack.base_url, headers=stack.headers, timeout=READ_SECONDS) as client:
        began = time.monotonic()
        first = 0.0
        body = {"voice_id": voice, "text": text, "language": "English"}
        async with client.stream("POST", "/api/generate/stream", json=body) as response:
            async for _ in response.aiter_raw():
                first = first or time.monotonic() - began
    return {"first_s": first, "last_s": time.monotonic() - began}
