"""The result as part of an HTML page: Pareto figures, tables, where the figures come from."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .. import markup, tables
from ..drawing import svg
from ..tables import Entry
from .figures import Row, of_family, of_task, pareto
from .names import name_all
from .results import MeanQuality, Quality, TaskQuality
from .small import sign, small
from .table import CONTESTANTS, FURTHEST, MEANS, by_family, furthest, legend, notes, origin, share

HOW = """All methods answer the same questions in one process on the same threads, in turn. An answer is right where the
task's own check says so. A <em>round</em> is one evaluation of the model after another; row-, token- and
layer-token-forwards count what was computed in them. Accuracy is the arithmetic mean over the tasks, costs are
geometric means; intervals are at 95%, those of points above the baseline from the differences question by question."""
FRONT = """Accuracy against what an answer costs. Filled points lie on the Pareto front (dashed): nothing else is at
least as good for less. The square is the baseline; vertical lines are intervals at 95%."""
SMALL = "The same for this task alone; whose mark it is, the table says, and the mark itself when it is pointed at."


def quality_parts(quality: Quality, name: str, key: str) -> list[str]:
    """Everything that one result shows; `key` keeps its figures apart from others'."""
    measured = [task for task in quality.tasks if task.contestants]
    body = _measured(quality, measured, key) if measured else []
    return markup.section(quality.provenance, name, body, line=origin(quality), notes=notes(quality))


def _measured(quality: Quality, measured: Sequence[TaskQuality], key: str) -> list[str]:
    baseline = legend(quality)[0]
    parts = [f"<p>{HOW}</p>", f"<p>{escape(baseline[0].upper() + baseline[1:])}.</p>"]
    for at, (family, members) in enumerate(by_family(quality.means).items()):
        row = of_family(family, quality.means)
        parts += [f"<h2>{escape(row[0])}</h2>", _drawn(row, FRONT, f"{key}-mean-{at}"), _means(members)]
    parts += ["<h2>Task by task</h2>", f"<p>{SMALL}</p>"]
    for task in measured:
        title, marks = of_task(task)
        drawn = markup.figure(small(marks, title), f"{title}, {task.asked} question{'s' * (task.asked != 1)}.")
        parts.append(markup.folded(f"{task.name}: {_best(task)}", drawn + _contestants(task)))
    return [*parts, markup.folded("the methods in full", _methods(measured[0]))]


def _drawn(row: Row, caption: str, key: str) -> str:
    figure = pareto([row])
    name_all(figure)
    return markup.figure(svg(figure, key), caption)


def _best(task: TaskQuality) -> str:
    """The baseline's accuracy and the best one, for the line that is folded."""
    best = max(task.contestants, key=lambda contestant: contestant.accuracy)
    said = f"{task.contestants[0].name} {share(task.contestants[0].accuracy)}"
    return said if best.accuracy <= task.contestants[0].accuracy else f"{said}, {best.name} {share(best.accuracy)}"


def _means(means: Sequence[MeanQuality]) -> str:
    """Accuracy, and costs as times the baseline's."""
    entries = [*MEANS, Entry(FURTHEST, 0, furthest)]
    rows = [_signed(at, tables.cells(mean.name, entries, mean)) for at, mean in enumerate(means)]
    return markup.table(tables.titles("", entries), rows)


def _contestants(task: TaskQuality) -> str:
    """Accuracy, and costs per answer with the speed beside the baseline's."""
    rows = [_signed(at, tables.cells(one.name, CONTESTANTS, one)) for at, one in enumerate(task.contestants)]
    return markup.table(tables.titles("", CONTESTANTS), rows)


def _signed(at: int, row: str) -> str:
    """A method's row, with the mark that it bears in the pictures."""
    shape, colour = sign(at)
    return row.replace("<td>", f'<td><span style="color:{colour}">{shape}</span> ', 1)


def _methods(task: TaskQuality) -> str:
    return markup.table(
        markup.row("th", ["", "method"]), [markup.row("td", [x.name, x.method]) for x in task.contestants]
    )
