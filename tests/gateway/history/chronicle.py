"""What was seen of one task, and whether it can be one history.

Requests overlap, so their answers have no order of their own: an answer must not contradict one that was complete
before its request began. What it may say otherwise is up to the moment in which it was looked up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

GONE = "gone"
"""The task was deleted: 404."""

STAGES = {"pending": 0, "processing": 1, "completed": 2, "failed": 2, "cancelled": 2, GONE: 3}


@dataclass(frozen=True)
class Seen:
    """One answer: `status`, and between which two moments (any clock) it was true. `task` is a poll's body."""

    began: int
    ended: int
    status: str
    task: dict[str, Any] = field(default_factory=dict)


class WentBackwards(AssertionError):
    """Two answers that cannot belong to one task that only goes forward."""


@dataclass
class Chronicle:
    """All that was seen of a task, in the order it was learnt."""

    seen: list[Seen] = field(default_factory=list)

    def add(self, new: Seen) -> None:
        """Raises `WentBackwards`."""
        for other in self.seen:
            if other.ended < new.began:
                _require_order(other, new)
            elif new.ended < other.began:
                _require_order(new, other)
        self.seen.append(new)

    @property
    def latest(self) -> Seen | None:
        """The answer that was complete last."""
        return max(self.seen, key=lambda seen: seen.ended, default=None)


def _require_order(first: Seen, then: Seen) -> None:
    if STAGES[then.status] < STAGES[first.status]:
        raise WentBackwards(f"{first.status}, then {then.status}")
    if STAGES[first.status] == STAGES["completed"] == STAGES[then.status] and first.status != then.status:
        raise WentBackwards(f"{first.status}, then {then.status}: a terminal state was left")
    if not (first.task and then.task):
        return
    for counter in ("modal_poll_count", "provider_poll_count"):
        if then.task[counter] < first.task[counter]:
            raise WentBackwards(f"{counter}: {first.task[counter]}, then {then.task[counter]}")
    if STAGES[first.status] == STAGES["completed"] and _outcome(first.task) != _outcome(then.task):
        raise WentBackwards(f"{_outcome(first.task)}, then {_outcome(then.task)}: a terminal state changed")


def _outcome(task: dict[str, Any]) -> tuple[object, dict[str, object]]:
    """What a terminal task says, without links that are signed anew for each answer."""
    result = dict(task.get("result") or {})
    if task["type"] == "design_preview":
        result.pop("audio_url", None)
    return task["error"], result
