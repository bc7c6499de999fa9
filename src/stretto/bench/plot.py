"""The result as a picture: how many times as fast as transformers' greedy decoding, task by task."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .baselines import GREEDY, way
from .drawing import headed, legend, plainly, png, pyplot
from .report import origin
from .results import PLAIN, ContestantResult, Report, TaskResult

OURS = ("#0077b6", "#2a9d8f", "#7b4fb0", "#80b918", "#22c3e6", "#d6409f", "#1d3557", "#7f5539")
PLAINLY = "#8d99ae"
THEIRS = {"hf lookup": "#e09f00", "hf assisted": "#c1121f"}
TICKS = (0.06, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
FINER = (0.7, 1.4, 3.0, 6.0, 12.0)  # where there is room for them


@dataclass(frozen=True, slots=True)
class Mark:
    """One mark in all figures: a method of ours, or one of transformers' ways with its best setting on each task."""

    label: str
    members: tuple[str, ...]  # contestants, of which the fastest stands for it
    colour: str
    marker: str
    ours: bool

    def on(self, task: TaskResult) -> ContestantResult:
        """Its figures on a task that it took part in."""
        contestants = [contestant for contestant in task.contestants if contestant.name in self.members]
        return max(contestants, key=lambda contestant: contestant.speed.median)


def marks_of(tasks: Sequence[TaskResult]) -> list[Mark]:
    """Everyone but transformers' greedy way, which all are compared with; ours first."""
    contestants = {
        contestant.name: contestant.ours
        for task in tasks
        for contestant in task.contestants
        if contestant.name != GREEDY
    }
    ours = [name for name, is_ours in contestants.items() if is_ours]
    colours = iter(OURS * len(ours))
    found = [Mark(f"stretto {name}", (name,), PLAINLY if name == PLAIN else next(colours), "o", True) for name in ours]
    ways = dict.fromkeys(way(name) for name, is_ours in contestants.items() if not is_ours)
    for name in ways:
        members = tuple(contestant for contestant in contestants if way(contestant) == name)
        found.append(Mark(name.replace("hf", "transformers"), members, THEIRS.get(name, "#bc6c25"), "D", False))
    return found


def baseline(tasks: Sequence[TaskResult]) -> list[Mark]:
    """transformers' greedy way, for figures that show it beside the others; nothing where it was not measured."""
    known = any(contestant.name == GREEDY for task in tasks for contestant in task.contestants)
    return [Mark("transformers greedy", (GREEDY,), "#d8a48f", "s", False)] if known else []


def plot(report: Report, path: Path) -> None:
    """Write a PNG of a report's first column, if it has the baselines; the page that `report` makes shows more.

    Raises Unsupported where matplotlib is not installed.
    """
    column = report.columns[0]
    figure = speeds([task for task in report.tasks if task.column == column and task.contestants])
    headed(figure, f"tokens per second beside transformers' greedy generate\n{origin(report)}")
    png(figure, path)


def speeds(tasks: Sequence[TaskResult]) -> Any:
    """A figure with a line per task, a mark per contestant, quartiles as bars; at least one task.

    Families of tasks stand below each other, each under its geometric mean.
    """
    drawing = pyplot()
    families = [[task for task in tasks if task.family == family] for family in dict.fromkeys(t.family for t in tasks)]
    lines = [len(members) + 1.6 for members in families]
    figure, axes = drawing.subplots(
        len(families),
        1,
        figsize=(9.0, 1.5 + 0.28 * sum(lines)),
        height_ratios=lines,
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    marks = marks_of(tasks)
    for axis, members in zip(axes[:, 0], families, strict=True):
        _panel(axis, members, marks)
    _times(axes[-1, 0], axes[0, 0].get_xlim())
    legend(figure, axes[0, 0], ncols=4, markerscale=0.7)
    return figure


def _times(axis: Any, limits: tuple[float, float]) -> None:
    """Ticks of a logarithmic axis as 2×, 4× …"""
    low, high = limits
    known = sorted((*TICKS, *FINER)) if high / low < 16 else TICKS
    ticks = [tick for tick in known if low <= tick <= high]
    axis.set_xticks(ticks, [f"{tick:g}×" for tick in ticks])
    axis.set_xticks([], minor=True)


def _panel(axis: Any, tasks: Sequence[TaskResult], marks: Sequence[Mark]) -> None:
    """One family: its mean in the first line, a task in each of the others."""
    to = GREEDY if GREEDY in tasks[0].contestants[0].ratios else PLAIN
    reached = []
    for at, mark in enumerate(marks):
        found = [mark.on(task).ratios[to] for task in tasks]
        medians = [ratio.median for ratio in found]
        below, above = [r.median - r.low for r in found], [r.high - r.median for r in found]
        style = {"color": mark.colour, "marker": mark.marker, "linestyle": "none", "zorder": 3 + at / 20}
        axis.errorbar(medians, range(1, len(tasks) + 1), xerr=[below, above], markersize=5.5, elinewidth=1, **style)
        axis.plot([statistics.geometric_mean(medians)], [0], markersize=9, label=mark.label, **style)
        reached.append([statistics.geometric_mean(medians), *medians])
    lines = list(zip(*reached, strict=True))  # of each line of the panel: everyone's ratio
    axis.hlines(
        range(len(tasks) + 1), list(map(min, lines)), list(map(max, lines)), color="#d5d9e0", linewidth=2.5, zorder=1
    )
    axis.axvline(1.0, color="#333333", linewidth=1, zorder=2)
    axis.axhline(0.5, color="#999999", linewidth=0.6)
    names = ["geometric mean", *(task.name.partition(":")[2].replace("_", " ") for task in tasks)]
    axis.set_yticks(range(len(names)), names, fontsize=9)
    axis.get_yticklabels()[0].set_fontweight("bold")
    axis.tick_params(length=0)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xscale("log")
    axis.set_title(tasks[0].family, fontsize=10, loc="left", fontweight="bold")
    plainly(axis, grid="x", bare=("top", "right", "left"))
