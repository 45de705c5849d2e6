"""A body of unknown length on its way to a store that must have it whole.

Beyond `HELD_BYTES` it waits in a file without a name: however slow its sender is, it costs no memory, and nothing is
left over when the sender leaves, or when this process is killed. The folder is that of the system's temporary files
(TMPDIR).
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import IO, TypeVar

import anyio.to_thread

HELD_BYTES = 256 * 1024
"""All that is held of a body, and the size of each write: a 10 MiB recording costs 40 trips to a thread, and half a
minute of MP3 none."""

T = TypeVar("T")

Content = bytes | memoryview | mmap.mmap
"""Bytes that are in memory, or that the kernel reads from the file when they are needed."""


class SpoolFailed(Exception):
    """The disk of the temporary files did not take it: full, or not writable."""


@asynccontextmanager
async def spooled(body: AsyncIterable[bytes]) -> AsyncIterator[Content]:
    """`body` to its end, for the length of the block. What it raises passes through. Raises `SpoolFailed`."""
    source = aiter(body)
    beginning = bytearray()
    async for piece in source:
        beginning += piece
        if len(beginning) >= HELD_BYTES:
            break
    else:
        yield bytes(beginning)
        return
    with await _on_disk(_open) as file:
        size = await _write(beginning, source, file)
        # Nobody else has the file, so it cannot shrink under the map.
        yield mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)


def _open() -> IO[bytes]:
    return tempfile.TemporaryFile()


async def _write(gathered: bytearray, source: AsyncIterator[bytes], file: IO[bytes]) -> int:
    """Write what was gathered and the rest; gives the number of bytes that are in the file then."""
    size = await _on_disk(file.write, bytes(gathered))
    gathered.clear()
    async for piece in source:
        gathered += piece
        if len(gathered) >= HELD_BYTES:
            size += await _on_disk(file.write, bytes(gathered))
            gathered.clear()
    size += await _on_disk(file.write, bytes(gathered))
    await _on_disk(file.flush)
    return size


async def _on_disk(call: Callable[..., T], *arguments: bytes) -> T:
    try:
        return await anyio.to_thread.run_sync(call, *arguments)
    except OSError as error:
        raise SpoolFailed(f"a temporary file failed: {error.strerror}") from error
