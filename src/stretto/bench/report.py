"""The result as a table that fits a terminal."""

from __future__ import annotations

from .baselines import GREEDY
from .provenance import machine_line
from .results import BEST, PLAIN, Column, ContestantResult, Mean, Report, Spread, TaskResult

COLUMNS = ("x greedy", "x hf best", "x plain")
HEAD = f"{'tokens/s':>9} {'(quartiles)':>13}" + "".join(f"{name:>10}" for name in (*COLUMNS, "tau", "accepted"))
WIDTHS = (14, 30)  # of a contestant's name: at least, at most


def table(report: Report) -> str:
    """Every task's contestants, then the geometric means, then what was left out; column by column."""
    several = len(report.columns) > 1
    names = [contestant.name for task in report.tasks for contestant in task.contestants]
    width = min(max(WIDTHS[0], *map(len, names), 0), WIDTHS[1])
    lines = [_origin(report)]
    for column in report.columns or [Column()]:
        if several:
            lines += ["", f"==== {column} ===="]
        lines += ["", " " * (2 + width) + HEAD]
        for task in report.tasks:
            if task.contestants and task.column == column:
                lines += ["", _title(task), *(_row(contestant, column, width) for contestant in task.contestants)]
        lines += ["", *_means(report, column, width)]
    lines += ["", *left_out(report)]
    return "\n".join(lines).rstrip()


def origin(report: Report) -> str:
    """What was measured where, in a line."""
    record = report.provenance
    settings = record["settings"]
    batches = dict.fromkeys(str(column.batch) for column in report.columns)
    temperatures = dict.fromkeys(f"{column.temperature:g}" for column in report.columns)
    where = f"batch {' '.join(batches)}, T={' '.join(temperatures)}"
    return f"{settings['model']}, {settings.get('dtype', 'float32')}, {where}, {machine_line(record)}"


def _origin(report: Report) -> str:
    versions = report.provenance["versions"]
    return f"{origin(report)}; torch {versions['torch']}, transformers {versions['transformers']}"


def shown(contestant: str, column: Column) -> str:
    """A contestant's name; transformers' plain way draws where there is a temperature."""
    return "hf sampling" if contestant == GREEDY and column.temperature else contestant


def _title(task: TaskResult) -> str:
    return f"{task.name}: {task.cases} prompts, {task.tokens} tokens, {task.repeated_share:.0%} in a repeated 8-gram"


def _row(contestant: ContestantResult, column: Column, width: int) -> str:
    accepted = "" if contestant.accepted_share is None else f"{contestant.accepted_share:.0%}"
    spread = f"{contestant.speed.low:.0f}–{contestant.speed.high:.0f}"
    note = f"  {contestant.differing} differ" if contestant.differing else ""
    return (
        f"  {shown(contestant.name, column):{width}.{width}}{contestant.speed.median:9.0f} {spread:>13}"
        f"{_ratio(contestant.ratios.get(GREEDY)):>10}{_ratio(contestant.ratios.get(BEST)):>10}"
        f"{_ratio(contestant.ratios.get(PLAIN)):>10}{contestant.tokens_per_forward:10.2f}{accepted:>10}{note}"
    )


def _ratio(spread: Spread | None) -> str:
    return "" if spread is None else f"{spread.median:.2f}"


def _means(report: Report, column: Column, width: int) -> list[str]:
    means = [mean for mean in report.means if mean.column == column]
    if not means:
        return []
    lines = [
        f"{'geometric means':{2 + width}}" + "".join(f"{name:>10}" for name in COLUMNS) + "   slowest beside plain"
    ]
    for family in dict.fromkeys(mean.family for mean in means):
        count = sum(bool(t.contestants) for t in report.tasks if (t.family, t.column) == (family, column))
        lines.append(f"{family}, {count} tasks")
        lines += [_mean(mean, width) for mean in means if mean.family == family]
    return lines


def _mean(mean: Mean, width: int) -> str:
    greedy, best, plain = (f"{mean.ratios[to]:.2f}" if to in mean.ratios else "" for to in (GREEDY, BEST, PLAIN))
    worst = "" if mean.worst is None else f"{mean.worst:.2f} on {mean.worst_task}"
    return f"  {shown(mean.contestant, mean.column):{width}.{width}}{greedy:>10}{best:>10}{plain:>10}   {worst}"


REASONS = {  # of what is left out: its attribute of a task, what is said of it
    "unsolved": "not solved by the target",
    "long": "longer than the model's positions",
    "repeated": "over 20% in repeated 8-grams",
    "looped": "with a drawn text that is over 20% in repeated 8-grams",
    "differing": "with differing tokens",
}


def left_out(report: Report) -> list[str]:
    """What was not measured and why; each exercise once, however many columns it would have been in."""
    lines = []
    for attribute, reason in REASONS.items():
        found: dict[str, int] = {}
        for task in report.tasks:
            if count := getattr(task, attribute):
                found[task.name] = max(count, found.get(task.name, 0))
        if found:
            each = ", ".join(f"{name} {count}" for name, count in found.items())
            lines.append(f"left out, {reason}: {sum(found.values())} ({each})")
    lines += [f"skipped {name}: {why}" for name, why in report.skipped.items()]
    return lines
