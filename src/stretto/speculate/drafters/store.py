"""Retrieval from a datastore: guess that the text goes on as texts like it did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ...entry import Entry, Guarantee
from ...models.contract import Ability
from ...row import Row
from ...tree import Siblings, Tree
from ..contract import Drafter, Drafting, DraftSession, Room
from ..counting import count
from ..datastore import Datastore, check_search, opened

ENTRY = Entry(
    name="rest",
    family="speculate",
    source="arXiv 2311.08252 (REST)",
    parts="store",
    guarantee=Guarantee.EXACT,
    needs=("datastore", "tree windows"),
    summary="looks the text's end up in a datastore and guesses the commonest continuations",
)


@dataclass(frozen=True, slots=True)
class Store(Drafter):
    """Find the longest end of the text, `longest` … `shortest` tokens, in a datastore; guess what most often followed.

    The guesses are the beginnings of continuations with the highest counts, ties to the shorter and then to the lower
    token. Score: the share of its parent's continuations that go this way, less where few and short matches speak.
    """

    path: str = "stretto.store"  # folder of a store, as `stretto store build` writes it
    longest: int = 16  # tokens, ≥ shortest
    shortest: int = 2  # tokens, ≥ 1
    depth: int = 10  # tokens of each continuation, ≥ 1
    hits: int = 1000  # occurrences to count, at even distances where there are more, ≥ 1 (published: 5000)
    nodes: int = 64  # ≥ 1; the planner's room is the other limit

    name: ClassVar[str] = "store"

    def __post_init__(self) -> None:
        check_search(
            self.name,
            longest=self.longest,
            shortest=self.shortest,
            depth=self.depth,
            hits=self.hits,
            nodes=self.nodes,
        )

    @property
    def needs(self) -> Ability:
        return Ability.TREE

    @property
    def siblings(self) -> Siblings:
        return Siblings.DISTINCT

    def begin(self, context: Context) -> Drafting:
        store = opened(self.path, context)
        return Drafting(self, lambda row: StoreSession(self, store, row))


class StoreSession(DraftSession):
    """Remembers nothing: every round is a search for the text's end."""

    def __init__(self, settings: Store, store: Datastore, row: Row) -> None:
        self.settings = settings
        self.store = store
        self.tokens = row.history.tokens

    def propose(self, room: Room) -> Tree:
        settings = self.settings
        found = self.store.longest(self.tokens[-settings.longest :], settings.longest, settings.shortest)
        if not found:
            return Tree()
        rows = self.store.continuations(found, min(settings.depth, room.depth), settings.hits)
        counted = count(rows, min(settings.nodes, room.nodes))
        return counted.tree([settings.name] * len(counted.tokens), doubt=2 / found.length)

    def fork(self, row: Row) -> DraftSession:
        return StoreSession(self.settings, self.store, row)
