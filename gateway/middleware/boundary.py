"""The last place where an exception can become an answer."""

from __future__ import annotations

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import as_api_error, error_response
from gateway.frames import forget_frames

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.http")


class ErrorBoundary:
    """Answers for whatever is raised below, in words for people; what it was goes to the log.

    Once the answer has begun there is nothing left to say: the layer returns, the last chunk is never sent, and the
    client sees a broken connection instead of a short answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watch_start(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watch_start)
        except Exception as error:
            response = _tell(error, started=started)
            forget_frames(error)
            if not started:
                await response(scope, receive, send)


def _tell(error: Exception, *, started: bool) -> Response:
    """The answer; the log is told what people are not."""
    answer = as_api_error(error)
    if answer.status == 500 or started:
        _log.error("http.failed", answer_started=started, exc_info=error)
    return error_response(answer)
