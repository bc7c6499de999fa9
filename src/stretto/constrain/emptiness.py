"""Whether a grammar and a finite automaton have a word in common.

Bar-Hillel, Perles and Shamir 1961, for canvases with gaps: arXiv 2508.10111.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
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

    def parts(self) -> list[list[State]]:
        """The states that the start leads to, each part behind all that it leads to; a circle is one part.

        Strongly connected components by Gabow's search (2000).
        """
        found: list[list[State]] = []
        number: dict[State, int] = {}
        settled: set[State] = set()
        opened, roots, path = [], [], [(self.start, self.after(self.start))]  # roots: where a part may begin
        while path:
            state, others = path[-1]
            if state not in number:
                number[state] = len(number)
                opened.append(state)
                roots.append(state)
            for other in others:
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
    """Whether some sentence of the grammar leads from the automaton's start to a final state.

    From the last states to the first it is worked out which symbols lead where. Sets of states are the bits of a
    number, so that a rule A -> B C takes one union for each state between B and C. Circles take several rounds.
    """
    parts = automaton.parts()
    entered = {state for steps in automaton.edges.values() for _, state in steps}  # where words may begin and end
    place = {state: at for at, state in enumerate(state for part in parts for state in part if state in entered)}
    near: dict[State, Ends] = {}  # by one terminal, after any silent steps; FINAL where these lead to a final state
    derived: list[Ends] = [{} for _ in place]
    for part in parts:
        changed = True
        while changed:
            changed = False
            for state in part:
                moves = _moves(automaton, state, place, near)
                changed |= moves != near.get(state)
                near[state] = moves
                if state in entered:
                    ends = _derived(moves, grammar.binary, derived)
                    changed |= ends != derived[place[state]]
                    derived[place[state]] = ends
            changed &= len(part) > 1 or state in automaton.after(state)
    final = sum(1 << at for state, at in place.items() if FINAL in near[state])
    if FINAL in near[automaton.start] and grammar.start in grammar.nullable:
        return True
    return bool(_derived(near[automaton.start], grammar.binary, derived).get(grammar.start, 0) & final)


def _moves(automaton: Automaton, state: State, place: Mapping[State, int], near: Mapping[State, Ends]) -> Ends:
    """Where each terminal leads from a state, as far as what follows it in silence is known."""
    found: Ends = {FINAL: 1} if state in automaton.final else {}
    for terminal, after in automaton.edges.get(state, ()):
        found[terminal] = found.get(terminal, 0) | 1 << place[after]
    for other in automaton.silent.get(state, ()):
        for terminal, ends in near.get(other, {}).items():
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
