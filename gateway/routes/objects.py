"""`GET /objects/:bucket/:key`: stored audio by a signed link, without credentials, more than once."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request

from gateway.delivery import Body, quoted, respond
from gateway.errors import ApiError
from gateway.media import SNIFF_BYTES, media_type, recording_type, sniff
from gateway.routes.access import services_of, unknown
from gateway.routes.listen import Answer
from gateway.signing import InvalidToken
from storage.objects import REFERENCES, InvalidKey, ObjectInfo, ObjectMissing, ObjectStore


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
        content_type=await _content_type(services.objects, bucket, key, info),
        read=partial(services.objects.read, bucket, key),
        etag=quoted(info.etag) if info.etag else None,
    )
    return respond(request, body, stall_seconds=services.settings.token_write_stall_seconds)


async def _content_type(objects: ObjectStore, bucket: str, key: str, info: ObjectInfo) -> str:
    """What a recording is: by its bytes, else by what its store was told, else by its key as everything else."""
    if bucket != REFERENCES:
        return media_type(key)
    try:
        head = await anext(objects.read(bucket, key, 0, SNIFF_BYTES), b"")
    except ObjectMissing as error:  # removed since its size was asked for
        raise unknown("recording") from error
    return sniff(head) or recording_type(info.content_type or "") or media_type(key)
