"""Suffix automaton: guess that the text goes on as after the longest earlier occurrence of its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...models.contract import Ability
from ...row import Row
from ...tree import Siblings, Tree
from ..automaton import Automaton
from ..contract import Drafter, Drafting, DraftSession, Room
from ..merging import bundle

BREAK = -1  # between the texts of a shared automaton: no row holds it, so no match reaches over
RECALLED = 64  # tokens of a row that are read again when a shared automaton has grown
LED_IN = 16  # prompt tokens that are shared with an answer, so that its beginning can be found

ENTRY = Entry(
    name="suffix-automaton",
    family="speculate",
    source="arXiv 2411.10666 (SAM-Decoding); arXiv 2411.04975 (SuffixDecoding: length by match, shared texts)",
    parts="suffix",
    guarantee=Guarantee.EXACT,
    summary="copies what followed the longest earlier occurrence of the text's end, the more the longer it is",
)


@dataclass(frozen=True, slots=True)
class Suffix(Drafter):
    """Copy `factor` × m + `offset` tokens from after an earlier occurrence of the longest end, m tokens, that has one.

    `shared` also looks in the answers of earlier requests of the same engine. That shows texts of one request to the
    drafting of another: it never changes an answer, but how fast it comes may tell what others wrote.
    Score: 1 - 1 / (1 + m).
    """

    factor: float = 4.0  # tokens drafted per token matched, ≥ 0 (SAM-Decoding: factor 0, offset 40, least 6)
    offset: float = 0.0  # tokens
    least: int = 1  # tokens that must match, ≥ 1
    matches: int = 1  # ends to copy after, from the longest down, ≥ 1
    newest: bool = True  # false: copy from the first occurrence
    shared: bool = False  # whether answers of other requests are looked in, too
    bias: int = 5  # tokens by which a match there must be longer, ≥ 0
    capacity: int = 100_000  # tokens of other requests that are kept at least; at most twice as many, ≥ 1

    name: ClassVar[str] = "suffix"

    def __post_init__(self) -> None:
        if self.factor < 0 or self.factor + self.offset <= 0:
            raise InvalidRequest(
                f"suffix drafts {self.factor} tokens for each that matches and {self.offset} more",
                hint="factor >= 0 and factor + offset > 0",
            )
        if self.least < 1 or self.matches < 1:
            raise InvalidRequest(
                f"suffix copies after {self.matches} matches of {self.least} tokens", hint="least >= 1 and matches >= 1"
            )
        if self.bias < 0 or self.capacity < 1:
            raise InvalidRequest(
                f"suffix shares {self.capacity} tokens at a bias of {self.bias}", hint="bias >= 0 and capacity >= 1"
            )

    @property
    def needs(self) -> Ability:
        return Ability.TREE if self.matches > 1 else Ability.NONE

    @property
    def siblings(self) -> Siblings:
        return Siblings.DISTINCT if self.matches > 1 else Siblings.NONE

    def begin(self, context: Context) -> Drafting:
        if not self.shared or context.steady:
            return Drafting(self, lambda row: SuffixSession(self, row, None))
        others = context.remembered(Others, self.capacity, lambda: Others(self.capacity))
        return Drafting(self, lambda row: SuffixSession(self, row, others))


@dataclass(slots=True, eq=False)
class Generation:
    """Texts one after the other, `BREAK` after each, with their automaton."""

    tokens: list[int] = field(default_factory=list)
    automaton: Automaton = field(default_factory=Automaton)

    def add(self, text: list[int]) -> None:
        """Append a text."""
        for token in (*text, BREAK):
            self.tokens.append(token)
            self.automaton.extend(token)


class Others:
    """What other requests wrote, in two generations: when the newer is full, the older is forgotten."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.generations = [Generation(), Generation()]  # the newer first

    def add(self, text: list[int]) -> None:
        """Append a text; of a very long one the end."""
        if len(self.generations[0].tokens) + len(text) >= self.capacity and self.generations[0].tokens:
            self.generations = [Generation(), self.generations[0]]
        self.generations[0].add(text[-self.capacity + 1 :] if self.capacity > 1 else text[-1:])


class Standing:
    """Where a row's end stands in a generation."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self._size = -1  # of the automaton when it was last read in
        self._state, self._matched, self._read = 0, 0, 0

    def match(self, tokens: list[int]) -> tuple[int, int]:
        """(length, end) of the longest end of the row that occurs there."""
        automaton = self.generation.automaton
        if automaton.size != self._size:  # there may be longer matches now
            self._size = automaton.size
            self._state, self._matched, self._read = 0, 0, max(0, len(tokens) - RECALLED)
        for token in tokens[self._read :]:
            self._state, self._matched = automaton.step(self._state, self._matched, token)
        self._read = len(tokens)
        return self._matched, automaton.late_ends[self._state]


class SuffixSession(DraftSession):
    """The automaton of the row's committed tokens, and where the row stands in those of others."""

    def __init__(self, settings: Suffix, row: Row, others: Others | None) -> None:
        self.settings = settings
        self.row = row
        self.others = others
        self._automaton = Automaton()
        self._standings: list[Standing] = []

    def propose(self, room: Room) -> Tree:
        tokens, settings, automaton = self.row.history.tokens, self.settings, self._automaton
        for token in tokens[automaton.size :]:
            automaton.extend(token)
        state = automaton.repeated()
        own = automaton.lengths[state]
        if self.others is not None:
            length, end, elsewhere = self._match_elsewhere(self.others, tokens)
            if length >= max(settings.least, own + settings.bias, 1):
                copied = elsewhere[end : end + self._length(length, room)]
                if BREAK in copied:
                    copied = copied[: copied.index(BREAK)]
                return Tree.chain(copied[: room.nodes], source="suffix, shared", score=1 - 1 / (1 + length))
        chains: list[list[int]] = []
        while state and automaton.lengths[state] >= settings.least and len(chains) < settings.matches:
            end = automaton.late_ends[state] if settings.newest else automaton.first_ends[state]
            chains.append(tokens[end : end + self._length(automaton.lengths[state], room)])
            state = automaton.links[state]
        score = 1 - 1 / (1 + own)
        if len(chains) == 1:
            return Tree.chain(chains[0][: room.nodes], source=settings.name, score=score)
        return bundle(chains, room.nodes, settings.name, score)

    def _length(self, matched: int, room: Room) -> int:
        return max(0, min(room.depth, int(self.settings.factor * matched + self.settings.offset)))

    def _match_elsewhere(self, others: Others, tokens: list[int]) -> tuple[int, int, list[int]]:
        """The longest match in other texts: its length, its end, and the text that holds it."""
        if [standing.generation for standing in self._standings] != others.generations:
            self._standings = [Standing(generation) for generation in others.generations]
        found = [(*standing.match(tokens), standing.generation.tokens) for standing in self._standings]
        return max(found, key=lambda match: match[0])  # of equal ones the newer

    def fork(self, row: Row) -> DraftSession:
        copy = SuffixSession(self.settings, row, self.others)
        copy._automaton = self._automaton.copy()
        return copy

    def close(self) -> None:
        if self.others is not None:
            history = self.row.history
            if len(history.tokens) > history.prompt_length:
                self.others.add(history.tokens[max(0, history.prompt_length - LED_IN) :])
