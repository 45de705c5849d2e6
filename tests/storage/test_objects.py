"""Objects on a local folder: what goes in comes out, and nothing but an owner's own keys is ever touched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.objects import (
    PUT_CHUNK_BYTES,
    InvalidKey,
    ObjectMissing,
    ObjectStore,
    ObjectStoreUnavailable,
    RangeOutside,
    object_path,
)

pytestmark = pytest.mark.anyio

OWNER = str(uuid4())
KEY = f"{OWNER}/{uuid4()}.mp3"
BODY = bytes(range(256)) * 1000


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore.open(tmp_path / "objects")


async def collect(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


async def pieces_of(body: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def test_a_stored_object_is_a_file_below_its_bucket_and_nothing_beside_it(
    store: ObjectStore, tmp_path: Path
) -> None:
    assert await store.put("generations", KEY, BODY, "audio/mpeg") == len(BODY)
    files = [path for path in (tmp_path / "objects").rglob("*") if path.is_file()]
    assert files == [tmp_path / "objects" / "generations" / KEY]
    assert files[0].read_bytes() == BODY


@pytest.mark.parametrize("name", ["objects", "my objects", "100%25 #1?", "Töne"])
async def test_opening_by_path_and_by_url_is_the_same_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    for location in (folder, str(folder), folder.as_uri()):
        await ObjectStore.open(location).put("generations", KEY, b"abc", "audio/mpeg")
        file = folder / "generations" / KEY
        assert file.read_bytes() == b"abc"
        file.unlink()


async def test_a_streamed_body_larger_than_a_part_comes_out_the_same(store: ObjectStore) -> None:
    body = BODY * (2 * PUT_CHUNK_BYTES // len(BODY) + 1)
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


async def test_what_is_not_there_is_none_or_missing(store: ObjectStore) -> None:
    assert await store.head("generations", KEY) is None
    with pytest.raises(ObjectMissing):
        await collect(store.read("generations", KEY))
    await store.delete("generations", KEY)


async def test_deleting_removes_the_file(store: ObjectStore) -> None:
    await store.put("generations", KEY, BODY, "audio/mpeg")
    await store.delete("generations", KEY)
    assert await store.head("generations", KEY) is None


async def test_a_body_that_fails_midway_stores_nothing_and_its_error_passes_through(
    store: ObjectStore, tmp_path: Path
) -> None:
    class SpeechStopped(Exception):
        pass

    async def stops() -> AsyncIterator[bytes]:
        yield b"half"
        raise SpeechStopped

    with pytest.raises(SpeechStopped):
        await store.put("generations", KEY, stops(), "audio/mpeg")
    assert await store.head("generations", KEY) is None
    assert not [path for path in (tmp_path / "objects").rglob("*") if path.is_file()]


async def test_an_overwrite_is_seen_whole_or_not_at_all(store: ObjectStore) -> None:
    bodies = [bytes([number]) * 300_000 for number in range(8)]
    async with anyio.create_task_group() as group:
        for body in bodies:
            group.start_soon(store.put, "generations", KEY, pieces_of(body), "audio/mpeg")
    assert await collect(store.read("generations", KEY)) in bodies


async def test_a_folder_that_cannot_be_made_is_unavailable_in_our_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ObjectStoreUnavailable):
        ObjectStore.open(tmp_path / "file" / "objects")


async def test_a_url_of_no_known_store_is_unavailable_in_our_words() -> None:
    with pytest.raises(ObjectStoreUnavailable):
        ObjectStore.open("gopher://bucket")


async def test_a_store_that_refuses_a_write_is_unavailable(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "objects" / "generations").write_bytes(b"a file where the bucket should be")
    with pytest.raises(ObjectStoreUnavailable):
        await store.put("generations", KEY, BODY, "audio/mpeg")


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
    try:
        path = object_path("references", f"{OWNER}/{tail}")
    except InvalidKey:
        return
    root = Path("/store/references") / OWNER
    resolved = Path("/store", path).resolve()
    assert resolved.is_relative_to(root)
    assert resolved != root
