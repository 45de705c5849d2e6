"""The list: each check uses the deployment as its users do, and gives words for what it found.

It raises `Surprise` for what is not as it must be, `Skipped` when it cannot be made.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import uuid4

import httpx

from gateway.sample_recording import TRANSCRIPT
from gateway.smoke.scene import Scene, Skipped, same_audio
from gateway.visitor import Heard, Surprise, Visitor, detail, document, require

SENTENCE = "Make yourself comfortable, for the story wants to be told from its beginning to its very end."
"""Some 6 s of speech: long enough to be seen arriving in pieces."""

LONG = " ".join([SENTENCE] * 6)
"""Speech that is not over before it can be cancelled."""

INSTRUCT = "A warm, unhurried narrator with a low voice."

END_SECONDS = 150.0
"""Longest wait for a task: a Modal container starts in up to a minute, and a design takes as long again."""

HELD_SECONDS = 0.5
"""Sound that reaches us so much later than the gateway had it may have been held back; less is the way."""

HELD_SHARE = 0.5
"""And was, if it is also this share of the time in which the rest was spoken."""


@dataclass(frozen=True, slots=True)
class Check:
    """`needs` is the check without which this one has nothing to work with; `remedy` what to do when it fails, unless
    the answer's status tells more (`gateway.smoke.tour`)."""

    name: str
    look: Callable[[Scene], Awaitable[str]]
    remedy: str
    needs: str | None = None


async def health(scene: Scene) -> str:
    """It is up, and nothing it depends on is away."""
    await scene.user.get("/api/health")
    found = await scene.user.get("/api/ready")
    if found.get("degraded"):
        raise Surprise(f"It is ready, but degraded: {' '.join(found['degraded'])}")
    return "It is ready, and nothing is degraded."


async def languages(scene: Scene) -> str:
    """What the page is told it can do."""
    able = await scene.user.languages()
    try:
        words = f"{able['provider']} mode, texts up to {able['capabilities']['max_text_chars']} characters"
        streams = able["capabilities"]["supports_generate_stream"]
        if able["default"] not in able["languages"]:
            raise Surprise(f"The default language {able['default']} is not among the languages.")
    except (KeyError, TypeError) as missing:
        raise Surprise(f"/api/languages says nothing of {missing}.") from None
    scene.able = able
    return f"{words}, streams {'on' if streams else 'off'}"


async def errors(scene: Scene) -> str:
    """Refusals look like ours: a proxy that replaces error pages is noticed by this."""
    nobody = Visitor(scene.user.http, scene.user.base_url, None)
    asked = (
        (nobody, "GET", "/api/voices", 401),
        (scene.user, "GET", "/api/no-such-route", 404),
        (scene.user, "GET", "/api/tasks/no-uuid", 404),
        (scene.user, "GET", f"/api/tasks/{uuid4()}", 404),
        (scene.user, "POST", "/api/generate", 400),
    )
    for who, method, path, status in asked:
        answer = require(await who.ask(method, path, json={} if method == "POST" else None), status)
        if set(document(answer)) != {"detail"} or not answer.headers.get("x-request-id"):
            raise Surprise(f"The {status} of {method} {path} is not {{detail}} with X-Request-Id.")
    return f"{len(asked)} refusals, each with words and a request id"


async def clone(scene: Scene) -> str:
    """A recording becomes a voice."""
    scene.voice_id = await scene.make(scene.user.clone(scene.recording, TRANSCRIPT, scene.name))
    return f"as {scene.voice_id}"


async def preview(scene: Scene) -> str:
    """A voice is designed and can be heard before it is saved."""
    task_id = await scene.make(scene.user.preview(SENTENCE, INSTRUCT))
    scene.tasks.append(task_id)
    scene.preview = await scene.user.completed(task_id, seconds=END_SECONDS)
    return f"by task {task_id}"


async def design(scene: Scene) -> str:
    """And then is saved."""
    saved = await scene.make(scene.user.save_design(scene.preview, SENTENCE, INSTRUCT, scene.name))
    return f"saved as {saved}"


async def v1(scene: Scene) -> str:
    """The flow that both modes have: post, poll, play."""
    order = await scene.make(scene.user.generate(scene.voice_id, SENTENCE))
    scene.tasks.append(order.task_id)
    task = await scene.user.completed(order.task_id, seconds=END_SECONDS)
    if task["provider"] != scene.able["provider"]:
        raise Surprise(f"It was made at {task['provider']}, in {scene.able['provider']} mode.")
    audio = await scene.user.audio(order.generation_id)
    scene.order = order
    return f"{audio.headers['content-type']}, {same_audio(audio.content, task)}"


async def stream(scene: Scene) -> str:
    """It plays when the deployment says that it streams, and is 409 when not."""
    if not scene.streams:
        body = {"voice_id": scene.voice_id, "text": SENTENCE}
        answer = await scene.user.ask("POST", "/api/generate/stream", json=body)
        return f"off, as it says: {detail(require(answer, httpx.codes.CONFLICT))}"
    heard = await scene.user.stream(scene.voice_id, SENTENCE)
    scene.tasks.append(heard.order.task_id)
    if heard.headers["content-type"] != "audio/mpeg" or "x-utter-provider" not in heard.headers:
        raise Surprise(f"It is {heard.headers['content-type']}, by {heard.headers.get('x-utter-provider')}.")
    task = await scene.user.completed(heard.order.task_id, seconds=END_SECONDS)
    scene.heard, words = heard, same_audio(heard.audio, task)
    return f"first sound after {heard.first_byte_seconds:.2f} s, {words}"


async def joined(scene: Scene) -> str:
    """Who comes late to the stream hears the same."""
    if scene.heard is None:
        return "Streams are off."
    path = f"/api/generations/{scene.heard.order.generation_id}/stream"
    audio = require(await scene.user.ask("GET", path)).content
    rest = require(await scene.user.ask("GET", f"{path}?offset=1000")).content
    if audio != scene.heard.audio or rest != audio[1000:]:
        raise Surprise("A late listener hears something else than the first one.")
    return "The same bytes, also from the middle."


async def proxy(scene: Scene) -> str:
    """What is between us and the gateway speaks HTTP/1.1 and keeps nothing back."""
    if scene.heard is None:
        return "Streams are off: there is nothing to hold back."
    heard = scene.heard
    if "content-length" in heard.headers:
        raise Surprise("The stream came with a Content-Length: something collected it first.")
    held = heard.first_byte_seconds - _first_audio_seconds(heard)
    speaking = heard.last_byte_seconds - heard.first_byte_seconds
    if held > HELD_SECONDS and held > HELD_SHARE * (held + speaking):
        raise Surprise(f"The first sound came {held:.1f} s after the gateway had it, and the rest at once.")
    return f"{heard.http_version}, first sound {max(held, 0.0):.2f} s after the gateway had it"


async def caps(scene: Scene) -> str:
    """A text that is one character too long is refused by both flows, with the number."""
    body = {"voice_id": scene.voice_id, "text": "a" * (scene.cap + 1)}
    refused = {"/api/generate": httpx.codes.BAD_REQUEST}
    # Off is off, whatever is sent.
    refused["/api/generate/stream"] = httpx.codes.BAD_REQUEST if scene.streams else httpx.codes.CONFLICT
    for path, status in refused.items():
        words = detail(require(await scene.user.ask("POST", path, json=body), status))
        if status == httpx.codes.BAD_REQUEST and str(scene.cap) not in words:
            raise Surprise(f"{path} refuses {scene.cap + 1} characters without naming {scene.cap}: {words}")
    return f"{scene.cap + 1} characters are refused by both."


async def cancel(scene: Scene) -> str:
    """A running task ends when it is told to, and its generation with it."""
    order = await scene.make(scene.user.generate(scene.voice_id, LONG))
    scene.tasks.append(order.task_id)
    await scene.user.cancel(order.task_id)
    task = await scene.user.ended(order.task_id, seconds=END_SECONDS)
    row = next((row for row in await scene.user.history() if row["id"] == order.generation_id), {"status": "unknown"})
    if (task["status"], row["status"]) != ("cancelled", "cancelled"):
        raise Surprise(f"The task ended as {task['status']}, its generation is {row['status']}.")
    return "Task and generation say so."


async def tenants(scene: Scene) -> str:
    """What is one user's is unknown to another."""
    if scene.stranger is None:
        raise Skipped("There is no second token: give --other-token, of another user.")
    voice, order = scene.voice_id, scene.order
    listed = [*await scene.stranger.voices(), *await scene.stranger.history()]
    theirs = {row["id"] for row in [*await scene.user.voices(), *await scene.user.history()]}
    if theirs & {row["id"] for row in listed}:
        raise Surprise("The second token lists what is the first one's: a leak, or both are of the same user.")
    asked = [("GET", f"/api/voices/{voice}/preview"), ("DELETE", f"/api/voices/{voice}")]
    if order is not None:
        generation, task = f"/api/generations/{order.generation_id}", f"/api/tasks/{order.task_id}"
        asked += [("GET", f"{generation}/audio"), ("GET", f"{generation}/stream"), ("GET", task)]
        asked += [("GET", f"{task}/events"), ("POST", f"{task}/cancel"), ("DELETE", task), ("DELETE", generation)]
    for method, path in asked:
        require(await scene.stranger.ask(method, path), httpx.codes.NOT_FOUND)
    body = {"voice_id": voice, "text": SENTENCE}
    require(await scene.stranger.ask("POST", "/api/generate", json=body), httpx.codes.NOT_FOUND)
    return f"{len(asked) + 1} requests for another's are answered 404."


def _first_audio_seconds(heard: Heard) -> float:
    """When the gateway had the first sound, by its own clock: the provider's steps and its own share (tracing)."""
    steps = re.findall(r"(\w+);dur=([\d.]+)", heard.headers.get("server-timing", ""))
    found = sum(float(duration) for name, duration in steps if name == "gateway" or name.startswith("provider_"))
    if not found:
        raise Surprise("The stream has no Server-Timing; a proxy may have removed it.")
    return found / 1000


LIST = (
    Check("health", health, "`utter doctor` there says what is wrong; docs/operations/failure-signatures.md."),
    Check("languages", languages, "Is --base-url the gateway's? `utter config` there shows the mode."),
    Check("errors", errors, "A proxy that replaces error pages must pass those of the gateway on."),
    Check(
        "clone", clone, "`utter doctor` there: key, model, and whether the vendor can fetch recordings.", "languages"
    ),
    Check(
        "v1", v1, "docs/operations/failure-signatures.md. A 409: the account has a task running already.", needs="clone"
    ),
    Check(
        "stream", stream, "The capability and ENABLE_GENERATE_STREAM must agree; a stream off is a way back.", "clone"
    ),
    Check("joined", joined, "Is the second request led to another database, or to an older release?", "stream"),
    Check("proxy", proxy, "In the proxy: buffering off, `proxy_http_version 1.1`, no compression.", "stream"),
    Check("caps", caps, "QWEN_MAX_TEXT_CHARS, and whether all instances run the same release.", "clone"),
    Check("cancel", cancel, "Look for `cancel` in the log of the instance that ran it.", "clone"),
    Check("preview", preview, "`utter doctor` there: the design model, or MODAL_ENDPOINT_VOICE_DESIGN.", "languages"),
    Check("design", design, "The preview was made; its task in the log says why it could not be saved.", "preview"),
    Check("tenants", tenants, "If it is a leak, take the deployment down: tenants see each other's data.", "clone"),
)
"""In this order, one after the other: v1 allows a user one task at a time."""
