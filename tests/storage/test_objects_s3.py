"""What only a remote store shows: where objects lie, what it is told, and how it can be away, slow or closed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from storage.objects import (
    READ_PART_BYTES,
    ObjectExists,
    ObjectStore,
    ObjectStoreRefused,
    ObjectStoreUnavailable,
)
from tests.support.s3 import REGION, S3Server, start_s3

pytestmark = [pytest.mark.anyio, pytest.mark.integration, pytest.mark.usefixtures("s3_credentials")]

KEY = f"{uuid4()}/{uuid4()}/reference.wav"
BODY = bytes(range(256)) * 1000


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[S3Server]:
    """One that a test may break."""
    with start_s3(tmp_path) as server:
        yield server


class TestPlaces:
    async def test_one_bucket_has_a_folder_for_each(self, s3_server: S3Server) -> None:
        bucket = s3_server.new_bucket()
        store = ObjectStore.open(f"s3://{bucket}/live?region={REGION}&endpoint={s3_server.url}")
        await store.put("references", KEY, BODY, "audio/wav")
        await store.put("generations", KEY, BODY, "audio/mpeg")
        assert s3_server.keys(bucket) == [f"live/generations/{KEY}", f"live/references/{KEY}"]

    async def test_a_bucket_for_each_as_v1_had_them(self, s3_server: S3Server) -> None:
        name = f"v1-{uuid4().hex}-{{bucket}}"
        store = ObjectStore.open(s3_server.location(name))
        await store.check()
        await store.put("references", KEY, BODY, "audio/wav", overwrite=False)
        assert s3_server.keys(name.replace("{bucket}", "references")) == [KEY]
        assert s3_server.keys(name.replace("{bucket}", "generations")) == []

    @pytest.mark.parametrize("overwrite", [True, False])
    @pytest.mark.parametrize("size", [1000, 6_000_000])
    async def test_the_type_goes_with_the_object(self, s3_server: S3Server, overwrite: bool, size: int) -> None:
        store = ObjectStore.open(s3_server.location())

        async def body() -> AsyncIterator[bytes]:
            yield bytes(size)

        await store.put("references", KEY, body(), "audio/mp4", overwrite=overwrite)
        info = await store.head("references", KEY)
        assert info is not None
        assert (info.size, info.content_type) == (size, "audio/mp4")

    @pytest.mark.parametrize("overwrite", [True, False])
    async def test_nothing_is_ever_sent_in_parts(self, s3_server: S3Server, overwrite: bool) -> None:
        """Parts of an upload that broke off are invisible, and paid for."""
        bucket = s3_server.new_bucket()
        store = ObjectStore.open(f"s3://{bucket}?region={REGION}&endpoint={s3_server.url}")
        begun = anyio.Event()

        async def waits() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield bytes(6_000_000)
            begun.set()
            await anyio.sleep_forever()

        async def put() -> None:
            await store.put("references", KEY, waits(), "audio/wav", overwrite=overwrite)

        async with anyio.create_task_group() as group:
            group.start_soon(put)
            await begun.wait()
            assert s3_server.unfinished_uploads(bucket) == 0
            group.cancel_scope.cancel()
        assert s3_server.keys(bucket) == []

    async def test_an_endpoint_may_be_a_path_as_supabase_s_is(self) -> None:
        asked: list[bytes] = []

        async def nothing_there(client: SocketStream) -> None:
            async with client:
                request = await BufferedByteReceiveStream(client).receive_until(b"\r\n\r\n", 65536)
                asked.append(request.partition(b" HTTP/")[0])
                await client.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        async with listening(nothing_there) as url:
            store = ObjectStore.open(f"s3://{{bucket}}?region={REGION}&endpoint={url}/storage/v1/s3")
            assert await store.head("references", KEY) is None
        assert asked == [f"HEAD /storage/v1/s3/references/{KEY}".encode()]


class TestCheck:
    async def test_a_store_that_lets_us_in(self, s3_server: S3Server) -> None:
        await ObjectStore.open(s3_server.location()).check()

    async def test_a_bucket_that_is_not_there(self, s3_server: S3Server) -> None:
        store = ObjectStore.open(f"s3://nobodys-bucket?region={REGION}&endpoint={s3_server.url}")
        with pytest.raises(ObjectStoreRefused, match="no bucket s3://nobodys-bucket"):
            await store.check()
        with pytest.raises(ObjectStoreUnavailable):
            await store.put("references", KEY, BODY, "audio/wav")
        with pytest.raises(ObjectStoreUnavailable):
            await store.put("references", KEY, BODY, "audio/wav", overwrite=False)

    async def test_credentials_that_are_not_known(self, own_server: S3Server) -> None:
        store = ObjectStore.open(own_server.location())
        own_server.close_doors()
        with pytest.raises(ObjectStoreRefused, match="AWS_SECRET_ACCESS_KEY") as refused:
            await store.check()
        assert "hunter2" not in str(refused.value)
        for look in (store.head("references", KEY), store.put("references", KEY, BODY, "audio/wav")):
            with pytest.raises(ObjectStoreUnavailable) as away:
                await look
            assert "hunter2" not in str(away.value)


class TestAway:
    async def test_a_server_that_is_down(self, own_server: S3Server) -> None:
        store = ObjectStore.open(own_server.location())
        own_server.stop()
        with anyio.fail_after(40):
            await all_unavailable(store)

    async def test_a_server_that_goes_down_in_the_middle_of_a_read(self, own_server: S3Server) -> None:
        store = ObjectStore.open(own_server.location())
        await store.put("references", KEY, bytes(2 * READ_PART_BYTES), "audio/wav")
        read = store.read("references", KEY)
        await anext(read)
        own_server.stop()
        with pytest.raises(ObjectStoreUnavailable):
            async for _ in read:
                pass

    async def test_a_server_that_never_answers(self) -> None:
        async def never(client: SocketStream) -> None:
            async with client:
                await anyio.sleep_forever()

        async with listening(never) as url:
            store = ObjectStore.open(f"s3://bucket?endpoint={url}", read_seconds=0.2, write_seconds=0.2)
            with anyio.fail_after(20):
                await all_unavailable(store)

    async def test_a_name_that_nobody_has(self) -> None:
        store = ObjectStore.open("s3://bucket?endpoint=http://store.invalid", read_seconds=5)
        with pytest.raises(ObjectStoreUnavailable):
            await store.head("references", KEY)


class TestWithoutConditions:
    async def test_a_store_that_ignores_them_still_loses_nothing(self) -> None:
        """Some S3 look-alikes overwrite whatever `If-None-Match` says: they are asked first."""
        asked: list[bytes] = []

        async def always_well(client: SocketStream) -> None:
            async with client:
                request = await BufferedByteReceiveStream(client).receive_until(b"\r\n\r\n", 65536)
                asked.append(request.partition(b" ")[0])
                await client.send(
                    b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "1"\r\nConnection: close\r\n'
                    b"Last-Modified: Wed, 01 Jan 2025 00:00:00 GMT\r\n\r\n"
                )

        async with listening(always_well) as url:
            store = ObjectStore.open(f"s3://bucket?endpoint={url}")
            with pytest.raises(ObjectExists):
                await store.put("references", KEY, BODY, "audio/wav", overwrite=False)
        assert asked == [b"HEAD"]


async def all_unavailable(store: ObjectStore) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield BODY

    for attempt in (
        store.head("references", KEY),
        anext(store.read("references", KEY)),
        store.put("references", KEY, BODY, "audio/wav"),
        store.put("references", KEY, body(), "audio/wav"),
        store.put("references", KEY, BODY, "audio/wav", overwrite=False),
        store.delete("references", KEY),
        store.check(),
    ):
        with pytest.raises(ObjectStoreUnavailable):
            await attempt


@asynccontextmanager
async def listening(answer: Callable[[SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    """A server with these manners, for the body; gives its URL."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, answer)
        yield f"http://127.0.0.1:{listener.listeners[0].extra(SocketAttribute.local_port)}"  # noqa: S610 - not Django
        group.cancel_scope.cancel()
