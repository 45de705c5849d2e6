"""Objects in a local folder and on S3: what goes in comes out, and only an owner's own keys are ever touched."""

from __future__ import annotations

import mmap
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.objects import (
    READ_CHUNK_BYTES,
    READ_PART_BYTES,
    InvalidKey,
    ObjectExists,
    ObjectMissing,
    ObjectStore,
    ObjectStoreUnavailable,
    RangeOutside,
    check_key,
)
from storage.spool import HELD_BYTES
from tests.support.s3 import S3Server

pytestmark = pytest.mark.anyio

OWNER = str(uuid4())
KEY = f"{OWNER}/{uuid4()}.mp3"
BODY = bytes(range(256)) * 1000


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.integration)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """The same for both: no test here may know which it is."""
    if request.param == "local":
        return ObjectStore.open(tmp_path / "objects")
    request.getfixturevalue("s3_credentials")
    server: S3Server = request.getfixturevalue("s3_server")
    return ObjectStore.open(server.location())


async def collect(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


async def pieces_of(body: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.mark.parametrize("size", [HELD_BYTES - 1, HELD_BYTES, HELD_BYTES + 1, 15_000_000])
async def test_a_streamed_body_of_any_length_comes_out_the_same(store: ObjectStore, size: int) -> None:
    body = (BODY * (size // len(BODY) + 1))[:size]
    assert await store.put("generations", KEY, pieces_of(body, 100_000), "audio/mpeg") == len(body)
    info = await store.head("generations", KEY)
    assert info is not None
    assert info.size == len(body)
    assert await collect(store.read("generations", KEY)) == body


@pytest.mark.parametrize("body", [b"", pieces_of(b"")])
async def test_an_empty_object_is_an_object(store: ObjectStore, body: bytes | AsyncIterator[bytes]) -> None:
    assert await store.put("generations", KEY, body, "audio/mpeg") == 0
    info = await store.head("generations", KEY)
    assert info is not None
    assert info.size == 0
    assert await collect(store.read("generations", KEY)) == b""


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, None), (0, 1), (1, 2), (255_999, None), (255_999, 256_000), (100, 999_999), (70_000, 200_000)],
)
async def test_a_range_gives_exactly_its_bytes(store: ObjectStore, start: int, stop: int | None) -> None:
    await store.put("generations", KEY, BODY, "audio/mpeg")
    assert await collect(store.read("generations", KEY, start, stop)) == BODY[start:stop]


@pytest.mark.parametrize(("start", "stop"), [(256_000, None), (300_000, 300_001), (5, 5), (5, 4), (-1, None)])
async def test_a_range_without_a_byte_is_an_error(store: ObjectStore, start: int, stop: int | None) -> None:
    await store.put("generations", KEY, BODY, "audio/mpeg")
    with pytest.raises(RangeOutside):
        await collect(store.read("generations", KEY, start, stop))


@pytest.mark.parametrize("start", [0, 1, READ_PART_BYTES - 1, READ_PART_BYTES, 2 * READ_PART_BYTES])
@pytest.mark.parametrize("stop", [None, 2 * READ_PART_BYTES + 1, 4 * READ_PART_BYTES])
async def test_a_long_read_comes_in_small_pieces(store: ObjectStore, start: int, stop: int | None) -> None:
    body = BODY * 4
    await store.put("generations", KEY, body, "audio/mpeg")
    pieces = [piece async for piece in store.read("generations", KEY, start, stop)]
    assert b"".join(pieces) == body[start:stop]
    assert max(len(piece) for piece in pieces) == min(READ_CHUNK_BYTES, len(body[start:stop]))


async def test_a_read_is_of_one_object_whatever_is_stored_over_it(store: ObjectStore) -> None:
    await store.put("generations", KEY, b"a" * (READ_PART_BYTES + 1), "audio/mpeg")
    read = store.read("generations", KEY)
    first = await anext(read)
    await store.put("generations", KEY, b"b" * (READ_PART_BYTES + 1), "audio/mpeg")
    with pytest.raises(ObjectStoreUnavailable):
        first += await collect(read)
    assert set(first) == {ord("a")}


async def test_what_is_not_there_is_none_or_missing(store: ObjectStore) -> None:
    assert await store.head("generations", KEY) is None
    with pytest.raises(ObjectMissing):
        await collect(store.read("generations", KEY))
    await store.delete("generations", KEY)


async def test_a_view_of_memory_is_stored_as_it_is(store: ObjectStore) -> None:
    memory = mmap.mmap(-1, len(BODY))
    memory[:] = BODY
    assert await store.put("generations", KEY, memoryview(memory)[5:-7], "audio/mpeg") == len(BODY) - 12
    assert await collect(store.read("generations", KEY)) == BODY[5:-7]


async def test_deleting_removes_it(store: ObjectStore) -> None:
    await store.put("generations", KEY, BODY, "audio/mpeg")
    await store.delete("generations", KEY)
    assert await store.head("generations", KEY) is None


@pytest.mark.parametrize("size", [0, 1000, 3 * HELD_BYTES])
@pytest.mark.parametrize("overwrite", [True, False])
async def test_a_body_that_fails_midway_stores_nothing_and_its_error_passes_through(
    store: ObjectStore, size: int, overwrite: bool
) -> None:
    class SpeechStopped(Exception):
        pass

    async def stops() -> AsyncIterator[bytes]:
        async for piece in pieces_of(bytes(size), 100_000):
            yield piece
        raise SpeechStopped

    with pytest.raises(SpeechStopped):
        await store.put("generations", KEY, stops(), "audio/mpeg", overwrite=overwrite)
    assert await store.head("generations", KEY) is None


class TestNoOverwrite:
    @pytest.mark.parametrize("size", [0, 1, 3 * HELD_BYTES])
    @pytest.mark.parametrize("streamed", [True, False])
    async def test_it_is_stored_once(self, store: ObjectStore, size: int, streamed: bool) -> None:
        body = bytes(size)
        given = pieces_of(body, 100_000) if streamed else body
        assert await store.put("references", KEY, given, "audio/wav", overwrite=False) == size
        for other in (pieces_of(b"other"), b"other"):
            with pytest.raises(ObjectExists):
                await store.put("references", KEY, other, "audio/wav", overwrite=False)
        assert await collect(store.read("references", KEY)) == body

    async def test_of_many_at_the_same_time_one_is_stored(self, store: ObjectStore) -> None:
        bodies = [bytes([number]) * 300_000 for number in range(8)]
        stored: list[bytes] = []
        refused: list[bytes] = []

        async def put(body: bytes) -> None:
            try:
                await store.put("references", KEY, pieces_of(body), "audio/wav", overwrite=False)
            except ObjectExists:
                refused.append(body)
            else:
                stored.append(body)

        async with anyio.create_task_group() as group:
            for body in bodies:
                group.start_soon(put, body)
        assert len(stored) == 1
        assert len(refused) == 7
        assert await collect(store.read("references", KEY)) == stored[0]

    async def test_a_deleted_one_leaves_its_place_free(self, store: ObjectStore) -> None:
        for body in (b"one", b"two"):
            await store.put("references", KEY, body, "audio/wav", overwrite=False)
            assert await collect(store.read("references", KEY)) == body
            await store.delete("references", KEY)

    @pytest.mark.parametrize("overwrite", [True, False])
    async def test_a_body_that_takes_its_time_costs_no_memory(self, store: ObjectStore, overwrite: bool) -> None:
        size = 10 * 1024 * 1024
        waiting: list[int] = []

        async def slow() -> AsyncIterator[bytes]:
            for _ in range(size // 65_536):
                yield bytes(65_536)
            waiting.append(tracemalloc.get_traced_memory()[0] - before)

        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            await store.put("references", KEY, slow(), "audio/wav", overwrite=overwrite)
        finally:
            tracemalloc.stop()
        assert waiting[0] < 2 * HELD_BYTES


async def test_an_overwrite_is_seen_whole_or_not_at_all(store: ObjectStore) -> None:
    bodies = [bytes([number]) * 300_000 for number in range(8)]
    async with anyio.create_task_group() as group:
        for body in bodies:
            group.start_soon(store.put, "generations", KEY, pieces_of(body), "audio/mpeg")
    assert await collect(store.read("generations", KEY)) in bodies


@pytest.mark.parametrize(
    "key",
    [
        "",
        OWNER,
        f"{OWNER}/",
        f"{OWNER}//a.mp3",
        f"{OWNER}/../{uuid4()}/a.mp3",
        f"{OWNER}/..",
        f"{OWNER}/.hidden",
        f"../{OWNER}/a.mp3",
        f"/{OWNER}/a.mp3",
        f"{OWNER}/a%2f..%2fb",
        f"{OWNER}\\a.mp3",
        f"{OWNER}/a.mp3\n",
        f"{OWNER}/a\0.mp3",
        f"{OWNER}/a.mp3#1",
        f"{OWNER.upper()}/a.mp3" if OWNER.upper() != OWNER else "X/a.mp3",
        f"{OWNER}/{'a' * 256}",
        "not-an-owner/a.mp3",
    ],
)
async def test_a_key_that_is_not_an_owners_file_is_refused_everywhere(store: ObjectStore, key: str) -> None:
    with pytest.raises(InvalidKey):
        await store.put("generations", key, b"x", "audio/mpeg")
    with pytest.raises(InvalidKey):
        await store.head("generations", key)
    with pytest.raises(InvalidKey):
        await collect(store.read("generations", key))
    with pytest.raises(InvalidKey):
        await store.delete("generations", key)


async def test_an_unknown_bucket_is_refused(store: ObjectStore) -> None:
    with pytest.raises(InvalidKey):
        await store.head("../generations", KEY)


@given(st.text(max_size=80))
def test_no_text_leads_out_of_the_owners_folder(tail: str) -> None:
    key = f"{OWNER}/{tail}"
    try:
        check_key("references", key)
    except InvalidKey:
        return
    root = Path("/store/references") / OWNER
    resolved = Path("/store/references", key).resolve()
    assert resolved.is_relative_to(root)
    assert resolved != root
