"""Input-guided copying: a pointer runs along a source; after a deviation it is set anew where the source agrees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest, Unsupported
from ...row import Row
from ...tree import Tree
from ..contract import LONGEST_GRAM, Drafter, Drafting, DraftSession, Room

ENTRY = Entry(
    name="aggressive-decoding",
    family="speculate",
    source="arXiv 2205.10350 (input-guided aggressive decoding)",
    parts="copy",
    guarantee=Guarantee.EXACT,
    number=29,
    summary="for answers that are edited copies: drafts the rest of the source, finds its place again after an edit",
)

SEVERAL = -1  # an n-gram that the source holds more than once


@dataclass(frozen=True, slots=True)
class Copy(Drafter):
    """Draft the rest of the source from the pointer on; after a deviation look for the place to go on at.

    The place is where the answer's last n tokens end in the source, if it is the only one, for the least n from 1 to
    `longest` with at most one. Nothing is drafted where there is none.
    """

    source: tuple[int, ...] = ()  # token ids; none: the row's prompt
    longest: int = 3  # tokens, 1 to 256
    eager: bool = True  # whether the first draft is the source's beginning; false: wait for a place

    name: ClassVar[str] = "copy"

    def __post_init__(self) -> None:
        if not 1 <= self.longest <= LONGEST_GRAM:
            raise InvalidRequest(f"copy matches up to {self.longest} tokens", hint=f"1 <= longest <= {LONGEST_GRAM}")
        if not all(token >= 0 for token in self.source):
            raise InvalidRequest("the source to copy holds something else than token ids", hint="copy(5,17,3)")

    def begin(self, context: Context) -> Drafting:
        if max(self.source, default=0) >= context.vocabulary:
            raise Unsupported(
                f"the source to copy holds token {max(self.source)}, the target has {context.vocabulary}",
                hint="give token ids of the target's own tokenizer",
            )
        return Drafting(self, lambda row: CopySession.opened(self, row))


class CopySession(DraftSession):
    """The pointer of one row, and an index of its source."""

    def __init__(self, longest: int, row: Row, source: Sequence[int], places: dict[tuple[int, ...], int]) -> None:
        self.longest = longest
        self.history = row.history
        self.source = source
        self.places = places  # n-gram of the source -> index of the token after it, or `SEVERAL`; never written to
        self.pointer: int | None = None  # the next source token to draft; None: no place found
        self._read = len(self.history.tokens)  # committed tokens that the pointer has followed

    @classmethod
    def opened(cls, settings: Copy, row: Row) -> CopySession:
        """A session for a row that is at its prompt."""
        source = settings.source or tuple(row.history.tokens[: row.history.prompt_length])
        places: dict[tuple[int, ...], int] = {}
        for length in range(1, settings.longest + 1):
            for end in range(length, len(source) + 1):
                gram = tuple(source[end - length : end])
                places[gram] = SEVERAL if gram in places else end
        session = cls(settings.longest, row, source, places)
        session.pointer = 0 if settings.eager else None
        return session

    def propose(self, room: Room) -> Tree:
        self._follow()
        if self.pointer is None:
            return Tree()
        rest = self.source[self.pointer : self.pointer + min(room.depth, room.nodes)]
        return Tree.chain(rest, source=Copy.name, score=0.9)

    def _follow(self) -> None:
        """Run along with what was committed; where it deviates, or the source is at its end, look for a place."""
        tokens = self.history.tokens
        for token in tokens[self._read :]:
            if self.pointer is not None:
                agrees = self.pointer < len(self.source) and self.source[self.pointer] == token
                self.pointer = self.pointer + 1 if agrees else None
        if len(tokens) > self._read and (self.pointer is None or self.pointer == len(self.source)):
            self.pointer = self._place()
        self._read = len(tokens)

    def _place(self) -> int | None:
        """After the only occurrence in the source of the answer's last n tokens, n as small as can be."""
        tokens = self.history.tokens
        for length in range(1, min(self.longest, len(tokens) - self.history.prompt_length) + 1):
            place = self.places.get(tuple(tokens[-length:]))
            if place is None:
                return None
            if place != SEVERAL:
                return place if place < len(self.source) else None
        return None

    def fork(self, row: Row) -> DraftSession:
        copy = CopySession(self.longest, row, self.source, self.places)
        copy.pointer, copy._read = self.pointer, self._read
        return copy
