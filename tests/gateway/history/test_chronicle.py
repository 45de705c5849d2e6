"""The judge of histories, on histories that are told here."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.history.chronicle import GONE, Chronicle, Seen, WentBackwards


def poll(**changes: Any) -> dict[str, Any]:
    return {"type": "generate", "error": None, "modal_poll_count": 1, "provider_poll_count": 1, **changes}


def told(*seen: Seen) -> Chronicle:
    chronicle = Chronicle()
    for one in seen:
        chronicle.add(one)
    return chronicle


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_forward_is_a_history(end: str) -> None:
    names = ("pending", "processing", "processing", end, end, GONE, GONE)
    chronicle = told(*(Seen(2 * moment, 2 * moment + 1, name) for moment, name in enumerate(names)))
    assert chronicle.latest == Seen(12, 13, GONE)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("processing", "pending"),
        ("completed", "processing"),
        ("cancelled", "completed"),
        ("failed", "cancelled"),
        (GONE, "completed"),
    ],
)
def test_backward_is_none_in_whatever_order_it_is_learnt(first: str, then: str) -> None:
    one, other = Seen(0, 1, first), Seen(2, 3, then)
    for order in ((one, other), (other, one)):
        with pytest.raises(WentBackwards):
            told(*order)


def test_answers_that_overlap_may_be_either_way_round() -> None:
    told(Seen(0, 5, "completed", poll()), Seen(1, 6, "processing", poll()))


@pytest.mark.parametrize(
    "changes", [{"modal_poll_count": 0}, {"provider_poll_count": 0}, {"error": "late"}, {"result": {"audio_bytes": 1}}]
)
def test_a_terminal_answer_must_not_change(changes: dict[str, Any]) -> None:
    with pytest.raises(WentBackwards):
        told(Seen(0, 1, "completed", poll()), Seen(2, 3, "completed", poll(**changes)))


def test_a_preview_is_linked_anew_each_time() -> None:
    def preview(link: str, key: str = "k") -> dict[str, Any]:
        return poll(type="design_preview", result={"object_key": key, "audio_url": link})

    told(Seen(0, 1, "completed", preview("a")), Seen(2, 3, "completed", preview("b")))
    with pytest.raises(WentBackwards):
        told(Seen(0, 1, "completed", preview("a")), Seen(2, 3, "completed", preview("a", "other")))
