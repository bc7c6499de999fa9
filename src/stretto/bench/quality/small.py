"""One task's methods as a picture of a few kilobytes: a page may hold dozens of them.

Its marks bear no names: the table below is the legend, and pointing at a mark says whose it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from ..plot import PLAINLY
from .figures import COLOURS, PANELS, Mark, brief, front

WIDTH, HEIGHT = 225, 110  # of a panel, in units of the picture
LEFT, TOP, BETWEEN = 38, 8, 28
BASELINE = "■"
SHAPES = {  # of marks: another one where the colours have been used up
    "●": "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "◆": "m-5 0l5-5 5 5-5 5z",
    "▲": "m-4.5 4l4.5-8 4.5 8z",
    BASELINE: "m-3.5-3.5h7v7h-7z",
}
SHARES = (0.0, 0.5, 1.0)
TICKS = (1.0, 2.0, 5.0)  # times powers of ten


def sign(at: int) -> tuple[str, str]:
    """Shape and colour of the method at this place of the list; the first is the baseline."""
    if not at:
        return BASELINE, PLAINLY
    return tuple(SHAPES)[(at - 1) // len(COLOURS) % 3], COLOURS[(at - 1) % len(COLOURS)]


def small(marks: Sequence[Mark], name: str) -> str:
    """Accuracy from 0 to 100 % against each cost, as an SVG element. Filled: on the front."""
    width = LEFT + len(PANELS) * (WIDTH + BETWEEN) - BETWEEN + 8
    panels = "".join(
        f'<g transform="translate({LEFT + at * (WIDTH + BETWEEN)} {TOP})">{_panel(marks, cost)}</g>'
        for at, cost in enumerate(PANELS)
    )
    shares = "".join(f'<text x="{LEFT - 5}" y="{TOP + _y(y) + 3:g}">{y:.0%}</text>' for y in SHARES)
    return (
        f'<svg role="img" aria-label="{escape(name)}" viewBox="0 0 {width} {HEIGHT + TOP + 34}" font-size="9" '
        f'xmlns="http://www.w3.org/2000/svg"><g text-anchor="end">{shares}</g>{panels}</svg>'
    )


def _panel(marks: Sequence[Mark], cost: str) -> str:
    shown = [(at, mark, mark.costs[cost]) for at, mark in enumerate(marks) if mark.costs.get(cost)]
    label = f'<text x="{WIDTH / 2:g}" y="{HEIGHT + 27}">{PANELS[cost]}</text>'
    if not shown:
        return f'<g text-anchor="middle">{label}</g>'
    spread = [math.log(x) for _, _, x in shown]
    low, high = min(spread) - 0.1, max(spread) + 0.1

    def place(x: float) -> float:
        return (math.log(x) - low) / (high - low) * WIDTH

    ticks = list(_ticks(math.exp(low), math.exp(high)))
    lines = "".join(f"M{place(x):.1f} 0v{HEIGHT}" for x in ticks) + "".join(
        f"M0 {_y(y):g}h{WIDTH}" for y in (0, 0.5, 1)
    )
    numbers = "".join(f'<text x="{place(x):.1f}" y="{HEIGHT + 13}">{brief(x)}</text>' for x in ticks)
    kept = front([(x, mark.accuracy) for _, mark, x in shown])
    edge = [f"{place(shown[at][2]):.1f} {_y(shown[at][1].accuracy):.1f}" for at in kept]
    steps = f"M{edge[0]}" + "".join(f"H{spot.split()[0]}V{spot.split()[1]}" for spot in edge[1:]) + f"H{WIDTH}"
    spots = "".join(_spot(at, mark, place(x), n in kept) for n, (at, mark, x) in enumerate(shown))
    return (
        f'<path d="{lines}" stroke="#ddd" stroke-width=".5"/><g text-anchor="middle">{numbers}{label}</g>'
        f'<path d="{steps}" fill="none" stroke="#333" stroke-dasharray="4 2"/>{spots}'
    )


def _spot(at: int, mark: Mark, x: float, filled: bool) -> str:
    """A mark over its interval, named when it is pointed at."""
    shape, colour = sign(at)
    said = escape(f"{mark.name}: {100 * mark.accuracy:.1f} %")
    return (
        f'<g stroke="{colour}" fill="{colour if filled else "#fff"}"><title>{said}</title>'
        f'<path d="M{x:.1f} {_y(mark.low):.1f}V{_y(mark.high):.1f}" opacity=".35"/>'
        f'<path d="M{x:.1f} {_y(mark.accuracy):.1f}{SHAPES[shape]}"/></g>'
    )


def _y(accuracy: float) -> float:
    return HEIGHT * (1 - accuracy)


def _ticks(low: float, high: float) -> Iterator[float]:
    """1, 2, 5, 10 … between two costs; only powers of ten where they are far apart."""
    steps = TICKS if high / low < 300 else TICKS[:1]
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        yield from (step * 10.0**power for step in steps if low <= step * 10.0**power <= high)
