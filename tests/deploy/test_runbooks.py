"""Every command in the runbooks does what they say, and every failure has its line."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import msgspec
import pytest

from bench.stack import Stack, access_token, running_stack
from protocol.errors import Fault
from tests.support.cli import command
from tests.support.served import environment, serving
from tests.support.stack import SPEED

pytestmark = [pytest.mark.slow, pytest.mark.integration]

RUNBOOKS = Path(__file__).parents[2] / "docs" / "operations"

BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)

COMMAND_SECONDS = 60.0
"""Longest that somebody on call should wait for one of them; each takes a second or two."""


def commands() -> dict[str, str]:
    """Each command once, with the first page that has it."""
    found: dict[str, str] = {}
    for page in sorted(RUNBOOKS.glob("*.md")):
        for block in BLOCK.findall(page.read_text()):
            for line in filter(str.strip, block.splitlines()):
                found.setdefault(line, page.name)
    return found


@pytest.fixture(scope="module")
def shell() -> Iterator[dict[str, str]]:
    """The environment of somebody on call, beside a gateway that serves."""
    with running_stack(speed=SPEED) as stack, TemporaryDirectory(prefix="utter-oncall-") as name, ExitStack() as opened:
        more = {"UTTER_METRICS_BIND": "127.0.0.1:0", **modal_endpoints(stack)}
        served = opened.enter_context(serving(stack, Path(name), **more))
        (listening,) = served.until_logged("metrics.listening")
        tools = Path(name) / "bin"
        tools.mkdir()
        program, *arguments = command()
        (tools / "utter").write_text(f'#!/bin/sh\nexec "{program}" {" ".join(arguments)} "$@"\n')
        (tools / "utter").chmod(0o755)
        yield {
            **environment(stack, Path(name), **more),
            "BASE_URL": served.stack.base_url,
            "METRICS_URL": listening["url"],
            "OWNER_URL": stack.admin_url,
            "TOKEN": stack.token,
            "OTHER_TOKEN": access_token(stack.data_dir, user=uuid4()),
            "PATH": f"{tools}:{os.environ['PATH']}",
        }


def modal_endpoints(stack: Stack) -> dict[str, str]:
    """The standby lane."""
    emulator = msgspec.json.decode((stack.data_dir / "running.json").read_bytes())["emulator_modal_url"]
    jobs = {f"MODAL_JOB_{name.upper()}": f"{emulator}/{name}" for name in ("submit", "status", "result", "cancel")}
    return {**jobs, "MODAL_ENDPOINT_VOICE_DESIGN": f"{emulator}/design"}


@pytest.mark.parametrize(("line", "page"), commands().items())
def test_a_command_of_the_runbooks(shell: dict[str, str], line: str, page: str) -> None:
    bash = ["bash", "-o", "pipefail", "-c", line]
    done = subprocess.run(bash, env=shell, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS)
    assert done.returncode == 0, f"{page}: {done.stdout}\n{done.stderr}"
    assert done.stdout.strip() or done.stderr.strip(), f"{page}: it says nothing"


def test_every_fault_has_a_line() -> None:
    named = set(re.findall(r"`(\w+)`", (RUNBOOKS / "failure-signatures.md").read_text()))
    assert {fault.value for fault in Fault} <= named


def test_every_page_can_be_found_from_the_first() -> None:
    linked = set(re.findall(r"\(([a-z-]+\.md)\)", (RUNBOOKS / "README.md").read_text()))
    assert linked == {page.name for page in RUNBOOKS.glob("*.md")} - {"README.md"}


def test_no_link_leads_nowhere() -> None:
    for page in RUNBOOKS.glob("*.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
