"""What `stretto bench real` found: each answer's figures, and ratios of those to the same prompt."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..contestants import Case, Contestant
from ..harness import Run
from ..repetition import LIMIT, repeated_share
from ..results import PLAIN, Column, Spread
from ..stored import Stored

MIXED = "mixed"


@dataclass(slots=True)
class Reply:
    """One contestant's answer to one group of prompts."""

    kind: str  # of the prompts, or `MIXED`
    prompt: int  # tokens of all prompts
    tokens: int  # new ones of all rows
    first_tokens: int  # of the first row, in its first round
    first_seconds: float  # until these
    seconds: float  # of the whole call
    rounds: int
    rows: int
    differing: int  # rows whose tokens are not those of our plain decoding
    looping: int  # rows with too much in repeated 8-grams
    repeated: float  # the rows' mean share of that

    @property
    def speed(self) -> float:
        """Tokens a second: of decoding where a row is alone, of the whole call where several stand side by side."""
        if self.rows > 1:
            return self.tokens / self.seconds
        return (self.tokens - self.first_tokens) / (self.seconds - self.first_seconds)

    @property
    def timed(self) -> bool:
        """Whether it came in more than one round: else there is no speed."""
        return self.rows > 1 or self.tokens > self.first_tokens


@dataclass(slots=True)
class RealContestant:
    """One contestant in one column. Spreads are over prompts."""

    name: str
    ours: bool
    speed: Spread  # tokens a second, as `Reply.speed`
    first: Spread  # milliseconds until the first token
    reading: Spread  # tokens of the prompt a second, until the first token
    beside_best: Spread | None  # speed, as many times the best peer's to the same prompt
    beside_best_unlooped: Spread | None  # where neither loops
    beside_plain: Spread | None
    kinds: dict[str, float]  # the same as `beside_best`, else `beside_plain`: medians kind by kind
    rounds: int  # to all prompts once
    tokens_per_round: float
    rows: int
    differing: int  # answers whose tokens are not those of our plain decoding
    looping: int
    repeated: float  # mean share of tokens in repeated 8-grams
    replies: list[Reply] = field(default_factory=list)


@dataclass(slots=True)
class ColumnResult:
    """All contestants on all prompts."""

    column: Column
    best: str  # the peer with the best median speed; empty: there is none
    contestants: list[RealContestant] = field(default_factory=list)


@dataclass(slots=True)
class Fidelity:
    """How near a contestant's numbers are to the checkpoint's own in float32."""

    name: str
    positions: int  # of the text
    perplexity: float
    kl: float  # mean over the positions, of float32's distribution to this one, in nats
    top1: float  # share of positions with the same first choice


@dataclass(slots=True)
class Real(Stored):
    """Everything `stretto bench real` found."""

    COMMAND: ClassVar[str] = "stretto bench real"
    ENTRY: ClassVar[str] = "fidelity"

    columns: list[ColumnResult] = field(default_factory=list)
    fidelity: list[Fidelity] = field(default_factory=list)
    loading: dict[str, float] = field(default_factory=dict)  # contestant -> seconds
    skipped: dict[str, str] = field(default_factory=dict)  # kind or contestant -> why it is not here
    long: dict[str, int] = field(default_factory=dict)  # kind -> prompts passed over, too long for the model


def summarise(
    column: Column,
    groups: Sequence[Sequence[Case]],
    contestants: Sequence[Contestant],
    runs: Sequence[Run],
    ends: Collection[int] = (),
) -> ColumnResult:
    """One column's figures, from its runs; ratios are of the same group in the same repeat.

    Not all engines hand out the token that ends an answer: these `ends` are left out of comparisons.
    """
    plain = {(run.repeat, run.group): run.answer.tokens for run in runs if run.contestant == PLAIN}
    replies: dict[str, dict[tuple[int, int], Reply]] = {each.name: {} for each in contestants}
    for run in runs:
        at = (run.repeat, run.group)
        replies[run.contestant][at] = _reply(groups[run.group], run, plain.get(at), ends)
    speeds = {name: {at: one.speed for at, one in found.items() if one.timed} for name, found in replies.items()}
    peers = [each.name for each in contestants if not each.ours and speeds[each.name]]
    best = max(peers, key=lambda name: statistics.median(speeds[name].values()), default="")
    result = ColumnResult(column, best)
    for each in contestants:
        if not speeds[each.name]:
            continue
        found = replies[each.name]
        beside = {to: _ratios(speeds[each.name], speeds.get(to, {})) for to in (best, PLAIN)}
        loops = {at for name in (each.name, best) for at, one in replies.get(name, {}).items() if one.looping}
        usual = beside[best] if best else beside[PLAIN]
        once = [one for (repeat, _), one in found.items() if repeat == 0]
        result.contestants.append(
            RealContestant(
                name=each.name,
                ours=each.ours,
                speed=Spread.of(list(speeds[each.name].values())),
                first=Spread.of([1000 * one.first_seconds for one in found.values()]),
                reading=Spread.of([one.prompt / one.first_seconds for one in found.values()]),
                beside_best=_spread(beside[best].values()),
                beside_best_unlooped=_spread(ratio for at, ratio in beside[best].items() if at not in loops),
                beside_plain=_spread(beside[PLAIN].values()),
                kinds=_by_kind(usual, lambda at, found=found: found[at].kind),  # type: ignore[misc]
                rounds=sum(one.rounds for one in once),
                tokens_per_round=sum(one.tokens for one in once) / sum(one.rounds for one in once),
                rows=sum(one.rows for one in once),
                differing=sum(one.differing for one in once),
                looping=sum(one.looping for one in once),
                repeated=statistics.mean(one.repeated for one in once),
                replies=list(found.values()),
            )
        )
    return result


def _reply(group: Sequence[Case], run: Run, plain: Sequence[Sequence[int]] | None, ends: Collection[int]) -> Reply:
    tokens, counters = run.answer.tokens, run.answer.counters
    first = run.answer.rounds()[0][0]
    shares = [repeated_share(row) for row in tokens]
    return Reply(
        kind=group[0].category if len({case.category for case in group}) == 1 else MIXED,
        prompt=sum(len(case.prompt) for case in group),
        tokens=sum(map(len, tokens)),
        first_tokens=first.committed,
        first_seconds=counters.prompt_seconds + first.seconds,
        seconds=run.seconds,
        rounds=counters.row_forwards,
        rows=len(group),
        differing=sum(_bare(a, ends) != _bare(b, ends) for a, b in zip(tokens, plain or tokens, strict=True)),
        looping=sum(share > LIMIT for share in shares),
        repeated=statistics.mean(shares),
    )


def _bare(tokens: Sequence[int], ends: Collection[int]) -> list[int]:
    """Without the token that ended it."""
    return list(tokens[:-1] if tokens and tokens[-1] in ends else tokens)


At = tuple[int, int]  # repeat, group


def _ratios(mine: dict[At, float], theirs: dict[At, float]) -> dict[At, float]:
    return {at: speed / theirs[at] for at, speed in mine.items() if at in theirs}


def _spread(values: Iterable[float]) -> Spread | None:
    held = list(values)
    return Spread.of(held) if held else None


def _by_kind(ratios: dict[At, float], kind: Callable[[At], str]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for at, ratio in ratios.items():
        found.setdefault(kind(at), []).append(ratio)
    return {name: statistics.median(held) for name, held in found.items()}
