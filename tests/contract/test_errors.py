"""The error table of product section 4: what is the matter, and what a client is told. Every cause is real: a bad
request, a row in that state, or a provider that misbehaves so. Trouble of our own is in `test_trouble`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.contract.asking import CANCELLED, REJECTED, UNAVAILABLE, VALIDATION, assert_told
from tests.contract.rows import UNKNOWN
from tests.contract.rows_generate import BAD_VOICES
from tests.contract.things import TRANSCRIPT, Generation, Task, Upload, Voice
from tests.contract.world import User, World

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

Provoke = Callable[[World, User], httpx.Response]


@dataclass(frozen=True, slots=True)
class Cause:
    """One line of the table. `Retry-After` comes with every 503 and with nothing else."""

    what: str
    provoke: Provoke
    status: int
    category: str | None = None
    modes: tuple[str, ...] = ("qwen", "modal")


def asking(method: str, path: str, **how: Any) -> Provoke:
    """A request that needs nothing to exist."""
    return lambda world, owner: world.ask(owner, method, f"/api{path}", **how)


def speaking(voice: Voice, route: str = "generate", **changes: object) -> Provoke:
    """A generation in this voice."""

    def provoke(world: World, owner: User) -> httpx.Response:
        body = {"voice_id": voice.make(world, owner, {}), "text": "Good morning, dear listeners.", **changes}
        return world.ask(owner, "POST", f"/api/{route}", json=body)

    return provoke


def failing(*faults: str, early: bool = False) -> Provoke:
    """A live stream whose provider session goes wrong. `early` faults come before the vendor knows the voice."""

    def provoke(world: World, owner: User) -> httpx.Response:
        at_vendor = world.enroll()
        with world.faults(*faults, voice="*" if early else at_vendor):
            return speaking(Voice({"provider_voice_id": at_vendor}), "generate/stream")(world, owner)

    return provoke


def cloning(*faults: str) -> Provoke:
    """A clone whose create at the vendor goes wrong."""

    def provoke(world: World, owner: User) -> httpx.Response:
        voice = Upload().make(world, owner, {})
        body = {"voice_id": voice, "name": "Ada", "language": "English", "transcript": TRANSCRIPT}
        with world.faults(*faults, voice="customization:create"):
            return world.ask(owner, "POST", "/api/clone/finalize", json=body)

    return provoke


def submitting(fault: str) -> Provoke:
    """A generation whose submit to Modal goes wrong."""

    def provoke(world: World, owner: User) -> httpx.Response:
        with world.faults(fault, voice="modal:submit"):
            return speaking(Voice())(world, owner)

    return provoke


def as_somebody(token: Callable[[World, User], str | None]) -> Provoke:
    """A good request by a token that is none."""

    def provoke(world: World, owner: User) -> httpx.Response:
        found = token(world, owner)
        headers = {} if found is None else {"Authorization": found}
        return world.ask(None, "GET", "/api/voices", headers=headers)

    return provoke


def deleted_user(world: World, owner: User) -> httpx.Response:
    world.sql.run("delete from auth.users where id = $1", owner.id)
    return world.ask(owner, "GET", "/api/voices")


def foreign_id(world: World, owner: User) -> httpx.Response:
    voice = Voice().make(world, world.stranger, {})
    return world.ask(owner, "GET", f"/api/voices/{voice}/preview")


def active_task(world: World, owner: User) -> httpx.Response:
    Task().make(world, owner, {})
    return speaking(Voice())(world, owner)


def existing_voice(world: World, owner: User) -> httpx.Response:
    voice = Voice().make(world, owner, {})
    body = {"voice_id": voice, "name": "Ada", "language": "English", "transcript": TRANSCRIPT}
    return world.ask(owner, "POST", "/api/clone/finalize", json=body)


def cancelled_before_audio(world: World, owner: User) -> httpx.Response:
    generation = Generation({"status": "cancelled"}).make(world, owner, {})
    return world.ask(owner, "GET", f"/api/generations/{generation}/stream")


def store_down(world: World, owner: User) -> httpx.Response:
    """A file lies where the bucket should be."""
    generation = Generation().make(world, owner, {})
    bucket, away = world.objects / "generations", world.objects / "away"
    bucket.rename(away)
    try:
        bucket.write_bytes(b"")
        return world.ask(owner, "GET", f"/api/generations/{generation}/stream")
    finally:
        bucket.unlink()
        away.rename(bucket)


QWEN, MODAL = ("qwen",), ("modal",)

TABLE = [
    Cause("bad input", asking("POST", "/generate", json={"text": "x"}), 400, VALIDATION),
    Cause("bad input in a query", asking("GET", "/voices?search=%00"), 400, VALIDATION),
    Cause("a body too large", asking("POST", "/generate", content=b" " * 2**21), 413, VALIDATION),
    Cause("a text too long", speaking(Voice(), text="a" * 2001), 400, VALIDATION),
    Cause("a language nobody speaks", speaking(Voice(), language="Klingon"), 400, VALIDATION, QWEN),
    *(
        Cause(f"a recording to be redone: {fault}", cloning(fault), 400, VALIDATION, QWEN)
        for fault in (
            *("recording_too_short", "recording_silent", "recording_low_rate", "recording_too_long"),
            "transcript_mismatch",
        )
    ),
    Cause("content that the vendor declines", cloning("content_blocked"), 400, VALIDATION, QWEN),
    Cause("no token", as_somebody(lambda _w, _o: None), 401),
    Cause("a bad token", as_somebody(lambda _w, _o: "Bearer not.a.token"), 401),
    Cause("another scheme", as_somebody(lambda _w, owner: f"Basic {owner.token}"), 401),
    Cause("a token of another project", as_somebody(lambda w, owner: f"Bearer {w.forged(owner).token}"), 401),
    Cause("a token of nobody", as_somebody(lambda w, _o: f"Bearer {w.token_of(uuid4())}"), 401),
    Cause("a token that has expired", as_somebody(lambda w, owner: f"Bearer {w.token_of(owner.id, -600)}"), 401),
    Cause("a deleted user", deleted_user, 401),
    Cause("an unknown id", asking("GET", f"/tasks/{UNKNOWN}"), 404),
    Cause("a foreign id", foreign_id, 404),
    Cause("a malformed id in a path", asking("GET", "/tasks/x"), 404),
    Cause("an unknown route", asking("GET", "/nothing"), 404),
    *(
        Cause(what.partition(" ")[2], speaking(voice, route), status, None, QWEN)
        for route in ("generate", "generate/stream")
        for what, (status, voice) in BAD_VOICES.items()
        if status == 409
    ),
    Cause("a voice of the other provider", speaking(Voice({"tts_provider": "qwen"})), 409, None, MODAL),
    Cause("an active task", active_task, 409),
    Cause("an existing voice", existing_voice, 409),
    Cause("no stream in Modal mode", asking("POST", "/generate/stream"), 409, None, MODAL),
    Cause("a voice the vendor no longer knows", failing("bad_voice"), 409, None, QWEN),
    Cause("a voice the vendor no longer knows, said late", failing("bad_voice_late"), 409, None, QWEN),
    Cause("a generation that was cancelled", cancelled_before_audio, 410, CANCELLED),
    Cause("the vendor refuses our key", failing("wrong_key", early=True), 502, REJECTED, QWEN),
    Cause("the key is of the other region", failing("wrong_region", early=True), 502, REJECTED, QWEN),
    Cause("the account is in arrears", failing("arrears"), 502, REJECTED, QWEN),
    Cause("the model is gone", failing("model_gone", early=True), 502, REJECTED, QWEN),
    Cause("the vendor refuses our key for a clone", cloning("wrong_key"), 502, REJECTED, QWEN),
    Cause("the voice quota is used up", cloning("voice_quota"), 502, REJECTED, QWEN),
    Cause("the model for clones is gone", cloning("model_gone"), 502, REJECTED, QWEN),
    Cause("the vendor throttles us at the door", failing("throttled_upgrade", early=True), 503, UNAVAILABLE, QWEN),
    Cause("the vendor throttles us by an event", failing("throttled_event"), 503, UNAVAILABLE, QWEN),
    Cause("the vendor throttles us by hanging up", failing("throttled_close"), 503, UNAVAILABLE, QWEN),
    Cause("the vendor breaks down", failing("error_event"), 503, UNAVAILABLE, QWEN),
    Cause("the vendor breaks down and hangs up", failing("error_then_close"), 503, UNAVAILABLE, QWEN),
    Cause("the vendor says nothing at all", failing("zero_audio"), 503, UNAVAILABLE, QWEN),
    Cause("the vendor throttles a clone", cloning("throttled_upgrade"), 503, UNAVAILABLE, QWEN),
    Cause("the object store is down", store_down, 503),
    *(
        Cause(f"Modal's submit fails: {fault}", submitting(fault), 502, category, MODAL)
        for fault, category in {
            "modal_500": UNAVAILABLE,
            "modal_cut": UNAVAILABLE,
            "modal_throttled": UNAVAILABLE,
            "modal_malformed": UNAVAILABLE,
            "modal_empty": UNAVAILABLE,
            "modal_stopped": REJECTED,
            "modal_submit_refused": REJECTED,
        }.items()
    ),
]

CASES = [(mode, cause) for mode in ("qwen", "modal") for cause in TABLE if mode in cause.modes]


@pytest.mark.parametrize(("mode", "cause"), CASES, ids=[f"{mode}: {cause.what}" for mode, cause in CASES])
def test_what_a_client_is_told(world: World, cause: Cause) -> None:
    assert_told(cause.provoke(world, world.user()), cause.status, cause.category)
