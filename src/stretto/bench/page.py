"""Results as one HTML page that needs nothing else: figures inline, tables, where the figures come from."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from html import escape

from . import figures, markup, tables
from .baselines import GREEDY
from .drawing import pyplot, svg
from .plot import marks_of, speeds
from .provenance import machine_line
from .quality.page import quality_parts
from .quality.results import Quality
from .real.page import real_parts
from .real.results import Real
from .report import CONTESTANTS, MEANS, NAMES, SLOWEST, differing, headline, left_out, origin, shown, slowest
from .results import BEST, PLAIN, Column, Mean, Report, TaskResult
from .shape import Shape
from .shape import table as shape_table
from .stored import Stored
from .tables import Entry

HOW = """All contestants answer the same prompts in one process on the same threads, in turn; each ratio is of the same
repeat, and the median of the repeats stands here, with quartiles as bars. In a <em>replay</em> the network runs at its
real cost while its choices are forced to a real reference text; <em>gym</em> questions count where the target solves
them. No text counts that repeats itself (over 20% of its tokens in 8-grams that come twice). Every exact method writes
the same tokens as plain decoding, or its group of prompts counts for nobody. Each of transformers' ways stands with its
best setting on each task."""
DRAWN = """Where tokens are drawn (T above 0), exact methods of ours write what plain decoding writes with that seed,
while transformers draws a text of its own, another in each repeat; in replays all write the reference, at the full cost
of drawing. A draft model draws as well, and hits a reference less often than it would hit what the target draws."""


def page(results: Sequence[tuple[str, Stored]]) -> str:
    """The page of some results, each with the name of its file. Raises Unsupported where matplotlib is missing."""
    pyplot()
    parts = []
    for at, (name, found) in enumerate(results):
        parts += [f"<h2>{escape(name)}</h2>"] if len(results) > 1 else []
        parts += KINDS[type(found)][1](found, name, f"r{at}")
    said = dict.fromkeys(KINDS[type(found)][0] for _, found in results)
    return markup.document(f"stretto: {', '.join(said)}", parts)


# -- speeds -------------------------------------------------------------------------------------------


def _report(report: Report, name: str, key: str) -> list[str]:
    measured = [task for task in report.tasks if task.contestants]
    body = _measured(report, measured, key) if measured else []
    return markup.section(report.provenance, name, body, line=origin(report), notes=left_out(report))


def _measured(report: Report, measured: Sequence[TaskResult], key: str) -> list[str]:
    columns = list(dict.fromkeys(task.column for task in measured))
    first = [task for task in measured if task.column == columns[0]]
    parts = [_cards(report, columns[0]), f"<p>{HOW}</p>"]
    parts += [f"<p>{DRAWN}</p>"] if any(column.temperature for column in columns) else []
    parts += _speeds(measured, columns, key)
    parts += _columns(report, measured, key) if len(columns) > 1 else []
    return [*parts, *_acceptance(first, key), *_costs(report, first, key), *_tables(report, measured, columns)]


def _cards(report: Report, column: Column) -> str:
    """The best method of ours on each family, by its mean."""
    cards = []
    for family in dict.fromkeys(mean.family for mean in report.means):
        ours = {contestant.name for task in report.tasks for contestant in task.contestants if contestant.ours}
        means = [m for m in report.means if (m.family, m.column) == (family, column) and m.contestant in ours]
        to = next((to for to in (BEST, PLAIN) if any(to in mean.ratios for mean in means)), None)
        if to is None:
            continue
        best = max(means, key=lambda mean: mean.ratios[to])
        others = [f"{best.ratios[name]:.2f} × {NAMES[name]}" for name in NAMES if name in best.ratios and name != to]
        cards.append(
            f'<div class="card"><div>{escape(family)}, {_tasks(report, family, column)}, {escape(str(column))}</div>'
            f"<b>{best.ratios[to]:.2f} ×</b> {escape(NAMES[to])}"
            f"<div>by <strong>{escape(best.contestant)}</strong>; {escape(', '.join(others))}</div></div>"
        )
    return f'<div class="cards">{"".join(cards)}</div>' if cards else ""


def _tasks(report: Report, family: str, column: Column) -> str:
    count = sum(bool(task.contestants) for task in report.tasks if (task.family, task.column) == (family, column))
    return f"{count} task{'s' * (count != 1)}"


def _speeds(measured: Sequence[TaskResult], columns: Sequence[Column], key: str) -> list[str]:
    parts = ["<h2>Speed by task and method</h2>"]
    for at, column in enumerate(columns):
        tasks = [task for task in measured if task.column == column]
        to = GREEDY if GREEDY in tasks[0].contestants[0].ratios else PLAIN
        if to not in tasks[0].contestants[0].ratios:
            continue
        against = NAMES[to] if not column.temperature or to == PLAIN else "transformers' sampling"
        drawn = markup.figure(
            svg(speeds(tasks), f"{key}-speed-{at}"),
            f"{column}: tokens per second of whole answers, the prompt included, as many times those of {against}.",
        )
        parts.append(drawn if at == 0 else markup.folded(str(column), drawn))
    return parts


def _columns(report: Report, measured: Sequence[TaskResult], key: str) -> list[str]:
    parts = ["<h2>Batches and temperatures</h2>"]
    for at, family in enumerate(dict.fromkeys(task.family for task in measured)):
        tasks = [task for task in measured if task.family == family]
        to = next((to for to in (BEST, PLAIN) if to in tasks[0].contestants[0].ratios), None)
        if to is not None:
            drawn = svg(figures.in_columns(tasks, to, NAMES[to]), f"{key}-columns-{at}")
            counted = ", ".join(dict.fromkeys(_tasks(report, family, task.column) for task in tasks))
            parts.append(markup.figure(drawn, f"{family}: geometric means over the tasks of each column ({counted})."))
    return parts


def _acceptance(tasks: Sequence[TaskResult], key: str) -> list[str]:
    parts = ["<h2>Acceptance by depth</h2>"]
    for at, family in enumerate(dict.fromkeys(task.family for task in tasks)):
        members = [task for task in tasks if task.family == family]
        if figures.drafting(members):
            drawn = svg(figures.acceptance(members), f"{key}-depth-{at}")
            parts.append(
                markup.figure(
                    drawn, f"{family}, {members[0].column}: all rounds together, rounds without a draft included."
                )
            )
    return parts if len(parts) > 1 else []


def _costs(report: Report, tasks: Sequence[TaskResult], key: str) -> list[str]:
    parts = []
    if report.clock:
        drawn = svg(figures.cost_curve(report, tasks), f"{key}-clock")
        said = "Dots are rounds of this run without their drafting; larger ones stand for more rounds. What lies above "
        said += "the line is choosing, accepting and bookkeeping, and what else the machine did."
        parts += ["<h2>What a window costs</h2>", markup.figure(drawn, said)]
    found = figures.paces(tasks)
    if found is not None:
        said = "Along the longest answer of a task, after the prompt, averaged over 8 tokens or more; of the repeats "
        said += "the one of middling length."
        parts += ["<h2>Time per token over a run</h2>", markup.figure(svg(found, f"{key}-pace"), said)]
    return parts


# -- tables -------------------------------------------------------------------------------------------


def _tables(report: Report, measured: Sequence[TaskResult], columns: Sequence[Column]) -> list[str]:
    parts = ["<h2>Figures</h2>"]
    for at, column in enumerate(columns):
        tasks = [task for task in measured if task.column == column]
        found = [_matrix([t for t in tasks if t.family == family]) for family in dict.fromkeys(t.family for t in tasks)]
        found.append(_means([mean for mean in report.means if mean.column == column], column))
        found.append(markup.folded("every contestant on every task", "".join(_details(task) for task in tasks)))
        title, content = str(column), "".join(found)
        parts.append(markup.folded(title, content) if at else f"<h3>{escape(title)}</h3>{content}")
    return parts


def _matrix(tasks: Sequence[TaskResult]) -> str:
    """Tasks by contestants: times as fast as transformers' best, or as plain."""
    to = next((to for to in (BEST, PLAIN) if to in tasks[0].contestants[0].ratios), None)
    if to is None:
        return ""
    marks = marks_of(tasks)
    head = markup.row("th", [f"{tasks[0].family}, × {NAMES[to]}", *(mark.label for mark in marks)])
    rows = [[mark.on(task).ratios[to].median for mark in marks] for task in tasks]
    body = []
    for task, values in zip(tasks, rows, strict=True):
        cells = "".join(_shade(value, value == max(values)) for value in values)
        body.append(f"<tr><td>{escape(task.name.partition(':')[2])}</td>{cells}</tr>")
    means = [f"{statistics.geometric_mean(values):.2f}" for values in zip(*rows, strict=True)]
    return markup.table(head, [*body, markup.row("td", ["geometric mean", *means], "mean")])


def _shade(value: float, best: bool) -> str:
    """A cell of a ratio: greener where it is faster, redder where it is slower."""
    strength = min(1.0, abs(value - 1.0) / 2.0) if value >= 1 else min(1.0, (1 / value - 1.0) / 2.0)
    colour = "42, 157, 143" if value >= 1 else "193, 18, 31"
    mark = ' class="best"' if best else ""
    return f'<td{mark} style="background: rgba({colour}, {0.45 * strength:.2f})">{value:.2f}</td>'


def _means(means: Sequence[Mean], column: Column) -> str:
    """Geometric means of every contestant, family by family, beside those that were measured."""
    entries = [entry for entry in MEANS if any(map(entry.cell, means))]
    entries.append(Entry(SLOWEST, 0, slowest))
    families = {mean.family: mean for mean in reversed(means)}  # the first of each
    body = []
    for mean in means:
        kind = "mean" if families[mean.family] is mean else ""
        body.append(tables.cells(f"{mean.family}: {shown(mean.contestant, column)}", entries, mean, kind))
    return markup.table(tables.titles("geometric means", entries), body)


def _details(task: TaskResult) -> str:
    """All contestants of one task."""
    body = []
    for contestant in task.contestants:
        note = f" ({differing(contestant)})" if contestant.differing else ""
        body.append(tables.cells(shown(contestant.name, task.column) + note, CONTESTANTS, contestant))
    return f"<h3>{escape(headline(task))}</h3>" + markup.table(tables.titles("", CONTESTANTS), body)


# -- shapes ------------------------------------------------------------------------------------------


def _shape(shape: Shape, name: str, key: str) -> list[str]:
    drawn = svg(figures.forward_costs(shape), f"{key}-forward")
    body = [
        "<h2>Single forwards</h2>",
        markup.figure(drawn, "One forward over a filled cache; quartiles are shaded."),
        f"<pre>{escape(shape_table(shape))}</pre>",
    ]
    line = f"{shape.provenance['settings']['model']}, {machine_line(shape.provenance)}"
    return markup.section(shape.provenance, name, body, line=line, notes=[])


KINDS: dict[type[Stored], tuple[str, Callable[..., list[str]]]] = {  # what a page can show: its title, its writer
    Report: ("decoding speed", _report),
    Shape: ("decoding speed", _shape),
    Quality: ("right answers and their cost", quality_parts),
    Real: ("real prompts beside other engines", real_parts),
}
