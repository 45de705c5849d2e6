"""Rows of who is signed in."""

from __future__ import annotations

from gateway.routes import development, profile, public
from gateway.routes.operations import Auth, Json, Operation
from schema.http_account import DevelopmentToken, Me, ProfileChanged, ProfileChanges

ROWS: tuple[Operation, ...] = (
    Operation(
        "GET",
        "/me",
        public.me,
        "Who is signed in",
        Auth.OPTIONAL,
        {200: Me},
    ),
    Operation(
        "PATCH",
        "/profile",
        profile.update,
        "Change your profile; null or blank clears a field",
        Auth.SIGNED_IN,
        {200: ProfileChanged},
        body=Json(ProfileChanges),
    ),
    Operation(
        "POST",
        "/transcriptions",
        public.transcriptions,
        "Not offered",
        Auth.SIGNED_IN,
        {},
    ),
    Operation(
        "POST",
        "/dev/token",
        development.token,
        "A token for the demo user, on the machine that runs the demo",
        Auth.NOBODY,
        {200: DevelopmentToken},
        also=(404,),
    ),
)
