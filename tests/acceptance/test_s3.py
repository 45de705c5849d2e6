"""The product on an S3 store: `utter serve` as a process, with the emulator and moto's S3 as two others."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import anyio
import httpx
import msgspec
import pytest

from gateway.auth import mint_token
from gateway.signing import Signer
from storage import voices
from storage.database import Database
from storage.objects import ObjectStore
from tests.acceptance.client import READ_SECONDS, assert_error, until
from tests.support.cli import ENDS_SECONDS, STAGING, command, refusal, utter_alone
from tests.support.emulator import Emulator, start_emulator
from tests.support.postgres import TestDatabase
from tests.support.rows import new_voice
from tests.support.s3 import REGION, S3Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120), pytest.mark.usefixtures("s3_credentials")]

RECORDING = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(range(256)) * 4000


@dataclass(frozen=True)
class Site:
    """A gateway that keeps its audio on S3, and one user of it."""

    url: str
    bucket: str
    store: ObjectStore
    user: UUID
    voice_id: UUID
    signer: Signer

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {mint_token(STAGING['SUPABASE_JWT_SECRET'], self.user)}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=READ_SECONDS, trust_env=False)

    def stored(self, bucket: str, key: str) -> bytes:
        """The object as another program finds it."""

        async def read() -> bytes:
            return b"".join([piece async for piece in self.store.read(bucket, key)])

        return anyio.run(read)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with start_emulator(tmp_path_factory.mktemp("emulator")) as running:
        yield running


@pytest.fixture
def site(database: TestDatabase, emulator: Emulator, s3_server: S3Server, tmp_path: Path) -> Iterator[Site]:
    """It ends by SIGTERM, with success."""
    bucket = s3_server.new_bucket()
    location = f"s3://{bucket}/live?region={REGION}&endpoint={s3_server.url}"
    user, voice_id = add_user(database, emulator)
    environment = {**os.environ, **serving(database, emulator, location, tmp_path)}
    with subprocess.Popen(command("serve"), stderr=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stderr is not None
        url = next(line for line in process.stderr if "server.listening" in line).partition('"url":')[2].split('"')[1]
        try:
            signer = Signer(STAGING["UTTER_SIGNING_SECRET"])
            yield Site(url, bucket, ObjectStore.open(location), user, voice_id, signer)
        finally:
            process.send_signal(signal.SIGTERM)
            log = process.stderr.read()
            assert process.wait(ENDS_SECONDS) == 0
    assert "hunter2" not in log


def add_user(database: TestDatabase, emulator: Emulator) -> tuple[UUID, UUID]:
    """Somebody with a voice that the emulator knows."""
    user = database.create_user()
    voice = msgspec.structs.replace(new_voice(user), provider_voice_id=emulator.clone())

    async def insert() -> None:
        async with Database.open(database.gateway_url, max_connections=1) as pool, pool.as_user(user) as transaction:
            await voices.insert_voice(transaction, voice)

    anyio.run(insert)
    return user, voice.id


def serving(database: TestDatabase, emulator: Emulator, location: str, folder: Path) -> dict[str, str]:
    return {
        **STAGING,
        "DATABASE_URL": database.gateway_url,
        "DASHSCOPE_API_KEY": emulator.api_key,
        "DASHSCOPE_BASE_URL": emulator.rest_url,
        "DASHSCOPE_REALTIME_URL": emulator.realtime_url,
        "OBJECTS_URL": location,
        "UTTER_DATA_DIR": str(folder / "data"),
        "UTTER_BIND_PORT": "0",
    }


def test_what_was_streamed_is_what_s3_has_and_what_a_link_plays(site: Site, s3_server: S3Server) -> None:
    with site.client() as client, httpx.Client(trust_env=False) as stranger:
        body = {"voice_id": str(site.voice_id), "text": "Kept in a bucket."}
        with client.stream("POST", "/api/generate/stream", json=body) as answer:
            answer.raise_for_status()
            heard = b"".join(answer.iter_raw())
        generation, task = answer.headers["X-Utter-Generation-Id"], answer.headers["X-Utter-Task-Id"]
        ended = until(lambda: found if (found := client.get(f"/api/tasks/{task}").json()).get("result") else None)
        assert ended["result"]["audio_sha256"] == hashlib.sha256(heard).hexdigest()

        key = f"{site.user}/{generation}.mp3"
        assert s3_server.keys(site.bucket) == [f"live/generations/{key}"]
        assert site.stored("generations", key) == heard

        link = client.get(f"/api/generations/{generation}/audio").headers["Location"]
        assert urlsplit(link).netloc == urlsplit(site.url).netloc  # the store's own address is nobody's business
        for _ in range(2):
            played = stranger.get(link)
            assert (played.status_code, played.content) == (200, heard)
            assert played.headers["Content-Type"] == "audio/mpeg"
        part = stranger.get(link, headers={"Range": "bytes=1000-1999"})
        assert (part.status_code, part.content) == (206, heard[1000:2000])
        assert part.headers["Content-Range"] == f"bytes 1000-1999/{len(heard)}"
        assert stranger.get(link, headers={"Range": "bytes=-100"}).content == heard[-100:]
        assert_error(stranger.get(link, headers={"Range": f"bytes={len(heard)}-"}), 416)
        assert stranger.get(link, headers={"If-None-Match": played.headers["ETag"]}).status_code == 304

        assert client.delete(f"/api/generations/{generation}").json() == {"ok": True}
        assert s3_server.keys(site.bucket) == []
        assert_error(stranger.get(link), 404)


def test_a_recording_goes_through_the_gateway_into_the_bucket_once(site: Site, s3_server: S3Server) -> None:
    key = f"{site.user}/{uuid4()}/reference.wav"
    path = f"references/{key}"
    upload = f"{site.url}/api/objects/{path}?token={site.signer.sign('upload', path, 60)}"
    with httpx.Client(trust_env=False, timeout=READ_SECONDS) as browser:
        assert_error(browser.put(upload, content=RECORDING, headers={"Content-Type": "text/html"}), 400)
        assert_error(browser.put(upload, content=bytes(11 * 2**20), headers={"Content-Type": "audio/wav"}), 413)
        assert s3_server.keys(site.bucket) == []
        stored = browser.put(upload, content=RECORDING, headers={"Content-Type": "audio/mpeg"})
        assert (stored.status_code, stored.json()) == (200, {"Key": path})
        assert_error(browser.put(upload, content=b"another", headers={"Content-Type": "audio/wav"}), 409)

        assert s3_server.keys(site.bucket) == [f"live/{path}"]
        assert s3_server.unfinished_uploads(site.bucket) == 0
        assert site.stored("references", key) == RECORDING
        info = anyio.run(site.store.head, "references", key)
        assert info is not None
        assert info.content_type == "audio/wav"  # what it is, not what the browser said
        read = browser.get(f"{site.url}/api/objects/{path}?token={site.signer.sign('object', path, 60)}")
        assert (read.content, read.headers["Content-Type"]) == (RECORDING, "audio/wav")


class TestStart:
    """A store that is not as the settings say."""

    def test_a_bucket_that_does_not_exist(
        self, database: TestDatabase, emulator: Emulator, s3_server: S3Server, tmp_path: Path
    ) -> None:
        location = f"s3://nobodys-bucket?region={REGION}&endpoint={s3_server.url}"
        said = refusal(utter_alone("serve", environment=serving(database, emulator, location, tmp_path)))
        assert "no bucket s3://nobodys-bucket" in said
        assert "Check OBJECTS_URL" in said
        assert "hunter2" not in said

    def test_a_url_that_is_no_place(self, database: TestDatabase, emulator: Emulator, tmp_path: Path) -> None:
        environment = serving(database, emulator, "s3://id:hunter2@bucket", tmp_path)
        said = refusal(utter_alone("serve", environment=environment))
        assert "OBJECTS_URL cannot be" in said
        assert "hunter2" not in said

    def test_a_store_that_is_away_does_not_keep_the_gateway_from_starting(
        self, database: TestDatabase, emulator: Emulator, tmp_path: Path
    ) -> None:
        location = f"s3://bucket?region={REGION}&endpoint=http://127.0.0.1:1"
        environment = {**os.environ, **serving(database, emulator, location, tmp_path)}
        with subprocess.Popen(command("serve"), stderr=subprocess.PIPE, env=environment, text=True) as process:
            assert process.stderr is not None
            lines: list[str] = []
            for line in process.stderr:
                lines.append(line)
                if "server.listening" in line:
                    break
            process.send_signal(signal.SIGTERM)
            process.stderr.read()
            assert process.wait(ENDS_SECONDS) == 0
        assert any("objects.unavailable" in line for line in lines)
        assert "server.listening" in lines[-1]
