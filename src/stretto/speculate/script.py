"""Who knows tokens in advance: the text of a template. (A row's constraint does as well: `constrain/held.py`.)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

HOLE = -1  # in a template: any tokens, up to the first token of what comes next


class ScriptState(Protocol):
    """Where one row's answer stands."""

    def forced(self) -> Sequence[int]:
        """The tokens that must follow here, as far as they are known; none where there is a choice."""
        ...

    def advance(self, token: int) -> None:
        """Take the next committed token."""
        ...

    def fork(self) -> ScriptState:
        """An independent copy."""
        ...


@runtime_checkable
class Script(Protocol):
    """Knows tokens in advance."""

    def open(self) -> ScriptState:
        """The state before the first token of an answer."""
        ...


@dataclass(frozen=True, slots=True)
class Template:
    """A fixed text with holes: token ids, `HOLE` where the answer is free.

    A hole ends where what comes after it begins; an answer that then deviates is back in the hole. The template
    expects, it does not enforce: before the first hole, an answer that deviates is not foretold any more.
    """

    pattern: tuple[int, ...]

    def open(self) -> TemplateState:
        return TemplateState(self.pattern, 0)


class TemplateState:
    """How far an answer has come in a template."""

    def __init__(self, pattern: tuple[int, ...], at: int) -> None:
        self.pattern = pattern
        self.at = at  # the entry that the next token is held against; the pattern's length: nothing is known

    def forced(self) -> Sequence[int]:
        try:
            return self.pattern[self.at : self.pattern.index(HOLE, self.at)]
        except ValueError:
            return self.pattern[self.at :]

    def advance(self, token: int) -> None:
        pattern, end = self.pattern, len(self.pattern)
        if self.at < end and pattern[self.at] != HOLE:
            if pattern[self.at] == token:
                self.at += 1
                return
            holes = [at for at in range(self.at) if pattern[at] == HOLE]
            self.at = holes[-1] if holes else end
        if self.at + 1 < end and pattern[self.at + 1] == token:
            self.at += 2

    def fork(self) -> TemplateState:
        return TemplateState(self.pattern, self.at)
