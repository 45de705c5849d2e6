"""The studio makes voices: clones recordings, designs from descriptions. One implementation for each provider, chosen
once (product decision 1)."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from gateway.providers import QwenCustomization, SpeechProvider
from gateway.settings import ProviderMode, Settings
from gateway.studio.base import MadeVoice, SavedDesign, Studio
from gateway.studio.creates import Creates
from gateway.studio.modal_voices import ModalVoices
from gateway.studio.previews import Previews
from gateway.studio.qwen_clone import QwenClones, check_language
from gateway.studio.qwen_design import QwenDesigns
from gateway.studio.qwen_save import QwenSaves
from gateway.studio.reclone import ModalReclones, QwenReclones
from gateway.studio.recordings import Recordings
from gateway.studio.recovery import DesignRecovery
from gateway.supervisor import Supervisor
from schema.http_voices import FinalizeRequest, PreviewRequest
from storage.database import Database

__all__ = ["MadeVoice", "Recordings", "SavedDesign", "Studio", "open_studio"]


def open_studio(
    settings: Settings,
    database: Database,
    recordings: Recordings,
    customization: QwenCustomization,
    provider: SpeechProvider,
    supervisor: Supervisor,
) -> Studio:
    """The active provider's studio. `provider` speaks previews that were lost.

    Both need Qwen's drivers, for previews that a predecessor has begun; they must outlive the supervisor's jobs.
    """
    creates = Creates(database, customization)
    previews = Previews(recordings.objects, provider)
    designs = QwenDesigns(settings, database, creates, previews, supervisor)
    recovery = DesignRecovery(settings, designs)
    if settings.provider_mode is ProviderMode.MODAL:
        return ModalStudio(ModalVoices(database, recordings), ModalReclones(database, recordings), recovery)
    clones = QwenClones(settings, database, recordings, creates, supervisor)
    reclones = QwenReclones(settings, database, recordings, clones)
    return QwenStudio(clones, designs, QwenSaves(database), reclones, recovery)


@dataclass(frozen=True, slots=True)
class QwenStudio:
    """A `Studio`, each part a module of its own."""

    clones: QwenClones
    designs: QwenDesigns
    saves: QwenSaves
    reclones: QwenReclones
    recovery: DesignRecovery

    def check_language(self, language: str) -> None:
        check_language(language)

    async def finalize_clone(self, owner: UUID, wanted: FinalizeRequest) -> MadeVoice:
        return await self.clones.finalize(owner, wanted)

    async def start_preview(self, owner: UUID, wanted: PreviewRequest) -> UUID:
        return await self.designs.start(owner, wanted)

    async def save_design(self, owner: UUID, design: SavedDesign) -> MadeVoice:
        return await self.saves.save(owner, design)

    async def reclone(self, owner: UUID, voice_id: UUID) -> MadeVoice:
        return await self.reclones.reclone(owner, voice_id)

    async def recover_stale(self) -> None:
        await self.recovery.recover()


@dataclass(frozen=True, slots=True)
class ModalStudio:
    """A `Studio` as v1 was. Modal's own previews end by their polls (`gateway.modal.designs`)."""

    voices: ModalVoices
    reclones: ModalReclones
    recovery: DesignRecovery

    def check_language(self, language: str) -> None:
        """Any: Modal has a list of its own and says so late (v1 contract 4.2)."""

    async def finalize_clone(self, owner: UUID, wanted: FinalizeRequest) -> MadeVoice:
        return await self.voices.finalize(owner, wanted)

    async def start_preview(self, owner: UUID, wanted: PreviewRequest) -> UUID:
        return await self.voices.start_preview(owner, wanted)

    async def save_design(self, owner: UUID, design: SavedDesign) -> MadeVoice:
        return await self.voices.save(owner, design)

    async def reclone(self, owner: UUID, voice_id: UUID) -> MadeVoice:
        return await self.reclones.reclone(owner, voice_id)

    async def recover_stale(self) -> None:
        await self.recovery.recover()
