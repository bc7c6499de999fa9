"""The result as a table that fits a terminal."""

from __future__ import annotations

from .baselines import GREEDY
from .provenance import machine_line
from .results import BEST, PLAIN, LaneResult, Mean, Report, Spread, TaskResult

COLUMNS = ("x greedy", "x hf best", "x plain")
HEAD = f"{'':16}{'tokens/s':>9} {'(quartiles)':>13}" + "".join(f"{name:>10}" for name in (*COLUMNS, "tau", "accepted"))


def table(report: Report) -> str:
    """Every task's contestants, then the geometric means, then what was left out."""
    lines = [_origin(report), "", HEAD]
    for task in report.tasks:
        if task.lanes:
            lines += ["", _title(task), *(_row(lane) for lane in task.lanes)]
    lines += ["", *_means(report), "", *_left_out(report)]
    return "\n".join(lines).rstrip()


def _origin(report: Report) -> str:
    record = report.provenance
    settings = record["settings"]
    return (
        f"{settings['model']}, float32, batch {settings['batch']}, {machine_line(record)}; "
        f"torch {record['versions']['torch']}, transformers {record['versions']['transformers']}"
    )


def _title(task: TaskResult) -> str:
    return f"{task.name}: {task.cases} prompts, {task.tokens} tokens, {task.repeated_share:.0%} in a repeated 8-gram"


def _row(lane: LaneResult) -> str:
    accepted = "" if lane.accepted_share is None else f"{lane.accepted_share:.0%}"
    spread = f"{lane.speed.low:.0f}–{lane.speed.high:.0f}"
    note = f"  {lane.differing} differ" if lane.differing else ""
    return (
        f"  {lane.name:14.14}{lane.speed.median:9.0f} {spread:>13}"
        f"{_ratio(lane.ratios.get(GREEDY)):>10}{_ratio(lane.ratios.get(BEST)):>10}"
        f"{_ratio(lane.ratios.get(PLAIN)):>10}{lane.tokens_per_forward:10.2f}{accepted:>10}{note}"
    )


def _ratio(spread: Spread | None) -> str:
    return "" if spread is None else f"{spread.median:.2f}"


def _means(report: Report) -> list[str]:
    if not report.means:
        return []
    lines = [f"{'geometric means':16}" + "".join(f"{name:>10}" for name in COLUMNS) + "   slowest beside plain"]
    for family in dict.fromkeys(mean.family for mean in report.means):
        count = sum(bool(task.lanes) for task in report.tasks if task.name.startswith(family + ":"))
        lines.append(f"{family}, {count} tasks")
        lines += [_mean(mean) for mean in report.means if mean.family == family]
    return lines


def _mean(mean: Mean) -> str:
    greedy, best, plain = (f"{mean.ratios[to]:.2f}" if to in mean.ratios else "" for to in (GREEDY, BEST, PLAIN))
    worst = "" if mean.worst is None else f"{mean.worst:.2f} on {mean.worst_task}"
    return f"  {mean.lane:14.14}{greedy:>10}{best:>10}{plain:>10}   {worst}"


def _left_out(report: Report) -> list[str]:
    lines = []
    reasons = (
        ("unsolved", "not solved by the target"),
        ("repeated", "over 20% in repeated 8-grams"),
        ("differing", "with differing tokens"),
    )
    for attribute, reason in reasons:
        found = {task.name: getattr(task, attribute) for task in report.tasks if getattr(task, attribute)}
        if found:
            each = ", ".join(f"{name} {count}" for name, count in found.items())
            lines.append(f"left out, {reason}: {sum(found.values())} ({each})")
    lines += [f"skipped {name}: {why}" for name, why in report.skipped.items()]
    return lines
