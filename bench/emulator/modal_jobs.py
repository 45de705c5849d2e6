"""Modal's memory: jobs and calls by id. Survives kill -9, as a job at Modal survives everything but Modal.

Nothing runs while a job is "running": it is done when its time is over, and is spoken when its result is fetched.
"""

from __future__ import annotations

import secrets
import time
from enum import StrEnum
from pathlib import Path

import msgspec

from bench.emulator.durable import DurableFile, load

MAX_JOBS = 500
"""Jobs remembered; the oldest expire, as they do at Modal after seven days. At most 1.5 MB of JSON."""

LENIENT_POLLS = 2
"""The poll at which a lenient job is done (v1 contract 4.4)."""


class Flavour(StrEnum):
    """Which of the two servers of v1 contract 4.4 a job belongs to: one does not know the other's ids."""

    REAL = "real"
    LENIENT = "lenient"


class JobState(StrEnum):
    """Where a job is."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Job(msgspec.Struct, kw_only=True):
    """A text to speak, or a design that outlived its request.

    `speaker` decides the voice (hex SHA-256 of the recording, or of the description); `due` is epoch seconds and the
    real flavour's clock, `polls` the lenient one's; `failure` is what the job dies of when it is due.
    """

    id: str
    flavour: Flavour
    text: str
    language: str
    speaker: str
    due: float
    kind: str = "job"
    failure: str = ""
    cancelled: bool = False
    polls: int = 0
    results: int = 0

    def state(self) -> JobState:
        """Its state now."""
        if self.cancelled:
            return JobState.CANCELLED
        done = self.polls >= LENIENT_POLLS if self.flavour is Flavour.LENIENT else time.time() >= self.due
        if not done:
            return JobState.RUNNING
        return JobState.FAILED if self.failure else JobState.COMPLETED


class ModalJobs:
    """The jobs in `directory`, which must exist. Raises `StateUnreadable`."""

    def __init__(self, directory: Path) -> None:
        path = directory / "modal_jobs.json"
        self._jobs = {job.id: job for job in load(path, list[Job], [])}
        self._file = DurableFile(path, lambda: msgspec.json.encode(list(self._jobs.values())))

    def find(self, flavour: Flavour, job_id: str) -> Job | None:
        """The job that this flavour gave this id."""
        job = self._jobs.get(job_id)
        return job if job is not None and job.flavour is flavour else None

    def all(self) -> list[Job]:
        """Every job, oldest first."""
        return list(self._jobs.values())

    def new_id(self, flavour: Flavour) -> str:
        """`fc-...`, or `mock-job-N` (v1 contract 4.4)."""
        if flavour is Flavour.REAL:
            return f"fc-{secrets.token_hex(13).upper()}"
        # Not the count: numbers go on where forgotten jobs were.
        taken = (job.id for job in self._jobs.values() if job.flavour is Flavour.LENIENT)
        return f"mock-job-{max((int(name.rpartition('-')[2]) for name in taken), default=0) + 1}"

    async def add(self, job: Job) -> None:
        """Keep a new job. On the disk when this returns."""
        self._jobs[job.id] = job
        while len(self._jobs) > MAX_JOBS:
            del self._jobs[next(iter(self._jobs))]
        await self._file.save()

    async def save(self) -> None:
        """Keep what was changed in a job. On the disk when this returns."""
        await self._file.save()
