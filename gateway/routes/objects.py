"""`GET /objects/:bucket/:key`: stored audio by a signed link, without credentials, more than once."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request

from gateway.delivery import Body, quoted, respond
from gateway.errors import ApiError
from gateway.media import media_type
from gateway.routes.access import services_of, unknown
from gateway.routes.listen import Answer
from gateway.signing import InvalidToken
from storage.objects import InvalidKey


async def read(request: Request) -> Answer:
    """The object, or a range of it."""
    services = services_of(request)
    bucket, key = request.path_params["bucket"], request.path_params["key"]
    try:
        services.signer.verify("object", f"{bucket}/{key}", request.query_params.get("token", ""))
        info = await services.objects.head(bucket, key)
    except InvalidToken as error:
        raise ApiError(401, "This link has expired or is not valid.") from error
    except InvalidKey as error:
        raise unknown("recording") from error
    if info is None:
        raise unknown("recording")
    body = Body(
        size=info.size,
        content_type=media_type(key),
        read=partial(services.objects.read, bucket, key),
        etag=quoted(info.etag) if info.etag else None,
    )
    return respond(request, body, stall_seconds=services.settings.token_write_stall_seconds)
