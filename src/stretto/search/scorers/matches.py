"""A scorer for answers that must have a form: whether a pattern is found in the text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ..scorer import Draft, Scorer, Scoring
from ..texts import compiled


@dataclass(frozen=True, slots=True)
class Matches(Scorer):
    """1 where a regular expression is found in the answer's text, else 0."""

    pattern: str

    name: ClassVar[str] = "matches"

    def __post_init__(self) -> None:
        compiled(self.pattern)

    def begin(self, context: Context) -> Scoring:
        return _Matches(compiled(self.pattern))


@dataclass(frozen=True, slots=True)
class _Matches(Scoring):
    pattern: re.Pattern[str]

    def full(self, drafts: Sequence[Draft]) -> list[float]:
        return [float(self.pattern.search(draft.text) is not None) for draft in drafts]
