"""Names beside the points of a figure, each where there is room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SIZE = 7.5  # points of a name
REACH = 6  # lines that a name may stand above or below its point


def name_all(figure: Any) -> None:
    """Write each point's name beside it where there is room, joined to it by a line where it stands further off."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    figure.set_layout_engine("none")
    for axis in figure.axes:
        points = [line for line in axis.lines if line.get_label()[:1] != "_"]
        taken = [_around(axis, line) for line in points]
        for line in sorted(points, key=lambda line: (-line.get_ydata()[0], line.get_xdata()[0])):
            taken.append(_named(axis, line, taken, renderer))


def _around(axis: Any, line: Any) -> Any:
    from matplotlib.transforms import Bbox

    x, y = axis.transData.transform((line.get_xdata()[0], line.get_ydata()[0]))
    return Bbox.from_extents(x - 5, y - 5, x + 5, y + 5)


def _named(axis: Any, line: Any, taken: Sequence[Any], renderer: Any) -> Any:
    """Write one name at the first place that is free and inside of the panel, else at the first; its extent."""
    from matplotlib.text import Text

    places = [(side, lines) for lines in _lines() for side in (1, -1)]
    frame = axis.get_window_extent(renderer)
    at = (line.get_xdata()[0], line.get_ydata()[0])
    style = {"fontsize": SIZE, "va": "center", "color": line.get_color(), "textcoords": "offset points", "zorder": 2.5}
    style["bbox"] = {"boxstyle": "square,pad=0.05", "facecolor": "white", "edgecolor": "none"}
    thin = {"arrowstyle": "-", "color": line.get_color(), "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
    for side, lines in [*places, places[0]]:
        note = axis.annotate(
            line.get_label(),
            at,
            (side * (6 if lines == 0 else 10), 1.25 * SIZE * lines),
            ha="left" if side > 0 else "right",
            arrowprops=thin if lines else None,
            **style,
        )
        note.update_positions(renderer)
        box = Text.get_window_extent(note, renderer)  # without the line to the point
        free = not any(box.overlaps(other) for other in taken)
        if free and frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1:
            return box
        note.remove()
    note = axis.annotate(line.get_label(), at, (6, 0), ha="left", **style)
    return Text.get_window_extent(note, renderer)


def _lines() -> list[int]:
    """0, 1, −1, 2, −2 …"""
    return [0, *(sign * lines for lines in range(1, REACH + 1) for sign in (1, -1))]
