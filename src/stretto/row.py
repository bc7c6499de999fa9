"""A sequence being decoded: everything one row carries, and the rule by which tokens become final."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from .generation import Counters, Finish, LogProbability, Step
from .steer.choice import Rule, log_probability, top_log_probabilities
from .steer.path import History


class Stopper(Protocol):
    """Ends a row on its text (stop strings); lives at the edge, where tokens are text."""

    def push(self, token: int) -> bool:
        """Take the next committed token; True when the row ends with it."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """When a row ends."""

    new_tokens: int  # at most this many, ≥ 1
    ends: frozenset[int] = frozenset()  # tokens that end the row; they are kept as its last


@dataclass(slots=True, eq=False)
class Row:
    """One sequence: committed tokens, its row of the cache, its rule of choice, its limits, its record."""

    history: History
    cache_row: int
    rule: Rule
    limits: Limits
    stopper: Stopper | None = None
    given: list[int] = field(default_factory=list)  # what is known after the prompt, masks between (infilling)
    log_probabilities: int | None = None  # how many top tokens to report with each; None: none at all
    finish: Finish | None = None
    counters: Counters = field(default_factory=Counters)
    steps: list[Step] = field(default_factory=list)
    reported: list[LogProbability] = field(default_factory=list)

    @property
    def root(self) -> int:
        """The last committed token; it is not in the cache yet."""
        return self.history.tokens[-1]

    @property
    def new_tokens(self) -> list[int]:
        return self.history.tokens[self.history.prompt_length :]

    @property
    def remaining(self) -> int:
        """How many more tokens the row may commit."""
        return self.limits.new_tokens - (len(self.history.tokens) - self.history.prompt_length)

    def advance(self, tokens: Sequence[int]) -> list[int]:
        """Commit `tokens` up to the first end token, stop string or the limit; return those kept."""
        kept: list[int] = []
        for token in tokens:
            kept.append(token)
            if self.stopper is not None and self.stopper.push(token):
                self.finish = "stop"
            elif token in self.limits.ends:
                self.finish = "end"
            elif len(kept) == self.remaining:
                self.finish = "length"
            if self.finish:
                break
        self.history.extend(kept)
        self.counters.new_tokens += len(kept)
        return kept

    def record(self, step: Step, layers: int, forwards: Sequence[int], drafter_calls: int = 0) -> None:
        """A round is over; `forwards` are the tokens of each evaluation that served the row, of `layers` layers."""
        counters = self.counters
        counters.rounds += 1
        counters.row_forwards += len(forwards)
        counters.token_forwards += sum(forwards)
        counters.layer_token_forwards += layers * sum(forwards)
        counters.drafter_calls += drafter_calls
        counters.drafted += len(step.drafted)
        counters.accepted += len(step.accepted)
        counters.seconds += step.seconds
        counters.draft_seconds += step.draft_seconds
        self.steps.append(step)


@dataclass(slots=True)
class Commit:
    """What one round added to one row."""

    row: Row
    tokens: list[int]
    sources: list[str]  # who guessed each token; "" for the model's own


def reported(tokens: Sequence[int], raw: Tensor, steered: Tensor, most: int) -> list[LogProbability]:
    """Both log-probabilities of n tokens, of raw and steered logits [n, V], with the `most` likeliest beside."""
    return [
        LogProbability(*each)
        for each in zip(
            tokens,
            log_probability(raw, tokens),
            log_probability(steered, tokens),
            top_log_probabilities(raw, most),
            top_log_probabilities(steered, most),
            strict=True,
        )
    ]
