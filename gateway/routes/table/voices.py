"""Rows of voices: those there are, and making new ones."""

from __future__ import annotations

from gateway.routes import clone, design, voices
from gateway.routes.operations import PAGING, REDIRECT, SEARCH, Auth, Form, Json, Operation, Parameter
from schema.http import Done, Voice, VoiceList
from schema.http_voices import (
    ClonedVoice,
    CloneRequest,
    DesignedVoice,
    DesignForm,
    FinalizeRequest,
    PreviewRequest,
    PreviewStarted,
    RemadeVoice,
    UploadLink,
)

_SOURCE = Parameter("source", "Only voices made so.", {"type": "string", "enum": ["uploaded", "designed"]})

ROWS: tuple[Operation, ...] = (
    Operation(
        "GET",
        "/voices",
        voices.list_voices,
        "Your voices, newest first",
        Auth.SIGNED_IN,
        {200: VoiceList},
        query=(*PAGING, SEARCH, _SOURCE),
    ),
    Operation(
        "GET",
        "/voices/{voice_id}/preview",
        voices.preview,
        "The recording of a voice",
        Auth.SIGNED_IN,
        {302: REDIRECT},
    ),
    Operation(
        "DELETE",
        "/voices/{voice_id}",
        voices.delete,
        "Delete a voice",
        Auth.SIGNED_IN,
        {200: Done},
    ),
    Operation(
        "POST",
        "/voices/{voice_id}/restore",
        voices.restore,
        "Take a deletion back",
        Auth.SIGNED_IN,
        {200: Voice},
    ),
    Operation(
        "POST",
        "/voices/{voice_id}/reclone",
        voices.reclone,
        "Make a voice of the other provider usable; may be billed",
        Auth.SIGNED_IN,
        {200: RemadeVoice},
        also=(400, 409, 502, 504),
    ),
    Operation(
        "POST",
        "/clone/upload-url",
        clone.upload_link,
        "Begin a clone: where to upload the recording",
        Auth.SIGNED_IN,
        {200: UploadLink},
        body=Json(CloneRequest),
    ),
    Operation(
        "POST",
        "/clone/finalize",
        clone.finalize,
        "Make a voice of the uploaded recording",
        Auth.SIGNED_IN,
        {200: ClonedVoice},
        body=Json(FinalizeRequest),
        also=(404, 409, 502, 504),
    ),
    Operation(
        "POST",
        "/voices/design/preview",
        design.preview,
        "Design a voice and hear it; poll the task",
        Auth.SIGNED_IN,
        {200: PreviewStarted},
        body=Json(PreviewRequest),
    ),
    Operation(
        "POST",
        "/voices/design",
        design.save,
        "Save a designed voice",
        Auth.SIGNED_IN,
        {200: DesignedVoice},
        body=Form(DesignForm),
        also=(404, 409),
    ),
)
