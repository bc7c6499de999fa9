"""From seconds to figures: speeds, ratios measured side by side, means; and their JSON form."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..generation import Counters
from .baselines import GREEDY
from .harness import Prepared, Run
from .lanes import Case, Lane
from .repetition import repeated_share

PLAIN = "plain"
BEST = "hf best"  # the fastest of transformers' ways on a task
BETTER = "best per task"


@dataclass(frozen=True, slots=True)
class Spread:
    """The median over the repeats, and the quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(slots=True)
class LaneResult:
    """One contestant on one task. Speeds are tokens per second of whole calls, the prompt included."""

    name: str
    ours: bool
    speed: Spread
    ratios: dict[str, Spread]  # to GREEDY, BEST and PLAIN, of the same repeat
    tokens_per_forward: float  # of the target (block efficiency, tau)
    accepted_share: float | None  # of the drafted tokens that were verified; None: nothing was drafted
    differing: int  # groups in which its tokens are not those expected
    seconds: list[float]  # of each repeat
    counters: Counters  # of one repeat


@dataclass(slots=True)
class TaskResult:
    """All contestants on one task."""

    name: str
    cases: int
    tokens: int  # that every contestant wrote in each repeat
    repeated_share: float  # of these, in a run of 8 tokens that comes twice
    unsolved: int
    repeated: int  # exercises left out because too much of the answer repeats itself
    differing: int  # groups left out because a contestant's tokens differed
    lanes: list[LaneResult] = field(default_factory=list)


@dataclass(slots=True)
class Mean:
    """A contestant over all tasks of a family."""

    family: str  # gym or replay
    lane: str
    ratios: dict[str, float]  # geometric means of the medians
    worst: float | None  # the lowest ratio to plain on any task
    worst_task: str


@dataclass(slots=True)
class Report:
    """Everything one run of the benchmark found."""

    provenance: dict[str, Any]
    tasks: list[TaskResult] = field(default_factory=list)
    means: list[Mean] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)  # task -> why nothing was measured

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Report:
        """Read what `save` wrote."""
        record = json.loads(path.read_text(encoding="utf-8"))
        tasks = [TaskResult(**{**task, "lanes": list(map(_lane, task["lanes"]))}) for task in record["tasks"]]
        means = [Mean(**mean) for mean in record["means"]]
        return cls(record["provenance"], tasks, means, record["skipped"])


def _lane(record: dict[str, Any]) -> LaneResult:
    ratios = {to: Spread(**spread) for to, spread in record["ratios"].items()}
    parsed = {"speed": Spread(**record["speed"]), "ratios": ratios, "counters": Counters(**record["counters"])}
    return LaneResult(**(record | parsed))


def summarise(
    prepared: Prepared, groups: Sequence[Sequence[Case]], lanes: Sequence[Lane], runs: Sequence[Run]
) -> TaskResult:
    """One task's figures: total tokens over total seconds, on the groups that all answered identically."""
    wrong = [
        (run.lane, run.group) for run in runs if run.answer.tokens != [case.expected for case in groups[run.group]]
    ]
    out = {group for _, group in wrong}
    counted = [case for at, group in enumerate(groups) if at not in out for case in group]
    shares = [repeated_share(case.expected) * len(case.expected) for case in counted]
    tokens = sum(len(case.expected) for case in counted)
    result = TaskResult(
        name=prepared.name,
        cases=len(counted),
        tokens=tokens,
        repeated_share=sum(shares) / tokens if tokens else 0.0,
        unsolved=prepared.unsolved,
        repeated=prepared.repeated,
        differing=len(out),
    )
    if not tokens:
        return result
    kept = [run for run in runs if run.group not in out]
    speeds = {lane.name: _speeds(lane.name, tokens, kept) for lane in lanes}
    rivals = _rivals(lanes, speeds)
    for lane in lanes:
        counters = Counters()
        for run in kept:
            if run.lane == lane.name and run.repeat == 0:
                counters.add(run.answer.counters)
        result.lanes.append(
            LaneResult(
                name=lane.name,
                ours=lane.ours,
                speed=Spread.of(speeds[lane.name]),
                ratios={to: Spread.of(_ratios(speeds[lane.name], theirs)) for to, theirs in rivals.items()},
                tokens_per_forward=counters.tokens_per_round,
                accepted_share=counters.accepted / counters.drafted if counters.drafted else None,
                differing=len({group for name, group in wrong if name == lane.name}),
                seconds=[tokens / speed for speed in speeds[lane.name]],
                counters=counters,
            )
        )
    return result


def _speeds(lane: str, tokens: int, runs: Iterable[Run]) -> list[float]:
    """Tokens per second of each repeat."""
    seconds: dict[int, float] = {}
    for run in runs:
        if run.lane == lane:
            seconds[run.repeat] = seconds.get(run.repeat, 0.0) + run.seconds
    return [tokens / seconds[repeat] for repeat in sorted(seconds)]


def _rivals(lanes: Sequence[Lane], speeds: dict[str, list[float]]) -> dict[str, list[float]]:
    """Whom all are compared with. The best of transformers is the one with the best median on this task."""
    rivals = {name: speeds[name] for name in (GREEDY, PLAIN) if name in speeds}
    theirs = [speeds[lane.name] for lane in lanes if not lane.ours]
    if theirs:
        rivals[BEST] = max(theirs, key=statistics.median)
    return rivals


def _ratios(mine: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(mine, theirs, strict=True)]


def means(tasks: Sequence[TaskResult]) -> list[Mean]:
    """Geometric means over each family's tasks, contestant by contestant.

    `BETTER` stands for the faster of our drafting methods on each task.
    """
    found: list[Mean] = []
    for family in dict.fromkeys(task.name.partition(":")[0] for task in tasks):
        members = [task for task in tasks if task.name.startswith(family + ":") and task.lanes]
        rows: dict[str, list[tuple[str, LaneResult]]] = {}
        for task in members:
            for lane in task.lanes:
                rows.setdefault(lane.name, []).append((task.name, lane))
            drafting = [lane for lane in task.lanes if lane.ours and lane.name != PLAIN]
            if len(drafting) > 1:
                rows.setdefault(BETTER, []).append((task.name, max(drafting, key=lambda x: x.speed.median)))
        found.extend(_mean(family, name, row) for name, row in rows.items())
    return found


def _mean(family: str, name: str, row: Sequence[tuple[str, LaneResult]]) -> Mean:
    ratios = {to: statistics.geometric_mean([lane.ratios[to].median for _, lane in row]) for to in row[0][1].ratios}
    worst, worst_task = None, ""
    if PLAIN in ratios:
        worst, worst_task = min((lane.ratios[PLAIN].median, task) for task, lane in row)
    return Mean(family, name, ratios, worst, worst_task)
