"""Prompt lookup: guess that the text goes on as it did the last time its last few tokens occurred."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...models.contract import Ability
from ...row import Row
from ...tree import ROOT, Tree
from ..contract import Context, Drafter, Drafting, Room, Session

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
    """

    longest: int = 3  # tokens, ≥ shortest
    shortest: int = 1  # tokens, ≥ 1
    matches: int = 1  # earlier places to copy from, ≥ 1

    name: ClassVar[str] = "lookup"

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest:
            raise InvalidRequest(
                f"lookup matches {self.shortest} to {self.longest} tokens", hint="1 <= shortest <= longest"
            )
        if self.matches < 1:
            raise InvalidRequest(f"lookup copies from {self.matches} places", hint="matches >= 1")

    @property
    def needs(self) -> Ability:
        return Ability.TREE if self.matches > 1 else Ability.NONE

    def begin(self, context: Context) -> Drafting:
        return Drafting(self, lambda row: LookupSession(self, row))


class LookupSession(Session):
    """An index from every n-gram to the places after which it ended, kept up with the row's tokens."""

    def __init__(self, settings: Lookup, row: Row) -> None:
        self.settings = settings
        self.tokens = row.history.tokens
        self._places: dict[tuple[int, ...], list[int]] = {}  # n-gram -> indices of the token that followed
        self._indexed = 0  # n-grams that end before this token are in the index

    def propose(self, room: Room) -> Tree:
        self._index()
        tokens, settings = self.tokens, self.settings
        for length in range(min(settings.longest, len(tokens) - 1), settings.shortest - 1, -1):
            places = self._places.get(tuple(tokens[-length:]))
            if places:
                score = length / settings.longest
                newest = places[: -settings.matches - 1 : -1]
                return merge([tokens[at : at + room.depth] for at in newest], room.nodes, self.settings.name, score)
        return Tree()

    def fork(self, row: Row) -> Session:
        copy = LookupSession(self.settings, row)
        copy._places = {gram: places.copy() for gram, places in self._places.items()}
        copy._indexed = self._indexed
        return copy

    def _index(self) -> None:
        """Enter n-grams by the token that followed them; the text's own end has no follower, so no self match."""
        tokens = self.tokens
        for follower in range(max(self._indexed, self.settings.shortest), len(tokens)):
            for length in range(self.settings.shortest, min(self.settings.longest, follower) + 1):
                self._places.setdefault(tuple(tokens[follower - length : follower]), []).append(follower)
        self._indexed = len(tokens)


def merge(chains: list[list[int]], nodes: int, source: str, score: float) -> Tree:
    """One tree that holds each chain as a path, at most `nodes` nodes, the first chains first."""
    if len(chains) == 1:
        return Tree.chain(chains[0][:nodes], source=source, score=score)
    tree = Tree()
    for chain in chains:
        parent = ROOT
        for token in chain:
            child = tree.child_bearing(parent, token)
            if child is None:
                if len(tree) == nodes:
                    break
                child = tree.add(token, parent, source=source, score=score)
            parent = child
    return tree
