"""Dispatcher of the bench commands. A command is loaded only when it is called: the emulator needs no benchmark."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True, slots=True)
class Command:
    """A module with `main(argv) -> int`, the exit status."""

    module: str
    does: str


COMMANDS = {
    "emulate": Command("bench.emulator.server", "stand in for the speech provider, with real speech"),
    "source": Command("bench.source.server", "the same wire, from audio made once: to load a gateway with"),
    "record": Command("bench.emulator.record", "synthesize a recording to clone a voice from"),
    "latency": Command("bench.latency", "time to first audio and added latency, against the bare emulator"),
    "capacity": Command("bench.capacity", "how many streams at once, and the memory they take"),
    "peers": Command("bench.compare", "the gateway, its peers and the provider itself, at the same work in one run"),
    "growth": Command("bench.growth", "more and more streams at real pace, and up to which number one core does"),
    "guard": Command("bench.guard", "whether the gateway has become slower against a peer, for CI"),
    "readers": Command("bench.readers", "a crowd of listeners, stalled ones among them, beside live streams"),
    "page": Command("bench.page", "from the first byte to the first sound, in a real browser"),
    "soak": Command("bench.soak", "thousands of generations of every kind, and whether anything grows"),
    "hostile": Command("bench.hostile", "streams at real pace among thousands of hostile connections"),
    "websockets": Command("bench.websocket_clients", "compare WebSocket client libraries"),
}


def usage() -> str:
    """The help text."""
    rows = [f"  {name:<12}{command.does}" for name, command in COMMANDS.items()]
    return "\n".join(["usage: python -m bench COMMAND [options]", "", *rows, "", "COMMAND --help says more."])


def main(argv: list[str]) -> int:
    """Run one command; 2 for none or an unknown one."""
    name, *rest = argv or [""]
    if name in {"-h", "--help"}:
        print(usage())
        return 0
    command = COMMANDS.get(name)
    if command is None:
        print(usage(), file=sys.stderr)
        return 2
    run: Callable[[list[str]], int] = import_module(command.module).main
    return run(rest)
