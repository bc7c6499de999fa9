"""Whether a grammar and a finite automaton have a word in common.

Bar-Hillel, Perles and Shamir 1961, as a search that ends with the first word found (arXiv 2508.10111).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from .grammar import Grammar

State = Hashable


@dataclass(slots=True, eq=False)
class Automaton:
    """Nondeterministic, with silent steps."""

    start: State
    final: set[State] = field(default_factory=set)
    silent: dict[State, set[State]] = field(default_factory=dict)
    edges: dict[State, set[tuple[str, State]]] = field(default_factory=dict)  # state -> (terminal, state)

    def step(self, before: State, emitted: Iterable[str], after: State) -> None:
        """Add a step under some terminals, one after the other, or none."""
        terminals = tuple(emitted)
        at = before
        for count, terminal in enumerate(terminals, start=1):
            reached = after if count == len(terminals) else (before, terminals[:count])
            self.edges.setdefault(at, set()).add((terminal, reached))
            at = reached
        if not terminals and before != after:
            self.silent.setdefault(before, set()).add(after)

    def near(self, state: State) -> set[State]:
        """What is reached from a state without a terminal, itself included."""
        found, left = {state}, [state]
        while left:
            for other in self.silent.get(left.pop(), ()):
                if other not in found:
                    found.add(other)
                    left.append(other)
        return found


def common(grammar: Grammar, automaton: Automaton) -> bool:
    """Whether some sentence of the grammar leads from the automaton's start to a final state.

    A worklist over triples (p, A, q): A derives a word that leads from p to q. It ends with the first that answers.
    """
    near = {automaton.start: automaton.near(automaton.start)}
    heads = {state for steps in automaton.edges.values() for _, state in steps}
    near |= {state: automaton.near(state) for state in heads}
    final = {state for state, others in near.items() if others & automaton.final}
    if grammar.start in grammar.nullable and automaton.start in final:
        return True
    binary = grammar.binary
    seen: set[tuple[State, str, State]] = set()
    left: list[tuple[State, str, State]] = []
    out: dict[tuple[State, str], list[State]] = {}  # (p, A) -> q
    into: dict[tuple[State, str], list[State]] = {}  # (q, A) -> p

    def add(before: State, symbol: str, after: State) -> None:
        triple = (before, symbol, after)
        if triple not in seen:
            seen.add(triple)
            left.append(triple)
            out.setdefault((before, symbol), []).append(after)
            into.setdefault((after, symbol), []).append(before)

    for state, others in near.items():
        for other in others:
            for terminal, after in automaton.edges.get(other, ()):
                add(state, terminal, after)
    while left:
        before, symbol, after = left.pop()
        if symbol == grammar.start and before == automaton.start and after in final:
            return True
        for name in binary.units.get(symbol, ()):
            add(before, name, after)
        for name, other in binary.left.get(symbol, ()):
            for end in list(out.get((after, other), ())):
                add(before, name, end)
        for name, other in binary.right.get(symbol, ()):
            for begin in list(into.get((before, other), ())):
                add(begin, name, after)
    return False
