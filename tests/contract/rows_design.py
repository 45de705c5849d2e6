"""Section 1.5: designing a voice. What the provider does with it is in `test_flows`."""

from __future__ import annotations

from tests.contract.rows import UNKNOWN, File, Form, Raw, Row, refused, unreadable_bodies
from tests.contract.rows_clone import LONG_NAMES, bad_fields
from tests.contract.shapes import DESIGNED, Made, uuid
from tests.contract.things import AUDIO, Preview, Task
from tests.contract.world import EMPTY_WAV, RECORDING

PREVIEW = "POST /voices/design/preview"
SAVE = "POST /voices/design"
LINE = "1.5 voices/design/preview"
SAVED = "1.5 voices/design"

STARTED = {"task_id": uuid, "status": "pending"}

MAX_AUDIO_BYTES = 1_000_000


def preview(*without: str, **changes: object) -> dict[str, object]:
    """A good body of `voices/design/preview`, changed."""
    good: dict[str, object] = {"text": "Good evening.", "instruct": "A calm narrator.", "language": "English"}
    return {name: value for name, value in {**good, **changes}.items() if name not in without}


def save(*without: str, **changes: str | bytes | File | Made) -> Form:
    """A good form of `voices/design`, changed."""
    good: dict[str, str | bytes | File | Made] = {
        "name": "Narrator",
        "text": "Good evening.",
        "language": "English",
        "instruct": "A calm narrator.",
        "audio": File(EMPTY_WAV),
    }
    return Form({name: value for name, value in {**good, **changes}.items() if name not in without})


SAVED_VOICE = {**DESIGNED, "name": "Narrator", "description": "A calm narrator.", "language": "English"}

_FIELDS = ("text", "instruct", "language")
_PARTS = ("name", "text", "language", "instruct", "audio")
_TOO_LONG = {
    f"{name} {what}": preview(**{name: value})
    for name in ("text", "instruct")
    for what, value in {"of 501 units": "a" * 501, "of 251 emoji is 502 units": "😀" * 251}.items()
}
_UNREADABLE_FORMS = {
    "JSON": Raw(b'{"name": "Narrator"}'),
    "a form without boundary": Raw(b"x", "multipart/form-data"),
    "a form that breaks off": Raw(
        b'--b\r\nContent-Disposition: form-data; name="name"', "multipart/form-data; boundary=b"
    ),
    "no body": Raw(b"", "multipart/form-data; boundary=b"),
    "no type": Raw(b"x", None),
}

_PREVIEW_ROWS = [
    Row(f"{LINE}: good", PREVIEW, 200, preview(), STARTED),
    Row(f"{LINE}: text and instruct of 500 units", PREVIEW, 200, preview(text="a" * 500, instruct="b" * 500), STARTED),
    Row(f"{LINE}: 500 units are counted after trimming", PREVIEW, 200, preview(text=f"\ufeff{'a' * 500}  "), STARTED),
    Row(f"{LINE}: 250 emoji are 500 units", PREVIEW, 200, preview(instruct="😀" * 250), STARTED),
    Row(f"appendix A {LINE}: name", PREVIEW, 200, preview(name="Narrator"), STARTED),
    Row(f"{LINE}: a language outside the list", PREVIEW, 200, preview(language="Klingon"), STARTED, modes=("modal",)),
    Row(
        f"2.5 {LINE}: any number at a time",
        PREVIEW,
        200,
        preview(),
        STARTED,
        {"first": Task({"type": "design_preview"}), "second": Task()},
    ),
    *unreadable_bodies("voices/design/preview", PREVIEW),
    *refused(LINE, PREVIEW, {f"{name} missing": preview(name) for name in _FIELDS}),
    *refused(LINE, PREVIEW, {what: preview(**bad) for what, bad in bad_fields(*_FIELDS).items()}),
    *refused(LINE, PREVIEW, _TOO_LONG),
    *refused(
        f"product 5, {LINE}",
        PREVIEW,
        {f"language {name} is not spoken": preview(language=name) for name in ("Arabic", "Dutch", "Klingon")},
        modes=("qwen",),
    ),
]

_SAVE_ROWS = [
    Row(f"{SAVED}: good", SAVE, 200, save(), SAVED_VOICE, modes=("modal",)),
    Row(f"{SAVED}: good", SAVE, 200, save(task_id=Made("{task}")), SAVED_VOICE, {"task": Preview()}, modes=("qwen",)),
    Row(
        f"{SAVED}: text and instruct of any length",
        SAVE,
        200,
        save(text="a" * 5000, instruct="b" * 5000),
        {**SAVED_VOICE, "description": "b" * 5000},
        modes=("modal",),
    ),
    Row(f"{SAVED}: text is trimmed", SAVE, 200, save(name=" Narrator\ufeff"), SAVED_VOICE, modes=("modal",)),
    Row(
        f"{SAVED}: audio of 1,000,000 bytes",
        SAVE,
        200,
        save(audio=File(bytes(MAX_AUDIO_BYTES))),
        SAVED_VOICE,
        modes=("modal",),
    ),
    Row(f"{SAVED}: audio of 1,000,001 bytes", SAVE, 400, save(audio=File(bytes(MAX_AUDIO_BYTES + 1)))),
    Row(f"{SAVED}: audio without a type", SAVE, 200, save(audio=File(RECORDING, "")), SAVED_VOICE, modes=("modal",)),
    Row(
        f"{SAVED}: unknown fields are ignored",
        SAVE,
        200,
        save(task_id=UNKNOWN, model="0.6B"),
        SAVED_VOICE,
        modes=("modal",),
    ),
    *refused(SAVED, SAVE, {f"{name} missing": save(name) for name in _PARTS}),
    *refused(SAVED, SAVE, {f"{name} blank": save(**{name: " \ufeff"}) for name in _PARTS[:-1]}),
    *refused(f"product 4, {SAVED}", SAVE, {f"{name} with NUL": save(**{name: "A\0da"}) for name in _PARTS[:-1]}),
    *refused(SAVED, SAVE, {what: save(**bad) for what, bad in LONG_NAMES.items()}),
    *refused(
        SAVED, SAVE, {f"{name} as a file": save(**{name: File(b"Narrator", "text/plain")}) for name in _PARTS[:-1]}
    ),
    *refused(
        SAVED,
        SAVE,
        {
            "audio as text": save(audio="RIFF"),
            "audio empty": save(audio=File(b"")),
            **{f"audio of type {kind}": save(audio=File(RECORDING, kind)) for kind in ("audio/ogg", "text/html")},
            **_UNREADABLE_FORMS,
        },
    ),
    Row(f"{SAVED}: a form over every limit", SAVE, 413, save(audio=File(bytes(4 * 1024 * 1024)))),
    Row(
        f"product 6, {SAVED}: audio that no preview of the caller's sounds like",
        SAVE,
        400,
        save(audio=File(AUDIO)),
        modes=("qwen",),
    ),
    Row(f"product 6, {SAVED}: task_id is no id", SAVE, 400, save(task_id="x"), modes=("qwen",)),
    Row(f"product 6, {SAVED}: task_id of nothing", SAVE, 404, save(task_id=UNKNOWN), modes=("qwen",)),
    Row(
        f"product 6, {SAVED}: task_id of a generation",
        SAVE,
        409,
        save(task_id=Made("{task}")),
        given={"task": Task()},
        modes=("qwen",),
    ),
    Row(
        f"product 6, {SAVED}: task_id of a preview that is not completed",
        SAVE,
        409,
        save(task_id=Made("{task}")),
        given={"task": Task({"type": "design_preview"})},
        modes=("qwen",),
    ),
    Row(
        f"product 6, {SAVED}: task_id of a preview without metadata",
        SAVE,
        409,
        save(task_id=Made("{task}")),
        given={"task": Task({"type": "design_preview", "status": "completed"})},
        modes=("qwen",),
    ),
    Row(
        f"product 6, {SAVED}: task_id of the other provider's preview",
        SAVE,
        409,
        save(task_id=Made("{task}")),
        given={"task": Task({"type": "design_preview", "status": "completed", "provider": "modal"})},
        modes=("qwen",),
    ),
]

ROWS = [*_PREVIEW_ROWS, *_SAVE_ROWS]
