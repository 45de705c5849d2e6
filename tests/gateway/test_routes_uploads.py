"""Uploads by signed link over a real socket: what is stored, what is refused, and what is left of it then: nothing."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import anyio
import pytest
from anyio.abc import SocketStream
from starlette.requests import Request

from gateway.auth import User
from gateway.errors import ApiError
from gateway.media import RECORDING_TYPES
from gateway.middleware.body import MAX_UPLOAD_BYTES
from gateway.request_tracker import RequestTracker
from gateway.routes import links
from gateway.server import serve
from gateway.shutdown import Shutdown
from gateway.signing import Purpose
from storage.spool import HELD_BYTES
from tests.support.gateway import Gateway, open_gateway
from tests.support.http_wire import HttpAnswer, Reader
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(28)
MP3 = b"ID3\x04\x00\x00\x00\x00\x00\x00" + bytes(90)
M4A = b"\x00\x00\x00\x20ftypM4A " + bytes(80)
PIECE = bytes(range(256)) * 256
"""64 KiB."""


class Site:
    """A gateway behind its real server, and its store."""

    def __init__(self, gateway: Gateway, requests: RequestTracker, url: str, folder: Path) -> None:
        self.gateway = gateway
        self.requests = requests
        self._host, _, port = url.removeprefix("http://").rpartition(":")
        self._port = int(port)
        self.folder = folder
        self.owner = uuid4()
        self.key = f"{self.owner}/{uuid4()}/reference.wav"

    def link(
        self, key: str | None = None, *, signed: str | None = None, ttl: float = 60, purpose: Purpose = "upload"
    ) -> str:
        """The path and query of a signed link."""
        path = f"references/{key or self.key}"
        token = self.gateway.services.signer.sign(purpose, signed or path, ttl)
        return f"/api/objects/{path}?token={token}"

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[SocketStream]:
        async with await anyio.connect_tcp(self._host, self._port) as connection:
            yield connection

    async def ask(self, head: bytes, body: bytes = b"") -> HttpAnswer:
        """One request as it is."""
        async with self.connected() as connection:
            await connection.send(head + body)
            with anyio.fail_after(20):
                return await Reader(connection).answer()

    async def put(self, link: str, body: bytes, content_type: str | None = "audio/wav") -> HttpAnswer:
        """An upload with its length declared."""
        return await self.ask(head(link, f"Content-Length: {len(body)}", content_type), body)

    def files(self) -> list[Path]:
        """Everything in the store, temporary files too."""
        return files_in(self.folder)

    def stored(self) -> bytes | None:
        """The object behind `key`."""
        file = self.folder / "references" / self.key
        return file.read_bytes() if file.exists() else None


def head(link: str, framing: str, content_type: str | None = "audio/wav", method: str = "PUT") -> bytes:
    """A request's head. `framing` says how long the body is."""
    kind = f"Content-Type: {content_type}\r\n" if content_type is not None else ""
    return f"{method} {link} HTTP/1.1\r\nHost: utter.example\r\n{kind}{framing}\r\n\r\n".encode()


def chunk(data: bytes) -> bytes:
    """A piece of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


@asynccontextmanager
async def open_site(database: TestDatabase, folder: Path, **environment: str) -> AsyncIterator[Site]:
    stop = Shutdown()
    listening: list[str] = []
    ready = anyio.Event()

    async def on_listening(url: str) -> None:
        listening.append(url)
        ready.set()

    async with open_gateway(database, folder, UTTER_BIND_PORT="0", **environment) as gateway:
        services = gateway.services
        requests = RequestTracker(gateway.app)

        async def run() -> None:
            await serve(requests, services.settings, services.supervisor, stop=stop, on_listening=on_listening)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await ready.wait()
            try:
                yield Site(gateway, requests, listening[0], folder / "objects")
            finally:
                stop.request()
                stop.request()


@pytest.fixture
async def site(anyio_backend: Any, database: TestDatabase, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database, tmp_path) as opened:
        yield opened


class TestStored:
    @pytest.mark.parametrize("mount", ["/api", "/functions/v1/api"])
    async def test_it_is_answered_as_v1_did_and_read_back_the_same(self, site: Site, mount: str) -> None:
        answer = await site.put(site.link().replace("/api", mount, 1), WAV)
        assert (answer.status, answer.json) == (200, {"Key": f"references/{site.key}"})
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["access-control-allow-origin"] == "*"
        assert site.files() == [site.folder / "references" / site.key]
        assert site.stored() == WAV

    async def test_its_length_need_not_be_known(self, site: Site) -> None:
        pieces = b"".join(chunk(WAV[start : start + 5]) for start in range(0, len(WAV), 5))
        answer = await site.ask(head(site.link(), "Transfer-Encoding: chunked"), pieces + LAST_CHUNK)
        assert answer.status == 200
        assert site.stored() == WAV

    @pytest.mark.parametrize("framing", ["declared", "chunked"])
    async def test_the_largest_recording(self, site: Site, framing: str) -> None:
        body = PIECE * (MAX_UPLOAD_BYTES // len(PIECE))
        if framing == "declared":
            answer = await site.put(site.link(), body)
        else:
            pieces = chunk(PIECE) * (MAX_UPLOAD_BYTES // len(PIECE))
            answer = await site.ask(head(site.link(), "Transfer-Encoding: chunked"), pieces + LAST_CHUNK)
        assert answer.status == 200
        assert site.stored() == body

    @pytest.mark.parametrize("content_type", [*RECORDING_TYPES, "Audio/WAV", "audio/mp4; codecs=mp4a.40.2"])
    async def test_every_type_that_a_recording_may_have(self, site: Site, content_type: str) -> None:
        assert (await site.put(site.link(), WAV, content_type)).status == 200

    @pytest.mark.parametrize(
        ("body", "kind"), [(WAV, "audio/wav"), (MP3, "audio/mpeg"), (M4A, "audio/mp4")], ids=["wav", "mp3", "m4a"]
    )
    @pytest.mark.parametrize("said", ["audio/wav", "audio/x-m4a"])
    async def test_it_is_played_as_what_it_is_whatever_its_sender_and_its_key_say(
        self, site: Site, body: bytes, kind: str, said: str
    ) -> None:
        assert (await site.put(site.link(), body, said)).status == 200
        read = await site.gateway.ask("GET", site.link(purpose="object"))
        assert (read.status, read.body, read.headers["content-type"]) == (200, body, kind)
        part = await site.gateway.ask("GET", site.link(purpose="object"), {"range": "bytes=4-7"})
        assert (part.status, part.body, part.headers["content-type"]) == (206, body[4:8], kind)

    async def test_bytes_that_nobody_knows_are_stored_unheard(self, site: Site) -> None:
        """v1 never decoded a recording (v1 contract 1.4)."""
        assert (await site.put(site.link(), b"?")).status == 200
        read = await site.gateway.ask("GET", site.link(purpose="object"))
        assert (read.body, read.headers["content-type"]) == (b"?", "audio/wav")

    async def test_a_connection_serves_several(self, site: Site) -> None:
        async with site.connected() as connection:
            reader = Reader(connection)
            for name in ("one", "two"):
                link = site.link(f"{site.owner}/{name}/reference.wav")
                await connection.send(head(link, f"Content-Length: {len(WAV)}") + WAV)
                assert (await reader.answer()).status == 200


class TestRefused:
    """Each refusal is told to a client that is in the middle of a long body, and leaves nothing behind."""

    async def refused(self, site: Site, link: str, status: int, content_type: str | None = "audio/wav") -> HttpAnswer:
        """A body that is ten times what Hypercorn's queue takes, in small pieces."""
        before = site.files()
        answer = await site.ask(head(link, "Transfer-Encoding: chunked", content_type), chunk(WAV) * 100 + LAST_CHUNK)
        assert answer.status == status, answer
        assert list(answer.json) == ["detail"]
        assert answer.headers["access-control-allow-origin"] == "*"
        assert site.files() == before
        await nothing_waits(site)
        return answer

    @pytest.mark.parametrize("content_type", ["text/html", "audio/ogg", "video/mp4", "", None, "audio/wav, audio/mpeg"])
    async def test_a_type_that_is_no_recordings(self, site: Site, content_type: str | None) -> None:
        answer = await self.refused(site, site.link(), 400, content_type)
        assert "audio/wav" in answer.json["detail"]
        assert answer.headers["x-utter-error-category"] == "validation"

    async def test_a_link_that_is_not_for_this(self, site: Site) -> None:
        good = site.link()
        other = f"{site.owner}/other/reference.wav"
        for link in (
            good.partition("?")[0],
            good + "0",
            good.replace("token=", "token=0"),
            site.link(ttl=-1),
            site.link(signed=f"references/{other}"),
            site.link(signed=f"generations/{site.key}"),
            site.link(purpose="object"),
            site.link(purpose="stream"),
            good.replace(site.key, other),
            good.replace("references", "generations"),
        ):
            await self.refused(site, link, 401)

    async def test_an_upload_link_reads_nothing(self, site: Site) -> None:
        link = site.link()
        assert (await site.put(link, WAV)).status == 200
        for method in ("GET", "HEAD"):
            assert (await site.gateway.ask(method, link)).status == 401
        for method in ("POST", "DELETE", "PATCH"):
            assert (await site.gateway.ask(method, link)).status == 404
        assert site.stored() == WAV

    @pytest.mark.parametrize(
        "key",
        [
            "reference.wav",
            "{owner}",
            "{owner}/",
            "{owner}//reference.wav",
            "{owner}/../reference.wav",
            "{owner}/..%2f..%2fsecrets.json",
            "{owner}/.hidden",
            "../{owner}/reference.wav",
            "/{owner}/reference.wav",
            "{owner}/a%00.wav",
            "{owner}/a%5cb.wav",
            "{owner}/" + "a" * 300,
        ],
    )
    async def test_even_a_signature_cannot_name_anything_else(self, site: Site, key: str) -> None:
        written = key.format(owner=site.owner)
        answer = await self.refused(site, site.link(written, signed=f"references/{unquote(written)}"), 404)
        assert str(site.owner) not in answer.json["detail"]

    async def test_only_recordings_are_uploaded(self, site: Site) -> None:
        path = f"generations/{site.owner}/{uuid4()}.mp3"
        token = site.gateway.services.signer.sign("upload", path, 60)
        await self.refused(site, f"/api/objects/{path}?token={token}", 404)

    async def test_a_second_upload(self, site: Site) -> None:
        assert (await site.put(site.link(), WAV)).status == 200
        await self.refused(site, site.link(), 409)
        assert site.stored() == WAV

    async def test_a_second_upload_is_refused_before_its_body_is_sent(self, site: Site) -> None:
        assert (await site.put(site.link(), WAV)).status == 200
        answer = await site.ask(head(site.link(), f"Content-Length: {MAX_UPLOAD_BYTES}"))
        assert (answer.status, answer.headers["connection"]) == (409, "close")

    async def test_of_two_at_the_same_time_one_is_stored(self, site: Site) -> None:
        bodies = [bytes([number]) * 300_000 for number in range(1, 5)]
        statuses: dict[int, bytes] = {}
        answers: list[int] = []

        async def put(body: bytes) -> None:
            answer = await site.put(site.link(), body)
            answers.append(answer.status)
            statuses[answer.status] = body

        async with anyio.create_task_group() as tasks:
            for body in bodies:
                tasks.start_soon(put, body)
        assert sorted(answers) == [200, 409, 409, 409]
        assert site.stored() == statuses[200]
        assert len(site.files()) == 1

    @pytest.mark.parametrize(
        ("framing", "body"), [("Content-Length: 0", b""), ("Transfer-Encoding: chunked", b"0\r\n\r\n")]
    )
    async def test_an_empty_recording(self, site: Site, framing: str, body: bytes) -> None:
        answer = await site.ask(head(site.link(), framing), body)
        assert (answer.status, answer.headers["x-utter-error-category"]) == (400, "validation")
        assert "empty" in answer.json["detail"]
        assert site.files() == []

    async def test_too_much_is_told_before_it_is_sent(self, site: Site) -> None:
        answer = await site.ask(head(site.link(), f"Content-Length: {MAX_UPLOAD_BYTES + 1}"))
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert answer.headers["access-control-allow-origin"] == "*"

    async def test_too_much_is_told_to_a_client_that_sends_it_all_first(self, site: Site) -> None:
        """v1's page lets a file of 50 MB through, and a browser reads no answer before it has sent it."""
        pieces = 50 * 2**20 // len(PIECE)
        async with site.connected() as connection:
            await connection.send(head(site.link(), "Transfer-Encoding: chunked"))
            with anyio.fail_after(30):
                for _ in range(pieces):
                    await connection.send(chunk(PIECE))
                await connection.send(LAST_CHUNK)
                answer = await Reader(connection).answer()
        assert answer.status == 413
        assert str(MAX_UPLOAD_BYTES) in answer.json["detail"]
        assert site.files() == []

    async def test_more_than_was_declared_is_not_part_of_it(self, site: Site) -> None:
        async with site.connected() as connection:
            await connection.send(head(site.link(), f"Content-Length: {len(WAV)}") + WAV + b"and a lie\r\n\r\n")
            reader = Reader(connection)
            assert (await reader.answer()).status == 200
            assert (await reader.answer()).status == 400  # the lie is no request
        assert site.stored() == WAV


class TestBrokenOff:
    @pytest.mark.parametrize("framing", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
    async def test_a_client_that_leaves_in_the_middle(self, site: Site, framing: str, spool_folder: Path) -> None:
        beginning = PIECE * (HELD_BYTES // len(PIECE) + 1)
        piece = chunk(beginning) if "chunked" in framing else beginning
        async with site.connected() as connection:
            await connection.send(head(site.link(), framing) + piece)
            await until(lambda: open_spools(spool_folder) == 1)
        await until(lambda: open_spools(spool_folder) == 0)
        assert files_in(spool_folder) == []
        assert site.files() == []
        await nothing_waits(site)
        assert (await site.put(site.link(), WAV)).status == 200  # the place is still free

    async def test_a_client_that_only_stops_sending(
        self, database: TestDatabase, tmp_path: Path, spool_folder: Path
    ) -> None:
        async with open_site(database, tmp_path, UTTER_UPLOAD_SECONDS="0.3") as site:
            answer = await site.ask(head(site.link(), "Content-Length: 1000000"), PIECE * 8)
            assert (answer.status, answer.headers["connection"]) == (408, "close")
            assert open_spools(spool_folder) == 0
            assert files_in(spool_folder) == []
            assert site.files() == []

    async def test_a_store_that_fails_is_503_and_leaves_nothing(self, site: Site, spool_folder: Path) -> None:
        (site.folder / "references").write_bytes(b"a file where the bucket should be")
        answer = await site.put(site.link(), WAV)
        assert (answer.status, "retry-after" in answer.headers) == (503, True)
        assert open_spools(spool_folder) == 0

    async def test_a_disk_that_is_full_is_503(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
        assert (await site.put(site.link(), bytes(HELD_BYTES))).status == 503
        assert site.files() == []


class TestLinks:
    """Nothing outside their own folder is ever signed for anybody (product section 9)."""

    @pytest.mark.parametrize("make", [links.object_url, links.upload_url])
    async def test_an_own_key_only(self, site: Site, make: Callable[[Request, str, str], str]) -> None:
        ada, bob = uuid4(), uuid4()
        request = Request(
            {
                "type": "http",
                "scheme": "http",
                "headers": [(b"host", b"utter.example")],
                "state": {"caller": User(ada)},
                "app": SimpleNamespace(state=SimpleNamespace(services=site.gateway.services)),
            }
        )
        path = f"references/{ada}/voice/reference.wav"
        url = urlsplit(make(request, "references", f"{ada}/voice/reference.wav"))
        assert (url.netloc, url.path) == ("utter.example", f"/api/objects/{path}")
        purpose: Purpose = "upload" if make is links.upload_url else "object"
        site.gateway.services.signer.verify(purpose, path, url.query.removeprefix("token="))
        for key in (f"{bob}/voice/reference.wav", f"{ada}", f"{ada}0/a.wav", f"../{ada}/a.wav", ""):
            with pytest.raises(ApiError) as refused:
                make(request, "references", key)
            assert refused.value.status == 404


@pytest.fixture
def spool_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where bodies wait in these tests, and nothing else does."""
    folder = tmp_path / "spool"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def open_spools(folder: Path) -> int:
    """Files in `folder` that this process has open; they have no name."""
    targets = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            targets.append(str(descriptor.readlink()))
    return len([target for target in targets if target.startswith(f"{folder}/")])


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another task, or the kernel, does in its own time."""
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - of what the kernel does there is no event
            await anyio.sleep(0.01)


async def nothing_waits(site: Site) -> None:
    """No request is left in the server: none waits for room in a queue."""
    with anyio.fail_after(10):
        await site.requests.wait_idle()
