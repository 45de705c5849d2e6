"""`PATCH /profile` (v1 contract 1.2)."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import ApiError
from gateway.responses import JsonResponse
from gateway.routes.access import caller, services_of
from schema.body import BodyError, read_profile_changes
from schema.http_account import Profile, ProfileChanged
from storage import profiles
from storage.errors import HandleTaken


async def update(request: Request) -> Response:
    """Writes the fields that were sent and no other. A taken handle is 400, a missing profile 500, as in v1."""
    user = caller(request)
    try:
        changes = read_profile_changes(await request.body())
    except BodyError as error:
        raise ApiError(400, str(error)) from error
    try:
        async with services_of(request).database.as_user(user.id) as transaction:
            profile = await profiles.update_profile(transaction, user.id, msgspec.to_builtins(changes))
    except HandleTaken as error:
        raise ApiError(400, "This handle is taken. Please choose another one.") from error
    if profile is None:
        raise ApiError(500, "Your profile is missing. Open your account once more, then try again.")
    return JsonResponse(ProfileChanged(Profile.of(profile)))
