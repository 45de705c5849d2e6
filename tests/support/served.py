"""`utter serve` as a process beside a running product, whose database, objects, emulator and users it shares.

It runs as staging does, so that its log can be read by a program.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import psutil

from bench.stack import Stack
from gateway.data_dir import DataDir
from storage.embedded import LOGIN
from tests.acceptance.client import Client, until
from tests.support.cli import command
from tests.support.stack import LIMITS

ENDS_SECONDS = 30.0
"""Longest wait for it to end."""


class Served:
    """The running command. `log` is what all its processes wrote to standard error."""

    def __init__(self, stack: Stack, process: subprocess.Popen[bytes], log: Path) -> None:
        self.stack = stack
        self.process = process
        self.log = log

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        """The log, or its lines about one event."""
        whole = self.log.read_bytes().rpartition(b"\n")[0].splitlines()
        lines: list[dict[str, Any]] = [msgspec.json.decode(line) for line in whole if line.startswith(b"{")]
        return [line for line in lines if event in ("", line["event"])]

    def until_logged(self, event: str, times: int = 1) -> list[dict[str, Any]]:
        """The lines about an event, once there are so many."""
        return until(lambda: self._logged(event, times))

    def _logged(self, event: str, times: int) -> list[dict[str, Any]] | None:
        assert self.process.poll() is None, f"it ended:\n{self.log.read_text()}"
        found = self.lines(event)
        return found if len(found) >= times else None

    def workers(self) -> dict[int, psutil.Process]:
        """Those that serve now, by the number of their place; also one that drains still, where it is the last."""
        found = {}
        for line in self.lines("server.listening"):
            if psutil.pid_exists(line["pid"]):
                found[line["worker"]] = psutil.Process(line["pid"])
        return found

    def family(self) -> list[psutil.Process]:
        """All its processes."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def signal(self, number: signal.Signals) -> None:
        """As Ctrl-C, or whoever stops it, does: to its whole process group."""
        os.killpg(self.process.pid, number)

    def ends(self, status: int = 0) -> None:
        """Wait for its end."""
        assert self.process.wait(ENDS_SECONDS) == status, self.log.read_text()

    def client(self) -> closing[Client]:
        """The demo user, here."""
        return closing(Client(self.stack))


def environment(stack: Stack, folder: Path, **more: str) -> dict[str, str]:
    """Settings of a staging gateway that shares everything with the product but its port."""
    secrets = DataDir(stack.data_dir).secrets()
    return {
        **os.environ,
        **LIMITS,
        "UTTER_ENV": "staging",
        "TTS_PROVIDER_MODE": "qwen",
        "DATABASE_URL": stack.admin_url.replace("//postgres@", f"//{LOGIN}@"),
        "DATABASE_MAX_CONNECTIONS": "4",
        "OBJECTS_URL": str(DataDir(stack.data_dir).objects),
        "UTTER_DATA_DIR": str(folder),
        "SUPABASE_JWT_SECRET": secrets.token_secret,
        "UTTER_SIGNING_SECRET": secrets.signing_secret,
        "DASHSCOPE_API_KEY": secrets.emulator_key,
        "DASHSCOPE_BASE_URL": stack.emulator_rest_url,
        "DASHSCOPE_REALTIME_URL": stack.emulator_realtime_url,
        "UTTER_BIND_PORT": "0",
        **more,
    }


@contextmanager
def serving(stack: Stack, folder: Path, *arguments: object, **more: str) -> Iterator[Served]:
    """`utter serve` for the length of the body, ready when it begins. Nothing of it is left afterwards."""
    log = folder / "serve.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command("serve", *arguments), stderr=output, env=environment(stack, folder, **more), start_new_session=True
        )
    served = Served(stack, process, log)
    try:
        # One process alone has nobody to tell that all are ready.
        served.until_logged("workers.ready" if "--workers" in arguments else "server.listening")
        url = served.lines("server.listening")[0]["url"]
        served.stack = replace(stack, base_url=url)
        yield served
    finally:
        _end(served)


def _end(served: Served) -> None:
    workers = (line["pid"] for line in served.lines("server.listening") if "pid" in line)  # one process alone has none
    left = [psutil.Process(pid) for pid in workers if psutil.pid_exists(pid)]
    if served.process.poll() is None:
        served.process.kill()
        served.process.wait()
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=ENDS_SECONDS)
