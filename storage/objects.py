"""Audio files in a local folder or an S3-compatible store, the same calls for both.

A bucket is a folder at the store's root and a key a path below it, so what the gateway wrote is what anybody finds
there. The content type goes with the object where the store keeps one, and always with the key's extension.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from storage.errors import StorageError

if TYPE_CHECKING:  # a TypedDict of the stubs
    from obstore.store import ClientConfig

REFERENCES = "references"
"""The bucket of recordings that voices are cloned from, and of design previews (contract 3.5)."""

GENERATIONS = "generations"
"""The bucket of generated audio (contract 3.5)."""

BUCKETS = frozenset({REFERENCES, GENERATIONS})

READ_CHUNK_BYTES = 64 * 1024
"""Least size of a piece read, but for the last: four seconds of MP3, so a slow listener holds little."""

PUT_CHUNK_BYTES = 5 * 1024 * 1024
"""Part size of a streamed upload; S3 takes no smaller ones."""

PUT_CONCURRENCY = 2
"""Parts of one upload under way. With `PUT_CHUNK_BYTES` this bounds the memory of an upload to 15 MiB."""

CLIENT_OPTIONS: ClientConfig = {"connect_timeout": "5s", "timeout": "30s"}
"""Of one request to a remote store, which is at most one part or the body of one read."""

MAX_SEGMENT_CHARS = 255
"""Longest file name of common file systems, bytes; keys are ASCII."""

_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_OWNER = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class InvalidKey(ValueError):
    """A key that could name anything but an owner's own file: a mistake of ours, or an attempt."""


class ObjectStoreUnavailable(StorageError):
    """The store did not do it. Trying again later can help."""


class ObjectMissing(StorageError):
    """There is no such object."""


class RangeOutside(StorageError):
    """The range asked for has no byte in the object."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """`size` in bytes; `etag` changes with the content."""

    size: int
    etag: str | None


class ObjectStore:
    """Whole objects in, ranges out. Runs on asyncio only."""

    def __init__(self, store: obstore.store.ObjectStore) -> None:
        self._store = store
        self._local = isinstance(store, LocalStore)

    @classmethod
    def open(cls, location: str | Path) -> ObjectStore:
        """A folder (a path or `file:` URL, made when missing) or a URL that obstore knows, such as `s3://bucket/folder`.

        Credentials of a remote store come from its own environment variables. Nothing is contacted yet. Raises
        `ObjectStoreUnavailable` when the folder cannot be made or the URL names no kind of store.
        """
        url = urlsplit(str(location))
        with _translated():
            if url.scheme in ("", "file"):
                folder = Path(unquote(url.path) if url.scheme else location).absolute()
                return cls(LocalStore(folder, mkdir=True))
            return cls(from_url(str(location), client_options=CLIENT_OPTIONS))

    async def put(self, bucket: str, key: str, body: bytes | AsyncIterable[bytes], content_type: str) -> int:
        """Store the object whole or not at all, over an older one; gives its size in bytes.

        What `body` raises passes through, and then nothing was stored. Raises `InvalidKey` and
        `ObjectStoreUnavailable`.
        """
        path = object_path(bucket, key)
        source = _Counted(_once(body) if isinstance(body, bytes) else body)
        try:
            with _translated():
                await obstore.put_async(
                    self._store,
                    path,
                    body if isinstance(body, bytes) else source,
                    attributes=None if self._local else {"Content-Type": content_type},
                    chunk_size=PUT_CHUNK_BYTES,
                    max_concurrency=PUT_CONCURRENCY,
                )
        except ObjectStoreUnavailable:
            if source.failure is not None:
                raise source.failure from None
            raise
        return len(body) if isinstance(body, bytes) else source.size

    async def head(self, bucket: str, key: str) -> ObjectInfo | None:
        """Size and etag, None when there is no such object. Raises `InvalidKey` and `ObjectStoreUnavailable`."""
        path = object_path(bucket, key)
        try:
            with _translated():
                meta = await obstore.head_async(self._store, path)
        except ObjectMissing:
            return None
        return ObjectInfo(size=meta["size"], etag=meta["e_tag"])

    async def read(self, bucket: str, key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` up to `stop` (exclusive; None: the end; cut off at the end when behind it).

        Raises `ObjectMissing`, `RangeOutside` when `start` is at or behind the end of the object (but not for all of
        an empty one), `InvalidKey`, and `ObjectStoreUnavailable`, also in the middle.
        """
        path = object_path(bucket, key)
        if start < 0 or (stop is not None and stop <= start):
            raise RangeOutside(f"{start} to {stop} is no range")
        info = await self.head(bucket, key)
        if info is None:
            raise ObjectMissing(f"no {key} in {bucket}")
        if start == 0 and info.size == 0:
            return
        if start >= info.size:
            raise RangeOutside(f"{start} is not within {info.size} bytes")
        with _translated():
            end = info.size if stop is None else min(stop, info.size)
            result = await obstore.get_async(self._store, path, options={"range": (start, end)})
            async for piece in result.stream(min_chunk_size=READ_CHUNK_BYTES):
                yield bytes(piece)

    async def delete(self, bucket: str, key: str) -> None:
        """Remove the object; one that is not there is as good. Raises `InvalidKey` and `ObjectStoreUnavailable`."""
        path = object_path(bucket, key)
        try:
            with _translated():
                await obstore.delete_async(self._store, path)
        except ObjectMissing:
            return


def object_path(bucket: str, key: str) -> str:
    """Where the object lies in the store. Raises `InvalidKey` unless it is an owner's file in a known bucket."""
    owner, *rest = key.split("/")
    if bucket not in BUCKETS:
        raise InvalidKey(f"no bucket {bucket!r}")
    if not _OWNER.fullmatch(owner) or not rest:
        raise InvalidKey("a key begins with its owner's id")
    if not all(len(part) <= MAX_SEGMENT_CHARS and _SEGMENT.fullmatch(part) for part in rest):
        raise InvalidKey("a key's parts hold letters, digits, '-', '_' and '.', and do not begin with '.'")
    return f"{bucket}/{key}"


class _Counted:
    """Passes pieces on, and remembers their size and what the source raised: obstore wraps foreign errors."""

    def __init__(self, source: AsyncIterable[bytes]) -> None:
        self._source = source
        self.size = 0
        self.failure: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._source:
                self.size += len(piece)
                yield piece
        except Exception as error:
            self.failure = error
            raise


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ObjectMissing("no such object") from error
    except (BaseError, OSError, ValueError) as error:
        raise ObjectStoreUnavailable(f"the object store failed: {type(error).__name__}") from error
