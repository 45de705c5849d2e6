"""What anyio's task groups need around them.

A group wraps whatever its body or a task raises, so callers could no longer say `except CannotListen`. Where one
failure is all there is, nothing is lost by taking it out again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TypeVarTuple

import anyio
from anyio.abc import TaskGroup

Args = TypeVarTuple("Args")


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


async def until_cancelled(work: Callable[[*Args], Awaitable[object]], *args: *Args) -> None:
    """`work(*args)` as a task of a group that is cancelled as a matter of course; nothing else may follow it.

    anyio (4.16, `task_done`) puts the exception of a cancelled task in a reference cycle. With its frames it would keep
    what they know, audio included, until the garbage collector comes by.
    """
    with suppress(anyio.get_cancelled_exc_class()):
        await work(*args)
