"""Context-free grammars, as they are written and as the algorithms want them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..errors import InvalidRequest

Rules = Mapping[str, Sequence[Sequence[str]]]


@dataclass(frozen=True, eq=False)
class Grammar:
    """Nonterminals have rules; every other symbol is a terminal. An empty right-hand side derives nothing (ε)."""

    rules: Rules  # nonterminal -> its right-hand sides
    start: str

    def __post_init__(self) -> None:
        if self.start not in self.rules:
            raise InvalidRequest(f"{self.start!r} has no rule", hint="start with a symbol that has one")
        barren = sorted(set(self.rules) - self.productive)
        if barren:
            raise InvalidRequest(f"{barren[0]!r} derives no finite text", hint="give it a rule without itself")

    @classmethod
    def parse(cls, text: str) -> Grammar:
        """One nonterminal a line, `S -> a S b | a b`; the first is the start, `ε` stands for nothing."""
        rules: dict[str, list[list[str]]] = {}
        for line in filter(str.strip, text.splitlines()):
            left, arrow, right = line.partition("->")
            if not arrow or not left.strip():
                raise InvalidRequest(f"{line.strip()!r} is no rule", hint="S -> a S b | a b")
            sides = [[symbol for symbol in side.split() if symbol != "ε"] for side in right.split("|")]
            rules.setdefault(left.strip(), []).extend(sides)
        if not rules:
            raise InvalidRequest("the grammar has no rule", hint="S -> a S b | a b")
        return cls(rules, next(iter(rules)))

    @staticmethod
    def check(line: str, names: Collection[str]) -> None:
        """Raise InvalidRequest where a rule holds what others would read as an operator or a quoted text.

        `names` are the symbols that are defined anywhere. Here each word stands for itself, and would do so silently.
        """
        left, _, right = line.partition("->")
        if len(left.split()) != 1:
            raise InvalidRequest(f"{left.strip()!r} is no name of a rule", hint="one word before ->: S -> a S b | a b")
        for symbol in right.split():
            if symbol[:-1] in names and symbol[-1] in "*+?":
                raise InvalidRequest(
                    f"{symbol!r} repeats {symbol[:-1]!r}, which rules do not", hint="list -> item | item list"
                )
            if len(symbol) > 1 and symbol[0] in "\"'" and symbol[-1] == symbol[0]:
                raise InvalidRequest(
                    f"{symbol!r} is quoted, and words stand for themselves",
                    hint="leave the quotes out; ε is nothing; a text with quotes needs a pattern",
                )

    @cached_property
    def terminals(self) -> frozenset[str]:
        """Symbols without rules."""
        return frozenset(symbol for sides in self.rules.values() for side in sides for symbol in side) - set(self.rules)

    @cached_property
    def productive(self) -> frozenset[str]:
        """Nonterminals that derive some string of terminals."""
        found: set[str] = set()
        return self._grow(found, lambda symbol: symbol in found or symbol not in self.rules)

    @cached_property
    def nullable(self) -> frozenset[str]:
        """Nonterminals that derive nothing."""
        found: set[str] = set()
        return self._grow(found, lambda symbol: symbol in found)

    def _grow(self, found: set[str], passes: object) -> frozenset[str]:
        """The least set of nonterminals with a right-hand side that passes symbol by symbol."""
        assert callable(passes)
        size = -1
        while size != len(found):
            size = len(found)
            found |= {name for name, sides in self.rules.items() if any(all(map(passes, side)) for side in sides)}
        return frozenset(found)

    @cached_property
    def binary(self) -> Binary:
        """The same language but for the empty word, in right-hand sides of one symbol or two."""
        pairs: set[tuple[str, str, str]] = set()
        units: set[tuple[str, str]] = set()
        nullable = set(self.nullable)
        for name, sides in self.rules.items():
            for at, side in enumerate(sides):
                left = name
                for depth, symbol in enumerate(side[:-2]):
                    rest = f"{name} {at} {depth}"  # no symbol of a grammar that is written down: those have no space
                    if all(later in nullable for later in side[depth + 1 :]):
                        nullable.add(rest)
                    pairs.add((left, symbol, rest))
                    left = rest
                if len(side) > 1:
                    pairs.add((left, side[-2], side[-1]))
                elif side:
                    units.add((left, side[0]))
        for left, one, two in pairs:
            if one in nullable:
                units.add((left, two))
            if two in nullable:
                units.add((left, one))
        return Binary(pairs, units)

    @cached_property
    def neighbours(self) -> frozenset[tuple[str, str]]:
        """Pairs of terminals that stand side by side in some sentence."""
        first, last = self._edges(0), self._edges(-1)
        found = set()
        for sides in self.rules.values():
            for side in sides:
                for at, one in enumerate(side):
                    for two in side[at + 1 :]:
                        found |= {(a, b) for a in last.get(one, {one}) for b in first.get(two, {two})}
                        if two not in self.nullable:
                            break
        return frozenset(found)

    def _edges(self, end: int) -> dict[str, set[str]]:
        """The terminals that begin (0) or end (−1) what each nonterminal derives."""
        found: dict[str, set[str]] = {name: set() for name in self.rules}
        size = -1
        while size != (size := sum(map(len, found.values()))):
            for name, sides in self.rules.items():
                for side in sides:
                    for symbol in side if end == 0 else reversed(side):
                        found[name] |= found.get(symbol, {symbol})
                        if symbol not in self.nullable:
                            break
        return found


class Binary:
    """Rules A → BC and A → B, indexed by what stands on their right."""

    def __init__(self, pairs: set[tuple[str, str, str]], units: set[tuple[str, str]]) -> None:
        self.units: dict[str, list[str]] = {}  # B -> A
        self.left: dict[str, list[tuple[str, str]]] = {}  # B -> (A, C)
        self.right: dict[str, list[tuple[str, str]]] = {}  # C -> (A, B)
        for name, one in sorted(units):
            self.units.setdefault(one, []).append(name)
        for name, one, two in sorted(pairs):
            self.left.setdefault(one, []).append((name, two))
            self.right.setdefault(two, []).append((name, one))
