"""Answers that are logic circuits, equivalent to a given one whatever else they are.

A circuit is written gate before inputs: `&ab` is a AND b, `!aB` is NOT (a AND NOT b). Whether what was written so far
can be completed is read off truth tables: for every function of the inputs it is known how many gates it takes, and for
each place that is open how many more the rest takes if that function comes there. As published a gate may open where
circuits of any size complete it; here the gates are counted, so that every answer ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from ..values import shown
from .contract import Constraint, State
from .machine import Machine, Reading
from .tokens import Tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

AND, NAND = "&!"
MOST_INPUTS = 3
NEVER = 1 << 20  # gates: more than there are
MOST_TOLLS = 4096  # arrays that are kept; beyond, they are worked out anew
OPEN = -1
FORM = f"write {AND}ab for a AND b, {NAND}aB for NOT (a AND NOT b); inputs are a, b, c"

ENTRY = Entry(
    name="circuit-transformer",
    number=77,
    family="constraint",
    source="arXiv 2403.13838 (circuit transformer)",
    parts='plain+circuit("&ab")',
    guarantee=Guarantee.DEFINED,
    summary="logic circuits that are equivalent to a given one, by truth tables of what is written so far",
)


@dataclass(frozen=True, slots=True)
class Circuit(Constraint):
    """Circuits with the outputs of the given ones, in their order, wherever `care` is true.

    >>> Circuit(("&&ab!ab",)).size, Circuit(("&ab",)).equals("!!abA"), Circuit(("&ab",)).equals("!!ab!ab")
    (3, False, True)
    """

    of: tuple[str, ...]  # a circuit for each output, at least one, of at most 3 inputs
    gates: int | None = None  # of all outputs together, as they are written; None: as many as the given ones have
    care: str = ""  # a circuit: it is true for the inputs that matter; without one all do

    name: ClassVar[str] = "circuit"

    def __post_init__(self) -> None:
        for text in (*self.of, *filter(None, (self.care,))):
            if not re.fullmatch(f"[A-Za-z{AND}{NAND}]+", text) or len(tables(text, self.inputs) or ()) != 1:
                raise InvalidRequest(f"{shown(text)} is no circuit", hint=FORM)
        if not self.of or len(self.inputs) > MOST_INPUTS:
            raise InvalidRequest(
                f"circuit has {len(self.of)} outputs and {len(self.inputs)} inputs",
                hint=f"give a circuit for each output; at most {MOST_INPUTS} inputs are told apart",
            )
        if self.gates is not None and self.gates < self._goal.least[0]:
            raise InvalidRequest(
                f"no such circuit has only {self.gates} gates", hint=f"gates is at least {self._goal.least[0]}"
            )

    @property
    def inputs(self) -> str:
        """The letters of the inputs."""
        return "".join(sorted({letter.lower() for text in (*self.of, self.care) for letter in text} - {AND, NAND}))

    @property
    def size(self) -> int:
        """The most gates that an answer may have."""
        return sum(text.count(AND) + text.count(NAND) for text in self.of) if self.gates is None else self.gates

    def equals(self, text: str) -> bool:
        """Whether a text is such a circuit, of any size."""
        goal, found = self._goal, tables(text, self.inputs) or []
        return len(found) == len(goal.outputs) and all(
            not (one ^ other) & goal.care for one, other in zip(found, goal.outputs, strict=True)
        )

    def open(self, tokens: Tokens) -> State:
        tokens.require_text(self.name)
        letters = f"{self.inputs}{self.inputs.upper()}{AND}{NAND}".encode()

        def made() -> Machine:
            start, goal = Standing(0, self.size, ()), self._goal
            return Machine(tokens, start, goal.step, lambda standing: standing.output == len(self.of), letters)

        return Reading(tokens.memory.of(self, made))

    @property
    def _goal(self) -> Goal:
        return _goal(self.of, self.care, self.inputs)


Gates = tuple[tuple[str, int], ...]  # that are open, from the outermost on: with the left input, OPEN where it is


class Standing(NamedTuple):
    """Where a text stands."""

    output: int  # that is being written; one behind the last where all are
    gates: int  # that may still come
    open: Gates


class Functions:
    """All functions of some inputs, each by the bits of its truth table, and what it takes to compute them."""

    def __init__(self, inputs: str) -> None:
        every = np.arange(1 << (1 << len(inputs)))  # [F]
        both = every[:, None] & every
        self.after = {AND: both, NAND: both ^ every[-1]}  # what a gate makes of its inputs [F, F]
        self.literal = {ord(letter): table for letter, table in _literals(inputs).items()}
        self.cost = np.full(len(every), NEVER)  # the gates that each takes [F]
        self.cost[list(self.literal.values())] = 0
        before = None
        while before is None or (before != self.cost).any():
            before, pairs = self.cost.copy(), self.cost[:, None] + self.cost + 1
            for after in self.after.values():
                np.minimum.at(self.cost, after, pairs)


class Goal:
    """Which functions the outputs must be, and what it takes to get there from the middle of one."""

    def __init__(self, outputs: list[int], care: int, functions: Functions) -> None:
        self.outputs, self.care = outputs, care
        self.cost, self.after, self.literal = functions.cost, functions.after, functions.literal
        right = [((np.arange(len(self.cost)) ^ output) & care) == 0 for output in outputs]
        self.right = [np.where(each, 0, NEVER) for each in right]
        least = [int(self.cost[each].min()) for each in right]
        self.least = [sum(least[at:]) for at in range(len(least) + 1)]  # gates of the outputs from each on
        self._tolls: dict[tuple[int, Gates], NDArray[Any]] = {}

    def toll(self, output: int, gates: Gates) -> NDArray[Any]:
        """The gates that the rest of an output takes, for each function of the place that is open [F]."""
        if not gates:
            return self.right[output]
        if (output, gates) not in self._tolls:
            (gate, left), rest = gates[-1], self.toll(output, gates[:-1])
            if len(self._tolls) >= MOST_TOLLS:
                self._tolls.clear()
            after = self.after[gate]
            self._tolls[output, gates] = rest[after[left]] if left != OPEN else (self.cost + rest[after]).min(1)
        return self._tolls[output, gates]

    def step(self, standing: Standing, letter: int) -> Standing | None:
        """One more letter; None where nothing that is equivalent begins so, or it takes too many gates."""
        output, left, gates = standing
        if output == len(self.outputs):
            return None
        if letter not in self.literal:
            gates = (*gates, (chr(letter), OPEN))
            needed = int((self.cost + self.toll(output, gates)).min()) + self.least[output + 1]
            return Standing(output, left - 1, gates) if needed < left else None
        function = self.literal[letter]
        if int(self.toll(output, gates)[function]) + self.least[output + 1] > left:
            return None
        while gates and gates[-1][1] != OPEN:  # both inputs of the innermost gate are there
            gate, other = gates[-1]
            gates, function = gates[:-1], int(self.after[gate][other, function])
        if gates:
            return Standing(output, left, (*gates[:-1], (gates[-1][0], function)))
        return Standing(output + 1, left, ())


@cache
def _goal(of: tuple[str, ...], care: str, inputs: str) -> Goal:
    every = (1 << (1 << len(inputs))) - 1
    (*outputs, matters) = (each for text in (*of, care) for each in tables(text, inputs) or [every])
    return Goal(outputs, matters, functions(inputs))


functions = cache(Functions)


def _literals(inputs: str) -> dict[str, int]:
    """The truth tables of the inputs and, in capitals, of what they are not."""
    patterns = range(1 << len(inputs))
    found = {letter: sum((at >> place & 1) << at for at in patterns) for place, letter in enumerate(inputs)}
    every = (1 << len(patterns)) - 1
    return found | {letter.upper(): table ^ every for letter, table in found.items()}


def tables(text: str, inputs: str) -> list[int] | None:
    """The truth tables of the circuits that stand one behind another; None where it is no text of circuits."""
    known, every = _literals(inputs), (1 << (1 << len(inputs))) - 1
    found: list[int] = []
    for letter in reversed(text):
        if letter in known:
            found.append(known[letter])
        elif letter in (AND, NAND) and len(found) >= 2:
            both = found.pop() & found.pop()
            found.append(both if letter == AND else both ^ every)
        else:
            return None
    return found[::-1]
