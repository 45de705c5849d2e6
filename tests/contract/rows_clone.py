"""Section 1.4, cloning in two steps, and section 3.5, what the bucket takes in between."""

from __future__ import annotations

from typing import Any

from tests.contract.rows import ERROR, UNKNOWN, Auth, Raw, Row, refused, unreadable_bodies
from tests.contract.shapes import UPLOAD, Made, matching
from tests.contract.things import TRANSCRIPT, ReadLink, Upload, UploadLink, Voice
from tests.contract.world import EMPTY_WAV, RECORDING
from tests.support.emulator import wav_recording

UPLOAD_URL = "POST /clone/upload-url"
FINALIZE = "POST /clone/finalize"
LINE = "1.4 clone/upload-url"
FINAL = "1.4 clone/finalize"
PUT = "1.4 upload"

MAX_BYTES = 10 * 1024 * 1024

WRONG_TYPES = {"a number": 17, "true": True, "null": None, "a list": ["Ada"], "an object": {"name": "Ada"}}


def upload(*without: str, **changes: object) -> dict[str, object]:
    """A good body of `clone/upload-url`, changed."""
    good: dict[str, object] = {"name": "Ada", "language": "English", "transcript": TRANSCRIPT}
    return {name: value for name, value in {**good, **changes}.items() if name not in without}


def finalize(*without: str, **changes: object) -> dict[str, object]:
    """A good body of `clone/finalize` for the uploaded voice, changed."""
    return upload(*without, **{"voice_id": Made("{voice}"), **changes})


def bad_fields(*names: str) -> dict[str, dict[str, Any]]:
    """What is wrong with a field, and the field so."""
    kinds: dict[str, object] = {"blank": " \t\ufeff\u3000", "with NUL (product 4)": "A\0da", **WRONG_TYPES}
    return {f"{name} {what}": {name: value} for name in names for what, value in kinds.items()}


LONG_NAMES: dict[str, dict[str, Any]] = {
    "name of 101 units": {"name": "a" * 101},
    "name of 51 emoji is 102 units": {"name": "😀" * 51},
}

_REQUIRED = ("name", "language", "transcript")

_UPLOAD_URL_ROWS = [
    Row(f"{LINE}: good", UPLOAD_URL, 200, upload(), UPLOAD),
    Row(
        f"{LINE}: the address is the gateway's own",
        UPLOAD_URL,
        200,
        upload(),
        {
            **UPLOAD,
            "upload_url": matching(r"http://127\.0\.0\.1:\d+/api/objects/references/.+/reference\.wav\?token=.+"),
        },
    ),
    Row(f"{LINE}: name of 100 units", UPLOAD_URL, 200, upload(name="a" * 100), UPLOAD),
    Row(f"{LINE}: name of 50 emoji is 100 units", UPLOAD_URL, 200, upload(name="😀" * 50), UPLOAD),
    Row(
        f"{LINE}: the name is trimmed before it is measured",
        UPLOAD_URL,
        200,
        upload(name=f"\ufeff {'a' * 100}\n"),
        UPLOAD,
    ),
    Row(f"{LINE}: U+0085 is a character", UPLOAD_URL, 200, upload(name="\x85"), UPLOAD),
    Row(f"{LINE}: U+001C is a character", UPLOAD_URL, 200, upload(name="\x1c"), UPLOAD),
    Row(f"{LINE}: a transcript of any length", UPLOAD_URL, 200, upload(transcript="so " * 20_000), UPLOAD),
    Row(f"{LINE}: description", UPLOAD_URL, 200, upload(description="Calm."), UPLOAD),
    Row(f"{LINE}: description of a wrong type is no description", UPLOAD_URL, 200, upload(description=17), UPLOAD),
    Row(f"{LINE}: a language outside the list", UPLOAD_URL, 200, upload(language="Klingon"), UPLOAD, modes=("modal",)),
    Row(
        f"product 4, {LINE}: Modal mode wants a transcript too, which v1's page no longer asks for, and says so",
        UPLOAD_URL,
        400,
        upload("transcript"),
        {"detail": lambda detail: "transcript" in detail.lower() and len(detail) > len("transcript is required.")},
        modes=("modal",),
    ),
    *unreadable_bodies("clone/upload-url", UPLOAD_URL),
    *refused(LINE, UPLOAD_URL, {f"{name} missing": upload(name) for name in _REQUIRED}),
    *refused(LINE, UPLOAD_URL, {what: upload(**bad) for what, bad in {**bad_fields(*_REQUIRED), **LONG_NAMES}.items()}),
]

_PUT_ROWS = [
    *(
        Row(
            f"{PUT}: {kind}, without a token",
            "PUT /{link}",
            200,
            Raw(RECORDING, kind),
            lambda _: True,
            {"link": UploadLink()},
            auth=Auth.NONE,
        )
        for kind in (
            "audio/wav",
            "audio/x-wav",
            "audio/mpeg",
            "audio/mp4",
            "audio/m4a",
            "audio/wav; codecs=1",
            "Audio/WAV",
        )
    ),
    *(
        Row(
            f"product 6, {PUT}: {kind} too",
            "PUT /{link}",
            200,
            Raw(RECORDING, kind),
            lambda _: True,
            {"link": UploadLink()},
            auth=Auth.NONE,
        )
        for kind in ("audio/x-m4a", "audio/wave")
    ),
    *(
        Row(
            f"3.5 upload: {kind or 'no type'} is not taken",
            "PUT /{link}",
            400,
            Raw(RECORDING, kind),
            ERROR,
            {"link": UploadLink()},
            auth=Auth.NONE,
        )
        for kind in ("audio/ogg", "video/mp4", "text/html", "application/json", None)
    ),
    Row(
        f"{PUT}: 10 MiB",
        "PUT /{link}",
        200,
        Raw(bytes(MAX_BYTES), "audio/wav"),
        lambda _: True,
        {"link": UploadLink()},
        auth=Auth.NONE,
    ),
    Row(
        f"{PUT}: over 10 MiB",
        "PUT /{link}",
        413,
        Raw(bytes(MAX_BYTES + 1), "audio/wav"),
        ERROR,
        {"link": UploadLink()},
        auth=Auth.NONE,
    ),
    Row(f"{PUT}: nothing", "PUT /{link}", 400, Raw(b"", "audio/wav"), ERROR, {"link": UploadLink()}, auth=Auth.NONE),
    Row(
        f"{PUT}: never over another",
        "PUT /{link}",
        409,
        Raw(EMPTY_WAV, "audio/wav"),
        ERROR,
        {"link": UploadLink(used=RECORDING)},
        auth=Auth.NONE,
    ),
    Row(
        f"{PUT}: without its token",
        f"PUT /api/objects/references/{UNKNOWN}/x/reference.wav",
        401,
        Raw(RECORDING, "audio/wav"),
        auth=Auth.NONE,
    ),
    Row(
        f"{PUT}: by a link to read",
        "PUT /{link}",
        401,
        Raw(RECORDING, "audio/wav"),
        ERROR,
        {"link": ReadLink()},
        auth=Auth.NONE,
    ),
    Row(
        f"{PUT}: the link reads nothing",
        "GET /{link}",
        401,
        shape=ERROR,
        given={"link": UploadLink(used=RECORDING)},
        auth=Auth.NONE,
    ),
]

_LANGUAGE_NOT_SPOKEN = {
    f"language {name} is not spoken": finalize(language=name)
    for name in ("Arabic", "Hindi", "Dutch", "Turkish", "Klingon")
}

_FINALIZED: dict[str, tuple[dict[str, object], str]] = {
    "good": ({}, "Ada"),
    "the name comes back trimmed": ({"name": " \ufeffAda\u2003"}, "Ada"),
    "U+0085 at the name's end stays": ({"name": "Ada\x85"}, "Ada\x85"),
    "name of 50 emoji": ({"name": "😀" * 50}, "😀" * 50),
    "voice_id in upper case": ({"voice_id": Made("{VOICE}")}, "Ada"),
    "voice_id is trimmed": ({"voice_id": Made(" {voice}\ufeff")}, "Ada"),
    "description": ({"description": "Calm."}, "Ada"),
    "description of a wrong type is none": ({"description": 17}, "Ada"),
    "language Auto": ({"language": "Auto"}, "Ada"),
}
"""What is changed in a good body, and the name that comes back."""


def finalized(name: str = "Ada") -> dict[str, object]:
    """The whole answer, as long as nothing has to be warned about."""
    return {"id": Made("{voice}"), "name": name}


UPLOADED = {"voice": Upload()}

_UNUSABLE = {
    "too short": wav_recording(seconds=1.0),
    "too long": wav_recording(seconds=61.0),
    "silent": wav_recording(amplitude=0.0),
    "of too low a rate": wav_recording(rate=16000),
    "without a sample": EMPTY_WAV,
    "to be no audio": b"<html>no audio</html>" * 50,
}

_FINALIZE_ROWS = [
    *(
        # To another user nothing was uploaded: 400 (1.4), and the voice is not there for them to be 404.
        Row(f"{FINAL}: {what}", FINALIZE, 200, finalize(**changes), finalized(name), UPLOADED, stranger=400)
        for what, (changes, name) in _FINALIZED.items()
    ),
    *(
        Row(f"{FINAL}: {what}", FINALIZE, 200, body, finalized(), given, stranger=400, modes=("modal",))
        for what, body, given in (
            ("44 bytes without a sample are taken", finalize(), {"voice": Upload(EMPTY_WAV)}),
            ("a language outside the list", finalize(language="Klingon"), UPLOADED),
        )
    ),
    *unreadable_bodies("clone/finalize", FINALIZE),
    *refused(FINAL, FINALIZE, {f"{name} missing": finalize(name) for name in ("voice_id", *_REQUIRED)}, given=UPLOADED),
    *refused(
        FINAL,
        FINALIZE,
        {what: finalize(**bad) for what, bad in {**bad_fields("voice_id", *_REQUIRED), **LONG_NAMES}.items()},
        given=UPLOADED,
    ),
    Row(f"{FINAL}: nothing was uploaded", FINALIZE, 400, finalize(voice_id=UNKNOWN)),
    Row(f"{FINAL}: voice_id is no id", FINALIZE, 400, finalize(voice_id="my voice")),
    Row(f"{FINAL}: voice_id leads elsewhere", FINALIZE, 400, finalize(voice_id="../x/..")),
    Row(f"{FINAL}: stored size over 10 MiB", FINALIZE, 400, finalize(), given={"voice": Upload(bytes(MAX_BYTES + 1))}),
    Row(f"product 4, {FINAL}: an existing voice", FINALIZE, 409, finalize(), given={"voice": Voice()}, stranger=400),
    *refused(f"product 5, {FINAL}", FINALIZE, _LANGUAGE_NOT_SPOKEN, modes=("qwen",), given=UPLOADED),
    *(
        Row(f"product 6, {FINAL}: the vendor finds it {what}", FINALIZE, 400, finalize(), given=given, modes=("qwen",))
        for what, given in {what: {"voice": Upload(audio)} for what, audio in _UNUSABLE.items()}.items()
    ),
]

ROWS = [*_UPLOAD_URL_ROWS, *_PUT_ROWS, *_FINALIZE_ROWS]
