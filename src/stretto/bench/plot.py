"""The result as a picture: how much faster than transformers' greedy decoding, task by task."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from ..errors import Unsupported
from .baselines import GREEDY
from .results import LaneResult, Report, TaskResult

OURS = ("#8ecae6", "#219ebc", "#023047", "#126782", "#5fa8d3")
THEIRS = ("#ffd6a5", "#ffb703", "#fb8500", "#e07a5f", "#bc6c25")
MEAN = "geometric\nmean"


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
    """Write a PNG: one panel per family of tasks, one bar per contestant, the geometric mean at the left.

    Raises Unsupported where matplotlib is not installed.
    """
    drawing = pyplot()
    families = [
        [task for task in report.tasks if task.lanes and task.name.startswith(family)] for family in ("gym:", "replay:")
    ]
    families = [tasks for tasks in families if tasks and any(GREEDY in lane.ratios for lane in tasks[0].lanes)]
    if not families:
        raise Unsupported(
            "there is nothing to plot", hint="measure with the baselines, and tasks that the target solves"
        )
    widest = max(map(len, families))
    figure, axes = drawing.subplots(
        len(families), 1, figsize=(max(8.0, 1.1 * widest + 3), 3.6 * len(families)), squeeze=False, layout="constrained"
    )
    for axis, tasks in zip(axes[:, 0], families, strict=True):
        _panel(axis, tasks)
    axes[0, 0].legend(ncols=4, fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0))
    machine, settings = report.provenance["machine"], report.provenance["settings"]
    figure.suptitle(
        f"{settings['model']}: tokens per second, transformers' greedy generate = 1\n"
        f"identical tokens; float32, batch {settings['batch']}, {machine['threads']} threads of {machine['cpu']}",
        fontsize=10,
    )
    figure.savefig(path, dpi=130)
    drawing.close(figure)


def _panel(axis: Any, tasks: list[TaskResult]) -> None:
    lanes = tasks[0].lanes
    colours = _colours(lanes)
    width = 0.84 / len(lanes)
    for at, lane in enumerate(lanes):
        ratios = [next(x for x in task.lanes if x.name == lane.name).ratios["hf greedy"] for task in tasks]
        heights = [statistics.geometric_mean([ratio.median for ratio in ratios]), *(r.median for r in ratios)]
        below = [0.0, *(ratio.median - ratio.low for ratio in ratios)]
        above = [0.0, *(ratio.high - ratio.median for ratio in ratios)]
        places = [group + (at - (len(lanes) - 1) / 2) * width for group in range(len(heights))]
        label = lane.name.replace("hf", "transformers") if not lane.ours else f"stretto {lane.name}"
        axis.bar(
            places,
            heights,
            width,
            yerr=[below, above],
            color=colours[lane.name],
            label=label,
            error_kw={"linewidth": 0.6},
        )
    axis.axhline(1.0, color="black", linewidth=0.8)
    axis.axvline(0.5, color="lightgrey", linewidth=0.8)
    names = [MEAN, *(task.name.partition(":")[2].replace("_", "\n") for task in tasks)]
    axis.set_xticks(range(len(names)), names, fontsize=8)
    axis.set_xlim(-0.6, len(names) - 0.4)
    axis.set_ylabel(f"{tasks[0].name.partition(':')[0]}: times as fast", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", linewidth=0.3)
    axis.set_axisbelow(True)


def _colours(lanes: list[LaneResult]) -> dict[str, str]:
    ours = [lane.name for lane in lanes if lane.ours]
    theirs = [lane.name for lane in lanes if not lane.ours]
    return {
        name: palette[at % len(palette)]
        for names, palette in ((ours, OURS), (theirs, THEIRS))
        for at, name in enumerate(names)
    }
