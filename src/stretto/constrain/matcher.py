"""Reads a text character by character and knows at each point whether it can begin a sentence; takes back for nothing.

Earley's algorithm (1970) without a separate lexer: terminals begin where the grammar expects them and end wherever
their pattern matches. Columns are only ever appended, so undoing is leaving out the last ones, and copies share them.
What was read once is known: a column keeps those that came after it, so texts that begin alike are read once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .lexicon import Language
from .pattern import Places

Item = tuple[str, int, int, int]  # nonterminal, which of its right-hand sides, how much of it is read, since where
ROOT = "ˢ"  # derives the start symbol


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """What may be going on after so many characters."""

    items: frozenset[Item]  # where terminals may begin and end
    under: frozenset[tuple[str, Places, int]]  # terminals that have begun: their name, how far, since where
    sentence: bool  # whether the text may end here
    after: dict[str, Column | None] = field(default_factory=dict)  # what one more character leads to, as far as known


class Matcher:
    """Of one text."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self.built = 0  # columns that were worked out, whether they still stand or not
        self._columns: list[Column] = []
        self._columns.append(self._column([(ROOT, 0, 0, 0)], set()))

    def __len__(self) -> int:
        """Characters read."""
        return len(self._columns) - 1

    @property
    def column(self) -> Column:
        """What may be going on now."""
        return self._columns[-1]

    @property
    def complete(self) -> bool:
        """Whether what was read is a sentence."""
        return self._columns[-1].sentence

    def push(self, text: str) -> bool:
        """Read on. False, and nothing is read, where the text then begins no sentence."""
        before = len(self)
        for char in text:
            if not self._push(char):
                self.rollback(before)
                return False
        return True

    def rollback(self, length: int) -> None:
        """Forget all but the first so many characters."""
        del self._columns[length + 1 :]

    def fork(self) -> Matcher:
        """A copy that reads on by itself."""
        twin = object.__new__(Matcher)
        twin.language, twin._columns, twin.built = self.language, self._columns.copy(), self.built
        return twin

    def behind(self, terminal: str, since: int) -> Matcher | None:
        """A copy behind a terminal that began after `since` characters, as if it ended right here; None: it may not.

        It has a column more. What is skipped leaves what waits for others as it is.
        """
        waiting = self._columns[since].items
        kernel = waiting if terminal in self.language.skipped else _moved(self, waiting, terminal)
        if not kernel:
            return None
        twin = self.fork()
        twin._columns.append(twin._column(kernel, set()))
        return twin

    def expected(self) -> set[str]:
        """Terminals that may begin here, and what is skipped."""
        items = self._columns[-1].items
        return self._expected(items) | self.language.skipped if items else set()

    def _push(self, char: str) -> bool:
        known = self._columns[-1].after
        if char not in known:
            known[char] = self._next(char)
        column = known[char]
        if column is not None:
            self._columns.append(column)
        return column is not None

    def _next(self, char: str) -> Column | None:
        """The column after one more character; None where the text then begins no sentence."""
        here, last = len(self), self._columns[-1]
        patterns, skipped = self.language.patterns, self.language.skipped
        begun = {(name, patterns[name].start, here) for name in self._expected(last.items) | skipped if last.items}
        under: set[tuple[str, Places, int]] = set()
        items: list[Item] = []
        for name, places, origin in begun | last.under:
            after = patterns[name].step(places, char)
            if not after:
                continue
            if any(patterns[name].steps[place] for place in after):
                under.add((name, after, origin))
            if patterns[name].done(after):
                waiting = self._columns[origin].items
                items += waiting if name in skipped else _moved(self, waiting, name)
        if not items and not under:
            return None
        return self._column(items, under)

    def _column(self, kernel: Iterable[Item], under: set[tuple[str, Places, int]]) -> Column:
        """Predict and complete until nothing new comes."""
        here = len(self._columns)
        self.built += 1
        items: set[Item] = set()
        left = list(kernel)
        while left:
            item = left.pop()
            if item in items:
                continue
            items.add(item)
            name, side, read, origin = item
            symbols = self._side(name, side)
            if read == len(symbols):
                held = items if origin == here else self._columns[origin].items
                left += _moved(self, held, name)
            elif symbols[read] in self.language.grammar.rules:
                wanted = symbols[read]
                left += [(wanted, at, 0, here) for at in range(len(self.language.grammar.rules[wanted]))]
                if wanted in self.language.grammar.nullable:
                    left.append((name, side, read + 1, origin))
        return Column(frozenset(items), frozenset(under), (ROOT, 0, 1, 0) in items)

    def _side(self, name: str, side: int) -> tuple[str, ...]:
        grammar = self.language.grammar
        return (grammar.start,) if name == ROOT else tuple(grammar.rules[name][side])

    def _expected(self, items: Iterable[Item]) -> set[str]:
        """Terminals that may begin."""
        found = set()
        for name, side, read, _ in items:
            symbols = self._side(name, side)
            if read < len(symbols) and symbols[read] not in self.language.grammar.rules:
                found.add(symbols[read])
        return found


def _moved(matcher: Matcher, items: Iterable[Item], symbol: str) -> list[Item]:
    """Items that wait for a symbol, after it."""
    found = []
    for name, side, read, origin in items:
        symbols = matcher._side(name, side)
        if read < len(symbols) and symbols[read] == symbol:
            found.append((name, side, read + 1, origin))
    return found
