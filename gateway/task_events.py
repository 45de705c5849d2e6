"""A task's states as server-sent events, from the present one to the last (product section 4).

https://html.spec.whatwg.org/multipage/server-sent-events.html. Each answer begins with the state as it is, so a client
that comes back has missed nothing and `Last-Event-ID` has nothing to name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import msgspec
from starlette.types import Message, Receive, Scope, Send

from gateway.errors import ApiError
from gateway.request_tracker import parting_of
from gateway.responses import NO_STORE
from gateway.running import ACTIVE
from gateway.sending import send_while_connected
from gateway.task_groups import until_cancelled
from gateway.task_news import TaskNews, Watch
from schema.http import Task
from storage.errors import StorageError, UnknownUser

EVENT_STREAM = "text/event-stream"

KEEP_ALIVE_SECONDS = 15.0
"""Between two signs of life, and two looks at a task that nothing was told of. Proxies close what is silent for a
minute."""

LOOK_SECONDS = 1.0
"""Between two looks at a task that nobody tells of: one at Modal, or while the database cannot be listened to. v1's
page polled as often."""

LIFE_SECONDS = 300.0
"""A client has to come back after that, so that no answer outlives the sign-in it began with by more."""

COME_BACK_MS = 1000
"""After which a client whose stream ended before its task did should ask again."""

HEADERS = {
    "content-type": EVENT_STREAM,
    "cache-control": NO_STORE,
    "x-accel-buffering": "no",  # nginx would keep the events until its buffer is full
}

Look = Callable[[], Awaitable[Task | None]]
"""The task as it stands, None when it is gone. Raises StorageError and ApiError while that cannot be told."""


class TaskEventsResponse:
    """ASGI response that follows a task whose state is `first` and which `watch` watches since before that.

    It ends with the task's last state, or before, when the client should come back: after `LIFE_SECONDS`, and when
    this process is to end. `stall_seconds` bounds every single write.
    """

    def __init__(self, first: Task, look: Look, watch: Watch, news: TaskNews, *, stall_seconds: float) -> None:
        self._first = first
        self._look = look
        self._watch = watch
        self._news = news
        self._stall_seconds = stall_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parting = parting_of(scope)

        async def send_all(send: Send) -> None:
            headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._follow(send, parting)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        with self._watch:
            await send_while_connected(
                send_all, scope, receive, send, stall_seconds=self._stall_seconds, cut_by=(StorageError,)
            )

    async def _follow(self, send: Send, parting: anyio.Event) -> None:
        await send(_piece(f"retry: {COME_BACK_MS}\n\n".encode()))
        over_at = anyio.current_time() + LIFE_SECONDS
        sent_at = anyio.current_time()
        shown = b""
        task: Task | None = self._first
        while task is not None:
            state = _state(task)
            if state != shown:
                await send(_piece(_event("task", msgspec.json.encode(task))))
                shown, sent_at = state, anyio.current_time()
            elif anyio.current_time() - sent_at >= KEEP_ALIVE_SECONDS:
                await send(_piece(b": still there\n\n"))
                sent_at = anyio.current_time()
            if task.status not in ACTIVE or parting.is_set() or anyio.current_time() >= over_at:
                return
            await self._wait(task, parting)
            task = await self._look_again(task)
        await send(_piece(_event("gone", b"{}")))

    async def _wait(self, task: Task, parting: anyio.Event) -> None:
        """Until there may be something new."""
        told = self._news.hears_all and task.provider == "qwen"
        with anyio.move_on_after(KEEP_ALIVE_SECONDS if told else LOOK_SECONDS):
            async with anyio.create_task_group() as tasks:

                async def part() -> None:
                    await parting.wait()
                    tasks.cancel_scope.cancel()

                tasks.start_soon(until_cancelled, part)
                await self._watch.wait()
                tasks.cancel_scope.cancel()

    async def _look_again(self, last: Task) -> Task | None:
        try:
            return await self._look()
        except UnknownUser:  # deleted, and the task with them
            return None
        except (StorageError, ApiError):  # away for now; the client could not do better than wait either
            return last


def _state(task: Task) -> bytes:
    """What counts as a change: not how often or how long it was looked at, nor that a link was signed anew."""
    has_result = task.result is not msgspec.UNSET
    return msgspec.json.encode((task.status, task.provider_status, task.modal_status, task.error, has_result))


def _event(name: str, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def _piece(data: bytes) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": True}
