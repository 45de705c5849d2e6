"""Who takes part in a drill: people with a voice at each provider, as a deployment has them after a while."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid4

import anyio

from gateway.drill.site import Site, User
from gateway.sample_recording import TRANSCRIPT
from gateway.settings import ProviderMode
from gateway.studio.recordings import reference_key
from schema.records import NewVoice
from storage import voices
from storage.objects import REFERENCES

HANDS = 3
"""How many have work in flight at a flip: v1's guard allows each one task at a time."""

CROWD = 2
"""How many use the deployment all the time, as live traffic."""


@dataclass(frozen=True, slots=True)
class Person:
    """A user and their voices, by the provider that made them."""

    user: User
    voices: dict[ProviderMode, str]

    def voice(self, mode: ProviderMode) -> str:
        """The id of the voice that speaks in this mode."""
        return self.voices[mode]


@dataclass(frozen=True, slots=True)
class Cast:
    """`owner` is who has made rows before the first flip and looks for them afterwards, `hands` have work in flight,
    `newcomer` brings the first new work, `crowd` is the live traffic, `stranger` must never see what is another's."""

    owner: Person
    hands: list[Person]
    newcomer: Person
    crowd: list[Person]
    stranger: Person

    @property
    def everybody(self) -> list[Person]:
        return [self.owner, *self.hands, self.newcomer, *self.crowd, self.stranger]


async def assemble(site: Site, recording: bytes) -> Cast:
    """Everybody, with a voice of v1's days at Modal, and one that they clone at Qwen now: the front must be in Qwen
    mode. Raises `Surprise`."""
    count = 1 + HANDS + 1 + CROWD + 1
    people: list[Person | None] = [None] * count

    async def arrive(place: int) -> None:
        user = await site.add_user()
        older = await _voice_of_v1(site, user, recording)
        cloned = await user.now.clone(recording, TRANSCRIPT, f"Voice {place} at Qwen")
        people[place] = Person(user, {ProviderMode.MODAL: str(older), ProviderMode.QWEN: cloned})

    async with anyio.create_task_group() as tasks:
        for place in range(count):
            tasks.start_soon(arrive, place)
    owner, *rest = [person for person in people if person is not None]
    return Cast(owner, rest[:HANDS], rest[HANDS], rest[HANDS + 1 : -1], rest[-1])


async def _voice_of_v1(site: Site, user: User, recording: bytes) -> UUID:
    """A voice as v1's code left it."""
    voice_id = uuid4()
    key = reference_key(user.id, voice_id)
    await site.objects.put(REFERENCES, key, recording, "audio/wav")
    voice = NewVoice(
        id=voice_id,
        user_id=user.id,
        name="Voice of v1",
        source="uploaded",
        tts_provider="modal",
        language="English",
        reference_object_key=key,
        reference_transcript=TRANSCRIPT,
    )
    async with site.database() as database, database.as_user(user.id) as transaction:
        await voices.insert_voice(transaction, voice)
    return voice_id
