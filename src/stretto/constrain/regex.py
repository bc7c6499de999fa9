"""Answers that match a regular expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from .contract import Constraint, State
from .encoded import in_bytes
from .languages import as_language
from .lexicon import Language
from .machine import Machine, Reading
from .pattern import Pattern
from .tokens import Tokens

ENTRY = Entry(
    name="regex-mask",
    family="constraint",
    source="arXiv 2307.09702 (efficient guided generation)",
    parts='plain+regex("[a-z .]*")',
    guarantee=Guarantee.DEFINED,
    summary="the whole answer matches a pattern",
)


@dataclass(frozen=True, slots=True)
class Regex(Constraint):
    """The whole answer matches the pattern. What patterns may hold is told in `constrain/pattern.py`."""

    pattern: str  # such as [a-z]+ or (yes|no)\\.

    name: ClassVar[str] = "regex"

    def __post_init__(self) -> None:
        if not in_bytes(Pattern(self.pattern, empty=True)).start:
            raise InvalidRequest(f"the pattern {self.pattern!r} matches no text", hint="mend the classes in it")

    def open(self, tokens: Tokens) -> State:
        tokens.require_text(self.name)

        def made() -> Machine:
            pattern = in_bytes(Pattern(self.pattern, empty=True))
            return Machine(tokens, pattern.start, lambda places, byte: pattern.step(places, chr(byte)), pattern.done)

        return Reading(tokens.memory.of(self, made))

    @property
    def language(self) -> Language:
        return as_language(self.pattern)
