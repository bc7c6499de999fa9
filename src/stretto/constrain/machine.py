"""Automata that read bytes, and the states of texts that they read: what regular constraints stand on."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .contract import State
from .tokens import Tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 2048  # masks that are kept; beyond, all are worked out anew
DEAD = 0  # the number of the state behind which nothing valid comes
LONGEST = 256  # bytes that are forced at a time
EVERY = bytes(range(256))
FEW = 128  # states between which ways of tokens are looked for; between more, ways of single bytes, if all are tokens
MANY = 20_000  # states between which any are looked for
FAR = 2**30  # tokens to an end where there is none


class Machine:
    """A deterministic automaton over bytes. Its states are numbered from 1 as they are met; rows and requests share it.

    All tokens are read from a state at once: one step of an array for each byte of the longest.
    """

    def __init__(
        self,
        tokens: Tokens,
        start: Hashable,
        step: Callable[[Any, int], Hashable],
        final: Callable[[Any], bool],
        letters: bytes = EVERY,
    ) -> None:
        """`step(state, byte)` gives a state, or what is not true where nothing valid can come of it.

        `letters` are the bytes that texts are made of; no other is asked about.
        """
        self.tokens = tokens
        self._letters = letters
        self._step, self._final = step, final
        self._states: list[Any] = [None]
        self._numbers: dict[Hashable, int] = {}
        self._rows: dict[int, NDArray[np.int32]] = {}
        self._masks: dict[int, NDArray[Any]] = {}
        self._alive: dict[int, bool] = {DEAD: False}
        self.start = self._number(start)

    def state(self, number: int) -> Any:
        """The automaton's own state of a number."""
        return self._states[number]

    def final(self, state: int) -> bool:
        """Whether a text may end there."""
        return state != DEAD and self._final(self._states[state])

    def row(self, state: int) -> NDArray[np.int32]:
        """The states behind each byte [256]."""
        if state not in self._rows:
            row = np.full(256, DEAD, np.int32)
            for byte in self._letters if state else b"":
                row[byte] = self._number(self._step(self._states[state], byte))
            self._rows[state] = row
        return self._rows[state]

    def read(self, state: int, token: int) -> int:
        """The state behind a token; `DEAD` where it may not follow."""
        text = self.tokens.text_of(token)
        if not text:
            return DEAD
        for byte in text:
            state = int(self.row(state)[byte])
        return state if self.alive(state) else DEAD

    def allowed(self, state: int) -> NDArray[Any]:
        """The tokens that may follow: bool [V], not to be written to."""
        if state not in self._masks:
            if len(self._masks) >= MOST:
                self._masks.clear()
            after = self._behind(state)
            dead = [each for each in np.unique(after).tolist() if not self.alive(each)]
            mask = ~np.isin(after, dead)
            mask.flags.writeable = False
            self._masks[state] = mask
        return self._masks[state]

    @cached_property
    def _spelled(self) -> bool:
        return all(bytes([byte]) in self.tokens.texts for byte in self._letters)

    def alive(self, state: int) -> bool:
        """Whether tokens can spell a way from there to an end. They can where every letter is a token."""
        if self._spelled:
            return state != DEAD
        if state not in self._alive:
            self._explore(state)
        return self._alive[state]

    def least(self, state: int) -> int | None:
        """The fewest tokens from there to an end; at most that many, where there are more than `FEW` states.

        None where there are too many.
        """
        return None if self._far is None else int(self._far[state])

    def within(self, state: int, most: int) -> NDArray[Any] | None:
        """The tokens behind which `most` more, or fewer, lead to an end: bool [V], not to be written to; else None."""
        far = self._far
        if far is None:
            return None
        if most >= int(far[far < FAR].max(initial=0)):
            return self.allowed(state)
        fits: NDArray[Any] = far[self._behind(state)] <= most
        return fits

    @cached_property
    def _far(self) -> NDArray[np.int64] | None:
        """The fewest tokens from each state to an end [states]; None where there are more than `MANY` states."""
        before = self._edges(self._behind, FEW if self.tokens.spells_all else MANY)
        if before is None and self.tokens.spells_all:
            before = self._edges(self.row, MANY)
        if before is None:
            return None
        far = np.full(len(self._states), FAR)
        layer = [state for state in before if self.final(state)]
        steps = 0
        while layer:
            far[layer] = steps
            steps += 1
            layer = [state for state in {each for old in layer for each in before[old]} if far[state] == FAR]
        return far

    def _edges(self, behind: Callable[[int], NDArray[np.int32]], most: int) -> dict[int, set[int]] | None:
        """The states before each that is reached from the start; None where those are more than `most`."""
        before: dict[int, set[int]] = {self.start: set()}
        left = [self.start]
        while left:
            state = left.pop()
            for after in np.unique(behind(state)).tolist():
                if after == DEAD:
                    continue
                if after not in before:
                    before[after] = set()
                    left.append(after)
                before[after].add(state)
            if len(before) > most:
                return None
        return before

    def _number(self, state: Hashable) -> int:
        if not state:
            return DEAD
        if state not in self._numbers:
            self._numbers[state] = len(self._states)
            self._states.append(state)
        return self._numbers[state]

    def _behind(self, state: int) -> NDArray[np.int32]:
        """The states behind all tokens [V]; `DEAD` behind those that are no text."""
        rows, lengths = self.tokens.grid
        after = np.where(lengths > 0, state, DEAD).astype(np.int32)
        for depth in range(rows.shape[1]):
            (going,) = np.nonzero((lengths > depth) & (after != DEAD))
            if not len(going):
                break
            states, at = np.unique(after[going], return_inverse=True)
            steps = np.stack([self.row(state) for state in states.tolist()])
            after[going] = steps[at, rows[going, depth]]
        return after

    def _explore(self, start: int) -> None:
        """Find of all states that tokens lead to from one which of them lead to an end."""
        before: dict[int, set[int]] = {start: set()}
        left = [start]
        while left:
            state = left.pop()
            for after in np.unique(self._behind(state)).tolist():
                if after not in before:
                    before[after] = set()
                    left.append(after)
                before[after].add(state)
        able = [state for state in before if self.final(state) or self._alive.get(state, False)]
        found = set(able)
        while able:
            fresh = before[able.pop()] - found
            found |= fresh
            able += fresh
        self._alive |= {state: state in found for state in before}


class Reading(State):
    """A text that a machine reads."""

    def __init__(self, machine: Machine, path: Sequence[int] = ()) -> None:
        self.machine = machine
        self._path = [*path] or [machine.start]  # the states behind each token, the first one before all

    @property
    def at(self) -> Any:
        """The automaton's own state."""
        return self.machine.state(self._path[-1])

    @property
    def complete(self) -> bool:
        return self.machine.final(self._path[-1])

    def allowed(self) -> NDArray[Any]:
        return self.machine.allowed(self._path[-1])

    def advance(self, token: int) -> bool:
        after = self.machine.read(self._path[-1], token)
        if after != DEAD:
            self._path.append(after)
        return after != DEAD

    def rollback(self, count: int) -> None:
        assert 0 <= count < len(self._path), f"{count} tokens are taken back, of {len(self._path) - 1}"
        del self._path[len(self._path) - count :]

    def fork(self) -> Reading:
        return Reading(self.machine, self._path)

    def least(self) -> int | None:
        return self.machine.least(self._path[-1])

    def within(self, most: int) -> NDArray[Any] | None:
        return self.machine.within(self._path[-1], most)

    def forced(self) -> Sequence[int]:
        text, state = b"", self._path[-1]
        while not self.machine.final(state) and len(text) < LONGEST:
            (able,) = self.machine.row(state).nonzero()
            if len(able) != 1:
                break
            text += bytes(able.tolist())
            state = int(self.machine.row(state)[able[0]])
        return self.machine.tokens.spell(text)
