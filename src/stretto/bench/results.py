"""From seconds to figures: speeds, ratios measured side by side, means."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..generation import Counters
from .baselines import GREEDY
from .contestants import GREEDILY, Case, Contestant, Draw
from .harness import Prepared, Run
from .repetition import LIMIT, repeated_share
from .rounds import Profile, Round, middle, pace
from .stored import Stored

PLAIN = "plain"
BEST = "hf best"  # the fastest of transformers' ways on a task
BETTER = "best per task"


@dataclass(frozen=True, slots=True)
class Spread:
    """The median over the repeats, and the quartiles."""

    median: float
    low: float
    high: float

    def __format__(self, each: str) -> str:
        """The median and the quartiles in brackets, each number in this format."""
        return f"{self.median:{each}} ({self.low:{each}}–{self.high:{each}})"

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(slots=True)
class ContestantResult:
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
    profile: Profile | None = None  # its rounds, over all repeats


@dataclass(frozen=True, slots=True)
class Column:
    """Under what circumstances a task is measured."""

    batch: int = 1
    temperature: float = 0.0

    def __str__(self) -> str:
        return f"batch {self.batch}, T={self.temperature:g}"


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
    contestants: list[ContestantResult] = field(default_factory=list)
    long: int = 0  # exercises left out because the model has too few positions
    looped: int = 0  # groups left out because too much of a contestant's own text repeats itself
    column: Column = Column()

    @property
    def family(self) -> str:
        """`gym`, `replay` …"""
        return self.name.partition(":")[0]

    def brief(self) -> None:
        """Forget what figures show of the first column only: it is most of a result's size."""
        for contestant in self.contestants:
            if contestant.profile is not None:
                contestant.profile.windows, contestant.profile.pace = [], []


@dataclass(slots=True)
class Mean:
    """A contestant over all tasks of a family."""

    family: str  # gym, replay …
    contestant: str
    ratios: dict[str, float]  # geometric means of the medians
    worst: float | None  # the lowest ratio to plain on any task
    worst_task: str
    column: Column = Column()


@dataclass(slots=True)
class Report(Stored):
    """Everything `stretto bench` found."""

    COMMAND: ClassVar[str] = "stretto bench"
    ENTRY: ClassVar[str] = "clock"

    tasks: list[TaskResult] = field(default_factory=list)
    means: list[Mean] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)  # task -> why nothing was measured
    clock: list[list[float]] = field(default_factory=list)  # tokens in a window, seconds: what our planners reckon with

    @property
    def columns(self) -> list[Column]:
        """Those that were measured, in order."""
        return list(dict.fromkeys(task.column for task in self.tasks))

    @classmethod
    def current(cls, record: dict[str, Any]) -> dict[str, Any]:
        """Results once had a single column, which only the settings told, and no clock."""
        only = {"column": {"batch": record["provenance"]["settings"]["batch"]}}
        columns = {name: [only | each for each in record[name]] for name in ("tasks", "means")}
        return {"clock": []} | record | columns


def summarise(
    prepared: Prepared,
    groups: Sequence[Sequence[Case]],
    contestants: Sequence[Contestant],
    runs: Sequence[Run],
    *,
    column: Column = Column(),
    draw: Draw = GREEDILY,
) -> TaskResult:
    """One task's figures: total tokens over total seconds, on the groups that count.

    A group counts where everyone who must write the expected text did, and no one's own text repeats itself.
    """
    wrong = {(run.contestant, run.group) for run in runs if run.answer.tokens != _expected(groups[run.group])}
    bound = {contestant.name: contestant for contestant in contestants}
    odd = {group for name, group in wrong if bound[name].bound(groups[group][0], draw)}
    looping = {run.group for run in runs if (run.contestant, run.group) in wrong and _loops(run)} - odd
    kept = [run for run in runs if run.group not in odd | looping]
    counted = [case for at, group in enumerate(groups) if at not in odd | looping for case in group]
    shares = [repeated_share(case.expected) * len(case.expected) for case in counted]
    tokens = sum(len(case.expected) for case in counted)
    result = TaskResult(
        name=prepared.name,
        cases=len(counted),
        tokens=tokens,
        repeated_share=sum(shares) / tokens if tokens else 0.0,
        unsolved=prepared.unsolved,
        repeated=prepared.repeated,
        differing=len(odd),
        long=prepared.long,
        looped=len(looping),
        column=column,
    )
    if tokens:
        speeds = {contestant.name: _speeds(contestant.name, kept) for contestant in contestants}
        rivals = _rivals(contestants, speeds)
        for contestant in contestants:
            mine = [run for run in kept if run.contestant == contestant.name]
            differing = sum(name == contestant.name for name, _ in wrong)
            result.contestants.append(_summary(contestant, mine, speeds[contestant.name], rivals, differing))
    return result


def _expected(group: Sequence[Case]) -> list[list[int]]:
    return [case.expected for case in group]


def _loops(run: Run) -> bool:
    return any(repeated_share(tokens) > LIMIT for tokens in run.answer.tokens)


def _summary(
    contestant: Contestant, runs: Sequence[Run], speeds: list[float], rivals: dict[str, list[float]], differing: int
) -> ContestantResult:
    """One contestant's figures, from its runs."""
    counters = Counters()
    for run in runs:
        if run.repeat == 0:
            counters.add(run.answer.counters)
    return ContestantResult(
        name=contestant.name,
        ours=contestant.ours,
        speed=Spread.of(speeds),
        ratios={to: Spread.of(_ratios(speeds, theirs)) for to, theirs in rivals.items()},
        tokens_per_forward=counters.tokens_per_round,
        accepted_share=counters.accepted / counters.drafted if counters.drafted else None,
        differing=differing,
        seconds=list(_seconds(runs).values()),
        counters=counters,
        profile=_profile(runs),
    )


def _profile(runs: Sequence[Run]) -> Profile | None:
    """All rounds of a contestant, and how the longest answer came along; None where nothing is known of them."""
    rounds = {(run.repeat, run.group): run.answer.rounds() for run in runs}
    profile = Profile.of(one for each in rounds.values() for case in each for one in case)
    if not profile.rounds:
        return None
    answers: dict[tuple[int, int], list[list[Round]]] = {}  # of each case: its rounds in each repeat
    for (_, group), each in rounds.items():
        for at, case in enumerate(each):
            answers.setdefault((group, at), []).append(case)
    longest = max(answers.values(), key=lambda each: sum(found.committed for found in each[0]))
    profile.pace = middle([pace(case) for case in longest])
    return profile


def _speeds(contestant: str, runs: Iterable[Run]) -> list[float]:
    """Tokens per second of each repeat."""
    mine = [run for run in runs if run.contestant == contestant]
    tokens: dict[int, int] = {}
    for run in mine:
        tokens[run.repeat] = tokens.get(run.repeat, 0) + sum(map(len, run.answer.tokens))
    return [tokens[repeat] / seconds for repeat, seconds in _seconds(mine).items()]


def _seconds(runs: Iterable[Run]) -> dict[int, float]:
    """Of each repeat, in order."""
    seconds: dict[int, float] = {}
    for run in runs:
        seconds[run.repeat] = seconds.get(run.repeat, 0.0) + run.seconds
    return dict(sorted(seconds.items()))


def _rivals(contestants: Sequence[Contestant], speeds: dict[str, list[float]]) -> dict[str, list[float]]:
    """Whom all are compared with. The best of transformers is the one with the best median on this task."""
    rivals = {name: speeds[name] for name in (GREEDY, PLAIN) if name in speeds}
    theirs = [speeds[contestant.name] for contestant in contestants if not contestant.ours]
    if theirs:
        rivals[BEST] = max(theirs, key=statistics.median)
    return rivals


def _ratios(mine: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(mine, theirs, strict=True)]


def means(tasks: Sequence[TaskResult]) -> list[Mean]:
    """Geometric means over each family's tasks, column by column and contestant by contestant.

    `BETTER` stands for the fastest of our drafting methods on each task.
    """
    found: list[Mean] = []
    for column, family in dict.fromkeys((task.column, task.family) for task in tasks):
        rows: dict[str, list[tuple[str, ContestantResult]]] = {}
        for task in tasks:
            if (task.column, task.family) != (column, family) or not task.contestants:
                continue
            for contestant in task.contestants:
                rows.setdefault(contestant.name, []).append((task.name, contestant))
            drafting = [contestant for contestant in task.contestants if contestant.ours and contestant.name != PLAIN]
            if len(drafting) > 1:
                rows.setdefault(BETTER, []).append((task.name, max(drafting, key=lambda x: x.speed.median)))
        found.extend(_mean(family, name, row, column) for name, row in rows.items())
    return found


def _mean(family: str, name: str, row: Sequence[tuple[str, ContestantResult]], column: Column) -> Mean:
    ratios = {
        to: statistics.geometric_mean([contestant.ratios[to].median for _, contestant in row])
        for to in row[0][1].ratios
    }
    worst, worst_task = None, ""
    if PLAIN in ratios:
        worst, worst_task = min((contestant.ratios[PLAIN].median, task) for task, contestant in row)
    return Mean(family, name, ratios, worst, worst_task, column)
