"""The bridge from tokens to terminals: what a piece of text may be, wherever its terminals begin and end.

A text belongs to the language if it can be cut into matches of terminals whose sequence is a sentence; matches of
`skipped` patterns may stand between. All cuts count: a keyword is an identifier as well, and the grammar decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import InvalidRequest
from .grammar import Grammar
from .pattern import Pattern, Places, escaped

Cut = tuple[str, Places] | None  # the terminal that has begun and how far it is; None: between two terminals
Outcomes = frozenset[tuple[tuple[str, ...], Cut]]  # the terminals that ended, and where the cut stands after


@dataclass(frozen=True, eq=False)
class Language:
    """A grammar together with the patterns of its terminals."""

    grammar: Grammar
    patterns: Mapping[str, Pattern]  # of every terminal, and of what is skipped
    skipped: frozenset[str] = frozenset()
    _traces: dict[Cut, _Trace] = field(default_factory=dict)  # how what was read last from each cut was read
    _alike: dict[str, str] = field(default_factory=dict)  # character -> the first one that no pattern tells from it
    _first: dict[tuple[bool, ...], str] = field(default_factory=dict)  # which patterns' sets have it -> character

    @classmethod
    def of(
        cls, grammar: str | Grammar, patterns: Mapping[str, str | Pattern] | None = None, skipped: Sequence[str] = ()
    ) -> Language:
        """From text. A terminal without a pattern stands for itself, as it is written."""
        parsed = Grammar.parse(grammar) if isinstance(grammar, str) else grammar
        given = dict(patterns or {})
        unknown = sorted(set(given) - parsed.terminals - set(skipped))
        if unknown or set(skipped) - set(given):
            raise InvalidRequest(
                f"the patterns and the terminals differ: {unknown or sorted(set(skipped) - set(given))}",
                hint="give a pattern to terminals of the grammar, and to all that is skipped",
            )
        literal = {name: escaped(name) for name in parsed.terminals - set(given)}
        read = {n: Pattern(text) if isinstance(text, str) else text for n, text in {**literal, **given}.items()}
        return cls(parsed, read, frozenset(skipped))

    def alike(self, text: str) -> str:
        """A text that is read as this one is: each character stands for all that no pattern tells from it."""
        for char in set(text) - self._alike.keys():
            sets = tuple(step[0].has(char) for each in self.patterns.values() for step in each.steps if step)
            self._alike[char] = self._first.setdefault(sets, char)
        return "".join(map(self._alike.__getitem__, text))

    def read(self, text: str, cut: Cut) -> Outcomes:
        """All that a text may do from where a cut stands."""
        return self._follow(self._traces.setdefault(cut, _Trace(cut)), self.alike(text))

    def read_each(self, texts: Sequence[str], cut: Cut) -> dict[str, Outcomes]:
        """The same for many texts, without those that cannot stand there; sorted, they share what begins them."""
        trace = _Trace(cut)
        found = {text: self._follow(trace, text) for text in texts}
        return {text: outcomes for text, outcomes in found.items() if outcomes}

    def _follow(self, trace: _Trace, text: str) -> Outcomes:
        """Read a text from where it parts from the one that was read before."""
        read = trace.read
        del read[_shared(trace.text, text) + 1 :]
        while read[-1] and len(read) <= len(text):
            char = text[len(read) - 1]
            read.append(frozenset(after for ended, at in read[-1] for after in self._step(char, ended, at)))
        trace.text = text[: len(read) - 1]
        return read[-1]

    def _step(self, char: str, ended: tuple[str, ...], cut: Cut) -> list[tuple[tuple[str, ...], Cut]]:
        begun = [(name, pattern.start) for name, pattern in self.patterns.items()] if cut is None else [cut]
        found: list[tuple[tuple[str, ...], Cut]] = []
        for name, places in begun:
            pattern = self.patterns[name]
            after = pattern.step(places, char)
            if not after:
                continue
            if any(pattern.steps[place] for place in after):  # it may go on
                found.append((ended, (name, after)))
            if pattern.done(after):
                if name in self.skipped:
                    found.append((ended, None))
                elif not ended or (ended[-1], name) in self.grammar.neighbours:
                    found.append(((*ended, name), None))
        return found


class _Trace:
    """A text that is read from a cut, and what it may have done after each of its characters."""

    def __init__(self, cut: Cut) -> None:
        self.text = ""
        self.read: list[Outcomes] = [frozenset({((), cut)})]


def _shared(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
