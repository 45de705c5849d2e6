"""Signed links: what their tokens open, for how long, and nothing else."""

from __future__ import annotations

import httpx
import pytest

from bench.stack import Stack
from gateway.data_dir import Secrets
from gateway.middleware.paths import ROUTE_PREFIXES
from gateway.signing import Signer
from tests.acceptance.client import Client, Heard, assert_error

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

UNKNOWN = "6f1d2b3c-0000-4000-8000-000000000001"


@pytest.fixture
def signer(secrets: Secrets) -> Signer:
    """Signs as the running gateway does."""
    return Signer(secrets.signing_secret)


class TestSignedStream:
    """`?token=`: bound to one generation, to listening, and to its time."""

    def test_the_link_of_the_task_plays_without_credentials(
        self, http: httpx.Client, client: Client, heard: Heard
    ) -> None:
        assert http.get(client.task(heard.task_id)["stream_url"]).content == heard.audio

    def test_a_token_for_something_else_is_refused(
        self, http: httpx.Client, client: Client, heard: Heard, signer: Signer
    ) -> None:
        other = client.stream("Another one.")
        link = f"/generations/{heard.generation_id}/stream"
        refused = {
            "another generation": signer.sign("stream", other.generation_id, 60),
            "an object": signer.sign("object", heard.generation_id, 60),
            "expired": signer.sign("stream", heard.generation_id, -1),
            "another server": Signer("another secret of thirty-two bytes").sign("stream", heard.generation_id, 60),
            "an access token": client.stack.token,
            "blank": "",
            "garbage": "garbage",
        }
        for mount in ROUTE_PREFIXES:
            assert http.get(mount + link, params={"token": signer.sign("stream", heard.generation_id, 60)}).is_success
            for what, token in refused.items():
                assert_error(http.get(mount + link, params={"token": token}), 401, what)
                # A bad link stays bad in the hands of the owner: what a page is given must not depend on who looks.
                assert_error(client.http.get(mount + link, params={"token": token}), 401, what)

    def test_a_changed_token_is_refused(self, http: httpx.Client, heard: Heard, signer: Signer) -> None:
        token = signer.sign("stream", heard.generation_id, 60)
        for place in (0, len(token.partition(".")[0]) - 1, token.index(".") + 1, len(token) // 2):
            changed = token[:place] + ("0" if token[place] != "0" else "1") + token[place + 1 :]
            answer = http.get(f"/api/generations/{heard.generation_id}/stream", params={"token": changed})
            assert_error(answer, 401, place)

    def test_it_opens_nothing_but_the_stream(self, http: httpx.Client, heard: Heard, signer: Signer) -> None:
        query = {"token": signer.sign("stream", heard.generation_id, 60)}
        generation = f"/api/generations/{heard.generation_id}"
        assert_error(http.get(f"{generation}/audio", params=query), 401)
        assert_error(http.delete(generation, params=query), 401)
        assert_error(http.get(f"/api/tasks/{heard.task_id}", params=query), 401)
        for method in ("POST", "PUT", "DELETE"):
            assert_error(http.request(method, f"{generation}/stream", params=query), 404)

    def test_a_signed_id_of_nothing_is_404(self, http: httpx.Client, signer: Signer) -> None:
        token = signer.sign("stream", UNKNOWN, 60)
        assert_error(http.get(f"/api/generations/{UNKNOWN}/stream", params={"token": token}), 404)


class TestSignedObject:
    """Stored objects: bound to one key, without credentials."""

    def test_the_link_plays_more_than_once_without_credentials(
        self, http: httpx.Client, client: Client, heard: Heard
    ) -> None:
        link = client.http.get(f"/api/generations/{heard.generation_id}/audio").headers["Location"]
        for _ in range(2):
            assert http.get(link).content == heard.audio

    def test_a_token_for_something_else_is_refused(
        self, http: httpx.Client, client: Client, stranger: httpx.Client, heard: Heard, signer: Signer
    ) -> None:
        key = f"{client.stack.demo_user}/{heard.generation_id}.mp3"
        recording = f"references/{client.stack.demo_user}/{client.voice['id']}/reference.wav"
        refused = {
            "another object": signer.sign("object", recording, 60),
            "another bucket": signer.sign("object", f"references/{key}", 60),
            "another user": signer.sign("object", f"generations/{UNKNOWN}/{heard.generation_id}.mp3", 60),
            "the folder above": signer.sign("object", f"generations/{client.stack.demo_user}", 60),
            "a stream": signer.sign("stream", f"generations/{key}", 60),
            "expired": signer.sign("object", f"generations/{key}", -1),
            "an access token": client.stack.token,
            "blank": "",
        }
        for mount in ROUTE_PREFIXES:
            link = f"{mount}/objects/generations/{key}"
            assert http.get(link, params={"token": signer.sign("object", f"generations/{key}", 60)}).is_success
            assert_error(http.get(link), 401)
            assert_error(stranger.get(link), 401)
            for what, token in refused.items():
                assert_error(http.get(link, params={"token": token}), 401, what)

    def test_a_good_token_moves_to_no_other_path(self, http: httpx.Client, heard: Heard, stack: Stack) -> None:
        client = Client(stack)
        link = httpx.URL(client.http.get(f"/api/generations/{heard.generation_id}/audio").headers["Location"])
        client.close()
        for path in (
            "/api/objects/references/" + link.path.split("/", 4)[-1],
            link.path + "/",
            link.path.replace(".mp3", ".mp3.bak"),
            link.path.replace("/api/objects/generations/", "/api/objects/generations//"),
        ):
            assert_error(http.get(link.copy_with(path=path)), 401, path)
        for method in ("POST", "DELETE"):
            assert_error(http.request(method, link), 404, method)

    def test_it_stores_nothing(self, http: httpx.Client, client: Client, heard: Heard, signer: Signer) -> None:
        """The same address takes uploads, by tokens made for that."""
        for path in (f"generations/{client.stack.demo_user}/{heard.generation_id}.mp3", "references/not/mine.wav"):
            token = signer.sign("object", path, 60)
            for mount in ROUTE_PREFIXES:
                link = f"{mount}/objects/{path}?token={token}"
                assert_error(http.put(link, content=b"RIFF", headers={"Content-Type": "audio/wav"}), 401, path)
