"""A user of a deployment, over HTTP like any client: what `utter smoke` and `utter drill` do, they do as one.

Whatever is answered otherwise than was due is a `Surprise`, whose words say what was asked and what came.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx

CONNECT_SECONDS = 5.0
"""A deployment that does not take a connection in this time is not there."""

READ_SECONDS = 60.0
"""Longest silence while speech is made: the gateway's own first-audio limit is 30 s."""

POLL_SECONDS = 0.2
"""Between two looks at a task; the page looks once a second."""

ENDED = frozenset({"completed", "failed", "cancelled"})
"""States of a task that is over."""

Json = dict[str, Any]


class Surprise(Exception):
    """An answer, or none, other than the one that was due. The message is for an operator.

    `status` is the answer's, None where that is not what was wrong with it.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Order:
    """A generation that was accepted."""

    generation_id: str
    task_id: str


@dataclass(frozen=True, slots=True)
class Heard:
    """Audio to its clean end. Seconds count from the request: to the answer's head, to the first byte, to the last."""

    order: Order
    audio: bytes = field(repr=False)
    headers: httpx.Headers
    http_version: str
    first_byte_seconds: float
    last_byte_seconds: float


@asynccontextmanager
async def open_http() -> AsyncIterator[httpx.AsyncClient]:
    """A client for any number of visitors. Answers are taken as they are: no redirects but those that are followed on
    purpose, no proxies of the environment."""
    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    async with httpx.AsyncClient(timeout=timeout, trust_env=False, headers={"Accept-Encoding": "identity"}) as client:
        yield client


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody with a token at a deployment. All methods raise `Surprise`."""

    http: httpx.AsyncClient
    base_url: str
    token: str | None = field(repr=False)

    async def ask(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        """Whatever is answered. `path` may be a whole URL, which then gets no token."""
        own = {} if path.startswith("http") or self.token is None else {"Authorization": f"Bearer {self.token}"}
        url = path if path.startswith("http") else f"{self.base_url}{path}"
        with _surprised(method, path):
            return await self.http.request(method, url, headers={**own, **(headers or {})}, **more)

    async def get(self, path: str) -> Json:
        """The JSON of a 200."""
        return document(require(await self.ask("GET", path)))

    async def post(self, path: str, body: object, *, headers: Mapping[str, str] | None = None) -> Json:
        """The JSON of a 200."""
        return document(require(await self.ask("POST", path, json=body, headers=headers)))

    async def languages(self) -> Json:
        """What the deployment says it can do."""
        return await self.get("/api/languages")

    async def voices(self) -> list[Json]:
        """The newest hundred of their own."""
        found: list[Json] = (await self.get("/api/voices?per_page=100"))["voices"]
        return found

    async def history(self) -> list[Json]:
        """The newest hundred of their generations."""
        found: list[Json] = (await self.get("/api/generations?per_page=100"))["generations"]
        return found

    async def clone(self, recording: bytes, transcript: str, name: str) -> str:
        """The id of a new voice."""
        wanted = {"name": name, "language": "English", "transcript": transcript}
        link = await self.post("/api/clone/upload-url", wanted)
        require(await self.ask("PUT", link["upload_url"], content=recording, headers={"Content-Type": "audio/wav"}))
        made = await self.post("/api/clone/finalize", {"voice_id": link["voice_id"], **wanted})
        return str(made["id"])

    async def preview(self, text: str, instruct: str) -> str:
        """The id of the task of a preview that was begun."""
        wanted = {"text": text, "instruct": instruct, "language": "English"}
        return str((await self.post("/api/voices/design/preview", wanted))["task_id"])

    async def save_design(self, preview: Json, text: str, instruct: str, name: str) -> str:
        """The id of the voice of a preview that is completed, saved as v1's page does it: with its audio."""
        audio = require(await self.ask("GET", preview["result"]["audio_url"])).content
        form = {"name": name, "text": text, "language": "English", "instruct": instruct, "task_id": preview["id"]}
        files = {"audio": ("preview.wav", audio, "audio/wav")}
        return str(document(require(await self.ask("POST", "/api/voices/design", data=form, files=files)))["id"])

    async def generate(self, voice_id: str, text: str, *, key: str | None = None) -> Order:
        """A v1 generation that was begun."""
        headers = {"Idempotency-Key": key} if key else None
        accepted = await self.post("/api/generate", {"voice_id": voice_id, "text": text}, headers=headers)
        return Order(accepted["generation_id"], accepted["task_id"])

    @asynccontextmanager
    async def streaming(self, voice_id: str, text: str) -> AsyncIterator[httpx.Response]:
        """An open v2 answer, 200 or not."""
        body = {"voice_id": voice_id, "text": text}
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        with _surprised("POST", "/api/generate/stream"):
            async with self.http.stream(
                "POST", f"{self.base_url}/api/generate/stream", json=body, headers=headers
            ) as response:
                yield response

    async def stream(self, voice_id: str, text: str) -> Heard:
        """A v2 stream to its clean end."""
        asked = anyio.current_time()
        async with self.streaming(voice_id, text) as response:
            if response.status_code != httpx.codes.OK:
                await response.aread()
                require(response)
            first, pieces = 0.0, []
            async for piece in response.aiter_raw():
                first = first or anyio.current_time() - asked
                pieces.append(piece)
            return Heard(
                order=order_of(response),
                audio=b"".join(pieces),
                headers=response.headers,
                http_version=response.http_version,
                first_byte_seconds=first,
                last_byte_seconds=anyio.current_time() - asked,
            )

    async def task(self, task_id: str) -> Json:
        """A task as it is now."""
        return await self.get(f"/api/tasks/{task_id}")

    async def ended(self, task_id: str, *, seconds: float) -> Json:
        """A task in its last state."""
        with anyio.move_on_after(seconds):
            while (task := await self.task(task_id))["status"] not in ENDED:  # noqa: ASYNC110 - as clients do
                await anyio.sleep(POLL_SECONDS)
            return task
        raise Surprise(f"The task {task_id} did not end within {seconds:.0f} s.")

    async def completed(self, task_id: str, *, seconds: float) -> Json:
        """A task that ended well."""
        task = await self.ended(task_id, seconds=seconds)
        if task["status"] != "completed":
            raise Surprise(f"The task {task_id} ended as {task['status']}: {task['error']}")
        return task

    async def audio(self, generation_id: str) -> httpx.Response:
        """The stored audio, as the page plays it: by the link it is redirected to, without a token."""
        redirect = await self.ask("GET", f"/api/generations/{generation_id}/audio")
        require(redirect, httpx.codes.FOUND)
        return require(await self.ask("GET", redirect.headers["location"]))

    async def cancel(self, task_id: str) -> None:
        """Ask for a task's end."""
        await self.post(f"/api/tasks/{task_id}/cancel", None)


@contextmanager
def _surprised(method: str, path: str) -> Iterator[None]:
    """Raise `Surprise` for what is no answer at all."""
    what = f"{method} {urlsplit(path).path}"
    try:
        yield
    except httpx.ConnectError as error:
        raise Surprise(f"Nothing takes a connection for {what}.") from error
    except httpx.TimeoutException as error:
        raise Surprise(f"{what} was not answered in time.") from error
    except httpx.RemoteProtocolError as error:
        raise Surprise(f"The answer to {what} broke off.") from error
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise Surprise(f"{what} failed: {type(error).__name__}.") from error


def require(response: httpx.Response, status: int = httpx.codes.OK) -> httpx.Response:
    """The answer, if it has this status. Raises `Surprise`."""
    if response.status_code != status:
        words = f"{_asked(response)} answered {response.status_code} instead of {status}: {detail(response)}"
        raise Surprise(words, response.status_code)
    return response


def document(response: httpx.Response) -> Json:
    """The JSON object of an answer. Raises `Surprise`."""
    try:
        found = response.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Surprise(f"{_asked(response)} answered no JSON object, but {response.headers.get('content-type')}.")
    return found


def detail(response: httpx.Response) -> str:
    """What an error says for people; the reason phrase where it is not the gateway's."""
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.reason_phrase or "nothing"


def sha256(audio: bytes) -> str:
    """As tasks say it (`result.audio_sha256`)."""
    return hashlib.sha256(audio).hexdigest()


def order_of(response: httpx.Response) -> Order:
    """The generation that a v2 answer belongs to. Raises `Surprise`."""
    try:
        return Order(response.headers["x-utter-generation-id"], response.headers["x-utter-task-id"])
    except KeyError as missing:
        raise Surprise(f"{_asked(response)} answered without {missing}; a proxy may have removed it.") from None


def _asked(response: httpx.Response) -> str:
    """Without the query, which may hold a token."""
    return f"{response.request.method} {response.request.url.path}"
