"""Answers that are a sentence of a context-free language.

Which tokens may follow is found in two halves (as lexers and parsers share their work). What a token may do within
terminals depends on the terminal that has begun and how far it is, and is worked out once for each such cut: the
terminals that end with the token, and the one that it leaves begun. Whether these may come one behind the other, the
reader of the text says; as many tokens do the same, it is asked little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from ..entry import Entry, Guarantee
from .contract import Constraint, State
from .encoded import as_characters, language_in_bytes
from .languages import language
from .lexicon import Cut, Language
from .matcher import Matcher
from .tokens import Tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 50_000  # bytes whose columns are kept for other answers; beyond, they are worked out anew
LONGEST = 64  # bytes that are forced at a time

ENTRY = Entry(
    name="grammar-mask",
    family="constraint",
    source="arXiv 2305.13971 (grammar-constrained decoding)",
    parts="plain+sentence(json)",
    guarantee=Guarantee.DEFINED,
    summary="the answer is a sentence of a context-free language",
)


@dataclass(frozen=True, slots=True)
class Sentence(Constraint):
    """The whole answer is a sentence of a language: what `grammar` is for canvases."""

    name: ClassVar[str] = "sentence"

    of: str = "json"  # json, expression, or the path of a grammar: see docs/diffusion.md

    def __post_init__(self) -> None:
        language(self.of)

    def open(self, tokens: Tokens) -> State:
        read = language(self.of)
        key = (self, read)  # a file may be another one by now
        tokens.require_text(self.name)
        lexer = tokens.memory.of(key, lambda: Lexer(language_in_bytes(read), tokens))
        return SentenceState(lexer, lexer.matcher())

    @property
    def language(self) -> Language:
        return language(self.of)


class Effect(NamedTuple):
    """What some tokens do from a cut."""

    ended: tuple[str, ...]  # terminals, in their order; what is skipped is not among them
    begun: str | None  # the terminal that is left begun, or what is skipped; None: between two
    tokens: NDArray[np.int64]


class Lexer:
    """What the tokens of a model may do within the terminals of a language."""

    def __init__(self, language: Language, tokens: Tokens) -> None:
        self.language = language
        self.tokens = tokens
        self._first = Matcher(language)  # it has read nothing, and knows what was read after that
        self.read = 0  # bytes, since then
        self._effects: dict[Cut, list[Effect]] = {}
        self._texts: dict[str, list[int]] = {}  # a text for all that are read alike -> the tokens that spell them
        for piece, spelling in tokens.texts.items():
            self._texts.setdefault(language.alike(as_characters(piece)), []).extend(spelling)

    def matcher(self) -> Matcher:
        """One that has read nothing."""
        if self.read > MOST:
            self._first, self.read = Matcher(self.language), 0
        return self._first.fork()

    def effects(self, cut: Cut) -> list[Effect]:
        """What tokens may do from a cut; those that end the same terminals stand together, fewer before more."""
        if cut not in self._effects:
            found: dict[tuple[tuple[str, ...], str], list[int]] = {}
            for text, outcomes in self.language.read_each(sorted(self._texts), cut).items():
                for ended, after in outcomes:
                    found.setdefault((ended, "" if after is None else after[0]), []).extend(self._texts[text])
            self._effects[cut] = [
                Effect(ended, begun or None, np.array(tokens, np.int64))
                for (ended, begun), tokens in sorted(found.items())
            ]
        return self._effects[cut]

    def allowed(self, matcher: Matcher) -> NDArray[Any]:
        """The tokens that may follow what was read: bool [V]."""
        found = np.zeros(len(self.tokens), bool)
        starts: list[tuple[Cut, int]] = [(None, len(matcher))] if matcher.column.items else []
        starts += [((name, places), since) for name, places, since in matcher.column.under]
        for cut, start in starts:
            base, since, may_begin = matcher, start, matcher.expected()
            if cut is not None and cut[0] in self.language.skipped:  # it may end before another terminal begins
                ended = matcher.behind(cut[0], start)
                assert ended is not None, "nothing is skipped where nothing may stand"
                base, since, may_begin = ended, len(ended), ended.expected()
            elif cut is not None:
                may_begin = {cut[0]}  # it grows; others begin behind it
            reached: dict[tuple[str, ...], Place | None] = {(): (base, may_begin)}
            for terminals, begun, tokens in self.effects(cut):
                place = reach(reached, terminals, since)
                if place is not None and (begun is None or begun in place[1]):
                    found[tokens] = True
        return found


Place = tuple[Matcher, set[str]]  # behind some terminals, and what may begin there


def reach(reached: dict[tuple[str, ...], Place | None], terminals: tuple[str, ...], since: int) -> Place | None:
    """The place behind some terminals, the first of which began at a column; None where they may not stand so."""
    if terminals not in reached:
        before = reach(reached, terminals[:-1], since)
        behind = before and before[0].behind(terminals[-1], since if len(terminals) == 1 else len(before[0]))
        reached[terminals] = None if behind is None else (behind, behind.expected())
    return reached[terminals]


class SentenceState(State):
    """A text that is read byte by byte."""

    def __init__(self, lexer: Lexer, matcher: Matcher, lengths: Sequence[int] = (0,)) -> None:
        self.lexer, self.matcher = lexer, matcher
        self._lengths = [*lengths]  # bytes read before each token, and by now

    @property
    def complete(self) -> bool:
        return self.matcher.complete

    def allowed(self) -> NDArray[Any]:
        return self.lexer.allowed(self.matcher)

    def advance(self, token: int) -> bool:
        text = self.lexer.tokens.text_of(token)
        if not text or not self.matcher.push(as_characters(text)):
            return False
        self._lengths.append(len(self.matcher))
        self.lexer.read += len(text)
        return True

    def rollback(self, count: int) -> None:
        del self._lengths[len(self._lengths) - count :]
        self.matcher.rollback(self._lengths[-1])

    def fork(self) -> SentenceState:
        return SentenceState(self.lexer, self.matcher.fork(), self._lengths)

    def forced(self) -> Sequence[int]:
        begun = len(self.matcher)
        text = b""
        while not self.matcher.complete and len(text) < LONGEST:
            rows, _ = self.lexer.tokens.grid
            first = np.unique(rows[self.allowed(), 0])
            if len(first) != 1 or not self.matcher.push(chr(first[0])):
                break
            text += bytes(first.tolist())
        self.matcher.rollback(begun)
        return self.lexer.tokens.spell(text)
