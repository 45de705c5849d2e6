"""Work that is in flight when a flip comes, and how each kind of it has to end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
import httpx
from anyio.abc import TaskGroup

from gateway.drill.cast import Cast, Person
from gateway.drill.site import Site
from gateway.settings import ProviderMode
from gateway.visitor import ENDED, Json, Order, Surprise, order_of, require, sha256

SENTENCE = "Make yourself comfortable, for the story wants to be told from its beginning to its very end. "

SHORT = SENTENCE
"""Some 6 s of speech: done within any drain."""

MIDDLE = (SENTENCE * 3).strip()
"""Some 20 s of speech, one second of the emulator's: begun before a flip, and done within its drain."""

LONG = (SENTENCE * 20).strip()
"""Two minutes of speech, over six seconds of the emulator's: not done when the drain is over."""

PREVIEW = "A warm, unhurried narrator with a low voice."

SETTLE_SECONDS = 30.0
"""Longest wait for work that was in flight: a lease, a take-over, and a long text from its beginning."""


async def nothing() -> None:
    """Most work is left alone."""


@dataclass(slots=True)
class Work:
    """One thing under way. `settle` waits for its end and gives words for it; it raises `Surprise` when it ended
    otherwise than it must. `interfere` is called once users are led to the new process, while the old one works on."""

    name: str
    task_id: str
    person: Person
    settle: Callable[[], Awaitable[str]]
    interfere: Callable[[], Awaitable[None]] = nothing


@dataclass(slots=True)
class _Listener:
    """Somebody who listens to a stream while the flip comes."""

    audio: bytearray = field(default_factory=bytearray)
    order: Order | None = None
    heard: anyio.Event = field(default_factory=anyio.Event)
    over: anyio.Event = field(default_factory=anyio.Event)
    broken: bool = False

    @property
    def task_id(self) -> str:
        """Of what is heard. Raises `Surprise` when it did not begin."""
        if self.order is None:
            raise Surprise("A stream that was to be in flight did not begin.")
        return self.order.task_id


async def begin(site: Site, mode: ProviderMode, cast: Cast, tasks: TaskGroup) -> list[Work]:
    """Work at the front in this mode, all of it under way when this returns. Raises `Surprise`."""
    return await (_at_qwen(cast, tasks) if mode is ProviderMode.QWEN else _at_modal(site, cast))


async def still_running(works: list[Work], base_url: str) -> int:
    """How many of them are not over, as the gateway that began them says."""
    states = [await work.person.user.at(base_url).task(work.task_id) for work in works]
    return sum(state["status"] not in ENDED for state in states)


async def _at_qwen(cast: Cast, tasks: TaskGroup) -> list[Work]:
    """What takes longest is begun first; what is to be done within the drain, last."""
    mode = ProviderMode.QWEN
    first, second, third = cast.hands
    preview = await first.user.now.preview(SHORT.strip(), PREVIEW)
    cut = await _listen(cast.owner, LONG, tasks)
    long = await second.user.now.generate(second.voice(mode), LONG)
    doomed = _Doomed(third, await third.user.now.generate(third.voice(mode), LONG))
    short = await first.user.now.generate(first.voice(mode), SHORT)
    heard = await _listen(cast.owner, MIDDLE, tasks)
    return [
        doomed.work,
        Work("a stream is heard to its end", heard.task_id, cast.owner, lambda: _whole(cast.owner, heard)),
        Work("a stream past the drain ends honestly", cut.task_id, cast.owner, lambda: _cut(cast.owner, cut)),
        Work("a task ends in time", short.task_id, first, lambda: played(first, short)),
        Work("a task past the drain is made anyway", long.task_id, second, lambda: played(second, long)),
        Work("a preview ends honestly", preview, first, lambda: _preview(first, preview)),
    ]


async def _at_modal(site: Site, cast: Cast) -> list[Work]:
    mode = ProviderMode.MODAL
    first, second, third = cast.hands
    await site.order_faults("modal:design", "modal_design_303")
    preview = await third.user.now.preview(SHORT.strip(), PREVIEW)
    await third.user.now.task(preview)  # the first look begins it (v1 contract 2.3)
    job = await first.user.now.generate(first.voice(mode), SHORT)
    doomed = _Doomed(second, await second.user.now.generate(second.voice(mode), SHORT))
    return [
        doomed.work,
        Work("a job at Modal is polled on", job.task_id, first, lambda: played(first, job)),
        Work("a preview ends honestly", preview, third, lambda: _preview(third, preview)),
    ]


@dataclass(slots=True)
class _Doomed:
    """A task that its user cancels at the new process, while the old one works on it."""

    person: Person
    order: Order
    refused: Surprise | None = None

    @property
    def work(self) -> Work:
        return Work(
            "a task is cancelled by the new process", self.order.task_id, self.person, self._settle, self._cancel
        )

    async def _cancel(self) -> None:
        try:
            await self.person.user.now.cancel(self.order.task_id)
        except Surprise as surprise:
            self.refused = surprise

    async def _settle(self) -> str:
        if self.refused is not None:
            raise self.refused
        task = await self.person.user.now.ended(self.order.task_id, seconds=SETTLE_SECONDS)
        if task["status"] != "cancelled":
            raise Surprise(f"It was cancelled, and ended as {task['status']}.")
        return "Its task says so."


async def _listen(person: Person, text: str, tasks: TaskGroup) -> _Listener:
    """Somebody who has begun to hear `text`."""
    listener = _Listener()
    tasks.start_soon(_hear, person, text, listener)
    await listener.heard.wait()
    return listener


async def _hear(person: Person, text: str, listener: _Listener) -> None:
    try:
        async with person.user.now.streaming(person.voice(ProviderMode.QWEN), text) as response:
            if response.status_code != httpx.codes.OK:
                await response.aread()
                require(response)
            listener.order = order_of(response)
            async for piece in response.aiter_raw():
                listener.audio += piece
                listener.heard.set()
    except Surprise:
        listener.broken = True
    finally:
        listener.heard.set()
        listener.over.set()


async def _whole(person: Person, listener: _Listener) -> str:
    await _over(listener)
    if listener.broken:
        raise Surprise("The stream broke off, though the drain left time for the rest of it.")
    task = await person.user.now.completed(listener.task_id, seconds=SETTLE_SECONDS)
    return f"{len(listener.audio)} bytes, {same_audio(bytes(listener.audio), task)}"


async def _cut(person: Person, listener: _Listener) -> str:
    """What was sent may be heard; that it is not all must be seen, by the listener and in the rows."""
    await _over(listener)
    task = await person.user.now.ended(listener.task_id, seconds=SETTLE_SECONDS)
    if not listener.broken:
        same_audio(bytes(listener.audio), task)
        return "It was done before the drain was over."
    if task["status"] == "completed":
        return "Its listener was cut off, and it was completed all the same."
    return honest(task)


async def played(person: Person, order: Order) -> str:
    """Words for a generation that was completed, and plays. Raises `Surprise`."""
    task = await person.user.now.completed(order.task_id, seconds=SETTLE_SECONDS)
    audio = await person.user.now.audio(order.generation_id)
    return f"{len(audio.content)} bytes, {same_audio(audio.content, task)}"


async def _preview(person: Person, task_id: str) -> str:
    task = await person.user.now.ended(task_id, seconds=SETTLE_SECONDS)
    return "It was completed." if task["status"] == "completed" else honest(task)


async def _over(listener: _Listener) -> None:
    with anyio.move_on_after(SETTLE_SECONDS):
        await listener.over.wait()
        return
    raise Surprise(f"The stream neither ended nor broke off within {SETTLE_SECONDS:.0f} s.")


def same_audio(audio: bytes, task: Json) -> str:
    """Words for audio that is what its task says. Raises `Surprise` when it is not."""
    heard = sha256(audio)
    if heard != task["result"]["audio_sha256"]:
        raise Surprise(f"The audio of {task['id']} is not what its task says: {len(audio)} bytes, another SHA-256.")
    return "as its task says"


def honest(task: Json) -> str:
    """Words for work that ended without success. Raises `Surprise` when its user is not told why."""
    if task["status"] != "failed" or not task["error"]:
        raise Surprise(f"The task {task['id']} ended as {task['status']} without a word.")
    return f"It failed, and says: {task['error']}"
