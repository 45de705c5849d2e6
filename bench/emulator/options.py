"""The emulator's command line."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from bench.emulator.account import MAX_VOICES


@dataclass(frozen=True)  # no slots: they would hide the defaults that the command line shows
class Options:
    """How one emulator behaves. Times in seconds; `speed` 1.0 is playback time; port 0 is any free one."""

    state: Path
    host: str = "127.0.0.1"
    port: int = 0
    rest_port: int = 0
    speed: float = 1.0
    first_audio_delay: float = 0.1
    idle_seconds: float = 60.0
    api_key: str = "sk-emulator"
    modal_seconds: float = 0.5
    max_voices: int = MAX_VOICES
    exit_with_parent: bool = False


def parse(argv: list[str]) -> Options:
    """Options from the command line; a mistake ends the process with code 2 and the usage."""
    parser = argparse.ArgumentParser(
        prog="python -m bench emulate",
        description="Stand-in for the Qwen realtime and customization APIs, and for Modal, that really speaks.",
        epilog="Example: python -m bench emulate --state /tmp/emulator --speed 10",
    )
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="folder for voices, jobs and bill")
    parser.add_argument("--host", default=Options.host, help="address to listen on")
    parser.add_argument("--port", type=int, default=Options.port, help="realtime port, 0 for a free one")
    parser.add_argument("--rest-port", type=int, default=Options.rest_port, help="REST port, 0 for a free one")
    parser.add_argument("--speed", type=_positive, default=Options.speed, help="1.0 is playback time")
    parser.add_argument("--first-audio-delay", type=_not_negative, default=Options.first_audio_delay, metavar="SECONDS")
    parser.add_argument(
        "--idle-seconds", type=_positive, default=Options.idle_seconds, help="a silent session ends after this"
    )
    parser.add_argument("--api-key", default=Options.api_key, help="the only key that is accepted")
    parser.add_argument(
        "--modal-seconds",
        type=_not_negative,
        default=Options.modal_seconds,
        metavar="SECONDS",
        help="how long a Modal job, or a design that outlives its request, takes",
    )
    parser.add_argument(
        "--max-voices", type=int, default=Options.max_voices, metavar="NUMBER", help="the account's voice quota"
    )
    parser.add_argument("--exit-with-parent", action="store_true", help="end when stdin is closed")
    return Options(**vars(parser.parse_args(argv)))


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be more than zero")
    return value


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("must not be negative")
    return value
