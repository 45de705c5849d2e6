"""People who use the service while it breaks, and what they were told."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from uuid import uuid4

import anyio
import httpx

from tests.chaos.world import User, World

TASK_PAUSE_SECONDS = 0.2
"""Between two polls of a task."""

PATIENCE_SECONDS = 120.0
"""How long somebody goes on asking for one generation, across deaths and outages."""

WORDS = ("river", "light", "morning", "window", "stone", "garden", "winter", "letter", "music", "harbour", "silver")


@dataclass
class Asked:
    """One wish: its key, and what came of it as far as its client knows."""

    key: str
    text: str
    streamed: bool
    posts: int = 0
    generation_ids: set[str] = field(default_factory=set)
    outcome: str = "never accepted"
    heard: bytes = b""
    whole: bool = False


@dataclass
class Load:
    """Each user has one wish at a time; `asked` are all of them. Of `streams_of` users in turn all but one stream."""

    world: World
    rng: random.Random
    streams_of: int = 2
    asked: list[Asked] = field(default_factory=list)
    stopping: bool = False

    async def run(self) -> None:
        """Until `stopping`, and then to the end of what was begun."""
        async with anyio.create_task_group() as tasks:
            for number, user in enumerate(self.world.users):
                tasks.start_soon(self._wish, user, random.Random(self.rng.random()), number % self.streams_of > 0)

    async def _wish(self, user: User, rng: random.Random, streamed: bool) -> None:
        while not self.stopping:
            text = f"{uuid4().hex[:8]} " + " ".join(rng.choices(WORDS, k=rng.randint(8, 60)))
            asked = Asked(str(uuid4()), text, streamed)
            self.asked.append(asked)
            with anyio.move_on_after(PATIENCE_SECONDS):
                await (self._stream(user, asked, rng) if streamed else self._task(user, asked, rng))
            await anyio.sleep(rng.random() * 0.3)

    def _client(self, user: User, rng: random.Random) -> httpx.AsyncClient:
        gateway = rng.choice(self.world.gateways)
        return httpx.AsyncClient(base_url=gateway.url, headers=user.headers, timeout=30, trust_env=False)

    def _body(self, user: User, asked: Asked) -> dict[str, str]:
        return {"voice_id": str(user.voice_id), "text": asked.text, "language": "English"}

    async def _task(self, user: User, asked: Asked, rng: random.Random) -> None:
        """v1, with a key: posted until it is accepted, polled at whichever gateway answers."""
        task_id = ""
        while not task_id:
            answer = await self._try(user, rng, "POST", "/api/generate", asked)
            if answer is not None and answer.status_code == 200:
                task_id = answer.json()["task_id"]
                asked.generation_ids.add(answer.json()["generation_id"])
            elif answer is not None and answer.status_code not in (409, 500, 502, 503, 504):
                asked.outcome = f"refused {answer.status_code}: {answer.text}"
                return
            else:
                await anyio.sleep(TASK_PAUSE_SECONDS)
        asked.outcome = "accepted"
        while asked.outcome in ("accepted", "pending", "processing"):
            await anyio.sleep(TASK_PAUSE_SECONDS)
            answer = await self._try(user, rng, "GET", f"/api/tasks/{task_id}", None)
            if answer is not None and answer.status_code == 200:
                asked.outcome = answer.json()["status"]

    async def _stream(self, user: User, asked: Asked, rng: random.Random) -> None:
        """v2: whatever breaks it off is resumed where it broke, at another gateway, as the page does."""
        while True:
            asked.posts += 1
            try:
                async with self._client(user, rng) as http:
                    headers = {"Idempotency-Key": asked.key}
                    async with http.stream(
                        "POST", "/api/generate/stream", json=self._body(user, asked), headers=headers
                    ) as answer:
                        if answer.status_code == 200:
                            asked.generation_ids.add(answer.headers["X-Utter-Generation-Id"])
                            asked.outcome = "begun"
                            async for piece in answer.aiter_raw():
                                asked.heard += piece
                            asked.whole = True
                            asked.outcome = "heard"
                            return
                        asked.outcome = f"answered {answer.status_code}"
            except httpx.HTTPError:
                pass
            if asked.generation_ids:
                await self._resume(user, asked, rng)
                return
            await anyio.sleep(TASK_PAUSE_SECONDS)

    async def _resume(self, user: User, asked: Asked, rng: random.Random) -> None:
        (generation_id,) = asked.generation_ids
        while True:
            await anyio.sleep(TASK_PAUSE_SECONDS)
            try:
                async with (
                    self._client(user, rng) as http,
                    http.stream("GET", f"/api/generations/{generation_id}/stream?offset={len(asked.heard)}") as answer,
                ):
                    if answer.status_code == 410:
                        asked.outcome = "gone"
                        return
                    if answer.status_code in (200, 416):
                        async for piece in answer.aiter_raw():
                            asked.heard += piece if answer.status_code == 200 else b""
                        asked.whole = answer.status_code == 200
                        asked.outcome = "resumed" if asked.whole else "at its end"
                        return
            except httpx.HTTPError:
                pass

    async def _try(
        self, user: User, rng: random.Random, method: str, path: str, asked: Asked | None
    ) -> httpx.Response | None:
        try:
            async with self._client(user, rng) as http:
                if asked is None:
                    return await http.request(method, path)
                asked.posts += 1
                headers = {"Idempotency-Key": asked.key}
                return await http.request(method, path, json=self._body(user, asked), headers=headers)
        except httpx.HTTPError:
            return None
