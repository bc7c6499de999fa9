"""Answers that are free up to a text, such as the end of a thought, and obey a constraint from there on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import InvalidRequest
from .contract import Constraint, State, Work
from .machine import Machine, Reading
from .tokens import Tokens
from .ways import LONGEST, ways

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class After(Constraint):
    """Any text up to the boundary, which must come; what follows it obeys the other constraint.

    No token may hold the end of the boundary and more: what follows begins with a token of its own.
    """

    constraint: Constraint
    boundary: str  # such as </think>

    name: ClassVar[str] = "after"

    def __post_init__(self) -> None:
        if not self.boundary:
            raise InvalidRequest("the boundary is empty", hint="leave it out, or name a text such as '</think>'")

    def open(self, tokens: Tokens) -> State:
        tokens.require_text(self.name)

        def made() -> Machine:
            step, last = _search(self.boundary.encode())
            return Machine(tokens, 1, lambda at, byte: step.get((at, byte), 0), last.__eq__)

        return Waiting(self, Reading(tokens.memory.of(self, made)), self.constraint.open(tokens))


class Waiting(State):
    """A text that waits for the boundary, or is behind it."""

    def __init__(self, of: After, before: Reading, inner: State, behind: int | None = None) -> None:
        self._of, self._before, self._inner = of, before, inner
        self._behind = behind  # tokens behind the boundary; None before it

    @property
    def complete(self) -> bool:
        return self._behind is not None and self._inner.complete

    def allowed(self) -> NDArray[Any]:
        return self._before.allowed() if self._behind is None else self._inner.allowed()

    def advance(self, token: int) -> bool:
        if self._behind is None:
            able = self._before.advance(token)
            self._behind = 0 if self._before.complete else None
            return able
        able = self._inner.advance(token)
        self._behind += able
        return able

    def rollback(self, count: int) -> None:
        if not count:
            return
        inner = min(count, self._behind or 0)
        self._inner.rollback(inner)
        self._before.rollback(count - inner)
        self._behind = None if count > inner or self._behind is None else self._behind - inner

    def fork(self) -> Waiting:
        return Waiting(self._of, self._before.fork(), self._inner.fork(), self._behind)

    def forced(self) -> Sequence[int]:
        return [] if self._behind is None else self._inner.forced()

    def stuck(self) -> str:
        return "" if self._behind is None else self._inner.stuck()

    def work(self) -> Work | None:
        return self._inner.work()

    def way(self) -> Sequence[int] | None:
        if self._behind is not None:
            return self._inner.way()
        tokens, key = self._before.machine.tokens, (Waiting, self._of.constraint)
        inner = tokens.memory.of(key, lambda: ways(tokens).find(self._inner, LONGEST))  # the other has not begun
        rest = self._of.boundary.encode()[self._before.at - 1 :]
        return None if inner is None else [*tokens.spell(rest), *inner]


def _search(text: bytes) -> tuple[dict[tuple[int, int], int], int]:
    """The steps of an automaton that looks for a text, from 1 on, and its last state, which no byte follows.

    State n + 1: the newest n bytes are the first n of the text (Knuth, Morris and Pratt 1977).
    """
    step = {}
    for known in range(len(text)):
        for byte in range(256):
            seen = text[:known] + bytes([byte])
            longest = next(size for size in range(known + 1, -1, -1) if seen.endswith(text[:size]))
            step[known + 1, byte] = longest + 1
    return step, len(text) + 1
