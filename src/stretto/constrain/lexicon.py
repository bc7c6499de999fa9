"""The bridge from tokens to terminals: what a piece of text may be, wherever its terminals begin and end.

A text belongs to the language if it can be cut into matches of terminals whose sequence is a sentence; matches of
`skipped` patterns may stand between. All cuts count: a keyword is an identifier as well, and the grammar decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import InvalidRequest
from .grammar import Grammar
from .pattern import Pattern, Places

Cut = tuple[str, Places] | None  # the terminal that has begun and how far it is; None: between two terminals
Outcomes = frozenset[tuple[tuple[str, ...], Cut]]  # the terminals that ended, and where the cut stands after


@dataclass(frozen=True, eq=False)
class Language:
    """A grammar together with the patterns of its terminals."""

    grammar: Grammar
    patterns: Mapping[str, Pattern]  # of every terminal, and of what is skipped
    skipped: frozenset[str] = frozenset()
    _known: dict[tuple[str, Cut], Outcomes] = field(default_factory=dict)

    @classmethod
    def of(cls, grammar: str, patterns: Mapping[str, str] | None = None, skipped: Sequence[str] = ()) -> Language:
        """From text. A terminal without a pattern stands for itself, as it is written."""
        parsed, given = Grammar.parse(grammar), dict(patterns or {})
        unknown = sorted(set(given) - parsed.terminals - set(skipped))
        if unknown or set(skipped) - set(given):
            raise InvalidRequest(
                f"the patterns and the terminals differ: {unknown or sorted(set(skipped) - set(given))}",
                hint="give a pattern to terminals of the grammar, and to all that is skipped",
            )
        literal = {name: _escaped(name) for name in parsed.terminals - set(given)}
        return cls(parsed, {name: Pattern(text) for name, text in {**literal, **given}.items()}, frozenset(skipped))

    def read(self, text: str, cut: Cut) -> Outcomes:
        """All that a text may do from where a cut stands."""
        if (text, cut) not in self._known:
            found: set[tuple[tuple[str, ...], Cut]] = {((), cut)}
            for char in text:
                found = {after for ended, at in found for after in self._step(char, ended, at)}
            self._known[text, cut] = frozenset(found)
        return self._known[text, cut]

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


def _escaped(text: str) -> str:
    return "".join(char if char.isalnum() else "\\" + char for char in text)
