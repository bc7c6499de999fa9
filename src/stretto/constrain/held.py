"""A constraint on one row: its state moves along the drafted paths that are asked about, back, and on with the row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import RLock
from typing import TYPE_CHECKING, Any

from ..generation import Counters
from .contract import State

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Where a path stands."""

    allowed: NDArray[Any] | None = None  # the tokens that may follow, end tokens too: bool [V]; None: the text is over
    broken: bool = False  # a token of it was not allowed
    stuck: str = ""  # why nothing may follow: see `State.stuck`

    @property
    def over(self) -> bool:
        """Whether the text has ended: whatever follows is no part of it."""
        return self.allowed is None and not self.broken


OVER, BROKEN = Standing(), Standing(broken=True)


class Held:
    """The state of a constraint at the end of a row's committed tokens, or for a while at a node beyond them.

    A text ends with an end token, where it may; without end tokens it is over once nothing may follow. No end token
    reaches the state, nor anything that it does not allow.
    """

    def __init__(self, state: State, ends: frozenset[int], done: int, masks: bool = True) -> None:
        self.masks = masks  # whether it will be asked what may follow, and not of single tokens alone
        self._state = state
        self._ends = ends
        self._done = done  # tokens of the row, the prompt's too, that are behind the state
        self._along: tuple[int, ...] = ()  # tokens beyond them that the state has taken as well
        self._closed: Standing | None = None  # where the committed tokens are over, or broken
        self._known: dict[tuple[int, ...], Standing] = {}
        self._lock = RLock()  # some drafters work in a thread of their own

    def at(self, tokens: list[int], drafted: tuple[int, ...]) -> Standing:
        """Where the committed tokens and the drafted ones after them stand."""
        with self._lock:
            self._commit(tokens)
            if drafted not in self._known:
                self._known[drafted] = self._go(drafted) or self._standing()
            return self._known[drafted]

    def follows(self, tokens: list[int], drafted: tuple[int, ...]) -> bool:
        """Whether the drafted tokens may follow; cheaper than asking what else may."""
        with self._lock:
            self._commit(tokens)
            return self._go(drafted) is not BROKEN and not self._state.stuck()

    def forced(self, tokens: list[int]) -> Sequence[int]:
        """What must follow the committed tokens, as far as it is known: see `State.forced`."""
        with self._lock:
            here = self.at(tokens, ()).allowed
            if here is None or self._go(()) is not None:
                return []
            (able,) = here.nonzero()
            return [int(able[0])] if len(able) == 1 and int(able[0]) in self._ends else self._state.forced()

    def tell(self, counters: Counters) -> None:
        """Say what a judge has done for the row, if there is one: see `State.work`."""
        if (work := self._state.work()) is not None:
            counters.judged, counters.shut_out = work.asked, work.shut

    def fork(self) -> Held:
        """The same for a row that has committed the same tokens."""
        with self._lock:
            state = self._state.fork()
            state.rollback(len(self._along))
            twin = Held(state, self._ends, self._done, self.masks)
            twin._closed, twin._known = self._closed, self._known.copy()
            return twin

    def _commit(self, tokens: list[int]) -> None:
        """Catch up with what was committed."""
        new = tuple(tokens[self._done :])
        if not new:
            return
        self._closed = self._go(new)
        size = len(new)
        self._done, self._along = self._done + size, ()
        self._known = {path[size:]: there for path, there in self._known.items() if path[:size] == new}

    def _go(self, drafted: tuple[int, ...]) -> Standing | None:
        """Move the state along a path; where that is over or broken before its end."""
        if self._closed is not None:
            return self._closed
        same = 0
        while same < min(len(self._along), len(drafted)) and self._along[same] == drafted[same]:
            same += 1
        self._state.rollback(len(self._along) - same)
        self._along = drafted[:same]
        for token in drafted[same:]:
            if token in self._ends and self._state.complete:
                return OVER
            if token in self._ends or not self._state.advance(token):
                return OVER if self._finished else BROKEN
            self._along = (*self._along, token)
        return None

    def _standing(self) -> Standing:
        """Where the state stands now."""
        if self._finished:
            return OVER
        allowed = self._state.allowed()
        if self._ends:
            allowed = allowed.copy()
            allowed[list(self._ends)] = self._state.complete
        return Standing(allowed, stuck=self._state.stuck())

    @property
    def _finished(self) -> bool:
        """Whether nothing may follow, and no end token will say so."""
        return not self._ends and self._state.complete and not self._state.allowed().any()
