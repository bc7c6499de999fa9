"""A sequence being decoded: everything one row carries, and the rule by which tokens become final."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, cast

from .generation import Counters, Finish, LogProbability, Step
from .steer.choice import Rule
from .steer.path import History
from .steer.report import log_probability, top_log_probabilities

if TYPE_CHECKING:
    from torch import Tensor

    from .constrain.held import Held
    from .models.edits import Edit


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
    stoppers: Callable[[], Stopper] | None = None  # gives a stopper that has seen nothing of the answer yet
    given: list[int] = field(default_factory=list)  # what is known after the prompt, masks between (infilling)
    log_probabilities: int | None = None  # how many top tokens to report with each; None: none at all
    finish: Finish | None = None
    steps: list[Step] = field(default_factory=list)
    reported: list[LogProbability] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)  # who guessed each new token; "" for the model's own
    segment: Stopper | None = None  # where a search looks at the row next: it pauses with that token
    paused: bool = False  # takes no part in rounds
    _stopper: Stopper | None = None
    # of all rounds that are over: the counters, how many steps, and whether they ended the row
    book: tuple[Counters, int, Finish | None] = field(default_factory=lambda: (Counters(), 0, None))

    @property
    def counters(self) -> Counters:
        """What the rounds took that are over."""
        return self.book[0]

    @property
    def root(self) -> int:
        """The last committed token; it is not in the cache yet."""
        return self.history.tokens[-1]

    @property
    def edits(self) -> tuple[Edit, ...]:
        """Its pipeline's, as they are for its prompt."""
        history = self.history
        return tuple(each.at(history.pictures, history.prompt_length) for each in self.rule.pipeline.edits)

    @property
    def new_tokens(self) -> list[int]:
        return self.history.tokens[self.history.prompt_length :]

    @property
    def remaining(self) -> int:
        """How many more tokens the row may commit."""
        return self.limits.new_tokens - (len(self.history.tokens) - self.history.prompt_length)

    @property
    def settled(self) -> int:
        """How many new tokens the rounds committed that are over."""
        return self.book[0].new_tokens

    def advance(self, tokens: Sequence[int], sources: Sequence[str] = ()) -> list[int]:
        """Commit `tokens` up to the first end token, stop string or the limit; return those kept.

        `sources` tell who guessed the first of them.
        """
        if self.stoppers is not None and self._stopper is None:
            self._stopper = self.stoppers()
        kept: list[int] = []
        for token in tokens:
            kept.append(token)
            if self._stopper is not None and self._stopper.push(token):
                self.finish = "stop"
            elif token in self.limits.ends or self._complete(kept):
                self.finish = "end"
            elif len(kept) == self.remaining:
                self.finish = "length"
            elif self.segment is not None and self.segment.push(token):
                self.paused = True
            if self.finish or self.paused:
                break
        self.history.extend(kept)
        self.sources += [*sources, *[""] * (len(kept) - len(sources))][: len(kept)]
        return kept

    def _complete(self, kept: list[int]) -> bool:
        """Whether the constraint lets nothing follow these tokens, and there is no end token to say so."""
        held = None if self.limits.ends else self.held
        return held is not None and held.at(self.history.tokens, tuple(kept)).over

    @property
    def held(self) -> Held | None:
        """Where the text stands under the row's constraint; None without one."""
        constraint = self.rule.pipeline.constraint
        return None if constraint is None else cast("Held", self.history.states(constraint))

    def record(self, step: Step, layers: int, forwards: Sequence[int], drafter_calls: int = 0) -> None:
        """A round is over; `forwards` are the tokens of each evaluation that served the row, of `layers` layers."""
        after, tokens = replace(self.book[0]), sum(forwards)
        after.rounds += 1
        after.row_forwards += len(forwards)
        after.token_forwards += tokens
        after.layer_token_forwards += layers * tokens
        after.drafter_calls += drafter_calls
        after.drafted += len(step.drafted)
        after.accepted += len(step.accepted)
        after.draft_seconds += step.draft_seconds
        after.seconds += step.seconds
        self.settle([step], after)

    def settle(self, steps: Sequence[Step], counters: Counters) -> None:
        """A round is over: its steps, and the counters with it, in an object that was not the row's.

        The last thing that is done is one assignment: wherever an interrupt comes, `unwind` finds all of a round or
        nothing.
        """
        self.steps += steps
        counters.new_tokens = len(self.history.tokens) - self.history.prompt_length
        self.book = (counters, len(self.steps), self.finish)

    def roll_back(self) -> None:
        """What a round has left that was not over goes, so that all adds up."""
        counters, steps, finish = self.book
        del self.steps[steps:]
        del self.reported[counters.new_tokens :]
        del self.sources[counters.new_tokens :]
        self.finish = finish
        size = self.history.prompt_length + counters.new_tokens
        if len(self.history.tokens) > size:
            self.history = self.history.before(size)
        if self.stoppers is not None:
            self._stopper = self.stoppers()
            for token in self.new_tokens:
                self._stopper.push(token)

    def fork(self, rule: Rule) -> Row:
        """A copy that goes on by another rule of choice, and has no place in a cache yet; its counters begin anew."""
        twin = Row(self.history.fork(), -1, rule, self.limits, self.stoppers, self.given, self.log_probabilities)
        twin.steps, twin.reported, twin.sources = self.steps.copy(), self.reported.copy(), self.sources.copy()
        twin.book = (Counters(new_tokens=self.settled), len(self.steps), self.finish)
        twin.roll_back()
        return twin

    def unwind(self) -> None:
        """An interrupt has ended the row."""
        self.roll_back()
        self.finish = self.finish or "interrupt"

    def begin_again(self) -> None:
        """Back to the prompt; what it took until now still counts."""
        self.history = self.history.before(self.history.prompt_length)
        self.steps, self.reported, self.sources, self._stopper = [], [], [], None
        self.book = (replace(self.book[0], new_tokens=0), 0, None)
        self.finish = None


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
