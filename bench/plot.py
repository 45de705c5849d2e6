"""Small line charts as SVG: one panel for each figure, over the same axis. Readable in light and in dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, PANEL_HEIGHT = 380, 170
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 34, 26
"""Around the lines of a panel, in pixels: numbers, breath, title, and numbers again."""

COLUMNS = 2
TICKS = 4
"""Lines across a panel, about."""

_STYLE = """
text { font: 11px system-ui, sans-serif; fill: #57606a; }
.title { font-weight: 600; fill: #24292f; }
.grid { stroke: #d0d7de; stroke-width: 1; }
.line { fill: none; stroke: #0969da; stroke-width: 1.5; stroke-linejoin: round; }
@media (prefers-color-scheme: dark) {
text { fill: #9198a1; } .title { fill: #f0f6fc; } .grid { stroke: #3d444d; } .line { stroke: #4493f8; }
}
"""


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure. `points` are pairs of the common axis and the figure, in the order of the axis."""

    title: str
    points: Sequence[tuple[float, float]]


def svg(title: str, axis: str, panels: Sequence[Panel]) -> str:
    """A whole document. Raises ValueError for a panel without points."""
    rows = math.ceil(len(panels) / COLUMNS)
    width, height = WIDTH * COLUMNS, PANEL_HEIGHT * rows
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
    ]
    for number, panel in enumerate(panels):
        x, y = number % COLUMNS * WIDTH, number // COLUMNS * PANEL_HEIGHT
        parts.append(f'<g transform="translate({x} {y})">{_panel(panel, axis)}</g>')
    return "\n".join([*parts, "</svg>\n"])


def _panel(panel: Panel, axis: str) -> str:
    if not panel.points:
        raise ValueError(f"no points for {panel.title}")
    xs, ys = [x for x, _ in panel.points], [y for _, y in panel.points]
    across, up = _Scale(0, max(*xs, 1), LEFT, WIDTH - RIGHT), _Scale(0, max(*ys, 1), PANEL_HEIGHT - BOTTOM, TOP)
    parts = [f'<text class="title" x="{LEFT}" y="18">{escape(panel.title)}</text>']
    for tick in up.ticks():
        y = up.at(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    parts += [
        f'<text x="{across.at(tick):.1f}" y="{PANEL_HEIGHT - 9}" text-anchor="middle">{tick:g}</text>'
        for tick in across.ticks()
    ]
    parts.append(f'<text x="{WIDTH - RIGHT}" y="18" text-anchor="end">{escape(axis)}</text>')
    line = " ".join(f"{across.at(x):.1f},{up.at(y):.1f}" for x, y in panel.points)
    parts.append(f'<polyline class="line" points="{line}"/>')
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class _Scale:
    """Figures from `low` to `high` onto pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round numbers, `TICKS` of them or a few more or less."""
        rough = (self.high - self.low) / TICKS
        magnitude: float = 10 ** math.floor(math.log10(rough))
        step = next(step for step in (1, 2, 5, 10) if step * magnitude >= rough) * magnitude
        return [self.low + step * number for number in range(int((self.high - self.low) / step) + 1)]
