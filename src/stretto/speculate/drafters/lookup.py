"""Prompt lookup: guess that the text goes on as it did the last time its last few tokens occurred."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...models.contract import Ability
from ...row import Row
from ...tree import Siblings, Tree
from ..contract import LONGEST_GRAM, Drafter, Drafting, DraftSession, Room
from ..merging import bundle

ENTRY = Entry(
    name="prompt-lookup",
    family="speculate",
    source="github.com/apoorvumang/prompt-lookup-decoding; arXiv 2304.04487 (copying from a reference)",
    parts="lookup",
    guarantee=Guarantee.EXACT,
    summary="copies what followed the last occurrence of the last few tokens",
)


@dataclass(frozen=True, slots=True)
class Lookup(Drafter):
    """Match the last `longest` … `shortest` tokens earlier in the row and copy what followed.

    Of several matches of the longest length that matches at all, the `matches` newest are merged into one
    tree. Chains may be cut short by the end of the text. Score: the length matched, relative to `longest`.
    The published code is `lookup(newest=false,whole=true)+fixed(10)`.
    """

    longest: int = 3  # tokens, ≥ shortest
    shortest: int = 1  # tokens, ≥ 1
    matches: int = 1  # earlier places to copy from, ≥ 1
    newest: bool = True  # false: the first place instead of the newest; needs matches = 1
    whole: bool = False  # true: only places whose continuation fills the room

    name: ClassVar[str] = "lookup"

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest <= LONGEST_GRAM:
            raise InvalidRequest(
                f"lookup matches {self.shortest} to {self.longest} tokens",
                hint=f"1 <= shortest <= longest <= {LONGEST_GRAM}",
            )
        if self.matches < 1:
            raise InvalidRequest(f"lookup copies from {self.matches} places", hint="matches >= 1")
        if self.matches > 1 and not self.newest:
            raise InvalidRequest(f"lookup copies from the first {self.matches} places", hint="newest=true or matches=1")

    @property
    def needs(self) -> Ability:
        return Ability.TREE if self.matches > 1 else Ability.NONE

    @property
    def siblings(self) -> Siblings:
        return Siblings.DISTINCT if self.matches > 1 else Siblings.NONE

    def begin(self, context: Context) -> Drafting:
        return Drafting(self, lambda row: LookupSession(self, row))


class LookupSession(DraftSession):
    """An index from every n-gram to the places after which it ended, kept up with the row's tokens.

    Places are linked from the newest back: a list for each n-gram would cost an object for each.
    """

    def __init__(self, settings: Lookup, row: Row) -> None:
        self.settings = settings
        self.tokens = row.history.tokens
        self._indexed = 0  # n-grams that end before this token are in the index
        self._places: dict[tuple[int, ...], int] = {}  # n-gram -> index of the token that followed it last (or first)
        # For each length n, by place - n: the place before it of the same n-gram, 0 where it was the first.
        self._before: list[list[int]] = [[] for _ in range(settings.longest + 1)]
        self._linked = settings.matches > 1 or (settings.whole and settings.newest)

    def propose(self, room: Room) -> Tree:
        self._index()
        tokens, settings = self.tokens, self.settings
        for length in range(min(settings.longest, len(tokens) - 1), settings.shortest - 1, -1):
            places = self._find(length, room)
            if places:
                score = length / settings.longest
                chains = [tokens[place : place + room.depth] for place in places]
                if len(chains) == 1:
                    return Tree.chain(chains[0][: room.nodes], source=settings.name, score=score)
                return bundle(chains, room.nodes, settings.name, score)
        return Tree()

    def _find(self, length: int, room: Room) -> list[int]:
        """The places to copy from after the last `length` tokens, the preferred first."""
        place = self._places.get(tuple(self.tokens[-length:]), 0)
        latest = len(self.tokens)
        if self.settings.whole:
            latest -= min(room.depth, room.nodes)  # places up to here fill the room
        if not self._linked:
            return [place] if 0 < place <= latest else []
        found: list[int] = []
        while place and len(found) < self.settings.matches:
            if place <= latest:
                found.append(place)
            place = self._before[length][place - length]
        return found

    def fork(self, row: Row) -> DraftSession:
        copy = LookupSession(self.settings, row)
        copy._places = self._places.copy()
        copy._before = [links.copy() for links in self._before]
        copy._indexed = self._indexed
        return copy

    def _index(self) -> None:
        """Enter n-grams by the token that followed them; the text's own end has no follower, so no self match."""
        tokens, places, settings = self.tokens, self._places, self.settings
        for follower in range(max(self._indexed, settings.shortest), len(tokens)):
            gram = tuple(tokens[max(0, follower - settings.longest) : follower])
            for length in range(len(gram), settings.shortest - 1, -1):
                key = gram[-length:]
                if self._linked:
                    self._before[length].append(places.get(key, 0))
                if settings.newest:
                    places[key] = follower
                else:
                    places.setdefault(key, follower)
        self._indexed = len(tokens)
