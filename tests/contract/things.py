"""What a row needs to exist before its request: voices, generations, tasks, uploads. Made anew for every request."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID, uuid4

from tests.contract.shapes import Made
from tests.contract.world import READ_SECONDS, RECORDING, User, World
from tests.support.emulator import VC_MODEL

TRANSCRIPT = "The quick brown fox jumps over the lazy dog."

AUDIO = b"RIFF of a finished generation"

POLL_SECONDS = 0.02

Names = dict[str, str]


class Thing(Protocol):
    """Something that a row names in its path, body or answer."""

    def make(self, world: World, owner: User, made: Names, /) -> str:
        """Its id, once it exists. `made` has the things before it."""


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice that the active provider can speak with, unless its columns say otherwise."""

    columns: Mapping[str, object] = field(default_factory=dict)
    recording: bytes | None = RECORDING

    def make(self, world: World, owner: User, made: Names) -> str:
        voice = uuid4()
        key = f"{owner.id}/{voice}/reference.wav"
        provider = str(self.columns.get("tts_provider", world.mode))
        row = {
            "id": voice,
            "user_id": owner.id,
            "name": "Ada",
            "source": "uploaded",
            "language": "English",
            "reference_transcript": TRANSCRIPT,
            "reference_object_key": key,
            "tts_provider": provider,
            **(_at_the_vendor(world) if provider == "qwen" else {}),
            **resolved(self.columns, made),
        }
        world.sql.insert("voices", row)
        if self.recording is not None and row["reference_object_key"] == key:
            world.store("references", key, self.recording)
        return str(voice)


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation of a voice of its own, completed and stored unless its columns say otherwise."""

    columns: Mapping[str, object] = field(default_factory=dict)

    def make(self, world: World, owner: User, made: Names) -> str:
        generation = uuid4()
        completed = self.columns.get("status", "completed") == "completed"
        suffix = "mp3" if world.mode == "qwen" else "wav"
        key = f"{owner.id}/{generation}.{suffix}" if completed else None
        row = {
            "id": generation,
            "user_id": owner.id,
            "text": "Good morning.",
            "language": "English",
            "status": "completed",
            "audio_object_key": key,
            "tts_provider": world.mode,
            **resolved(self.columns, made),
        }
        if "voice_id" not in row:
            row["voice_id"] = UUID(Voice().make(world, owner, made))
        world.sql.insert("generations", row)
        if key is not None and row["audio_object_key"] == key:
            world.store("generations", key, AUDIO)
        return str(generation)


@dataclass(frozen=True, slots=True)
class Task:
    """A `generate` task in a state, with or without a generation; work that nobody is doing."""

    columns: Mapping[str, object] = field(default_factory=dict)

    def make(self, world: World, owner: User, made: Names) -> str:
        task = uuid4()
        row = {
            "id": task,
            "user_id": owner.id,
            "type": "generate",
            "status": "processing",
            "provider": world.mode,
            **resolved(self.columns, made),
        }
        world.sql.insert("tasks", row)
        return str(task)


@dataclass(frozen=True, slots=True)
class Upload:
    """A recording that was uploaded to the place of a voice that is not finalized yet. The id is the voice's."""

    content: bytes = RECORDING

    def make(self, world: World, owner: User, _made: Names) -> str:
        voice = str(uuid4())
        world.store("references", f"{owner.id}/{voice}/reference.wav", self.content)
        return voice


@dataclass(frozen=True, slots=True)
class UploadLink:
    """The path and query of a signed address for a new recording, without the leading slash."""

    used: bytes | None = None

    def make(self, world: World, owner: User, _made: Names) -> str:
        wanted = {"name": "Ada", "language": "English", "transcript": TRANSCRIPT}
        answer = world.ask(owner, "POST", "/api/clone/upload-url", json=wanted).raise_for_status()
        url: str = answer.json()["upload_url"]
        if self.used is not None:
            world.ask(None, "PUT", url, content=self.used, headers={"Content-Type": "audio/wav"}).raise_for_status()
        return url.removeprefix(world.stack.base_url).removeprefix("/")


@dataclass(frozen=True, slots=True)
class ReadLink:
    """The path and query of a signed address of a voice's recording, without the leading slash."""

    def make(self, world: World, owner: User, made: Names) -> str:
        voice = Voice().make(world, owner, made)
        url: str = world.ask(owner, "GET", f"/api/voices/{voice}/preview").headers["Location"]
        return url.removeprefix(world.stack.base_url).removeprefix("/")


@dataclass(frozen=True, slots=True)
class Preview:
    """A design preview that the API made and the provider has spoken. The id is the task's."""

    def make(self, world: World, owner: User, _made: Names) -> str:
        wanted = {"text": "Good evening.", "instruct": "A calm narrator.", "language": "English"}
        started = world.ask(owner, "POST", "/api/voices/design/preview", json=wanted).raise_for_status()
        task: str = started.json()["task_id"]
        ended(world, owner, task)
        return task


def ended(world: World, owner: User, task: str) -> dict[str, Any]:
    """The task in its terminal state, polled as v1's page does, only faster."""
    deadline = time.monotonic() + READ_SECONDS
    while time.monotonic() < deadline:
        found: dict[str, Any] = world.ask(owner, "GET", f"/api/tasks/{task}").raise_for_status().json()
        if found["status"] not in {"pending", "processing"}:
            return found
        time.sleep(POLL_SECONDS)
    raise AssertionError(f"the task did not end within {READ_SECONDS:.0f} s: {found}")


def resolved(columns: Mapping[str, object], made: Names) -> dict[str, object]:
    """Column values with the ids of made things in them."""
    return {name: _column(value, made) for name, value in columns.items()}


def _column(value: object, made: Names) -> object:
    if isinstance(value, dict):
        return resolved(value, made)
    if not isinstance(value, Made):
        return value
    text = value.template.format(**made)
    return UUID(text) if value.template.startswith("{") and value.template.endswith("}") else text


def _at_the_vendor(world: World) -> dict[str, object]:
    return {
        "provider_voice_id": world.provider_voice,
        "provider_target_model": VC_MODEL,
        "provider_region": "intl",
        "provider_voice_kind": "vc",
    }
