"""What the soak asks for: one generation after the other, of every kind there is, each with the end it must have."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, cast
from uuid import uuid4

import httpx

from bench.texts import english

READ_SECONDS = 120.0
"""Longest silence of an answer before it counts as broken."""

END_SECONDS = 120.0
"""How long a generation may take to say how it ended."""

POLL_SECONDS = 0.1

TEXTS = 24
"""Different texts: the emulator renders each once, so that it is the gateway that is soaked."""

CHARACTERS = 120
"""Of a text: 8 s of speech."""

LONG_CHARACTERS = 1200
"""Of one that is to be cancelled before it has been spoken."""


HEARD = "stream, heard to its end"
LEFT = "stream, left"
CANCELLED = "stream, cancelled"
REPEATED = "stream, repeated with its key"
POLLED = "task, polled"
HEARD_LATE = "task, heard late"
FAILED = "task, failed by the provider"
SHARES = {HEARD: 7, LEFT: 2, CANCELLED: 2, REPEATED: 1, POLLED: 5, HEARD_LATE: 2, FAILED: 1}
"""How many of twenty are of a kind."""

FAULT = "arrears"
"""What makes a generation fail: nothing that is tried again."""

DESIGN = {"text": english(80), "language": "English", "instruct": "An unhurried narrator who does not tire."}


class UnexpectedEnd(Exception):
    """A generation did not end as its kind must. The message says how."""


class Soaker:
    """Asks as a user of its own, who may have one task at a time. Made by `new_user`."""

    def __init__(self, client: httpx.AsyncClient, emulator: httpx.AsyncClient, voice: dict[str, Any]) -> None:
        self._client = client
        self._emulator = emulator
        self._voice = voice["id"]
        self._provider_voice = voice["provider_voice_id"]

    @classmethod
    async def new_user(cls, client: httpx.AsyncClient, emulator: httpx.AsyncClient) -> Soaker:
        """Design a voice for whoever `client` signs in. Raises httpx.HTTPStatusError, TimeoutError, UnexpectedEnd."""
        preview = await client.post("/api/voices/design/preview", json=DESIGN)
        task = preview.raise_for_status().json()["task_id"]
        await ended(client, task, "completed")
        form = {name: (None, value) for name, value in {**DESIGN, "name": "Soaked", "task_id": task}.items()}
        (await client.post("/api/voices/design", files=form)).raise_for_status()
        (voice,) = (await client.get("/api/voices")).raise_for_status().json()["voices"]
        return cls(client, emulator, voice)

    async def ask(self, kind: str, number: int) -> None:
        """One generation of `SHARES`, to its end. Raises UnexpectedEnd, httpx.HTTPError, TimeoutError."""
        asks: dict[str, Callable[[int], Awaitable[None]]] = {
            HEARD: self._heard,
            LEFT: self._left,
            CANCELLED: self._cancelled,
            REPEATED: self._repeated,
            POLLED: self._polled,
            HEARD_LATE: self._heard_late,
            FAILED: self._failed,
        }
        await asks[kind](number)

    async def _heard(self, number: int) -> None:
        task, audio = await self._stream(number)
        await self._stored(task, audio)

    async def _left(self, number: int) -> None:
        task, _ = await self._stream(number, leave=True)
        await ended(self._client, task, "completed")

    async def _cancelled(self, number: int) -> None:
        task, _ = await self._stream(number, LONG_CHARACTERS, leave=True, before_leaving=self._cancel)
        await ended(self._client, task, "cancelled")

    async def _repeated(self, number: int) -> None:
        key = {"Idempotency-Key": str(uuid4())}
        both = await asyncio.gather(self._stream(number, headers=key), self._stream(number, headers=key))
        if both[0] != both[1]:
            raise UnexpectedEnd("a repeated request got another generation")
        await self._stored(*both[0])

    async def _polled(self, number: int) -> None:
        posted = await self._post(number)
        await ended(self._client, posted["task_id"], "completed")

    async def _heard_late(self, number: int) -> None:
        posted = await self._post(number)
        answer = await self._client.get(f"/api/generations/{posted['generation_id']}/stream", follow_redirects=True)
        if answer.status_code != httpx.codes.OK:
            raise UnexpectedEnd(f"a late listener was answered {answer.status_code}: {answer.text}")
        await self._stored(posted["task_id"], answer.content)

    async def _failed(self, number: int) -> None:
        order = {"voice": self._provider_voice, "faults": [FAULT], "times": 1}
        (await self._emulator.put("/_emulator/faults", json=order)).raise_for_status()
        posted = await self._post(number)
        await ended(self._client, posted["task_id"], "failed")

    async def _post(self, number: int) -> dict[str, Any]:
        answer = await self._client.post("/api/generate", json=self._body(number))
        if answer.status_code != httpx.codes.OK:
            raise UnexpectedEnd(f"a task was answered {answer.status_code}: {answer.text}")
        posted: dict[str, Any] = answer.json()
        return posted

    async def _stream(
        self,
        number: int,
        characters: int = CHARACTERS,
        *,
        leave: bool = False,
        before_leaving: Callable[[str], Awaitable[None]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[str, bytes]:
        """Task and audio of a stream. With `leave` until its first piece, and what comes before leaving."""
        body, audio = self._body(number, characters), bytearray()
        async with self._client.stream("POST", "/api/generate/stream", json=body, headers=headers) as answer:
            if answer.status_code != httpx.codes.OK:
                raise UnexpectedEnd(f"a stream was answered {answer.status_code}: {(await answer.aread()).decode()}")
            task = answer.headers["X-Utter-Task-Id"]
            async with aclosing(cast("AsyncGenerator[bytes]", answer.aiter_raw())) as pieces:
                async for piece in pieces:
                    audio += piece
                    if leave:
                        break
            if before_leaving is not None:
                await before_leaving(task)
        return task, bytes(audio)

    def _body(self, number: int, characters: int = CHARACTERS) -> dict[str, str]:
        # What differs comes last: the emulator renders all the rest once.
        return {"voice_id": self._voice, "text": f"{english(characters)} {number % TEXTS}.", "language": "English"}

    async def _cancel(self, task: str) -> None:
        answer = await self._client.post(f"/api/tasks/{task}/cancel")
        if answer.status_code != httpx.codes.OK:
            raise UnexpectedEnd(f"a cancel was answered {answer.status_code}: {answer.text}")

    async def _stored(self, task: str, audio: bytes) -> None:
        row = await ended(self._client, task, "completed")
        if row["result"]["audio_sha256"] != hashlib.sha256(audio).hexdigest():
            raise UnexpectedEnd(f"{len(audio)} bytes were heard, and others were stored")


async def ended(client: httpx.AsyncClient, task: str, status: str) -> dict[str, Any]:
    """The task's last row. Raises UnexpectedEnd where it has another status, TimeoutError where it has no end."""
    async with asyncio.timeout(END_SECONDS):
        while True:
            row: dict[str, Any] = (await client.get(f"/api/tasks/{task}")).raise_for_status().json()
            if row["status"] not in ("pending", "processing"):
                break
            await asyncio.sleep(POLL_SECONDS)
    if row["status"] != status:
        raise UnexpectedEnd(f"a task ended as {row['status']} instead of {status}: {row.get('error')}")
    return row
