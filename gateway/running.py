"""One generation while it lives in this process: what listeners, pollers and the canceller hold on to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal
from uuid import UUID

import anyio

from gateway.audio_log import AudioLog, LogState
from gateway.providers.base import Utterance
from gateway.tracing import Trace
from schema.records import Completion, RequestKey

TaskType = Literal["generate", "generate_stream"]

ACTIVE = ("pending", "processing")
"""The states of rows that can still change (v1 contract 2.1)."""


@dataclass(frozen=True, slots=True)
class GenerationOrder:
    """A generation that admission has accepted: everything the pipeline needs, decided once.

    `metadata` is what v1 keeps on the task row (v1 contract 2.2): lengths, a preview, the estimated minutes. `epoch` is
    the number of the attempt, from 1; later ones begin with rows that exist.
    """

    generation_id: UUID
    task_id: UUID
    owner: UUID
    task_type: TaskType
    voice_id: UUID
    voice_name: str
    utterance: Utterance
    metadata: dict[str, object]
    epoch: int = 1
    on_disconnect: Literal["finish", "cancel"] = "finish"
    request_key: RequestKey | None = None

    @property
    def object_key(self) -> str:
        """Where the audio will lie in the `generations` bucket."""
        return object_key(self.owner, self.generation_id, self.epoch)


def object_key(owner: UUID, generation_id: UUID, epoch: int) -> str:
    """Each attempt has a key of its own: one that was taken for dead and is not must not write over the audio of the
    next, or remove it."""
    attempt = "" if epoch == 1 else f"-{epoch}"
    return f"{owner}/{generation_id}{attempt}.mp3"


class EndReason(Enum):
    """Why a generation ended before its provider was done with it."""

    CANCELLED = "cancelled"
    SHUTDOWN = "shutdown"
    CRASHED = "crashed"
    LOST = "lost"
    """Another process works on it now, or its rows were deleted: nothing of it may be written any more."""


class RunningGeneration:
    """A generation from `start` to its terminal row.

    Its parts have one writer each: the pipeline writes the log and the status, the row writer says whether the rows
    exist, the supervisor gives it a place and asks for the end.
    """

    def __init__(self, order: GenerationOrder, trace: Trace, log: AudioLog) -> None:
        self.order = order
        self.trace = trace
        self.log = log
        self.end_reason = EndReason.SHUTDOWN
        self.completion: Completion | None = None
        """What its rows will say, once the provider has finished."""
        self.in_line = False
        """Whether it still waits for a place in this process."""
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()
        self._listeners = 0
        self._status = "queued"
        self._status_changed = anyio.Event()
        self._status_ended = False
        self._rows_exist = anyio.Event()
        self._rows_decided = anyio.Event()
        self._rows_refused: Exception | None = None

    @property
    def generation_id(self) -> UUID:
        return self.order.generation_id

    @property
    def task_id(self) -> UUID:
        return self.order.task_id

    @property
    def provider_status(self) -> str:
        """One of the product's `provider_status` values."""
        return self._status

    def set_status(self, status: str) -> None:
        """Record progress; the pipeline writes it to the row when it gets to it."""
        if status != self._status:
            self._status = status
            self._status_changed.set()

    async def next_status(self) -> str | None:
        """Wait for a status not yet handed out; None when there will be no more. Statuses in between are skipped:
        only the latest matters."""
        await self._status_changed.wait()
        if self._status_ended:
            return None
        self._status_changed = anyio.Event()
        return self._status

    def end_status(self) -> None:
        """Progress is over; what comes now are the terminal rows."""
        self._status_ended = True
        self._status_changed.set()

    def rows_written(self) -> None:
        """The generation's and the task's row exist."""
        self._rows_exist.set()
        self._rows_decided.set()

    def rows_refused(self, error: Exception) -> None:
        """The rows will never exist; `accepted` raises `error`."""
        self._rows_refused = error
        self._rows_decided.set()

    @property
    def rows_exist(self) -> bool:
        return self._rows_exist.is_set()

    async def accepted(self) -> None:
        """Return when the rows exist; raise what refused them (a storage error) otherwise."""
        await self._rows_decided.wait()
        if self._rows_refused is not None:
            raise self._rows_refused

    async def cleared(self) -> None:
        """Return when the rows exist. When they are refused the whole pipeline is cancelled, and this with it."""
        await self._rows_exist.wait()

    def joined(self) -> None:
        """Somebody listens, or waits for the first byte. `left` has to follow, once."""
        self._listeners += 1

    def left(self) -> None:
        """They have heard all there was, or are gone. The last to go while it is being made ends it, where that was
        asked for: what is not heard is not to be paid for."""
        self._listeners -= 1
        if not self._listeners and self.order.on_disconnect == "cancel" and self.log.state is LogState.OPEN:
            self.stop(EndReason.CANCELLED)

    async def first_audio(self) -> None:
        """Return when the first byte exists. Raises `ProviderFailure` when the generation failed before it."""
        await self.log.wait_for(0)

    def stop(self, reason: EndReason) -> None:
        """End it at once: the provider's socket is dropped and the rows get their terminal state. The first reason
        counts: what its user cancelled has not failed because the server stops in the same moment."""
        if not (self.ended.is_set() or self.scope.cancel_called):
            self.end_reason = reason
            self.end_status()
            self.scope.cancel()
