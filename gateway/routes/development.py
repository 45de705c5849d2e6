"""`POST /dev/token`: the page of `utter dev` signs itself in (product section 10)."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.auth import TOKEN_SECONDS, mint_token
from gateway.demo import DEMO_USER
from gateway.net import may_sign_itself_in
from gateway.responses import JsonResponse
from gateway.routes.access import services_of
from schema.http_account import DevelopmentToken, UserId


async def token(request: Request) -> Response:
    """A token for the demo user, for this machine's own page only; for anybody else there is no such route."""
    settings = services_of(request).settings
    if not (settings.dev_tokens and may_sign_itself_in(request.scope, settings.bind_host)):
        raise HTTPException(404)
    return JsonResponse(
        DevelopmentToken(
            token=mint_token(settings.token_secret, DEMO_USER),
            expires_in=TOKEN_SECONDS,
            user=UserId(DEMO_USER),
        )
    )
