"""How long a job that gives no result is waited for: v1 polled on for ever, and held its user's one place with it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import anyio

from schema.records import TaskRow

UNKNOWN_JOB_SECONDS = 60.0
"""Age at which a job that Modal says it never heard of is given up. Younger, the news may not have spread there."""

ASKED_SECONDS = 60.0
"""A job is asked about for so long by this process before it is given up, however old it is: after a long outage of
ours the first answers may be no measure."""

MAX_REMEMBERED = 10_000
"""Jobs of which it is known since when they are asked about. The oldest are forgotten, and so get more time."""


class Patience:
    """Remembers when this process first asked about each job. `job_seconds` is the age at which a job fails."""

    def __init__(self, job_seconds: float, clock: Callable[[], float] = anyio.current_time) -> None:
        self._job_seconds = job_seconds
        self._clock = clock
        self._first_asked: OrderedDict[UUID, float] = OrderedDict()

    def is_over(self, task: TaskRow, *, unknown: bool = False) -> bool:
        """Whether to give up on the task's job, which gave no result just now; `unknown`: because there is no job."""
        first_asked = self._first_asked.setdefault(task.id, self._clock())
        if len(self._first_asked) > MAX_REMEMBERED:
            self._first_asked.popitem(last=False)
        limit = UNKNOWN_JOB_SECONDS if unknown else self._job_seconds
        return age_seconds(task) >= limit and (unknown or self._clock() - first_asked >= ASKED_SECONDS)

    def forget(self, task_id: UUID) -> None:
        """The task has ended."""
        self._first_asked.pop(task_id, None)


def age_seconds(task: TaskRow) -> float:
    """Since the task was created."""
    return (datetime.now(UTC) - task.created_at).total_seconds()
