"""What a scorer must do: tell how good answers are, or beginnings of answers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

from ..context import Context
from ..errors import InvalidRequest
from ..generation import LogProbability
from ..values import Checked
from .contract import Branch, Group
from .texts import Decode, text_of


@dataclass(frozen=True)
class Draft:
    """An answer, or the beginning of one, as scorers see it."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]  # of the answer
    said: Sequence[LogProbability] = field(default=(), compare=False)  # of each token, where the scorer `hears` them
    decode: Decode | None = field(default=None, compare=False)  # None: there is no tokenizer

    @cached_property
    def text(self) -> str:
        """Of the answer, special tokens left out; without a tokenizer, the ids between spaces."""
        return text_of(self.tokens, self.decode)


class Scoring(ABC):
    """A scorer at work in one decode. It is asked once for each draft: what it said is remembered."""

    @property
    def tokens(self) -> int:
        """How many tokens a model of its own has evaluated until now."""
        return 0

    @abstractmethod
    def full(self, drafts: Sequence[Draft]) -> Sequence[float]:
        """How good whole answers are, one number each; higher is better."""

    def prefix(self, drafts: Sequence[Draft]) -> Sequence[float]:
        """The same of answers that go on."""
        return self.full(drafts)


class Scorer(metaclass=Checked):
    """Judges answers. It may hold a model, a cache and a tokenizer of its own, in what it begins."""

    name: ClassVar[str]
    kind: ClassVar[str] = "scorer"
    hears: ClassVar[bool] = False  # wants the log-probabilities of tokens, which cost a little

    @abstractmethod
    def begin(self, context: Context) -> Scoring:
        """Start work in one decode. Raises Unsupported where it cannot serve."""


class Judged:
    """A scorer at work for one search: it is asked about each draft once."""

    def __init__(self, scorer: Scorer, context: Context) -> None:
        self._name = scorer.name
        self._scoring = scorer.begin(context)
        self._decode = context.decode
        self._known: dict[tuple[bool, Draft], float] = {}

    def values(self, group: Group, branches: Sequence[Branch], whole: bool) -> list[float]:
        """How good answers to a group's prompt are, or beginnings of answers; what was asked is booked there.

        Raises InvalidRequest where the scorer has no number for one.
        """
        history, before = group.first.history, self._scoring.tokens
        prompt = history.tokens[: history.prompt_length]
        tokens = tuple(prompt)
        drafts = [Draft(tokens, tuple(each.tokens), each.reports, self._decode) for each in branches]
        asked = [draft for draft in dict.fromkeys(drafts) if (whole, draft) not in self._known]
        if asked:
            found = list((self._scoring.full if whole else self._scoring.prefix)(asked))
            if len(found) != len(asked) or any(map(math.isnan, found)):
                raise InvalidRequest(f"{self._name} has no number for each answer", hint="mend the scorer")
            self._known.update(((whole, draft), float(value)) for draft, value in zip(asked, found, strict=True))
        group.counters.scorer_calls += len(asked)
        group.counters.scorer_tokens += self._scoring.tokens - before
        return [self._known[whole, draft] for draft in drafts]
