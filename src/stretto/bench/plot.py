"""The result as a picture: how many times as fast as transformers' greedy decoding, task by task."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from ..errors import Unsupported
from .baselines import GREEDY
from .provenance import machine_line
from .results import LaneResult, Report, Spread, TaskResult

OURS = ("#7fc8e8", "#0077b6", "#03045e", "#2a9d8f", "#6a4c93")
THEIRS = ("#e6b800", "#f4845f", "#c1121f", "#bc6c25")
TICKS = (0.1, 0.125, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)


def pyplot() -> Any:
    """matplotlib's drawing interface, without a screen. Raises Unsupported where it is not installed."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as drawing
    except ImportError as error:
        raise Unsupported("the plot needs matplotlib", hint="pip install 'stretto[bench]'") from error
    return drawing


def plot(report: Report, path: Path) -> None:
    """Write a PNG of a report that has the baselines: a line per task, a dot per contestant, quartiles as bars.

    Families of tasks stand below each other, each under its geometric mean. Raises Unsupported where
    matplotlib is not installed.
    """
    drawing = pyplot()
    measured = [task for task in report.tasks if task.lanes]
    names = [task.name.partition(":")[0] for task in measured]
    families = [[task for task, name in zip(measured, names, strict=True) if name == f] for f in dict.fromkeys(names)]
    lines = [len(tasks) + 1.6 for tasks in families]
    figure, axes = drawing.subplots(
        len(families),
        1,
        figsize=(9.0, 1.8 + 0.3 * sum(lines)),
        height_ratios=lines,
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for axis, tasks in zip(axes[:, 0], families, strict=True):
        _panel(axis, tasks)
    low, high = axes[0, 0].get_xlim()
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axes[-1, 0].set_xticks(ticks, [f"{tick:g}×" for tick in ticks])
    axes[-1, 0].set_xticks([], minor=True)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=4, fontsize=8, frameon=False, loc="outside lower center")
    settings = report.provenance["settings"]
    figure.suptitle(
        f"{settings['model']}: tokens per second beside transformers' greedy generate\n"
        f"the same tokens; float32, batch {settings['batch']}, {machine_line(report.provenance)}",
        fontsize=10,
    )
    figure.savefig(path, dpi=150)
    drawing.close(figure)


def _panel(axis: Any, tasks: list[TaskResult]) -> None:
    """One family: its mean in the first line, a task in each of the others."""
    lanes = [lane for lane in tasks[0].lanes if lane.name != GREEDY]
    for lane, colour in _coloured(lanes):
        ratios = [_ratio(task, lane.name) for task in tasks]
        medians = [ratio.median for ratio in ratios]
        below, above = [m - r.low for m, r in zip(medians, ratios, strict=True)], [r.high - r.median for r in ratios]
        marker = "o" if lane.ours else "D"
        label = f"stretto {lane.name}" if lane.ours else lane.name.replace("hf", "transformers")
        style = {"color": colour, "marker": marker, "linestyle": "none", "alpha": 0.9}
        axis.errorbar(medians, range(1, len(tasks) + 1), xerr=[below, above], label=label, markersize=5, **style)
        axis.plot([statistics.geometric_mean(medians)], [0], markersize=8, **style)
    axis.axvline(1.0, color="black", linewidth=0.8)
    axis.axhline(0.5, color="grey", linewidth=0.6)
    names = ["geometric mean", *(task.name.partition(":")[2].replace("_", " ") for task in tasks)]
    axis.set_yticks(range(len(names)), names, fontsize=9)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xscale("log")
    axis.set_title(tasks[0].name.partition(":")[0], fontsize=9, loc="left", fontweight="bold")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(linewidth=0.3)


def _ratio(task: TaskResult, lane: str) -> Spread:
    return next(found for found in task.lanes if found.name == lane).ratios[GREEDY]


def _coloured(lanes: list[LaneResult]) -> list[tuple[LaneResult, str]]:
    ours = [lane for lane in lanes if lane.ours]
    theirs = [lane for lane in lanes if not lane.ours]
    return [
        (lane, palette[at % len(palette)])
        for group, palette in ((ours, OURS), (theirs, THEIRS))
        for at, lane in enumerate(group)
    ]
