"""Task groups whose only failure is raised as itself.

A group wraps whatever its body or a task raises, so callers could no longer say `except CannotListen`. Where one
failure is all there is, nothing is lost by taking it out again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
from anyio.abc import TaskGroup


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise the only failure of the task groups in the body as itself, however deep; several stay a group."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from error.__cause__


@asynccontextmanager
async def open_task_group() -> AsyncIterator[TaskGroup]:
    """`anyio.create_task_group`, `unwrapped`."""
    with unwrapped():
        async with anyio.create_task_group() as tasks:
            yield tasks
