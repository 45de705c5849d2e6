"""The list that is gone through after a flip, item by item (product section 16; docs/restoration.md has it in prose).

An item is a function that uses the deployment as its users do, and gives words for what it found. It raises `Surprise`
when that is not as it must be.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import httpx

from gateway.audit import audit
from gateway.drill.cast import Cast, Person
from gateway.drill.ledger import Ledger, read_ledger
from gateway.drill.site import Site
from gateway.drill.traffic import Traffic
from gateway.drill.work import LONG, PREVIEW, SETTLE_SECONDS, SHORT, same_audio
from gateway.sample_recording import TRANSCRIPT
from gateway.settings import ProviderMode
from gateway.visitor import Json, Order, Surprise, detail, require

OTHER = {ProviderMode.QWEN: ProviderMode.MODAL, ProviderMode.MODAL: ProviderMode.QWEN}

BILLED = {ProviderMode.QWEN: ("characters", "clones", "designs"), ProviderMode.MODAL: ("modal_jobs", "modal_designs")}
"""What each provider charges for, as the emulator counts it."""


@dataclass
class Scene:
    """What an item may look at. `ledger` and `heard` (tasks by generation) are from before the flip, `bill` from when
    the work that was in flight had ended; `keyed` is a generation that was begun
    with the idempotency key `key` then."""

    site: Site
    mode: ProviderMode
    cast: Cast
    traffic: Traffic
    recording: bytes = field(repr=False)
    heard: Mapping[str, Json]
    ledger: Ledger = field(default_factory=lambda: Ledger({}, {}))
    key: str = ""
    keyed: Order | None = None
    bill: Mapping[str, int] = field(default_factory=dict)

    @property
    def owner(self) -> Person:
        return self.cast.owner


Item = Callable[[Scene], Awaitable[str]]


async def ready(scene: Scene) -> str:
    """It is up, and nothing it depends on is away."""
    at = scene.owner.user.now
    await at.get("/api/health")
    found = await at.get("/api/ready")
    if found.get("degraded"):
        raise Surprise(f"It is ready, but degraded: {' '.join(found['degraded'])}")
    return "Nothing is degraded."


async def says_its_mode(scene: Scene) -> str:
    """The page is told what it can do now."""
    able = await scene.owner.user.now.languages()
    streams = able["capabilities"]["supports_generate_stream"]
    if able["provider"] != scene.mode or streams != (scene.mode is ProviderMode.QWEN):
        raise Surprise(f"It says provider {able['provider']}, streams {streams}.")
    return f"provider {able['provider']}, streams {'on' if streams else 'off'}"


async def no_row_lost(scene: Scene) -> str:
    """Every voice and generation of before is there, and as it was."""
    async with scene.site.database() as database:
        lost = scene.ledger.missing_in(await read_ledger(database))
    if lost:
        raise Surprise(f"Lost or changed: {', '.join(lost)}.")
    return f"{len(scene.ledger.voices)} voices and {len(scene.ledger.generations)} generations are as they were."


async def voices_are_listed(scene: Scene) -> str:
    """Voices of both providers, each with its provider's name, which is what the page shows the reason by."""
    listed = {row["id"]: row["tts_provider"] for row in await scene.owner.user.now.voices()}
    for mode, voice_id in scene.owner.voices.items():
        if listed.get(voice_id) != mode:
            raise Surprise(f"The voice {voice_id} of {mode} is listed as {listed.get(voice_id)}.")
    return f"{len(listed)} voices, of {' and '.join(sorted(set(listed.values())))}"


async def history_plays(scene: Scene) -> str:
    """What was heard before is heard again, byte for byte, and its tasks say what they said."""
    at = scene.owner.user.now
    listed = {row["id"] for row in await at.history()}
    for generation_id, task in scene.heard.items():
        if generation_id not in listed:
            raise Surprise(f"The generation {generation_id} is not in the history.")
        same_audio((await at.audio(generation_id)).content, task)
        if (await at.task(task["id"]))["result"] != task["result"]:
            raise Surprise(f"The task {task['id']} has another result than before.")
    return f"{len(scene.heard)} generations play as before."


async def v1_generates(scene: Scene) -> str:
    """The flow that both modes have: post, poll, play."""
    at, voice = scene.owner.user.now, scene.owner.voice(scene.mode)
    order = await at.generate(voice, SHORT)
    task = await at.completed(order.task_id, seconds=SETTLE_SECONDS)
    if task["provider"] != scene.mode:
        raise Surprise(f"It was made at {task['provider']}.")
    audio = await at.audio(order.generation_id)
    return f"{len(audio.content)} bytes of {audio.headers['content-type']}, {same_audio(audio.content, task)}"


async def streams(scene: Scene) -> str:
    """On in Qwen mode, and refused with the way on in Modal mode."""
    at, voice = scene.owner.user.now, scene.owner.voice(scene.mode)
    if scene.mode is ProviderMode.QWEN:
        heard = await at.stream(voice, SHORT)
        task = await at.completed(heard.order.task_id, seconds=SETTLE_SECONDS)
        return f"{len(heard.audio)} bytes, {same_audio(heard.audio, task)}"
    answer = await at.ask("POST", "/api/generate/stream", json={"voice_id": voice, "text": SHORT})
    return f"409: {detail(require(answer, httpx.codes.CONFLICT))}"


async def other_voices_are_refused(scene: Scene) -> str:
    """A voice of the other provider: 409 with the way on, and no row."""
    voice = scene.owner.voice(OTHER[scene.mode])
    answer = await scene.owner.user.now.ask("POST", "/api/generate", json={"voice_id": voice, "text": SHORT})
    return f"409: {detail(require(answer, httpx.codes.CONFLICT))}"


async def other_voices_are_made_again(scene: Scene) -> str:
    """From their recording, for the provider that is active now; and they speak."""
    person = scene.cast.hands[0]
    at = person.user.now
    made = await at.post(f"/api/voices/{person.voice(OTHER[scene.mode])}/reclone", None)
    order = await at.generate(made["id"], SHORT)
    await at.completed(order.task_id, seconds=SETTLE_SECONDS)
    return f"As {made['id']}, which speaks."


async def cancels(scene: Scene) -> str:
    """A task of now is cancelled, and its generation with it."""
    person = scene.cast.hands[2]
    at = person.user.now
    order = await at.generate(person.voice(scene.mode), LONG)
    await at.cancel(order.task_id)
    task = await at.ended(order.task_id, seconds=SETTLE_SECONDS)
    row = next(row for row in await at.history() if row["id"] == order.generation_id)
    if (task["status"], row["status"]) != ("cancelled", "cancelled"):
        raise Surprise(f"The task ended as {task['status']}, its generation as {row['status']}.")
    return "Task and generation say so."


async def clones(scene: Scene) -> str:
    """A recording becomes a voice of the active provider, and speaks."""
    at = scene.cast.hands[1].user.now
    voice_id = await at.clone(scene.recording, TRANSCRIPT, "Cloned after the flip")
    order = await at.generate(voice_id, SHORT)
    await at.completed(order.task_id, seconds=SETTLE_SECONDS)
    return f"As {voice_id}, which speaks."


async def designs(scene: Scene) -> str:
    """A preview is made and saved."""
    at, text = scene.cast.newcomer.user.now, SHORT.strip()
    preview = await at.completed(await at.preview(text, PREVIEW), seconds=SETTLE_SECONDS)
    return f"Saved as {await at.save_design(preview, text, PREVIEW, 'Designed after the flip')}."


async def deletions_are_taken_back(scene: Scene) -> str:
    """A voice that is deleted now can be restored."""
    person = scene.cast.stranger
    at, voice = person.user.now, person.voice(OTHER[scene.mode])
    require(await at.ask("DELETE", f"/api/voices/{voice}"))
    restored = await at.post(f"/api/voices/{voice}/restore", None)
    return f"{restored['name']} is back."


async def repetitions_are_recognised(scene: Scene) -> str:
    """A key that was bound before the flip stands for the same generation after it."""
    order = await scene.owner.user.now.generate(scene.owner.voice(OTHER[scene.mode]), SHORT, key=scene.key)
    if order != scene.keyed:
        raise Surprise(f"The same key began another generation: {order} instead of {scene.keyed}.")
    return "The same key gives the same generation."


async def strangers_see_nothing(scene: Scene) -> str:
    """What is one user's is unknown to another."""
    stranger = scene.cast.stranger.user.now
    for generation_id in scene.heard:
        for path in ("audio", "stream"):
            require(await stranger.ask("GET", f"/api/generations/{generation_id}/{path}"), httpx.codes.NOT_FOUND)
    return f"{len(scene.heard)} generations of another are unknown."


async def nothing_goes_to_the_other(scene: Scene) -> str:
    """All new work belongs to the active provider (product decision 1): the other's bill stays what it was."""
    other = OTHER[scene.mode]
    now = await scene.site.bill()
    more = {name: now[name] - scene.bill[name] for name in BILLED[other] if now[name] != scene.bill[name]}
    if more:
        raise Surprise(f"The bill at {other} grew: {more}.")
    return f"The bill at {other} is what it was."


async def all_agrees(scene: Scene) -> str:
    """Database, object store and spool say the same, and no task is left to nobody."""
    async with scene.site.database() as database:
        found = [one async for one in audit(database, scene.site.objects, scene.site.spool, digests=True)]
    if found:
        raise Surprise("; ".join(f"{one.kind}: {one.subject}: {one.detail}" for one in found))
    return "The auditor finds nothing."


async def traffic_lost_nothing(scene: Scene) -> str:
    """Who used the deployment meanwhile was served, or told to come back."""
    if scene.traffic.lost:
        raise Surprise(" ".join(scene.traffic.lost))
    return ", ".join(f"{count} {how}" for how, count in sorted(scene.traffic.counts.items()))


LIST: tuple[tuple[str, Item], ...] = (
    ("it is ready", ready),
    ("it says its mode", says_its_mode),
    ("voices are listed", voices_are_listed),
    ("the history plays", history_plays),
    ("v1 generates", v1_generates),
    ("streams", streams),
    ("the other provider's voices are refused", other_voices_are_refused),
    ("they can be made again", other_voices_are_made_again),
    ("a task is cancelled", cancels),
    ("a recording is cloned", clones),
    ("a voice is designed and saved", designs),
    ("a deletion is taken back", deletions_are_taken_back),
    ("a repeated request is recognised", repetitions_are_recognised),
    ("strangers see nothing", strangers_see_nothing),
)
"""Gone through side by side, by people of their own where they would get into each other's way."""

LAST: tuple[tuple[str, Item], ...] = (
    ("no row is lost", no_row_lost),
    ("nothing goes to the other provider", nothing_goes_to_the_other),
    ("database, store and spool agree", all_agrees),
    ("live traffic lost nothing", traffic_lost_nothing),
)
"""Gone through afterwards, one after the other: what they look at is what all of that left."""
