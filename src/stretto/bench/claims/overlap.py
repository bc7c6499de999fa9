"""Two workers on simulated clocks: what drafting beside the target's forward wins over drafting before it.

Each scheme decodes the same text, token by token the target's own, and writes down when which worker did what. No
model runs: a worker is a function from a text to the token it would choose next. The drafter 'pearl' does in a thread
what `side_by_side` does here, round for round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ...models.clock import Clock

Chooser = Callable[[Sequence[int]], int]  # the token that follows a text, by the rule of choice
Mode = Literal["plain", "in turn", "pre-verify", "post-verify"]


@dataclass(frozen=True, slots=True)
class Workers:
    """Who drafts and who verifies, and what a window costs each of them."""

    target: Chooser
    draft: Chooser
    target_clock: Clock
    draft_clock: Clock  # asked for windows of one token


@dataclass(frozen=True, slots=True)
class Round:
    """One forward of the target and the drafting that belongs to it. Times in seconds from the start."""

    mode: Mode
    verified: list[int]  # drafted tokens in the target's window, behind the last committed one
    drafted: list[int]  # drafted in this round: before the window, or beside it
    committed: list[int]
    draft: tuple[float, float]  # when drafting began and ended
    target: tuple[float, float]  # when the forward did

    @property
    def seconds(self) -> float:
        """From the beginning of the one to the end of the other."""
        return max(self.draft[1], self.target[1]) - min(self.draft[0], self.target[0])


@dataclass(slots=True)
class Timeline:
    """The record of one decode."""

    rounds: list[Round] = field(default_factory=list)

    @property
    def tokens(self) -> list[int]:
        """All committed tokens."""
        return [token for each in self.rounds for token in each.committed]

    @property
    def seconds(self) -> float:
        """Until the last token was committed."""
        return sum(each.seconds for each in self.rounds)


def plainly(workers: Workers, prompt: Sequence[int], new_tokens: int) -> Timeline:
    """One token per forward, no drafting."""
    return in_turn(workers, prompt, new_tokens, 0)


def in_turn(workers: Workers, prompt: Sequence[int], new_tokens: int, length: int) -> Timeline:
    """Ordinary speculation: draft `length` tokens, then verify them; one waits while the other works."""
    timeline, text, now = Timeline(), list(prompt), 0.0
    end = len(text) + new_tokens
    while len(text) < end:
        drafted = _draft(workers, text, min(length, end - len(text) - 1))
        begun = now + len(drafted) * workers.draft_clock.cost(1)
        done = begun + workers.target_clock.cost(1 + len(drafted))
        committed = _verify(workers, text, drafted)[: end - len(text)]
        mode: Mode = "in turn" if length else "plain"
        timeline.rounds.append(Round(mode, drafted, drafted, committed, (now, begun), (begun, done)))
        text, now = text + committed, done
    return timeline


def side_by_side(workers: Workers, prompt: Sequence[int], new_tokens: int, ahead: int) -> Timeline:
    """PEARL (arXiv 2408.11850): draft `ahead` tokens while the target verifies those drafted before.

    The forward behind the waiting tokens also judges the first of the new ones, by the choice it makes anyway. (The
    published scheme leaves that choice unused and judges the token again in the next round, with the same coin.)
    """
    timeline, text, now = Timeline(), list(prompt), 0.0
    end = len(text) + new_tokens
    waiting: list[int] = []
    while len(text) < end:
        window = waiting[: end - len(text) - 1]
        # at the last token there is nothing left to draft for
        drafted = _draft(workers, [*text, *waiting], ahead if end - len(text) > 1 else 0)
        committed = _verify(workers, text, window)[: end - len(text)]
        draft_done = now + len(drafted) * workers.draft_clock.cost(1)
        target_done = now + workers.target_clock.cost(1 + len(window))
        mode: Mode = "post-verify" if window else "pre-verify"
        timeline.rounds.append(Round(mode, window, drafted, committed, (now, draft_done), (now, target_done)))
        ready = [*waiting, *drafted]
        waiting = ready[len(committed) :] if ready[: len(committed)] == committed else []
        text, now = text + committed, max(draft_done, target_done)
    return timeline


def _draft(workers: Workers, text: Sequence[int], length: int) -> list[int]:
    """The drafter's own continuation of a text."""
    drafted: list[int] = []
    for _ in range(length):
        drafted.append(workers.draft([*text, *drafted]))
    return drafted


def _verify(workers: Workers, text: Sequence[int], drafted: Sequence[int]) -> list[int]:
    """What one forward over the drafted tokens commits: those the target would choose, and one choice more."""
    committed: list[int] = []
    while True:
        token = workers.target([*text, *committed])
        committed.append(token)
        if len(committed) > len(drafted) or drafted[len(committed) - 1] != token:
            return committed
