"""The `utter` command as a person runs it: its words, its streams, its exit status."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from typer.testing import CliRunner

from gateway.cli import main

ENDS_SECONDS = 30.0
"""Longest run of a command in a test."""

DATABASE_URL = "postgresql://gateway:hunter2-password@127.0.0.1:1/utter"
"""Of a database that is not there."""

STAGING = {
    "UTTER_ENV": "staging",
    "DATABASE_URL": DATABASE_URL,
    "DASHSCOPE_API_KEY": "sk-of-the-account",
    "SUPABASE_JWT_SECRET": "jwt-secret-of-at-least-thirty-two-bytes",
    "UTTER_SIGNING_SECRET": "signing-secret-of-at-least-thirty-two-bytes",
}
"""Settings that are complete."""

_NOT_OURS = dict.fromkeys([*STAGING, "UTTER_TOKEN", "TTS_PROVIDER_MODE"])


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that ended."""

    exit_code: int
    stdout: str
    stderr: str


def utter(*arguments: object, environment: Mapping[str, str] | None = None) -> Ran:
    """Run it in this process, without the settings of the shell around the tests.

    Not for what sets up logging, which is the whole process's.
    """
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(main, words, env={**_NOT_OURS, **(environment or {})})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


def utter_alone(*arguments: object, environment: Mapping[str, str]) -> Ran:
    """The same as a process of its own."""
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
    done = subprocess.run(
        command(*arguments),
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=ENDS_SECONDS,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def command(*arguments: object) -> list[str]:
    """Its command line."""
    return [sys.executable, "-m", "gateway.cli", *(str(argument) for argument in arguments)]


def refusal(ran: Ran) -> str:
    """What a command said that ended with exit status 1: on standard error, without a traceback."""
    assert ran.exit_code == 1, ran
    assert ran.stdout == ""
    assert "Traceback" not in ran.stderr
    return ran.stderr


def plain(text: str) -> str:
    """Without boxes and line breaks, which depend on the terminal's width."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())
