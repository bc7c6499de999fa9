"""From answers to figures: shares of right answers, costs, ratios to the baseline, means."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from ... import method as methods
from ...generation import Counters
from ...method import Method
from ..harness import Run
from ..results import Spread
from .results import ALL, CERTAINTY, COSTS, COUNTS, RATIOS, ContestantQuality, MeanQuality, TaskQuality


def wilson(right: int, asked: int) -> tuple[float, float]:
    """The interval at 95 % of a share (Wilson 1927), which holds for shares of 0 and 1 as well."""
    share, z = right / asked, CERTAINTY**2 / asked
    middle = share + z / 2
    half = math.sqrt(share * (1 - share) * z + z * z / 4)
    return max(0.0, (middle - half) / (1 + z)), min(1.0, (middle + half) / (1 + z))


def judged(
    name: str,
    method: Method,
    runs: Sequence[Run],
    solved: Sequence[Callable[[str], bool]],
    baseline: tuple[Sequence[Run], ContestantQuality] | None,
) -> ContestantQuality:
    """One method's figures from its runs, whose questions `solved` judges in order; None: it is the baseline itself."""
    first = [run for run in runs if run.repeat == 0]
    texts = [text for run in first for text in run.answer.texts]
    tokens = _tokens(runs)
    right = [int(check(text)) for check, text in zip(solved, texts, strict=False)]
    counters = Counters()
    for run in first:
        counters.add(run.answer.counters)
    seconds = _seconds(runs, tokens)
    written = sum(map(len, tokens[0]))
    low, high = wilson(sum(right), len(right))
    mine = ContestantQuality(
        name=name,
        method=methods.describe(method),
        right=right,
        accuracy=sum(right) / len(right),
        low=low,
        high=high,
        gain=0.0,
        gain_error=0.0,
        same=len(right),
        tokens=written,
        counters=counters,
        seconds=list(seconds.values()),
        speed=Spread.of([written / taken for taken in seconds.values()]),
    )
    their_runs, theirs = baseline or (runs, mine)
    gains = [a - b for a, b in zip(right, theirs.right, strict=True)]
    their_tokens = _tokens(their_runs)
    mine.gain = sum(gains) / len(gains)
    mine.gain_error = statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
    mine.same = sum(a == b for a, b in zip(tokens[0], their_tokens[0], strict=True))
    mine.ratios = _ratios(mine, seconds, theirs, _seconds(their_runs, their_tokens))
    return mine


def _tokens(runs: Sequence[Run]) -> list[list[list[int]]]:
    """Of each repeat: the tokens of every answer, in order."""
    repeats = range(max(run.repeat for run in runs) + 1)
    return [[tokens for run in runs if run.repeat == repeat for tokens in run.answer.tokens] for repeat in repeats]


def _seconds(runs: Sequence[Run], tokens: Sequence[list[list[int]]]) -> dict[int, float]:
    """Of each repeat that wrote the same as the first: only such times are of the same work."""
    kept = [repeat for repeat, each in enumerate(tokens) if each == tokens[0]]
    return {repeat: sum(run.seconds for run in runs if run.repeat == repeat) for repeat in kept}


def _ratios(
    mine: ContestantQuality, seconds: dict[int, float], theirs: ContestantQuality, their_seconds: dict[int, float]
) -> dict[str, Spread]:
    """Times the baseline's, where that is not nothing; times are of the same repeat."""
    pairs = {name: (getattr(mine.counters, name), getattr(theirs.counters, name)) for name in COUNTS}
    found = {name: Spread.of([a / b]) for name, (a, b) in pairs.items() if a and b}
    taken = [seconds[repeat] / their_seconds[repeat] for repeat in seconds if repeat in their_seconds]
    found["seconds"] = Spread.of(taken)
    if mine.tokens and theirs.tokens:
        found["speed"] = Spread.of([mine.tokens / theirs.tokens / ratio for ratio in taken])
    return found


def means(tasks: Sequence[TaskQuality]) -> list[MeanQuality]:
    """Over each family's tasks, and over all of them where there are several families."""
    measured = [task for task in tasks if task.contestants]
    families = list(dict.fromkeys(task.family for task in measured))
    groups = {family: [task for task in measured if task.family == family] for family in families}
    if len(families) > 1:
        groups[ALL] = measured
    return [
        _mean(family, [(task.name, task.contestants[at]) for task in members])
        for family, members in groups.items()
        for at in range(len(members[0].contestants))
    ]


def _mean(family: str, row: Sequence[tuple[str, ContestantQuality]]) -> MeanQuality:
    contestants = [contestant for _, contestant in row]
    accuracy = statistics.fmean(contestant.accuracy for contestant in contestants)
    below = math.hypot(*(contestant.accuracy - contestant.low for contestant in contestants)) / len(contestants)
    beyond = math.hypot(*(contestant.high - contestant.accuracy for contestant in contestants)) / len(contestants)
    worst, worst_task = min((contestant.gain, name) for name, contestant in row)
    costs = {name: [contestant.cost(name) for contestant in contestants] for name in COSTS}
    ratios = {
        name: [contestant.ratios[name].median for contestant in contestants if name in contestant.ratios]
        for name in RATIOS
    }
    return MeanQuality(
        family=family,
        name=contestants[0].name,
        tasks=len(contestants),
        accuracy=accuracy,
        low=accuracy - below,
        high=accuracy + beyond,
        gain=statistics.fmean(contestant.gain for contestant in contestants),
        gain_error=math.hypot(*(contestant.gain_error for contestant in contestants)) / len(contestants),
        worst=worst,
        worst_task=worst_task,
        costs={name: statistics.geometric_mean(each) for name, each in costs.items() if all(each)},
        ratios={name: statistics.geometric_mean(each) for name, each in ratios.items() if each},
    )
