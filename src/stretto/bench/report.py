"""The result as a table that fits a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import tables
from .baselines import GREEDY
from .provenance import machine_line
from .results import BEST, PLAIN, Column, ContestantResult, Mean, Report, TaskResult
from .tables import Entry

NAMES = {GREEDY: "transformers' greedy", BEST: "transformers' best", PLAIN: "our plain"}
HEADS = {GREEDY: ("x greedy", "× greedy"), BEST: ("x hf best", "× best"), PLAIN: ("x plain", "× plain")}
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
        lines += ["", tables.head(" " * (2 + width), CONTESTANTS)]
        for task in report.tasks:
            if task.contestants and task.column == column:
                lines += ["", headline(task), *(_row(contestant, column, width) for contestant in task.contestants)]
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


def headline(task: TaskResult) -> str:
    """What a task's table stands under."""
    return f"{task.name}: {task.cases} prompts, {task.tokens} tokens, {task.repeated_share:.0%} in a repeated 8-gram"


def _row(contestant: ContestantResult, column: Column, width: int) -> str:
    return tables.line(_label(contestant.name, column, width), CONTESTANTS, contestant, differing(contestant))


def _label(name: str, column: Column, width: int) -> str:
    return f"  {shown(name, column):{width}.{width}}"


def differing(contestant: ContestantResult) -> str:
    """In how many groups its tokens are not those expected; empty where there is none."""
    return f"{contestant.differing} differ" if contestant.differing else ""


def _beside(to: str) -> Callable[[ContestantResult], str]:
    return lambda contestant: f"{contestant.ratios[to].median:.2f}" if to in contestant.ratios else ""


def _mean_beside(to: str) -> Callable[[Mean], str]:
    return lambda mean: f"{mean.ratios[to]:.2f}" if to in mean.ratios else ""


def _accepted(contestant: ContestantResult) -> str:
    return "" if contestant.accepted_share is None else f"{contestant.accepted_share:.0%}"


def _drafting(contestant: ContestantResult) -> str:
    counters = contestant.counters
    share = counters.draft_seconds / counters.seconds if counters.seconds else None
    return f"{share:.0%}" if share else ""


def _sources(contestant: ContestantResult) -> str:
    """Of all committed tokens the share that each drafter guessed."""
    if contestant.profile is None or not contestant.ours:
        return ""
    tokens = contestant.counters.new_tokens * len(contestant.seconds)
    held = [(source, accepted) for source, (_, accepted) in contestant.profile.sources.items() if accepted]
    return ", ".join(f"{source} {accepted / tokens:.0%}" for source, accepted in sorted(held, key=lambda x: -x[1]))


def slowest(mean: Mean) -> str:
    """The task on which it is slowest beside plain decoding; empty where plain decoding was not measured."""
    return "" if mean.worst is None else f"{mean.worst:.2f} on {mean.worst_task}"


SLOWEST = "slowest beside plain"
CONTESTANTS: Sequence[Entry[ContestantResult]] = (
    Entry("tokens/s", 9, lambda one: f"{one.speed.median:.0f}"),
    Entry("(quartiles)", 14, lambda one: f"{one.speed.low:.0f}–{one.speed.high:.0f}", "quartiles"),
    *(Entry(head, 10, _beside(to), page) for to, (head, page) in HEADS.items()),
    Entry("tau", 10, lambda one: f"{one.tokens_per_forward:.2f}", "τ"),
    Entry("accepted", 10, _accepted),
    Entry("drafting", 0, _drafting),
    Entry("guessed by", 0, _sources),
)
MEANS: Sequence[Entry[Mean]] = [Entry(head, 10, _mean_beside(to), f"× {NAMES[to]}") for to, (head, _) in HEADS.items()]


def _means(report: Report, column: Column, width: int) -> list[str]:
    means = [mean for mean in report.means if mean.column == column]
    if not means:
        return []
    lines = [tables.head(f"{'geometric means':{2 + width}}", MEANS, SLOWEST)]
    for family in dict.fromkeys(mean.family for mean in means):
        count = sum(bool(t.contestants) for t in report.tasks if (t.family, t.column) == (family, column))
        lines.append(f"{family}, {count} tasks")
        of_family = [mean for mean in means if mean.family == family]
        lines += [tables.line(_label(m.contestant, column, width), MEANS, m, slowest(m)) for m in of_family]
    return lines


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
