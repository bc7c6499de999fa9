"""Accuracy against cost: a panel for each cost, points with their names, and the front that nothing dominates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..drawing import headed, plainly, png, pyplot
from ..plot import OURS, PLAINLY
from .names import name_all
from .results import COSTS, MeanQuality, Quality, TaskQuality
from .table import by_family, origin, tasks

PANELS = {  # cost per answer -> what its axis says
    "rounds": "rounds per answer",
    "token_forwards": "token-forwards per answer",
    "seconds": "seconds per answer",
}
COLOURS = (*OURS, "#c1121f", "#e09f00")
LONG = 24  # characters: longer names stand below the figure, and their points have numbers
FRONT = {"color": "#333333", "linewidth": 1.0, "linestyle": "--"}


@dataclass(frozen=True, slots=True)
class Mark:
    """One method in a figure."""

    name: str
    accuracy: float
    low: float
    high: float
    costs: Mapping[str, float]


Row = tuple[str, list[Mark]]  # its title and the methods


def of_task(task: TaskQuality) -> Row:
    """The methods on one task."""
    return task.name, [
        Mark(
            contestant.name,
            contestant.accuracy,
            contestant.low,
            contestant.high,
            {cost: contestant.cost(cost) for cost in COSTS},
        )
        for contestant in task.contestants
    ]


def of_family(family: str, means: Sequence[MeanQuality]) -> Row:
    """The methods over a family's tasks."""
    members = [mean for mean in means if mean.family == family]
    marks = [Mark(mean.name, mean.accuracy, mean.low, mean.high, mean.costs) for mean in members]
    return f"{family}: mean over {tasks(members[0])}", marks


def front(spots: Sequence[tuple[float, float]]) -> list[int]:
    """Which of these (cost, accuracy) no other one dominates, from the cheapest on."""
    order = sorted(range(len(spots)), key=lambda at: (spots[at][0], -spots[at][1]))
    best, kept = -1.0, []
    for at in order:
        if spots[at][1] > best:
            best = spots[at][1]
            kept.append(at)
    return kept


def plot(quality: Quality, path: Path) -> None:
    """Write a PNG with a row of panels for each family. Raises Unsupported where matplotlib is not installed."""
    figure = pareto([of_family(family, quality.means) for family in by_family(quality.means)])
    said = "right answers and their cost (filled: nothing is as good for less; square: the baseline)"
    headed(figure, f"{said}\n{origin(quality)}")
    name_all(figure)
    png(figure, path)


def pareto(rows: Sequence[Row]) -> Any:
    """A row of panels for each title. `name_all` writes the names when nothing moves any more."""
    drawing = pyplot()
    names = dict.fromkeys(mark.name for _, marks in rows for mark in marks)
    numbers = {name: str(number) for number, name in enumerate((name for name in names if len(name) > LONG), 1)}
    figure, axes = drawing.subplots(
        len(rows),
        len(PANELS),
        figsize=(12.0, 0.6 + 3.3 * len(rows) + 0.17 * len(numbers)),
        squeeze=False,
        layout="constrained",
        sharey="row",
    )
    for panels, (title, marks) in zip(axes, rows, strict=True):
        panels[0].set_title(title, fontsize=10, loc="left", fontweight="bold")
        panels[0].set_ylabel("answered rightly", fontsize=9)
        for axis, cost in zip(panels, PANELS, strict=True):
            _panel(axis, marks, cost, numbers)
    if numbers:
        key = "\n".join(f"{number}  {name}" for name, number in numbers.items())
        figure.supxlabel(key, x=0.01, ha="left", fontsize=8.5)
    return figure


def _panel(axis: Any, marks: Sequence[Mark], cost: str, numbers: Mapping[str, str]) -> None:
    """Costs grow to the right; what is filled lies on the front, the square is the baseline."""
    shown = [(at, mark) for at, mark in enumerate(marks) if mark.costs.get(cost)]
    spots = [(mark.costs[cost], mark.accuracy) for _, mark in shown]
    kept = front(spots)
    for place, (at, mark) in enumerate(shown):
        colour = COLOURS[(at - 1) % len(COLOURS)] if at else PLAINLY
        x, y = spots[place]
        axis.plot([x, x], [mark.low, mark.high], color=colour, linewidth=1, alpha=0.35, zorder=1)
        axis.plot(
            [x],
            [y],
            marker="o" if at else "s",
            markersize=6.5,
            color=colour,
            markerfacecolor=colour if place in kept else "white",
            linestyle="none",
            label=numbers.get(mark.name, mark.name),
            zorder=3,
        )
    axis.set_xscale("log")
    axis.margins(x=0.12, y=0.12)
    edges = [spots[at] for at in kept]
    if edges:
        right = axis.get_xlim()[1]
        axis.step(
            [*(x for x, _ in edges), right], [*(y for _, y in edges), edges[-1][1]], where="post", **FRONT, zorder=2
        )
        axis.set_xlim(right=right)
    _scales(axis, PANELS[cost])


def _scales(axis: Any, label: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

    low, high = axis.get_xlim()
    steps = (1.0, 2.0, 5.0) if high / low > 4 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
    axis.xaxis.set_major_locator(LogLocator(subs=steps))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.xaxis.set_major_formatter(lambda value, _: brief(value))
    axis.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axis.tick_params(labelsize=8.5)
    axis.set_xlabel(label, fontsize=9)
    plainly(axis, grid="both")


def brief(value: float) -> str:
    """A tick: thousands as k, millions as M."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"
