"""Every row there is, so that one that is lost in a flip is missed."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import msgspec

from schema.records import AuditedGeneration, VoiceOutline
from storage import audit
from storage.database import Database
from storage.upkeep import all_voices

ACTIVE = ("pending", "processing")


@dataclass(frozen=True, slots=True)
class Ledger:
    """Rows by id."""

    voices: dict[UUID, VoiceOutline]
    generations: dict[UUID, AuditedGeneration]

    def missing_in(self, later: Ledger) -> list[str]:
        """What is not there later, or is another: a sentence for each. What was under way may have ended."""
        lost = [f"voice {voice.id}" for voice in self.voices.values() if later.voices.get(voice.id) != voice]
        for generation in self.generations.values():
            found = later.generations.get(generation.id)
            ended = generation.status not in ACTIVE
            if found is None or (ended and found != generation):
                lost.append(f"generation {generation.id}")
        return lost


async def read_ledger(database: Database) -> Ledger:
    """What the database holds now. Raises `DatabaseUnavailable`."""
    generations: dict[UUID, AuditedGeneration] = {}
    last: UUID | None = None
    while True:
        async with database.as_service() as transaction:
            page = await audit.page_of_generations(transaction, last)
        if not page:
            break
        # Whether somebody still works on it may change when all else stays.
        generations |= {row.id: msgspec.structs.replace(row, worked_on=False) for row in page}
        last = page[-1].id
    return Ledger({voice.id: voice async for voice in all_voices(database, None)}, generations)
