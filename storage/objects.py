"""Audio files in a local folder or an S3-compatible store, the same calls for both.

What the gateway wrote is what anybody finds there: one file or object for each key, nothing beside it. The content
type goes with the object where the store keeps one. `storage.object_location` says where a bucket lies.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import anyio
import obstore
from obstore.store import LocalStore

from storage.object_errors import (
    ObjectExists,
    ObjectMissing,
    ObjectStoreRefused,
    ObjectStoreUnavailable,
    RangeOutside,
    never_missing,
    refusal,
    translated,
)
from storage.object_keys import BUCKETS, GENERATIONS, REFERENCES, InvalidKey, check_key
from storage.object_location import InvalidLocation, parse_location
from storage.object_places import Place, open_places
from storage.spool import Content, SpoolFailed, spooled

if TYPE_CHECKING:  # a TypedDict of the stubs
    from obstore import GetOptions

__all__ = [
    "BUCKETS",
    "GENERATIONS",
    "REFERENCES",
    "InvalidKey",
    "ObjectExists",
    "ObjectInfo",
    "ObjectMissing",
    "ObjectStore",
    "ObjectStoreRefused",
    "ObjectStoreUnavailable",
    "RangeOutside",
    "StoredObject",
    "check_key",
]

READ_PART_BYTES = 256 * 1024
"""Asked of the store at once and then held. A request that is still open while its reader pauses would be cut by the
store's time limits, so each is small and ends before its bytes are passed on."""

READ_CHUNK_BYTES = 64 * 1024
"""Largest piece handed on: four seconds of MP3, so that a slow listener still shows progress within a stall limit."""

READ_SECONDS = 15.0
"""Of one look at the store, retries included: somebody waits for an answer."""

WRITE_SECONDS = 60.0
"""Of storing one object whose bytes are there: 20 MiB at 3 Mbit/s, retries included."""

_CONTENT_TYPE = "Content-Type"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """`size` in bytes; `etag` changes with the content; `content_type` is None where the store keeps none."""

    size: int
    etag: str | None
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One of a listing; `modified` is aware."""

    key: str
    size: int
    modified: datetime


class ObjectStore:
    """Whole objects in, ranges out. Runs on asyncio only.

    `read_seconds` bounds each look at the store and each part of a read, `write_seconds` the storing of one object.
    """

    def __init__(self, places: Mapping[str, Place], *, read_seconds: float, write_seconds: float) -> None:
        self._places = places
        self._read_seconds = read_seconds
        self._write_seconds = write_seconds

    @classmethod
    def open(
        cls, location: str | Path, *, read_seconds: float = READ_SECONDS, write_seconds: float = WRITE_SECONDS
    ) -> ObjectStore:
        """A folder (made when missing) or buckets at an S3 service; see `storage.object_location`.

        Nothing is contacted yet. Raises `ObjectStoreUnavailable` when the folder cannot be made or the URL names no
        store.
        """
        try:
            parsed = parse_location(str(location))
        except InvalidLocation as error:
            raise ObjectStoreUnavailable(str(error)) from error
        with translated():
            places = open_places(parsed, BUCKETS)
        return cls(places, read_seconds=read_seconds, write_seconds=write_seconds)

    async def check(self) -> None:
        """Ask a remote store for a list of nothing: that needs the right credentials and buckets.

        Raises `ObjectStoreRefused`, and `ObjectStoreUnavailable` when it does not answer.
        """
        for place in self._places.values():
            if isinstance(place.store, LocalStore):
                continue
            try:
                with self._bounded(self._read_seconds):
                    async for _ in obstore.list(place.store, place.path(str(UUID(int=0)))):
                        break
            except ObjectStoreUnavailable as error:
                raise refusal(place.name, error.__cause__) or error from error

    async def put(
        self,
        bucket: str,
        key: str,
        body: bytes | memoryview | AsyncIterable[bytes],
        content_type: str,
        *,
        overwrite: bool = True,
    ) -> int:
        """Store the object whole or not at all, over an older one unless told otherwise; gives its size in bytes.

        What `body` raises passes through, and then nothing was stored. It may take as long as it likes: it waits in
        `storage.spool`, and goes to the store in one request, of which no part can be left over.

        Raises `ObjectExists` (without `overwrite`), `InvalidKey` and `ObjectStoreUnavailable`.
        """
        target = self._target(bucket, key, content_type)
        if isinstance(body, bytes | memoryview):
            return await self._send(target, body, overwrite=overwrite)
        try:
            async with spooled(body) as content:
                return await self._send(target, content, overwrite=overwrite)
        except SpoolFailed as error:
            raise ObjectStoreUnavailable("a body could not wait on disk for the object store") from error

    async def head(self, bucket: str, key: str) -> ObjectInfo | None:
        """What the store knows about the object, None when there is none.

        Raises `InvalidKey` and `ObjectStoreUnavailable`.
        """
        return await self._head(self._target(bucket, key))

    async def read(self, bucket: str, key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` up to `stop` (exclusive; None: the end; cut off at the end when behind it).

        They are of one object, whatever is stored over it meanwhile. Raises `ObjectMissing`, `RangeOutside` when
        `start` is at or behind the end of the object (but not for all of an empty one), `InvalidKey`, and
        `ObjectStoreUnavailable`, also in the middle.
        """
        target = self._target(bucket, key)
        if start < 0 or (stop is not None and stop <= start):
            raise RangeOutside(f"{start} to {stop} is no range")
        part = await self._first_part(target, start, stop)
        end = part.object_size if stop is None else min(stop, part.object_size)
        position = start
        while part.data:
            for offset in range(0, len(part.data), READ_CHUNK_BYTES):
                yield part.data[offset : offset + READ_CHUNK_BYTES]
            position += len(part.data)
            if position >= end:
                break
            part = await self._part(target, position, end, part.etag)

    async def list(self, bucket: str) -> AsyncIterator[StoredObject]:
        """Every object of the bucket, in the store's order. Raises `ObjectStoreUnavailable`, also in the middle."""
        place = self._places[bucket]
        pages = aiter(obstore.list(place.store, place.folder or None))
        while True:
            with self._bounded(self._read_seconds):
                page = await anext(pages, None)
            if page is None:
                return
            for found in page:
                key = found["path"].removeprefix(f"{place.folder}/") if place.folder else found["path"]
                yield StoredObject(key, found["size"], found["last_modified"])

    async def delete(self, bucket: str, key: str) -> None:
        """Remove the object; one that is not there is as good. Raises `InvalidKey` and `ObjectStoreUnavailable`."""
        target = self._target(bucket, key)
        try:
            with self._bounded(self._write_seconds):
                await obstore.delete_async(target.place.store, target.path)
        except ObjectMissing:
            return

    def _target(self, bucket: str, key: str, content_type: str | None = None) -> _Target:
        check_key(bucket, key)
        return _Target(self._places[bucket], key, content_type)

    async def _head(self, target: _Target) -> ObjectInfo | None:
        # Of the two calls that ask for no bytes, only this one tells the type.
        options: GetOptions = {"head": True}
        try:
            with self._bounded(self._read_seconds):
                found = await obstore.get_async(target.place.store, target.path, options=options)
        except ObjectMissing:
            return None
        return ObjectInfo(found.meta["size"], found.meta["e_tag"], found.attributes.get(_CONTENT_TYPE))

    async def _first_part(self, target: _Target, start: int, stop: int | None) -> _Part:
        try:
            return await self._part(target, start, stop, None)
        except ObjectStoreUnavailable:
            # Every kind of store has an error of its own for a range without a byte, so the size has to tell.
            info = await self._head(target)
            if info is None or start < info.size:
                raise
            if start == 0:
                return _Part(b"", 0, None)
            raise RangeOutside(f"{start} is not within {info.size} bytes") from None

    async def _part(self, target: _Target, start: int, stop: int | None, etag: str | None) -> _Part:
        limit = start + READ_PART_BYTES
        options: GetOptions = {"range": (start, limit if stop is None else min(stop, limit))}
        if etag is not None:
            options["if_match"] = etag
        with self._bounded(self._read_seconds):
            found = await obstore.get_async(target.place.store, target.path, options=options)
            data = bytes(await found.bytes_async())
        return _Part(data, found.meta["size"], found.meta["e_tag"])

    async def _send(self, target: _Target, content: Content, *, overwrite: bool) -> int:
        # Asked first as well: an S3 that ignores the condition would overwrite without a word.
        if not overwrite and await self._head(target) is not None:
            raise ObjectExists(f"there is a {target.path} already")
        # A thread writes the local file, and goes on when nobody waits for it: a delete that follows a cancelled put
        # must not come before the file does.
        with anyio.CancelScope(shield=isinstance(target.place.store, LocalStore)):
            with self._bounded(self._write_seconds), never_missing():
                await obstore.put_async(
                    target.place.store,
                    target.path,
                    content,
                    attributes=target.attributes,
                    mode="overwrite" if overwrite else "create",
                    use_multipart=False,
                )
        return len(content)

    @contextmanager
    def _bounded(self, seconds: float) -> Iterator[None]:
        with translated(), anyio.fail_after(seconds):
            yield


@dataclass(frozen=True, slots=True)
class _Target:
    place: Place
    key: str
    content_type: str | None

    @property
    def path(self) -> str:
        return self.place.path(self.key)

    @property
    def attributes(self) -> dict[str, str] | None:
        """For the store to keep. A local one keeps nothing beside the file."""
        if self.content_type is None or isinstance(self.place.store, LocalStore):
            return None
        return {_CONTENT_TYPE: self.content_type}


@dataclass(frozen=True, slots=True)
class _Part:
    """Some bytes of an object that has `object_size` of them."""

    data: bytes
    object_size: int
    etag: str | None
