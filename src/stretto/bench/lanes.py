"""Contestants: whoever answers a group of cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from .. import method as methods
from ..engine import Engine
from ..generation import Counters
from ..method import Method
from ..models.contract import Model
from ..speculate.drafters.model import DraftModel
from .replay import Replayed, followers


@dataclass(frozen=True, slots=True)
class Case:
    """One prompt as token ids, and what every contestant must answer."""

    prompt: list[int]
    expected: list[int]  # new tokens, the end token included where the answer has one
    forced: bool  # replay: choices are forced to `expected`

    @property
    def text(self) -> list[int]:
        """Prompt and answer."""
        return [*self.prompt, *self.expected]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a contestant made of a group."""

    tokens: list[list[int]]  # new tokens of each case
    counters: Counters  # of all cases together


class Lane(Protocol):
    """A contestant. `prepare` is not timed, `answer` is."""

    @property
    def name(self) -> str:
        """As it stands in tables; unique among the contestants."""

    @property
    def ours(self) -> bool:
        """Whether it is stretto that answers."""

    def prepare(self, cases: Sequence[Case]) -> None:
        """Whatever is not part of answering: set the texts to force."""

    def answer(self, cases: Sequence[Case]) -> Answer:
        """Answer the group, its cases side by side where the contestant can."""


class Ours:
    """stretto by one method."""

    ours = True

    def __init__(self, name: str, engine: Engine, model: Replayed, method: Method, max_new_tokens: int) -> None:
        self.name = name
        self._engine = engine
        self._model = model
        self._method = method
        self._max_new_tokens = max_new_tokens

    def prepare(self, cases: Sequence[Case]) -> None:
        """Force the engine's model, where the cases are replayed."""
        texts = [case.text for case in cases]
        self._model.follow(followers(texts, self._model.device) if cases[0].forced else None)

    def answer(self, cases: Sequence[Case]) -> Answer:
        """One call for the whole group."""
        prompts = [case.prompt for case in cases]
        found = self._engine.generate(prompts, self._method, max_new_tokens=self._max_new_tokens)
        counters = Counters()
        for generation in found:
            if generation.error is not None:
                raise generation.error
            counters.add(generation.counters)
        return Answer([generation.tokens for generation in found], counters)


def with_draft(text: str, name: str, draft: Model | None) -> Method:
    """The method of that text form, where `draft` is the loaded model called `name`.

    A method that drafts with the model of that name, or names none, drafts with `draft` itself.
    """
    method = methods.parse(text)
    drafter = method.draft
    if draft is not None and isinstance(drafter, DraftModel) and drafter.model in (name, DraftModel().model):
        return replace(method, draft=replace(drafter, model=draft))
    return method
