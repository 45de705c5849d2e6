"""Ways to make the provider of either mode misbehave for one user's work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.contract.things import Voice
from tests.contract.world import User, World

MODAL = "modal"
"""The key under which the emulator's Modal endpoints take orders."""


@contextmanager
def running_for_ever(world: World, owner: User) -> Iterator[str]:
    """A voice whose generations do not end by themselves for as long as the tests care."""
    if world.mode == "qwen":
        at_vendor = world.enroll()
        voice = Voice({"provider_voice_id": at_vendor}).make(world, owner, {})
        with world.faults("stall", voice=at_vendor):
            yield voice
    else:
        with world.faults("modal_pending_for_ever", voice=MODAL):
            yield Voice().make(world, owner, {})
