"""Answers that stand between two texts, such as the marks of a call, and obey a constraint there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .choices import Choices
from .contract import Constraint, State, Work
from .tokens import Tokens
from .ways import LONGEST, ways

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Framed(Constraint):
    """A text, then what obeys the other constraint, then another text. Each begins with a token of its own."""

    constraint: Constraint
    before: str = ""  # such as <tool_call>
    behind: str = ""  # such as </tool_call>

    name: ClassVar[str] = "framed"

    def open(self, tokens: Tokens) -> State:
        parts = [
            Choices((self.before,)).open(tokens),
            self.constraint.open(tokens),
            Choices((self.behind,)).open(tokens),
        ]
        return FramedState(tokens, parts, [0])


class FramedState(State):
    """One text after another: each goes on until it is complete, and the next one may begin."""

    def __init__(self, tokens: Tokens, parts: list[State], path: list[int]) -> None:
        self._tokens, self._parts = tokens, parts
        self._path = path  # the part that each token belongs to, the first one before all

    @property
    def complete(self) -> bool:
        return all(part.complete for part in self._parts[self._path[-1] :])

    def allowed(self) -> NDArray[Any]:
        able = self._parts[self._path[-1]].allowed().copy()
        for at in self._reached():
            able |= self._parts[at].allowed()
        return able

    def advance(self, token: int) -> bool:
        part = next((at for at in (self._path[-1], *self._reached()) if self._parts[at].advance(token)), None)
        if part is None:
            return False
        self._path.append(part)
        return True

    def rollback(self, count: int) -> None:
        for part in self._path[len(self._path) - count :]:
            self._parts[part].rollback(1)
        del self._path[len(self._path) - count :]

    def fork(self) -> FramedState:
        return FramedState(self._tokens, [part.fork() for part in self._parts], self._path.copy())

    def forced(self) -> Sequence[int]:
        here = self._path[-1]
        if self._parts[here].complete and here + 1 < len(self._parts) and not self._parts[here].allowed().any():
            return self._parts[here + 1].forced()
        return self._parts[here].forced()

    def stuck(self) -> str:
        return self._parts[self._path[-1]].stuck()

    def work(self) -> Work | None:
        return self._parts[1].work()

    def way(self) -> Sequence[int] | None:
        found: list[int] = []
        for part in self._parts[self._path[-1] :]:
            way = ways(self._tokens).find(part, LONGEST)
            if way is None:
                return None
            found += way
        return found

    def _reached(self) -> list[int]:
        """The parts behind the one where the text stands that may begin here."""
        found: list[int] = []
        for at in range(self._path[-1], len(self._parts) - 1):
            if not self._parts[at].complete:
                break
            found.append(at + 1)
        return found
