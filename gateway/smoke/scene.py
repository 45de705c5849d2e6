"""Who goes round a deployment, what they have made there so far, and clearing it away again."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from secrets import token_hex
from typing import TypeVar

import anyio
import httpx

from gateway.visitor import Heard, Json, Order, Surprise, Visitor, detail, sha256

ROUNDS = 3
"""Looks for what is left to clear away: what was under way at an interruption may appear after the first."""

T = TypeVar("T")


class Skipped(Exception):
    """A check that cannot be made here. The message says why."""


@dataclass
class Scene:
    """`user` makes everything, `stranger` must see none of it. The rest is what checks leave to those after them."""

    user: Visitor
    stranger: Visitor | None
    recording: bytes = field(repr=False)
    able: Json = field(default_factory=dict)
    voice_id: str = ""
    preview: Json = field(default_factory=dict)
    order: Order | None = None
    heard: Heard | None = None
    tasks: list[str] = field(default_factory=list)
    name: str = field(default_factory=lambda: f"utter smoke {token_hex(4)}")
    """Of all its voices, and of nothing else."""

    @property
    def streams(self) -> bool:
        """Whether the deployment says that it streams."""
        return bool(self.able["capabilities"]["supports_generate_stream"])

    @property
    def cap(self) -> int:
        """Longest text, UTF-16 units."""
        return int(self.able["capabilities"]["max_text_chars"])

    async def make(self, work: Awaitable[T]) -> T:
        """What `work` makes, waited for whatever happens: what nobody knows of cannot be cleared away."""
        with anyio.CancelScope(shield=True):
            made = await work
        return made  # noqa: RET504 - to mypy a scope may swallow what is raised in it

    async def clear_away(self) -> list[str]:
        """Delete everything that was made. What could not be, each with the reason. A voice stays restorable, as for
        every user, until it is purged."""
        left: list[str] = []
        for _ in range(ROUNDS):
            try:
                paths = await self._made()
            except Surprise as surprise:
                return [*left, str(surprise)]
            if not paths:
                return []
            left = [reason for path in paths if (reason := await self._delete(path))]
        return left or ["New ones kept appearing."]

    async def _made(self) -> list[str]:
        """Paths of what is there. Tasks before generations: a running one is cancelled by that."""
        voices = [row["id"] for row in await self.user.voices() if row["name"] == self.name]
        spoken = [row["id"] for row in await self.user.history() if row["voice_id"] in {self.voice_id, *voices} - {""}]
        return [
            *(f"/api/tasks/{task}" for task in self.tasks),
            *(f"/api/generations/{generation}" for generation in spoken),
            *(f"/api/voices/{voice}" for voice in voices),
        ]

    async def _delete(self, path: str) -> str:
        """The reason why it is still there, "" when it is gone."""
        try:
            answer = await self.user.ask("DELETE", path)
        except Surprise as surprise:
            return str(surprise)
        if answer.status_code in {httpx.codes.OK, httpx.codes.NOT_FOUND}:
            self.tasks = [task for task in self.tasks if not path.endswith(task)]
            return ""
        return f"DELETE {path} answered {answer.status_code}: {detail(answer)}"


def same_audio(audio: bytes, task: Json) -> str:
    """Words for audio that is what its task says. Raises `Surprise` when it is not."""
    said = task["result"]
    if (len(audio), sha256(audio)) != (said["audio_bytes"], said["audio_sha256"]):
        raise Surprise(
            f"{len(audio)} bytes came, which are not the {said['audio_bytes']} that the task {task['id']} names."
        )
    return f"{len(audio)} bytes, as the task says"
