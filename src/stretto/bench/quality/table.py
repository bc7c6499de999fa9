"""The result as a table that fits a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .. import tables
from ..provenance import machine_line
from ..tables import Entry
from .results import ALL, COSTS, ContestantQuality, MeanQuality, Quality, TaskQuality

WIDTHS = (16, 44)  # of a method's name: at least, at most


def table(quality: Quality) -> str:
    """The means, then every task's methods, then what was left out and what can't be concluded."""
    names = [contestant.name for task in quality.tasks for contestant in task.contestants]
    width = min(max(WIDTHS[0], *map(len, names), 0), WIDTHS[1])
    lines = [
        origin(quality),
        "",
        *legend(quality),
        "",
        *_means(quality, width),
        "",
        tables.head(" " * (2 + width), CONTESTANTS),
    ]
    for task in quality.tasks:
        if task.contestants:
            lines += [
                "",
                f"{task.name}, {task.asked} question{'s' * (task.asked != 1)}",
                *(_row(contestant, width) for contestant in task.contestants),
            ]
    lines += ["", *notes(quality)]
    return "\n".join(lines).rstrip()


def origin(quality: Quality) -> str:
    """What was measured where, in a line."""
    record = quality.provenance
    settings = record["settings"]
    where = f"batch {settings['batch']}, T={settings['temperature']:g}"
    return f"{settings['model']}, {settings['dtype']}, {where}, {machine_line(record)}"


def legend(quality: Quality) -> list[str]:
    """What the columns are."""
    baseline = next((task.contestants[0] for task in quality.tasks if task.contestants), None)
    if baseline is None:
        return []
    return [
        f"baseline: {baseline.name} = {baseline.method}",
        "right: share of the questions; above: percentage points above the baseline, for tasks with their standard",
        "error; same: answers that are the baseline's token for token. Per answer: tokens written, rounds, forwards",
        "of rows, of tokens, and of tokens times layers; seconds of whole calls.",
    ]


def _row(one: ContestantQuality, width: int) -> str:
    return tables.line(_label(one.name, width), CONTESTANTS, one)


def _label(name: str, width: int) -> str:
    return f"  {name:{width}.{width}}"


def share(value: float) -> str:
    """A share in per cent."""
    return f"{100 * value:.1f} %"


def interval(found: ContestantQuality | MeanQuality) -> str:
    """Where the share may lie."""
    return f"({100 * found.low:.0f}–{100 * found.high:.0f})"


def above(found: ContestantQuality | MeanQuality) -> str:
    """Percentage points above the baseline, with their standard error."""
    return f"{100 * found.gain:+.1f} ±{100 * found.gain_error:.1f}"


def difference(found: MeanQuality) -> str:
    """Percentage points above the baseline, with their interval at 95 %."""
    low, high = found.difference
    return f"{100 * found.gain:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def amount(value: float) -> str:
    """Three digits of a number, thousands as k, millions as M."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * unit:
            return f"{_three(value / unit)}{name}"
    return _three(value)


def _three(value: float) -> str:
    digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2 if value >= 0.9995 else 3
    return f"{value:.{digits}f}"


def _means(quality: Quality, width: int) -> list[str]:
    """Arithmetic means of accuracy, geometric means of the costs as times the baseline's."""
    if not quality.means:
        return []
    lines = [tables.head(f"{'means; x baseline':{2 + width}}", MEANS, FURTHEST)]
    for members in by_family(quality.means).values():
        lines.append(f"{members[0].family}, {tasks(members[0])}")
        lines += [tables.line(_label(mean.name, width), MEANS, mean, furthest(mean)) for mean in members]
    return lines


def by_family(means: Sequence[MeanQuality]) -> dict[str, list[MeanQuality]]:
    """What there is of all families together first, then each."""
    names = dict.fromkeys(mean.family for mean in means)
    order = sorted(names, key=lambda name: name != ALL)  # stable: the families stay in their order
    return {name: [mean for mean in means if mean.family == name] for name in order}


def tasks(mean: MeanQuality) -> str:
    """Over how many."""
    return f"{mean.tasks} task{'s' * (mean.tasks != 1)}"


def _cost(name: str) -> Callable[[ContestantQuality], str]:
    return lambda one: amount(one.cost(name))


def _ratio(name: str) -> Callable[[MeanQuality], str]:
    """Times the baseline's; empty where there is nothing to compare with."""
    return lambda mean: ratio(mean.ratios[name]) if name in mean.ratios else ""


def ratio(value: float) -> str:
    """Hundredths, or thousandths where it is small."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def _faster(one: ContestantQuality) -> str:
    """Times the baseline's speed, with quartiles where there are several repeats."""
    faster = one.ratios.get("speed")
    if faster is None:
        return ""
    return f"{faster:.2f}" if len(one.seconds) > 1 else f"{faster.median:.2f}"


def furthest(mean: MeanQuality) -> str:
    """The task on which it is furthest below the baseline; empty where it is below on none."""
    return f"{100 * mean.worst:+.1f} on {mean.worst_task}" if mean.worst < 0 else ""


FURTHEST = "furthest below"
NAMES = {  # of costs and speed: in a terminal, on a page
    "rounds": ("rounds", "rounds"),
    "row_forwards": ("rows", "row-forwards"),
    "token_forwards": ("tokens", "token-forwards"),
    "layer_token_forwards": ("layers", "layer-token-forwards"),
    "seconds": ("seconds", "seconds"),
    "speed": ("tokens/s", "tokens/s"),
}
CONTESTANTS: Sequence[Entry[ContestantQuality]] = (
    Entry("right", 8, lambda one: share(one.accuracy)),
    Entry("(95 %)", 12, interval, "at 95 %"),
    Entry("above", 12, above, "points above"),
    Entry("same", 6, lambda one: str(one.same)),
    Entry("tokens", 8, lambda one: amount(one.tokens / len(one.right)), "tokens per answer"),
    *(Entry(NAMES[name][0], 9, _cost(name), f"{NAMES[name][1]} per answer") for name in COSTS),
    Entry("tokens/s", 10, lambda one: f"{one.speed.median:.0f}"),
    Entry("x tokens/s", 0, _faster, "× tokens/s"),
)
MEANS: Sequence[Entry[MeanQuality]] = (
    Entry("right", 8, lambda mean: share(mean.accuracy)),
    Entry("(95 %)", 12, interval, "at 95 %"),
    Entry("above (95 %)", 25, difference, "points above, at 95 %"),
    *(Entry(head, 9, _ratio(name), f"× {page}") for name, (head, page) in NAMES.items()),
)


def notes(quality: Quality) -> list[str]:
    """What was left out, and where nothing can be concluded."""
    lines = [_nothing_right(task) for task in quality.tasks if task.contestants and not sum(task.contestants[0].right)]
    lines += [
        f"left out, {task.name}: {task.long} longer than the model's positions" for task in quality.tasks if task.long
    ]
    return lines + [f"skipped {name}: {why}" for name, why in quality.skipped.items()]


def _nothing_right(task: TaskQuality) -> str:
    return (
        f"{task.name}: {task.contestants[0].name} answers none of {task.asked} rightly: there is nothing for the "
        "others to keep, so this task says nothing of them"
    )
