"""Voices of users made again at the active provider, by an operator before or after a switch (product section 16).

What is made, and under which id, is what `Studio.reclone` would make for its user: who has done it already is left
alone, and a run that was interrupted goes on where it was.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID

import msgspec
from anyio.abc import TaskGroup

from gateway.errors import ApiError
from gateway.providers import open_customization
from gateway.settings import ProviderMode, Settings
from gateway.signing import Signer
from gateway.studio.base import MadeVoice
from gateway.studio.creates import Creates
from gateway.studio.qwen_clone import QwenClones
from gateway.studio.reclone import ModalReclones, QwenReclones, modal_id, qwen_id, usable_at_qwen
from gateway.studio.recordings import Recordings
from gateway.task_groups import open_task_group
from protocol.errors import Category, ProviderFailure
from protocol.languages import is_spoken
from schema.records import VoiceOutline
from storage import upkeep
from storage.database import Database
from storage.errors import StorageError
from storage.objects import ObjectStore

FAILURES_IN_A_ROW = 3
"""After so many that are no fault of a voice's own, the next would fail as well: the rest is left for another run."""


_ASK_ITS_USER = "Its user has to clone or design it anew."


class Standing(StrEnum):
    """What becomes of a voice."""

    TO_MAKE = "to be made"
    MADE = "made"
    FAILED = "failed"
    NOT_BEGUN = "not begun"
    CANNOT = "cannot be made"


class Moved(msgspec.Struct, frozen=True):
    """One voice. `made_id` is the id of what was made of it."""

    voice_id: UUID
    user_id: UUID
    standing: Standing
    made_id: UUID | None = None
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class MovePlan:
    """`usable` counts voices that need nothing: those that speak as they are, and those of which one was made that
    does."""

    to_make: list[VoiceOutline]
    cannot: list[Moved]
    usable: int


async def plan_move(settings: Settings, database: Database, user_id: UUID | None) -> MovePlan:
    """What there is to do for this user, for everybody with None. Nothing is changed. Raises `DatabaseUnavailable`."""
    voices = {voice.id: voice async for voice in upkeep.all_voices(database, user_id)}
    there = [voice for voice in voices.values() if not voice.deleted]
    copies = {copy for voice in there if _usable(settings, voice) for copy in _copies(settings, voice.id)}
    to_make, cannot, usable = [], [], 0
    for voice in there:
        # One that was made of it and deleted since is not wanted; the original of a copy speaks here as it is.
        if _usable(settings, voice) or _successor(settings, voice.id) in voices or voice.id in copies:
            usable += 1
        elif reason := _obstacle(settings, voice):
            cannot.append(Moved(voice.id, voice.user_id, Standing.CANNOT, None, reason, _ASK_ITS_USER))
        else:
            to_make.append(voice)
    return MovePlan(to_make, cannot, usable)


async def move(
    settings: Settings, database: Database, voices: Sequence[VoiceOutline], tell: Callable[[Moved], None]
) -> list[Moved]:
    """Make them, one after the other; `tell` is told each as it is done. What was made is known to the next run."""
    done: list[Moved] = []
    in_a_row = 0
    async with _open_reclones(settings, database) as reclones:
        for voice in voices:
            if in_a_row < FAILURES_IN_A_ROW:
                moved, counts = await _make(reclones, voice)
                in_a_row = in_a_row + 1 if counts else 0
            else:
                moved = Moved(voice.id, voice.user_id, Standing.NOT_BEGUN, remedy="Run it again when that is mended.")
            done.append(moved)
            tell(moved)
    return done


def _usable(settings: Settings, voice: VoiceOutline) -> bool:
    if settings.provider_mode is ProviderMode.QWEN:
        return usable_at_qwen(settings, voice)
    return voice.tts_provider == "modal"


def _successor(settings: Settings, voice_id: UUID) -> UUID:
    if settings.provider_mode is ProviderMode.QWEN:
        return qwen_id(voice_id, settings.dashscope_region, settings.vc_target_model)
    return modal_id(voice_id)


def _copies(settings: Settings, voice_id: UUID) -> Iterable[UUID]:
    """Ids of what was made of it at the other provider."""
    if settings.provider_mode is ProviderMode.QWEN:
        return [modal_id(voice_id)]
    return [qwen_id(voice_id, settings.dashscope_region, model) for model in settings.accepted_vc_models]


def _obstacle(settings: Settings, voice: VoiceOutline) -> str:
    """Why it cannot be made again, "" when it can."""
    if not voice.has_recording:
        return "It has no recording."
    if not voice.has_transcript:
        return "Its recording has no transcript."
    if settings.provider_mode is ProviderMode.QWEN and not is_spoken(voice.language):
        return f"Qwen does not speak {voice.language}."
    return ""


async def _make(reclones: _Reclones, voice: VoiceOutline) -> tuple[Moved, bool]:
    """What became of it, and whether that may be nobody's fault but the deployment's."""
    try:
        made = await reclones.reclone(voice.user_id, voice.id)
    except ApiError as error:
        ours = error.category not in {None, Category.VALIDATION}
        return Moved(voice.id, voice.user_id, Standing.FAILED, None, error.detail, _remedy(error)), ours
    except StorageError as error:
        return Moved(
            voice.id, voice.user_id, Standing.FAILED, None, f"{error}.", "`utter doctor` says what is away."
        ), True
    return Moved(voice.id, voice.user_id, Standing.MADE, made.voice.id, made.warning), False


def _remedy(error: ApiError) -> str:
    if isinstance(error.__cause__, ProviderFailure):
        fault = error.__cause__.fault
        return f"{fault.facts.remedy} ({fault.value})"
    return _ASK_ITS_USER if error.category is Category.VALIDATION else "Run it again in a few minutes."


class _Reclones(Protocol):
    async def reclone(self, owner: UUID, voice_id: UUID) -> MadeVoice: ...


@dataclass(frozen=True, slots=True)
class _Jobs:
    """A command has no request that could end before its work."""

    tasks: TaskGroup

    def start_job(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        self.tasks.start_soon(self._run, work, name=name)

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        await work()


@asynccontextmanager
async def _open_reclones(settings: Settings, database: Database) -> AsyncIterator[_Reclones]:
    """Those of the active provider, without the rest of a gateway, which would take over others' work."""
    recordings = Recordings(ObjectStore.open(settings.objects_url), settings, Signer(settings.signing_secret))
    if settings.provider_mode is ProviderMode.MODAL:
        yield ModalReclones(database, recordings)
        return
    async with open_customization(settings) as customization, open_task_group() as tasks:
        clones = QwenClones(settings, database, recordings, Creates(database, customization), _Jobs(tasks))
        yield QwenReclones(settings, database, recordings, clones)
