"""A scorer that is any function of the answer's text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ..scorer import Draft, Scorer, Scoring


@dataclass(frozen=True, slots=True)
class ByFunction(Scorer):
    """What a function says to each text, one after another; for methods by value."""

    function: Callable[[str], float]

    name: ClassVar[str] = "by-function"

    def begin(self, context: Context) -> Scoring:
        return _ByFunction(self.function)


@dataclass(frozen=True, slots=True)
class _ByFunction(Scoring):
    function: Callable[[str], float]

    def full(self, drafts: Sequence[Draft]) -> list[float]:
        return [float(self.function(draft.text)) for draft in drafts]
