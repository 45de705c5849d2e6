"""Which tasks have changed, told to those who wait for it in this process, whoever changed them."""

from __future__ import annotations

from types import TracebackType
from typing import Self
from uuid import UUID

import anyio
import structlog

from gateway.errors import ApiError
from storage import notifications
from storage.errors import DatabaseUnavailable

CHANGED_CHANNEL = "utter_task_changed"
"""Where the database tells which task was changed or deleted; the payload is its id."""

MAX_WATCHES = 500
"""At once in this process. Each keeps a connection, and reads a row a second should the database stop telling."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.task_news")


class TaskNews:
    """Passes the database's notices on to `Watch`es. `hear` is a chore of the sweeper."""

    def __init__(self, listen_url: str = "") -> None:
        self._listen_url = listen_url
        self._watches: dict[UUID, set[Watch]] = {}
        self._count = 0
        self._wanted = anyio.Event()
        self._hears_all = False

    @property
    def hears_all(self) -> bool:
        """Whether every change is told. While it is not, those who watch have to look by themselves."""
        return self._hears_all

    def watch(self, task_id: UUID) -> Watch:
        """From now on no change of this task is missed; leave it to end that. Raises `ApiError` 503 when too many
        watch."""
        if self._count >= MAX_WATCHES:
            raise ApiError(503, "Too many tasks are watched right now. Please poll this one instead.")
        watch = Watch(self, task_id)
        self._watches.setdefault(task_id, set()).add(watch)
        self._count += 1
        self._wanted.set()
        return watch

    def forget(self, watch: Watch) -> None:
        """It will not be told any more."""
        watches = self._watches.get(watch.task_id, set())
        if watch in watches:
            watches.remove(watch)
            self._count -= 1
            if not watches:
                del self._watches[watch.task_id]

    async def hear(self) -> None:
        """Pass notices on until the connection is lost. It is made when somebody watches, for it is one more."""
        await self._wanted.wait()
        try:
            await notifications.listen(self._listen_url, CHANGED_CHANNEL, self._changed, begun=self._began)
        except DatabaseUnavailable as error:
            _log.warning("task_news.not_listening", error=str(error))
        finally:
            self._hears_all = False
            self._tell_everybody()

    def _changed(self, payload: str) -> None:
        for watch in self._watches.get(UUID(payload), ()):
            watch.tell()

    def _began(self) -> None:
        self._hears_all = True
        self._tell_everybody()  # of what may have happened before

    def _tell_everybody(self) -> None:
        for watches in self._watches.values():
            for watch in watches:
                watch.tell()


class Watch:
    """One watcher of one task. As a context manager it forgets itself at the end."""

    def __init__(self, news: TaskNews, task_id: UUID) -> None:
        self.task_id = task_id
        self._news = news
        self._changed = anyio.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._news.forget(self)

    def tell(self) -> None:
        """The task may have changed."""
        self._changed.set()

    async def wait(self) -> None:
        """Return when it was told since the last time."""
        await self._changed.wait()
        self._changed = anyio.Event()
