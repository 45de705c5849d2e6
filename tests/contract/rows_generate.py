"""Section 1.6: `POST /generate`, and product section 4: `POST /generate/stream`, which takes the same body."""

from __future__ import annotations

from typing import Any

from tests.contract.rows import AUDIO, UNKNOWN, Raw, Row, refused, unreadable_bodies
from tests.contract.rows_clone import bad_fields
from tests.contract.rows_voices import DELETED
from tests.contract.shapes import ACCEPTED, Made, matching
from tests.contract.things import Generation, Task, Voice
from tests.contract.world import EMPTY_WAV
from tests.support.emulator import VD_MODEL

GENERATE = "POST /generate"
STREAM = "POST /generate/stream"
LINE = "1.6 generate"
STREAMED = "product 4 generate/stream"

VOICE = {"voice": Voice()}

CAP = 2000
"""UTF-16 units after trimming, in both modes (product section 2, 9)."""

TIMINGS = {"Server-Timing": matching(r"[a-z_.]+;dur=[0-9.]+(, [a-z_.]+;dur=[0-9.]+)*")}

STREAM_HEADERS = {
    "X-Utter-Provider": "qwen",
    "X-Utter-Generation-Id": matching("[0-9a-f-]{36}"),
    "X-Utter-Task-Id": matching("[0-9a-f-]{36}"),
    "X-Utter-Stream-Url": matching(r"http://.+/api/generations/[0-9a-f-]{36}/stream\?token=.+"),
    "Content-Type": "audio/mpeg",
    "Transfer-Encoding": "chunked",
    **TIMINGS,
}


def speak(*without: str, **changes: object) -> dict[str, object]:
    """A good body of both generate routes, changed."""
    good: dict[str, object] = {"voice_id": Made("{voice}"), "text": "Good morning.", "language": "English"}
    return {name: value for name, value in {**good, **changes}.items() if name not in without}


ESTIMATES = {5: 0.1, 18: 0.1, 57: 0.2, 375: 1.0, 900: 2.4, CAP: 5.3}
"""UTF-16 units of text, and the minutes that v1 announces for them (2.2)."""

ODD_IDS = {
    "voice_id in braces": f"{{{UNKNOWN}}}",
    "voice_id without dashes": UNKNOWN.replace("-", ""),
    "voice_id as a urn": f"urn:uuid:{UNKNOWN}",
    "voice_id one digit short": UNKNOWN[:-1],
    "voice_id with a fullwidth digit": f"{UNKNOWN[:-1]}１",
    "voice_id of g": f"g{UNKNOWN[1:]}",
}

GOOD_IDS = {
    "of version 0": "00000000-0000-0000-0000-000000000000",
    "of any variant": "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "in upper case": UNKNOWN.upper(),
    "trimmed": f" {UNKNOWN}\ufeff",
}

BAD_TEXTS = {
    "text missing": speak("text"),
    **{what: speak(**bad) for what, bad in bad_fields("text").items()},
    "text of 2001 units": speak(text="a" * (CAP + 1)),
    "text of 1001 code points is 2001 units": speak(text="a" + "😀" * 1000),
    "product 4: text of no letter or digit": speak(text="... !? -- 😀"),
    "product 4: text of a lone surrogate": Raw(b'{"voice_id": "%s", "text": "a \\ud800"}' % UNKNOWN.encode()),
}

GOOD_TEXTS: dict[str, Any] = {
    "good": speak(),
    "language missing is Auto": speak("language"),
    "language blank is Auto": speak(language=" "),
    "language of a wrong type is Auto": speak(language=17),
    "the page's unknown model is ignored": speak(model="0.6B"),
    "text of 2000 units": speak(text="a " * 999 + "a."),
    "text of 2000 units after trimming": speak(text="\ufeff" + "a " * 999 + "a.  "),
    "voice_id in upper case": speak(voice_id=Made("{VOICE}")),
    "voice_id is trimmed": speak(voice_id=Made(" {voice}\ufeff")),
}

BAD_VOICES = {
    "1.6 voice deleted": (404, Voice(DELETED)),
    "product 4: voice of the other provider": (409, Voice({"tts_provider": "modal"})),
    "product 4: voice without an id at the vendor": (409, Voice({"provider_voice_id": None})),
    "product 4: voice without a model": (409, Voice({"provider_target_model": None})),
    "product 4: voice of another region": (409, Voice({"provider_region": "cn"})),
    "product 4: model not accepted": (409, Voice({"provider_target_model": "qwen3-tts-vc-realtime-1999-01-01"})),
    "appendix A: kind and model do not match": (409, Voice({"provider_target_model": VD_MODEL})),
    "appendix A: voice of no kind": (409, Voice({"provider_voice_kind": None})),
}


def _of_route(line: str, request: str, modes: tuple[str, ...]) -> list[Row]:
    """What both routes have in common."""
    return [
        *unreadable_bodies(request.partition(" /")[2], request, modes),
        *refused(line, request, {"voice_id missing": speak("voice_id")}, modes=modes),
        *refused(line, request, {what: speak(**bad) for what, bad in bad_fields("voice_id").items()}, modes=modes),
        *refused(line, request, {what: speak(voice_id=odd) for what, odd in ODD_IDS.items()}, modes=modes),
        Row(f"{line}: a body over every limit", request, 413, Raw(b" " * 2**21), modes=modes),
        *refused(line, request, BAD_TEXTS, modes=modes, given=VOICE),
        *(
            Row(f"{line}: a voice_id {what} is one, of nothing", request, 404, speak(voice_id=good), modes=modes)
            for what, good in GOOD_IDS.items()
        ),
        *(
            Row(f"{line}: {what}", request, status, speak(), given={"voice": voice}, modes=("qwen",))
            for what, (status, voice) in BAD_VOICES.items()
        ),
        *refused(
            f"product 5, {line}",
            request,
            {f"language {name} is not spoken": speak(language=name) for name in ("Arabic", "Hindi", "Klingon")},
            modes=("qwen",),
            given=VOICE,
        ),
    ]


_MODAL_ONLY = [
    Row(
        f"{LINE}: a language outside the list",
        GENERATE,
        200,
        speak(language="Klingon"),
        ACCEPTED,
        VOICE,
        modes=("modal",),
    ),
    Row(f"{LINE}: voice deleted", GENERATE, 404, speak(), given={"voice": Voice(DELETED)}, modes=("modal",)),
    Row(
        f"product 4, {LINE}: voice of the other provider",
        GENERATE,
        409,
        speak(),
        given={"voice": Voice({"tts_provider": "qwen"})},
        modes=("modal",),
    ),
    *(
        Row(f"{LINE}: {what}", GENERATE, 400, speak(), given={"voice": voice}, stranger=404, modes=("modal",))
        for what, voice in {
            "voice without transcript": Voice({"reference_transcript": None}),
            "voice without object key": Voice({"reference_object_key": None}),
            "recording absent from the store": Voice(recording=None),
            "recording over 10 MiB": Voice(recording=bytes(10 * 1024 * 1024 + 1)),
        }.items()
    ),
    Row(
        f"{LINE}: a recording of 44 bytes without a sample",
        GENERATE,
        200,
        speak(),
        ACCEPTED,
        {"voice": Voice(recording=EMPTY_WAV)},
        modes=("modal",),
    ),
]

_GUARD = [
    *(
        Row(
            f"2.5 generate: an active task, {status}",
            GENERATE,
            409,
            speak(),
            given={**VOICE, "task": Task({"status": status})},
        )
        for status in ("pending", "processing")
    ),
    *(
        Row(
            f"2.5 generate: a task that is {status} guards nothing",
            GENERATE,
            200,
            speak(),
            ACCEPTED,
            {**VOICE, "task": Task({"status": status})},
        )
        for status in ("completed", "failed", "cancelled")
    ),
    Row(
        "2.5 generate: a preview guards nothing",
        GENERATE,
        200,
        speak(),
        ACCEPTED,
        {**VOICE, "task": Task({"type": "design_preview"})},
    ),
    Row(
        "product 8 generate: a stream guards nothing",
        GENERATE,
        200,
        speak(),
        ACCEPTED,
        {**VOICE, "task": Task({"type": "generate_stream"})},
    ),
    Row(
        "product 8 generate/stream: an active task guards nothing",
        STREAM,
        200,
        speak(),
        AUDIO,
        {**VOICE, "task": Task()},
        modes=("qwen",),
    ),
    Row(
        "1.6 generate: a generation without a task guards nothing",
        GENERATE,
        200,
        speak(),
        ACCEPTED,
        {**VOICE, "generation": Generation({"status": "processing"})},
    ),
]

ROWS = [
    *(
        Row(f"{LINE}: {what}", GENERATE, 200, body, ACCEPTED, VOICE, answers=TIMINGS)
        for what, body in GOOD_TEXTS.items()
    ),
    *(
        Row(
            f"2.2 generate: {units} units take {minutes} minutes",
            GENERATE,
            200,
            speak(text="a" * units),
            {**ACCEPTED, "estimated_duration_minutes": minutes},
            VOICE,
        )
        for units, minutes in ESTIMATES.items()
    ),
    *_of_route(LINE, GENERATE, ("qwen", "modal")),
    *_MODAL_ONLY,
    *_GUARD,
    Row(f"{STREAMED}: good", STREAM, 200, speak(), AUDIO, VOICE, answers=STREAM_HEADERS, modes=("qwen",)),
    *_of_route(STREAMED, STREAM, ("qwen",)),
    Row(f"{STREAMED}: not in Modal mode", STREAM, 409, speak(), given=VOICE, stranger=409, modes=("modal",)),
    Row(f"{STREAMED}: not in Modal mode, whatever the body", STREAM, 409, Raw(b"?"), modes=("modal",)),
]
