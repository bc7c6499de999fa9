"""What became of each round of an answer: the same record for our trace and for transformers' forwards."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..generation import Step

POINTS = 32  # of a pace, about


@dataclass(frozen=True, slots=True)
class Round:
    """One forward of the target, for one row."""

    slots: int  # tokens in the row's window: the root and what was drafted
    accepted: int  # drafted tokens that were committed: the depth that was reached
    refused: bool  # whether something was drafted at the next depth as well
    committed: int  # tokens, the model's own included
    seconds: float  # from the round before to this one's end; 0 where the prompt was part of it
    draft_seconds: float = 0.0  # part of them
    ranks: tuple[int, ...] = ()  # of the accepted nodes among their siblings, from 0
    offered: tuple[tuple[str, int, int], ...] = ()  # source, nodes drafted, nodes accepted


def of_steps(steps: Sequence[Step]) -> list[Round]:
    """Our rounds, from a generation's trace."""
    return [_of_step(step) for step in steps]


def _of_step(step: Step) -> Round:
    last = step.accepted[-1] if step.accepted else -1
    counts: dict[str, list[int]] = {}
    taken = set(step.accepted)
    for node, source in enumerate(step.drafters):
        count = counts.setdefault(source, [0, 0])
        count[0] += 1
        count[1] += node in taken
    return Round(
        slots=1 + len(step.drafted),
        accepted=len(step.accepted),
        refused=last in step.parents and len(step.committed) > len(step.accepted),  # else the row ended there
        committed=len(step.committed),
        seconds=step.seconds,
        draft_seconds=step.draft_seconds,
        ranks=tuple(step.parents[:node].count(step.parents[node]) for node in step.accepted),
        offered=tuple((source, drafted, accepted) for source, (drafted, accepted) in counts.items()),
    )


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward of a transformers module, as seen from outside."""

    ended: float  # seconds on any clock
    root: int  # cache slot of the last token that was committed before
    slots: int  # whose logits were asked for: that token and what was drafted


def of_passes(passes: Sequence[Pass], tokens: int) -> list[Round]:
    """transformers' rounds in one answer of `tokens` new tokens: chains, judged by where the next round began."""
    rounds: list[Round] = []
    end = passes[0].root + tokens if passes else 0
    for at, found in enumerate(passes):
        after = min(passes[at + 1].root, end) if at + 1 < len(passes) else end
        committed = after - found.root
        if committed <= 0:  # the row had ended; others of its batch had not
            break
        accepted = min(committed - 1, found.slots - 1)
        refused = accepted < found.slots - 1 and after < end  # at the end no one knows
        seconds = found.ended - passes[at - 1].ended if at else 0.0
        drafted = (("draft", found.slots - 1, accepted),) if found.slots > 1 else ()
        rounds.append(Round(found.slots, accepted, refused, committed, seconds, ranks=(0,) * accepted, offered=drafted))
    return rounds


@dataclass(slots=True)
class Profile:
    """Many rounds summed up. Lists, as they are written to JSON."""

    rounds: int = 0
    depths: list[list[int]] = field(default_factory=list)  # [depth - 1]: rounds that drafted there below what was
    # accepted, rounds that had a draft accepted there
    ranks: list[int] = field(default_factory=list)  # accepted nodes by their rank among siblings
    sources: dict[str, list[int]] = field(default_factory=dict)  # nodes drafted, nodes accepted
    windows: list[list[float]] = field(default_factory=list)  # slots, rounds, median seconds without drafting
    pace: list[list[float]] = field(default_factory=list)  # tokens written, seconds since the prompt: one answer

    @classmethod
    def of(cls, rounds: Iterable[Round]) -> Profile:
        """Everything but the pace."""
        profile = cls()
        seconds: dict[int, list[float]] = {}
        for found in rounds:
            profile._add(found)
            if found.seconds:
                seconds.setdefault(found.slots, []).append(found.seconds - found.draft_seconds)
        profile.windows = [
            [slots, len(taken), round(statistics.median(taken), 9)] for slots, taken in sorted(seconds.items())
        ]
        return profile

    def _add(self, found: Round) -> None:
        self.rounds += 1
        tried = found.accepted + found.refused
        self.depths += [[0, 0] for _ in range(tried - len(self.depths))]
        for depth in range(tried):
            self.depths[depth][0] += 1
            self.depths[depth][1] += depth < found.accepted
        self.ranks += [0] * (max(found.ranks, default=-1) + 1 - len(self.ranks))
        for rank in found.ranks:
            self.ranks[rank] += 1
        for source, drafted, accepted in found.offered:
            count = self.sources.setdefault(source, [0, 0])
            count[0] += drafted
            count[1] += accepted

    def add(self, other: Profile) -> None:
        """Count another contestant's or task's rounds into these; windows and pace are left as they are."""
        self.rounds += other.rounds
        self.depths += [[0, 0] for _ in range(len(other.depths) - len(self.depths))]
        for mine, theirs in zip(self.depths, other.depths, strict=False):
            mine[:] = [a + b for a, b in zip(mine, theirs, strict=True)]
        self.ranks += [0] * (len(other.ranks) - len(self.ranks))
        for rank, count in enumerate(other.ranks):
            self.ranks[rank] += count
        for source, (drafted, accepted) in other.sources.items():
            held = self.sources.setdefault(source, [0, 0])
            held[:] = [held[0] + drafted, held[1] + accepted]


def pace(rounds: Sequence[Round]) -> list[list[float]]:
    """Tokens written and seconds taken, both since the first timed round, at about `POINTS` rounds of one answer."""
    points, tokens, seconds = [[0, 0.0]], 0, 0.0
    for found in rounds:
        if found.seconds:
            tokens, seconds = tokens + found.committed, seconds + found.seconds
            points.append([tokens, round(seconds, 6)])
    step = -(-len(points) // POINTS)
    kept = points[::step]
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def middle(paces: Sequence[list[list[float]]]) -> list[list[float]]:
    """Of several runs of one answer, the one of middling length in seconds."""
    return sorted(paces, key=lambda found: found[-1][1])[(len(paces) - 1) // 2] if paces else []
