"""`PUT /objects/:bucket/:key`: a recording, by a signed link, into a place that is free (product section 6).

A presigned URL of the store could enforce none of this: not the size, not the type, not that nothing is overwritten.
Size and time are limited by `gateway.middleware.body`, while the body comes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from gateway.delivery import CLIENT_GONE
from gateway.errors import ApiError
from gateway.media import SNIFF_BYTES, recording_type, sniff
from gateway.responses import JsonResponse
from gateway.routes.access import services_of, unknown
from gateway.signing import InvalidToken
from schema.http_objects import StoredObject
from storage.objects import REFERENCES, InvalidKey, ObjectExists, check_key

_NOT_AUDIO = "Please send a WAV, MP3 or M4A file with its type in the Content-Type header, such as audio/wav."
_EXISTS = "This recording was uploaded already. Please start again for a new one."

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.uploads")


async def upload(request: Request) -> Response:
    """Store the body whole, or nothing. 200 `{"Key": "<bucket>/<key>"}`, as v1's storage answered."""
    bucket, key = _permitted(request)
    content_type = recording_type(request.headers.get("content-type", ""))
    if content_type is None:
        raise ApiError(400, _NOT_AUDIO)
    objects = services_of(request).objects
    if await objects.head(bucket, key) is not None:  # before a client sends 10 MiB in vain
        raise ApiError(409, _EXISTS)
    try:
        body = await _Recording.begin(request)
        # The type is what the bytes are: browsers go by the file's name.
        size = await objects.put(bucket, key, body, sniff(body.head) or content_type, overwrite=False)
    except ObjectExists as error:
        raise ApiError(409, _EXISTS) from error
    except ClientDisconnect:
        return Response(status_code=CLIENT_GONE)
    _log.info("upload.stored", bucket=bucket, key=key, bytes=size)
    return JsonResponse(StoredObject(key=f"{bucket}/{key}"))


def _permitted(request: Request) -> tuple[str, str]:
    """Bucket and key that the link is for. Raises ApiError 401 and 404."""
    bucket, key = request.path_params["bucket"], request.path_params["key"]
    try:
        services_of(request).signer.verify("upload", f"{bucket}/{key}", request.query_params.get("token", ""))
        check_key(bucket, key)
    except InvalidToken as error:
        raise ApiError(401, "This link has expired or is not valid. Please start again.") from error
    except InvalidKey as error:
        raise unknown("recording") from error
    if bucket != REFERENCES:  # the limits are those of recordings
        raise unknown("recording")
    return bucket, key


class _Recording:
    """A request's body whose first bytes were looked at."""

    def __init__(self, head: bytes, rest: AsyncIterator[bytes]) -> None:
        self.head = head
        self._rest = rest

    @classmethod
    async def begin(cls, request: Request) -> _Recording:
        """Wait for the first bytes. Raises ApiError 400 when there are none."""
        rest = request.stream()
        head = b""
        async for piece in rest:
            head += piece
            if len(head) >= SNIFF_BYTES:
                break
        if not head:
            raise ApiError(400, "The recording is empty. Please choose another file.")
        return cls(head, rest)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.head
        async for piece in self._rest:
            yield piece
