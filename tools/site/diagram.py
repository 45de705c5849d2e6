"""A state machine of `protocol/state.py` as an inline SVG: its states in a column, its moves as arcs beside it.

Drawn here, since Mermaid in a page would be fetched from another host. Colours are the page's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from protocol.state import Input, State

_ROW = 84
_BOX_WIDTH, _BOX_HEIGHT = 190, 38
_LANE = 26
_LETTER = 6.7
_LINE = 13
"""Sizes in pixels; `_LETTER` is the width of one in the labels' fixed-width font of 11 pixels, `_LINE` their height."""

_Move = tuple[int, int, list[str]]


def svg(name: str, table: Mapping[State, Mapping[Input, State]]) -> str:
    """The moves of `table`, whose first state is where it begins. An entry that stays where it is is left out."""
    states = list(table)
    moves = _moves(table)
    lanes = _lanes(moves)
    right = _BOX_WIDTH + _LANE * (max(lanes, default=0) + 1) + 10
    lines = [_box(place, state) for place, state in enumerate(states)]
    width = float(right)
    labels = _label_places(moves, _ROW * (len(states) - 1) + _BOX_HEIGHT + 20)
    for lane, move, label in zip(lanes, moves, labels, strict=True):
        drawn, reach = _arc(move, lane, right, label)
        lines.append(drawn)
        width = max(width, reach)
    height = _ROW * (len(states) - 1) + _BOX_HEIGHT + 20
    words = "; ".join(f"{states[start].name} to {states[end].name} by {', '.join(by)}" for start, end, by in moves)
    return (
        f'<svg class="states" role="img" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}">'
        f"<title>{escape(name)}: {escape(words)}</title>{''.join(lines)}</svg>"
    )


def _moves(table: Mapping[State, Mapping[Input, State]]) -> list[_Move]:
    """From, to and the inputs that do it; the shortest first, which get the lanes nearest to the states."""
    order = {state: place for place, state in enumerate(table)}
    causes: dict[tuple[int, int], list[str]] = {}
    for state, row in table.items():
        for known, target in row.items():
            if target is not state:
                causes.setdefault((order[state], order[target]), []).append(known.value)
    return sorted(((*ends, by) for ends, by in causes.items()), key=lambda move: (abs(move[1] - move[0]), move[0]))


def _lanes(moves: list[_Move]) -> list[int]:
    """For each move the nearest lane in which it crosses no other."""
    taken: list[tuple[int, int, int]] = []
    for start, end, _ in moves:
        low, high = min(start, end), max(start, end)
        lane = 0
        while any(used == lane and low < bottom and top < high for used, top, bottom in taken):
            lane += 1
        taken.append((lane, low, high))
    return [lane for lane, _, _ in taken]


def _label_places(moves: list[_Move], height: int) -> list[int]:
    """For each move the height of its first line of words: the free place nearest to the middle of its arc."""
    free = [True] * (height + 1)
    places = []
    for start, end, by in moves:
        tall = _LINE * len(by) + 5
        middle = 10 + _BOX_HEIGHT // 2 + (start + end) * _ROW // 2 - tall // 2
        tops = [top for top in range(height - tall) if all(free[top : top + tall])]
        top = min(tops, key=lambda top: abs(top - middle)) if tops else middle
        free[top : top + tall] = [False] * tall
        places.append(top + _LINE // 2 + 2)
    return places


def _box(place: int, state: State) -> str:
    top = 10 + place * _ROW
    middle = _BOX_WIDTH / 2
    weight = 2.5 if place == 0 else 1.2
    return (
        f'<rect x="2" y="{top}" width="{_BOX_WIDTH - 4}" height="{_BOX_HEIGHT}" rx="8" stroke-width="{weight}"/>'
        f'<text class="name" x="{middle}" y="{top + 16}">{escape(state.name)}</text>'
        f'<text class="about" x="{middle}" y="{top + 31}">{escape(state.value)}</text>'
    )


def _arc(move: _Move, lane: int, right: int, label: int) -> tuple[str, float]:
    """The arc with its arrow and its words, and how far to the right they reach."""
    start, end, by = move
    down = end > start
    # Where several moves meet a box, each has a height of its own there: leaving below when it goes down.
    leave = 10 + start * _ROW + _BOX_HEIGHT / 2 + (1 if down else -1) * (14 - 3 * min(lane, 3))
    arrive = 10 + end * _ROW + _BOX_HEIGHT / 2 - (1 if down else -1) * (14 - 3 * min(lane, 3))
    side = _BOX_WIDTH + _LANE * (lane + 1)
    path = f"M{_BOX_WIDTH - 2},{leave:.0f} H{side - 8} Q{side},{leave:.0f} {side},{leave + (8 if down else -8):.0f} "
    path += f"V{arrive - (8 if down else -8):.0f} Q{side},{arrive:.0f} {side - 8},{arrive:.0f} H{_BOX_WIDTH + 4}"
    arrow = f"M{_BOX_WIDTH},{arrive:.0f} l8,-4 v8 z"
    # The lead leaves the arc where it is straight, also when its words had to go beside it.
    fork = min(max(label, min(leave, arrive) + 8), max(leave, arrive) - 8)
    words = "".join(
        f'<text class="by" x="{right}" y="{label + 4 + _LINE * line}">{escape(cause)}</text>'
        for line, cause in enumerate(by)
    )
    lead = f'<path class="lead" d="M{side},{fork:.0f} L{right - 4},{label}"/>'
    reach = right + _LETTER * max(len(cause) for cause in by) + 6
    return f'{lead}<path d="{path}"/><path class="arrow" d="{arrow}"/>{words}', reach
