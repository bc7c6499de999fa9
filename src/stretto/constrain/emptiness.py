"""Whether a grammar and a finite automaton have a word in common.

Bar-Hillel, Perles and Shamir 1961, for canvases with gaps: arXiv 2508.10111.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Iterator
from dataclasses import dataclass, field

from .grammar import Binary, Grammar

State = Hashable
Ends = dict[str, int]  # symbol -> the states that words of it lead to, as bits
FINAL = ""  # no symbol: says of a state that it leads to a final one in silence


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
            reached = after if count == len(terminals) else (terminals[count:], after)
            self.edges.setdefault(at, set()).add((terminal, reached))
            at = reached
        if not terminals and before != after:
            self.silent.setdefault(before, set()).add(after)

    def parts(self, start: State | None = None, known: Container[State] = ()) -> list[list[State]]:
        """The states that a start leads to, each part behind all that it leads to; a circle is one part.

        `start` is the automaton's own where none is given; what is known is left out, with all that it leads to.

        Strongly connected components by Gabow's search (2000).
        """
        found: list[list[State]] = []
        number: dict[State, int] = {}
        settled: set[State] = set()
        opened, roots, path = [], [], []  # roots: where a part may begin
        start = self.start if start is None else start
        if start not in known:
            path.append((start, self.after(start)))
        while path:
            state, others = path[-1]
            if state not in number:
                number[state] = len(number)
                opened.append(state)
                roots.append(state)
            for other in others:
                if other in known:
                    continue
                if other not in number:
                    path.append((other, self.after(other)))
                    break
                while other not in settled and number[roots[-1]] > number[other]:
                    roots.pop()
            else:
                path.pop()
                if roots[-1] == state:
                    roots.pop()
                    part = [opened.pop()]
                    while part[-1] != state:
                        part.append(opened.pop())
                    settled.update(part)
                    found.append(part)
        return found

    def after(self, state: State) -> Iterator[State]:
        """What one step leads to."""
        yield from self.silent.get(state, ())
        for _, other in self.edges.get(state, ()):
            yield other


def common(grammar: Grammar, automaton: Automaton) -> bool:
    """Whether some sentence of the grammar leads from the automaton's start to a final state."""
    return Words(grammar, automaton).sentence(automaton.start)


class Words:
    """Where the words of a grammar lead from the states of an automaton: worked out once for each state, and kept.

    From the last states to the first it is worked out which symbols lead where. Sets of states are the bits of a
    number, so that a rule A -> B C takes one union for each state between B and C. Circles take several rounds.
    States may be added later, if they only lead to known ones: no steps may be added to a state that was asked for.
    """

    def __init__(self, grammar: Grammar, automaton: Automaton) -> None:
        self.grammar = grammar
        self.automaton = automaton
        self.near: dict[State, Ends] = {}  # by one terminal, after any silent steps; FINAL where these lead to the end
        self.place: dict[State, int] = {}  # of states where words may begin and end
        self.derived: list[Ends] = []  # by place
        self.final = 0  # those that lead to a final state in silence

    def sentence(self, start: State) -> bool:
        """Whether some sentence leads from there to a final state."""
        parts = self.automaton.parts(start, self.near)
        for state in (state for part in parts for state in part):
            for _, after in self.automaton.edges.get(state, ()):
                self._enter(after)
        for part in parts:
            self._work_out(part)
        if FINAL in self.near[start] and self.grammar.start in self.grammar.nullable:
            return True
        found = _derived(self.near[start], self.grammar.binary, self.derived)
        return bool(found.get(self.grammar.start, 0) & self.final)

    def _enter(self, state: State) -> None:
        """Words end in this state, and others begin; it may have been known as one that is passed in silence."""
        if state in self.place:
            return
        self.place[state] = len(self.derived)
        self.derived.append({})
        if state in self.near:
            self.derived[-1] = _derived(self.near[state], self.grammar.binary, self.derived)
            self._close(state)

    def _work_out(self, part: list[State]) -> None:
        """All of a part, until nothing new comes."""
        changed = True
        while changed:
            changed = False
            for state in part:
                moves = self._moves(state)
                changed |= moves != self.near.get(state)
                self.near[state] = moves
                if state in self.place:
                    ends = _derived(moves, self.grammar.binary, self.derived)
                    changed |= ends != self.derived[self.place[state]]
                    self.derived[self.place[state]] = ends
            changed &= len(part) > 1 or state in self.automaton.after(state)
        for state in part:
            self._close(state)

    def _close(self, state: State) -> None:
        if state in self.place and FINAL in self.near[state]:
            self.final |= 1 << self.place[state]

    def _moves(self, state: State) -> Ends:
        """Where each terminal leads from a state, as far as what follows it in silence is known."""
        automaton = self.automaton
        found: Ends = {FINAL: 1} if state in automaton.final else {}
        for terminal, after in automaton.edges.get(state, ()):
            found[terminal] = found.get(terminal, 0) | 1 << self.place[after]
        for other in automaton.silent.get(state, ()):
            for terminal, ends in self.near.get(other, {}).items():
                found[terminal] = found.get(terminal, 0) | ends
        return found


def _derived(moves: Ends, binary: Binary, derived: list[Ends]) -> Ends:
    """Where each symbol leads from a state, by where it leads from the states behind."""
    found: Ends = {}
    left = list(moves.items())
    while left:
        symbol, ends = left.pop()
        known = found.get(symbol, 0)
        if not (fresh := ends & ~known):
            continue
        found[symbol] = known | fresh
        left += [(name, fresh) for name in binary.units.get(symbol, ())]
        if pairs := binary.left.get(symbol):
            gained: Ends = {}
            while fresh:
                at = fresh.bit_length() - 1
                fresh ^= 1 << at
                behind = derived[at]
                for name, other in pairs:
                    if other in behind:
                        gained[name] = gained.get(name, 0) | behind[other]
            left += gained.items()
    return found
