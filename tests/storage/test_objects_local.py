"""What only a local store shows: its files, and that there is nothing beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from storage.objects import ObjectExists, ObjectStore, ObjectStoreUnavailable
from storage.spool import HELD_BYTES

pytestmark = pytest.mark.anyio

KEY = f"{uuid4()}/{uuid4()}.mp3"
BODY = bytes(range(256)) * 1000


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore.open(tmp_path / "objects")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_stored_object_is_a_file_below_its_bucket_and_nothing_beside_it(
    store: ObjectStore, tmp_path: Path
) -> None:
    assert await store.put("generations", KEY, BODY, "audio/mpeg") == len(BODY)
    assert files(tmp_path / "objects") == [tmp_path / "objects" / "generations" / KEY]
    assert files(tmp_path / "objects")[0].read_bytes() == BODY


@pytest.mark.parametrize("name", ["objects", "my objects", "100%25 #1?", "Töne"])
async def test_opening_by_path_and_by_url_is_the_same_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    for location in (folder, str(folder), folder.as_uri()):
        await ObjectStore.open(location).put("generations", KEY, b"abc", "audio/mpeg")
        file = folder / "generations" / KEY
        assert file.read_bytes() == b"abc"
        file.unlink()


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


@pytest.mark.parametrize("overwrite", [True, False])
async def test_a_body_that_fails_leaves_no_file(store: ObjectStore, tmp_path: Path, overwrite: bool) -> None:
    async def stops() -> AsyncIterator[bytes]:
        yield bytes(HELD_BYTES + 1)
        raise EOFError

    with pytest.raises(EOFError):
        await store.put("generations", KEY, stops(), "audio/mpeg", overwrite=overwrite)
    assert files(tmp_path / "objects") == []


@pytest.mark.parametrize("overwrite", [True, False])
async def test_a_put_that_is_cancelled_leaves_no_file(store: ObjectStore, tmp_path: Path, overwrite: bool) -> None:
    async def waits() -> AsyncIterator[bytes]:
        yield bytes(HELD_BYTES + 1)
        begun.set()
        await anyio.sleep_forever()

    begun = anyio.Event()
    async with anyio.create_task_group() as group:

        async def put() -> None:
            await store.put("generations", KEY, waits(), "audio/mpeg", overwrite=overwrite)

        group.start_soon(put)
        await begun.wait()
        group.cancel_scope.cancel()
    with anyio.fail_after(10):
        while files(tmp_path / "objects"):  # noqa: ASYNC110 - the store's own threads remove them
            await anyio.sleep(0.01)


async def test_a_refused_second_put_leaves_one_file(store: ObjectStore, tmp_path: Path) -> None:
    await store.put("references", KEY, BODY, "audio/wav", overwrite=False)
    with pytest.raises(ObjectExists):
        await store.put("references", KEY, BODY, "audio/wav", overwrite=False)
    assert len(files(tmp_path / "objects")) == 1


async def test_there_is_nothing_to_check(store: ObjectStore) -> None:
    await store.check()


async def test_it_tells_no_type(store: ObjectStore) -> None:
    await store.put("references", KEY, BODY, "audio/mpeg")
    info = await store.head("references", KEY)
    assert info is not None
    assert info.content_type is None
