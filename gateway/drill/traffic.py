"""Live traffic: people who use the deployment all the time, and whether a flip cost any of them anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import httpx

from gateway.drill.cast import Person
from gateway.drill.work import SETTLE_SECONDS, SHORT, honest, same_audio
from gateway.settings import ProviderMode
from gateway.visitor import ENDED, POLL_SECONDS, Json, Order, Surprise, order_of, require

PAUSE_SECONDS = 0.3
"""Between two generations of one person."""

AGAIN = frozenset({httpx.codes.CONFLICT, httpx.codes.SERVICE_UNAVAILABLE})
"""Answers after which a client looks again what the deployment can do now: 503 says when to come back, and 409 that the
mode has just changed."""


@dataclass
class Traffic:
    """`counts` says how generations ended; `lost` has a sentence for each that did not end as it may."""

    people: list[Person]
    counts: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    _stopping: bool = False

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """For the time of the body; who is served then is served to the end."""
        async with anyio.create_task_group() as tasks:
            for number, person in enumerate(self.people):
                tasks.start_soon(self._use, person, bool(number % 2))
            yield
            self._stopping = True

    async def _use(self, person: Person, prefers_streams: bool) -> None:
        while not self._stopping:
            try:
                self.counts[await _once(person, prefers_streams=prefers_streams)] += 1
            except Surprise as surprise:
                self.lost.append(str(surprise))
            await anyio.sleep(PAUSE_SECONDS)


async def _once(person: Person, *, prefers_streams: bool) -> str:
    """One generation, as the page makes it; how it ended. Raises `Surprise` for an end that it may not have."""
    able = await person.user.now.languages()
    mode = ProviderMode(able["provider"])
    if prefers_streams and able["capabilities"]["supports_generate_stream"]:
        return await _stream(person)
    body = {"voice_id": person.voice(mode), "text": SHORT}
    answer = await person.user.now.ask("POST", "/api/generate", json=body)
    if answer.status_code in AGAIN:
        return "asked to come back"
    accepted = require(answer).json()
    return await _ended(person, Order(accepted["generation_id"], accepted["task_id"]), None)


async def _stream(person: Person) -> str:
    """A stream that breaks off is looked for by its task, as the page does."""
    order, audio = None, b""
    try:
        async with person.user.now.streaming(person.voice(ProviderMode.QWEN), SHORT) as response:
            if response.status_code in AGAIN:
                await response.aread()
                return "asked to come back"
            require(response)
            order = order_of(response)
            audio = b"".join([piece async for piece in response.aiter_raw()])
    except Surprise:
        if order is None:
            raise
        return await _ended(person, order, None)
    return await _ended(person, order, audio)


async def _polled(person: Person, task_id: str) -> Json:
    """The task when it has ended, asked for wherever the front is at the time. Raises `Surprise`."""
    with anyio.move_on_after(SETTLE_SECONDS):
        while (task := await person.user.now.task(task_id))["status"] not in ENDED:  # noqa: ASYNC110 - as clients do
            await anyio.sleep(POLL_SECONDS)
        return task
    raise Surprise(f"The task {task_id} did not end within {SETTLE_SECONDS:.0f} s.")


async def _ended(person: Person, order: Order, heard: bytes | None) -> str:
    task = await _polled(person, order.task_id)
    if task["status"] == "failed":
        honest(task)
    elif heard is not None:
        same_audio(heard, task)
    return str(task["status"])
