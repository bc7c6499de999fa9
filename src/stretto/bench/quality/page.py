"""The result as part of an HTML page: Pareto figures, tables, where the figures come from."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .. import markup
from ..figures import svg
from .figures import Row, of_family, of_task, pareto
from .names import name_all
from .results import COSTS, LaneQuality, MeanQuality, Quality, TaskQuality
from .table import above, amount, interval, legend, notes, origin, ratio, share

NAMES = {
    "rounds": "rounds",
    "row_forwards": "row-forwards",
    "token_forwards": "token-forwards",
    "layer_token_forwards": "layer-token-forwards",
    "seconds": "seconds",
    "speed": "tokens/s",
}
HOW = """All methods answer the same questions in one process on the same threads, in turn. An answer is right where the
task's own check says so. A <em>round</em> is one evaluation of the model after another; row-, token- and
layer-token-forwards count what was computed in them. Accuracy is the arithmetic mean over the tasks, costs are
geometric means; intervals are at 95%."""
FRONT = """Accuracy against what an answer costs. Filled points lie on the Pareto front (dashed): nothing else is at
least as good for less. The square is the baseline; vertical lines are intervals at 95%."""


def quality_parts(quality: Quality, name: str, key: str) -> list[str]:
    """Everything that one result shows; `key` keeps its figures apart from others'."""
    parts = [f'<p class="origin">{escape(origin(quality))}</p>', *markup.busy(quality.provenance)]
    measured = [task for task in quality.tasks if task.lanes]
    if not measured:
        return [*parts, "<p>Nothing was measured.</p>", *markup.origin(quality.provenance, notes(quality), name)]
    baseline = legend(quality)[0]
    parts += [f"<p>{HOW}</p>", f"<p>{escape(baseline[0].upper() + baseline[1:])}.</p>"]
    for at, family in enumerate(dict.fromkeys(mean.family for mean in quality.means)):
        row = of_family(family, quality.means)
        members = [mean for mean in quality.means if mean.family == family]
        parts += [f"<h2>{escape(row[0])}</h2>", _drawn(row, FRONT, f"{key}-mean-{at}"), _means(members)]
    parts.append("<h2>Task by task</h2>")
    for at, task in enumerate(measured):
        drawn = _drawn(of_task(task), f"{task.name}, {task.asked} questions.", f"{key}-task-{at}")
        parts.append(markup.folded(f"{task.name}: {_best(task)}", drawn + _lanes(task)))
    parts.append(markup.folded("the methods in full", _methods(measured[0])))
    return [*parts, *markup.origin(quality.provenance, notes(quality), name)]


def _drawn(row: Row, caption: str, key: str) -> str:
    figure = pareto([row])
    name_all(figure)
    return markup.figure(svg(figure, key), caption)


def _best(task: TaskQuality) -> str:
    """The baseline's accuracy and the best one, for the line that is folded."""
    best = max(task.lanes, key=lambda lane: lane.accuracy)
    said = f"{task.lanes[0].name} {share(task.lanes[0].accuracy)}"
    return said if best.accuracy <= task.lanes[0].accuracy else f"{said}, {best.name} {share(best.accuracy)}"


def _means(means: Sequence[MeanQuality]) -> str:
    """Accuracy, and costs as times the baseline's."""
    heads = ["", "right", "at 95 %", "points above", *(f"× {name}" for name in NAMES.values()), "furthest below"]
    rows = []
    for mean in means:
        worst = f"{100 * mean.worst:+.1f} on {mean.worst_task}" if mean.worst < 0 else ""
        ratios = [ratio(mean.ratios.get(name)) for name in NAMES]
        cells = [mean.name, share(mean.accuracy), interval(mean), above(mean), *ratios, worst]
        rows.append(markup.row("td", cells))
    return markup.table(markup.row("th", heads), rows)


def _lanes(task: TaskQuality) -> str:
    """Accuracy, and costs per answer with the speed beside the baseline's."""
    costs = [f"{NAMES[name]} per answer" for name in COSTS]
    heads = ["", "right", "at 95 %", "points above", "same", "tokens per answer", *costs, "tokens/s", "× tokens/s"]
    return markup.table(markup.row("th", heads), [_lane(lane) for lane in task.lanes])


def _lane(lane: LaneQuality) -> str:
    faster = lane.ratios.get("speed")
    spread = "" if faster is None else f"{faster.median:.2f}"
    if faster is not None and len(lane.seconds) > 1:
        spread += f" ({faster.low:.2f}–{faster.high:.2f})"
    cells = [lane.name, share(lane.accuracy), interval(lane), above(lane), str(lane.same)]
    cells += [amount(lane.tokens / len(lane.right)), *(amount(lane.cost(name)) for name in COSTS)]
    return markup.row("td", [*cells, f"{lane.speed.median:.0f}", spread])


def _methods(task: TaskQuality) -> str:
    return markup.table(markup.row("th", ["", "method"]), [markup.row("td", [x.name, x.method]) for x in task.lanes])
