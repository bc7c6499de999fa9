"""The figures of the page: columns, acceptance by depth, the clock's cost curve, the pace of an answer."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from .drawing import legend, plainly, pyplot
from .plot import Mark, baseline, marks_of
from .results import PLAIN, ContestantResult, Report, TaskResult
from .rounds import Profile
from .shape import Shape

DEEPEST = 16  # guesses that are shown
FEWEST = 8  # rounds behind a point; fewer say nothing
LINES = 3  # methods of ours in them, beside plain decoding
PACES = 6  # answers that are shown, at most
SMOOTH = 8  # tokens over which a pace is averaged, at least
SHADES = ("#0077b6", "#2a9d8f", "#8d99ae")  # of runners: the engine's model, the module driven by us, transformers


def in_columns(tasks: Sequence[TaskResult], to: str, called: str) -> Any:
    """Geometric means over tasks in each column, as many times as fast as `to`; a line each, broken by temperature."""
    drawing = pyplot()
    columns = list(dict.fromkeys(task.column for task in tasks))
    figure, axis = drawing.subplots(figsize=(max(5.5, 2.6 + 0.9 * len(columns)), 3.6), layout="constrained")
    for mark in marks_of(tasks):
        label = mark.label
        for temperature in dict.fromkeys(column.temperature for column in columns):
            part = [column for column in columns if column.temperature == temperature]
            ratios = [[mark.on(t).ratios[to].median for t in tasks if t.column == column] for column in part]
            means = list(map(statistics.geometric_mean, ratios))
            style = {"color": mark.colour, "marker": mark.marker, "linewidth": 1.3}
            axis.plot([columns.index(column) for column in part], means, label=label, **style)
            label = "_"  # one entry of the legend is enough
    axis.axhline(1.0, color="#333333", linewidth=1)
    axis.set_xticks(range(len(columns)), [str(column).replace(", ", "\n") for column in columns], fontsize=9)
    axis.margins(x=0.08)
    axis.set_ylim(bottom=0)
    axis.set_ylabel(f"times as fast as {called}", fontsize=9)
    plainly(axis, grid="y")
    figure.legend(fontsize=8.5, frameon=False, loc="outside right center")
    return figure


# -- acceptance ---------------------------------------------------------------------------------------


def drafting(tasks: Sequence[TaskResult]) -> list[tuple[Mark, Profile]]:
    """Who drafted, and all their rounds on these tasks together."""
    found = []
    for mark in marks_of(tasks):
        profile = Profile()
        for task in tasks:
            if (mine := mark.on(task).profile) is not None:
                profile.add(mine)
        if profile.depths:
            found.append((mark, profile))
    return found


def acceptance(tasks: Sequence[TaskResult]) -> Any:
    """How deep accepted drafts reach, and how often a guess holds where those above it held; a line per drafter."""
    drawing = pyplot()
    figure, (reach, holds) = drawing.subplots(1, 2, figsize=(9.0, 3.4), layout="constrained")
    deepest = 1
    for mark, profile in drafting(tasks):
        style = {"color": mark.colour, "marker": mark.marker, "markersize": 4, "linewidth": 1.4}
        share = [held / profile.rounds for _, held in profile.depths[:DEEPEST]]
        reach.plot(range(1, len(share) + 1), share, label=mark.label, **style)
        known = [(at, held / tried) for at, (tried, held) in enumerate(profile.depths, start=1) if tried >= FEWEST]
        known = known[:DEEPEST]
        holds.plot([at for at, _ in known], [rate for _, rate in known], **style)
        deepest = max(deepest, len(share))
    reach.set_ylabel("share of all rounds", fontsize=9)
    reach.set_title("drafts accepted to this depth, or deeper", fontsize=9.5, loc="left")
    holds.set_ylabel("share of rounds that tried", fontsize=9)
    holds.set_title("a guess at this depth holds, where those before it held", fontsize=9.5, loc="left")
    for axis in (reach, holds):
        axis.set_xlabel("depth of the draft, tokens", fontsize=9)
        axis.set_xlim(0.7, deepest + 0.3)
        axis.set_xticks(range(1, deepest + 1, 1 if deepest <= 10 else 2))
        axis.set_ylim(0, 1.03)
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        plainly(axis, grid="both")
    legend(figure, reach, ncols=4)
    return figure


# -- costs --------------------------------------------------------------------------------------------


def cost_curve(report: Report, tasks: Sequence[TaskResult]) -> Any:
    """What a window costs by the clock, and what rounds of this run took; absolute, and in windows of one token."""
    drawing = pyplot()
    figure, (absolute, relative) = drawing.subplots(1, 2, figsize=(9.0, 3.6), layout="constrained")
    sizes, costs = [size for size, _ in report.clock], [1000 * cost for _, cost in report.clock]
    line = {"color": "#222222", "linewidth": 1.6, "label": "the clock, which planners reckon with"}
    for axis, unit in ((absolute, 1.0), (relative, costs[0])):
        axis.plot(sizes, [cost / unit for cost in costs], **line)
    for mark in marks_of(tasks):
        if not mark.ours:
            continue
        points = _windows([mark.on(task) for task in tasks])
        for axis, unit in ((absolute, 1.0), (relative, costs[0])):
            axis.scatter(
                [size for size, _, _ in points],
                [1000 * seconds / unit for _, _, seconds in points],
                s=[8 + 20 * min(1.0, rounds / 100) for _, rounds, _ in points],
                color=mark.colour,
                alpha=0.8,
                linewidths=0,
                label=f"rounds of {mark.label}",
            )
    high = relative.get_ylim()[1]
    every = range(1, int(sizes[-1]) + 1)
    relative.plot(every, every, color="#999999", linewidth=1.2, linestyle=":", label="the same tokens one by one")
    relative.set_ylim(0, min(high, 1.15 * max(sizes)))
    _windowed(absolute, sizes, "milliseconds for a window")
    _windowed(relative, sizes, "in windows of one token")
    legend(figure, relative, ncols=3)
    return figure


def _windows(contestants: Sequence[ContestantResult]) -> list[tuple[float, float, float]]:
    """Slots, rounds, seconds of rounds of one contestant: the mean over tasks, each by its rounds."""
    sums: dict[float, list[float]] = {}
    for contestant in contestants:
        for slots, rounds, seconds in contestant.profile.windows if contestant.profile else []:
            held = sums.setdefault(slots, [0.0, 0.0])
            held[:] = [held[0] + rounds, held[1] + rounds * seconds]
    return [(slots, rounds, total / rounds) for slots, (rounds, total) in sorted(sums.items()) if rounds >= FEWEST]


def _windowed(axis: Any, sizes: Sequence[float], label: str) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axis.set_xlabel("tokens in the window", fontsize=9)
    axis.set_ylabel(label, fontsize=9)
    axis.set_ylim(bottom=0)
    plainly(axis, grid="both")


def forward_costs(shape: Shape) -> Any:
    """One forward over a filled cache, runner by runner."""
    drawing = pyplot()
    figure, axis = drawing.subplots(figsize=(6.0, 3.4), layout="constrained")
    sizes = list(dict.fromkeys(cost.tokens for cost in shape.windows))
    for name, colour in zip(dict.fromkeys(cost.runner for cost in shape.windows), SHADES, strict=False):
        spreads = [cost.milliseconds for cost in shape.windows if cost.runner == name]
        axis.plot(sizes, [spread.median for spread in spreads], color=colour, marker="o", markersize=4, label=name)
        axis.fill_between(
            sizes, [s.low for s in spreads], [s.high for s in spreads], color=colour, alpha=0.2, linewidth=0
        )
    _windowed(axis, sizes, "milliseconds for a window")
    figure.legend(fontsize=8.5, frameon=False, loc="outside right center")
    return figure


# -- pace ---------------------------------------------------------------------------------------------


def paces(tasks: Sequence[TaskResult]) -> Any:
    """Milliseconds per token along the longest answer of some tasks, the fastest contestants; None where unknown."""
    known = [
        task
        for task in tasks
        if any(contestant.profile and len(contestant.profile.pace) > 2 for contestant in task.contestants)
    ]
    chosen = _spread_over_families(known)
    if not chosen:
        return None
    drawing = pyplot()
    marks = _fastest(tasks)
    wide = min(3, len(chosen))
    high = -(-len(chosen) // wide)
    figure, axes = drawing.subplots(
        high, wide, figsize=(3.0 * wide if wide > 1 else 5.0, 2.1 * high + 0.8), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(chosen) :]:
        axis.set_visible(False)
    for axis, task in zip(axes.flat, chosen, strict=False):
        for mark in marks:
            profile = mark.on(task).profile
            if profile is not None and len(profile.pace) > 1:
                tokens, costs = _per_token(profile.pace)
                axis.plot(tokens, costs, color=mark.colour, linewidth=1.3, drawstyle="steps-pre", label=mark.label)
        axis.set_title(task.name, fontsize=9, loc="left")
        axis.set_ylim(bottom=0)
        axis.tick_params(labelsize=8)
        plainly(axis, grid="y")
    figure.supxlabel("tokens written", fontsize=9)
    figure.supylabel("milliseconds per token", fontsize=9)
    legend(figure, axes[0, 0], ncols=4, where="upper")
    return figure


def _fastest(tasks: Sequence[TaskResult]) -> list[Mark]:
    """Plain decoding on both sides, and of the others those of ours and the one of theirs with the best mean speed."""
    marks = marks_of(tasks)
    speeds = {mark.label: statistics.geometric_mean(mark.on(t).speed.median for t in tasks) for mark in marks}
    ranked = sorted(marks, key=lambda mark: -speeds[mark.label])
    ours = [mark for mark in ranked if mark.ours and PLAIN not in mark.members][:LINES]
    kept = [*ours, *[mark for mark in ranked if not mark.ours][:1]]
    return [*baseline(tasks), *(mark for mark in marks if mark in kept or PLAIN in mark.members)]


def _spread_over_families(tasks: Sequence[TaskResult]) -> list[TaskResult]:
    """At most `PACES` tasks, as many of each family as can be, those with the most tokens."""
    families = [[t for t in tasks if t.family == family] for family in dict.fromkeys(task.family for task in tasks)]
    ranked = [sorted(members, key=lambda task: -task.tokens) for members in families]
    chosen: list[TaskResult] = []
    for place in range(PACES):
        chosen += [members[place] for members in ranked if place < len(members)]
    kept = chosen[:PACES]
    return [task for task in tasks if task in kept]


def _per_token(pace: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    """Tokens written, and milliseconds per token over the last `SMOOTH` tokens or more."""
    tokens: list[float] = []
    costs: list[float] = []
    before = pace[0]
    for point in pace[1:]:
        if point[0] - before[0] >= SMOOTH or (point is pace[-1] and point[0] > before[0]):
            tokens.append(point[0])
            costs.append(1000 * (point[1] - before[1]) / (point[0] - before[0]))
            before = point
    return [pace[0][0], *tokens], [costs[0], *costs]
