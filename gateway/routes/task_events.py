"""`GET /tasks/:id/events`: a task's states as they come, instead of polling (product section 4)."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from gateway.routes import tasks
from gateway.routes.access import caller, path_id, services_of, unknown
from gateway.task_events import HEADERS, TaskEventsResponse


async def events(request: Request) -> Response | TaskEventsResponse:
    """The present state at once, then each change until the last one."""
    user = caller(request)
    task_id = path_id(request, "task_id", "task")
    services = services_of(request)
    look = partial(tasks.look, request, user.id, task_id)
    with ExitStack() as undo:
        watch = undo.enter_context(services.task_news.watch(task_id))
        first = await look()
        if first is None:
            raise unknown("task")
        if request.method == "HEAD":
            return Response(headers=HEADERS)
        undo.pop_all()  # the response ends the watch
    return TaskEventsResponse(
        first, look, watch, services.task_news, stall_seconds=services.settings.write_stall_seconds
    )
