"""Every fault of the emulator against every way to a generation: what its user gets, what the rows say, what was tried.

The table it prints is checked in as docs/fault-matrix.md; `make report` writes it anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import anyio
import asyncpg
import httpx
import msgspec
import psutil
import pytest

from bench.emulator.faults import SCENARIOS, Fault
from bench.stack import LOG, Stack, running_stack
from gateway.auth import mint_token
from gateway.data_dir import Secrets
from tests.acceptance.client import READ_SECONDS, until
from tests.support.emulator import VC_MODEL, data_url, wav_recording
from tests.support.stack import LIMITS

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

DOCUMENT = Path(__file__).parents[2] / "docs" / "fault-matrix.md"

REWRITE = "UTTER_WRITE_REPORTS"
"""Set by `make report`: write the document instead of comparing with it."""

SPEED = 1.25
"""Times playback: half a second and more from the first audio to a fault in the middle, time enough to cancel."""

DEADLINES = {
    "UTTER_FIRST_AUDIO_SECONDS": "6",
    "UTTER_DELTA_GAP_SECONDS": "2",
    "UTTER_PING_INTERVAL_SECONDS": "0.2",
    "UTTER_PING_TIMEOUT_SECONDS": "1",
}
"""Short, so that a stall ends soon; long beside what a loaded machine makes of the rest."""

AT_A_TIME = 8
"""Cases side by side."""

TEXT = "The first sentence is short. The second one goes on for a little longer, so that there is time to break it."

FOR_ANY_VOICE = {Fault.WRONG_KEY, Fault.WRONG_REGION, Fault.MODEL_GONE, Fault.THROTTLED_UPGRADE}
"""Decided at the upgrade, before the vendor knows the voice: such cases run alone."""

FAULTS = [fault for fault in Fault if not SCENARIOS[fault].reference.startswith(("3", "v1 contract"))]
"""Those of the realtime socket. Section 3 of the protocol reference is the customization REST, and the v1 contract has
Modal's: tests/contract provokes both."""


@dataclass(frozen=True)
class Case:
    """One generation: `way` is how it is asked for, `fault` what goes wrong."""

    fault: Fault
    way: str
    user: UUID
    voice_id: UUID
    provider_voice: str


class Caller:
    """The user of one case at the HTTP API."""

    def __init__(self, stack: Stack, secret: str, case: Case) -> None:
        headers = {"Authorization": f"Bearer {mint_token(secret, case.user)}"}
        self.http = httpx.Client(base_url=stack.base_url, headers=headers, timeout=READ_SECONDS)
        self._body = {"voice_id": str(case.voice_id), "text": TEXT, "language": "English"}

    def stream(self) -> str:
        """v2 to its end."""
        with self.http.stream("POST", "/api/generate/stream", json=self._body) as answer:
            return self._outcome(answer)

    def task(self) -> str:
        """v1: nobody listens."""
        self._accepted()
        return "accepted"

    def late(self) -> str:
        """A listener that joins a v1 generation once it runs."""
        with self.http.stream("GET", f"/api/generations/{self._accepted()}/stream") as answer:
            return self._outcome(answer)

    def cancelled(self) -> str:
        """v2, cancelled at its first byte."""
        with self.http.stream("POST", "/api/generate/stream", json=self._body) as answer:
            if answer.status_code != httpx.codes.OK:
                return self._outcome(answer)
            pieces = answer.iter_raw()
            next(pieces)
            task = answer.headers["X-Utter-Task-Id"]
            cancel = self.http.post(f"/api/tasks/{task}/cancel")
            return f"cancel {cancel.status_code}, then {_rest(pieces)}"

    def rows(self) -> tuple[str, str]:
        """Id and status of the only generation, in its terminal state."""

        def ended() -> tuple[str, str] | None:
            row = self.http.get("/api/generations").json()["generations"][0]
            return (row["id"], row["status"]) if row["status"] not in ("pending", "processing") else None

        return until(ended)

    def _accepted(self) -> str:
        answer = self.http.post("/api/generate", json=self._body)
        answer.raise_for_status()
        generation: str = answer.json()["generation_id"]
        return generation

    def _outcome(self, answer: httpx.Response) -> str:
        if answer.status_code == httpx.codes.OK:
            return f"200, {_rest(answer.iter_raw())}"
        answer.read()
        assert set(answer.json()) == {"detail"}
        return f"{answer.status_code} {answer.headers.get('X-Utter-Error-Category', '')}".strip()


WAYS: dict[str, Callable[[Caller], str]] = {
    "v2 stream": Caller.stream,
    "v1 task": Caller.task,
    "late listener": Caller.late,
    "cancelled at the first byte": Caller.cancelled,
}


def _rest(pieces: Iterator[bytes]) -> str:
    try:
        for _ in pieces:
            pass
    except httpx.RemoteProtocolError:
        return "cut"
    return "whole"


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[Case, str]]:
    """What became of every case, after which the product is seen to hold no socket to its provider and to stop."""
    with running_stack(speed=SPEED, environment={**LIMITS, **DEADLINES}) as stack:
        cases = anyio.run(_prepare, stack)
        alone = [case for case in cases if case.fault in FOR_ANY_VOICE]
        beside = [case for case in cases if case.fault not in FOR_ANY_VOICE]
        with ThreadPoolExecutor(AT_A_TIME) as threads:
            found = dict(zip(beside, threads.map(lambda case: _run(stack, case), beside), strict=True))
        found |= {case: _run(stack, case) for case in alone}
        until(lambda: True if not _provider_sockets(stack) else None)
        yield found


def test_the_checked_in_matrix_is_what_happens(outcomes: dict[Case, str]) -> None:
    rendered = _render(outcomes)
    if os.environ.get(REWRITE):
        DOCUMENT.write_text(rendered, encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == rendered, "read the difference; `make report` writes it anew"


def test_nobody_waits_for_ever_and_no_row_is_left_open(outcomes: dict[Case, str]) -> None:
    assert len(outcomes) == len(FAULTS) * len(WAYS)
    assert all(outcome.rpartition("rows ")[2].split(",")[0] in _ENDS for outcome in outcomes.values())


_ENDS = ("completed", "failed", "cancelled")


async def _prepare(stack: Stack) -> list[Case]:
    """A user and a voice for each case: v1 allows a user one task at a time, and faults are ordered by voice."""
    connection = await asyncpg.connect(stack.admin_url)
    cases = []
    try:
        for fault in FAULTS:
            for way in WAYS:
                case = Case(fault, way, uuid4(), uuid4(), _clone(stack))
                await connection.execute("insert into auth.users (id) values ($1)", case.user)
                await connection.execute(
                    "insert into public.voices (id, user_id, name, source, tts_provider, provider_voice_id,"
                    " provider_target_model, provider_region, provider_voice_kind)"
                    " values ($1, $2, 'Ada', 'uploaded', 'qwen', $3, $4, 'intl', 'vc')",
                    *(case.voice_id, case.user, case.provider_voice, VC_MODEL),
                )
                cases.append(case)
    finally:
        await connection.close()
    return cases


def _run(stack: Stack, case: Case) -> str:
    secrets = msgspec.json.decode((stack.data_dir / "secrets.json").read_bytes(), type=Secrets)
    caller = Caller(stack, secrets.token_secret, case)
    with _ordered(stack, case):
        outcome, (generation, rows) = WAYS[case.way](caller), caller.rows()
    caller.http.close()
    tries = _connections_tried(stack, generation)
    return f"{outcome}; rows {rows}, {tries} tr{'y' if tries == 1 else 'ies'}"


def _connections_tried(stack: Stack, generation: str) -> int:
    """By the gateway's log: the emulator does not know whose an upgrade was that it refused."""
    lines = (stack.data_dir / LOG).read_text(encoding="utf-8").splitlines()
    return sum("provider.connect.started" in line and generation in line for line in lines)


@contextmanager
def _ordered(stack: Stack, case: Case) -> Iterator[None]:
    voice = "*" if case.fault in FOR_ANY_VOICE else case.provider_voice
    url = f"{stack.emulator_rest_url}/_emulator/faults"
    httpx.put(url, json={"voice": voice, "faults": [case.fault], "times": None}).raise_for_status()
    yield
    if voice == "*":
        httpx.delete(url).raise_for_status()


def _render(outcomes: dict[Case, str]) -> str:
    lines = [
        "# What each fault comes to",
        "",
        "Written by `tests/acceptance/test_fault_matrix.py`, which fails when this is not what happens; `make report`",
        "writes it anew. Each cell is a generation of its own through the real gateway: the HTTP outcome (`whole` is a",
        "clean end, `cut` one without), the state its rows ended in, and how often the provider was tried.",
        "",
        f"| fault | {' | '.join(WAYS)} |",
        f"|---|{'---|' * len(WAYS)}",
    ]
    cells = {(case.fault, case.way): outcome for case, outcome in outcomes.items()}
    for fault in FAULTS:
        row = " | ".join(cells[fault, way] for way in WAYS)
        lines.append(f"| `{fault.value}`: {SCENARIOS[fault].does} | {row} |")
    return "\n".join([*lines, ""])


def _provider_sockets(stack: Stack) -> list[object]:
    port = httpx.URL(stack.emulator_realtime_url).port
    gateway = psutil.Process(stack.pid)
    family = [gateway, *gateway.children(recursive=True)]
    return [
        connection
        for process in family
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_ESTABLISHED and connection.raddr.port == port
    ]


def _clone(stack: Stack) -> str:
    body = {
        "model": "qwen-voice-enrollment",
        "input": {
            "action": "create",
            "target_model": VC_MODEL,
            "preferred_name": "matrix",
            "audio": {"data": data_url(wav_recording())},
        },
    }
    headers = {"Authorization": f"Bearer {stack.emulator_key}"}
    url = f"{stack.emulator_rest_url}/api/v1/services/audio/tts/customization"
    answer = httpx.post(url, json=body, headers=headers)
    answer.raise_for_status()
    voice: str = answer.json()["output"]["voice"]
    return voice
