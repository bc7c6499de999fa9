"""Retrieval for code: two datastores, skipped where it rarely pays, and a cache of what was verified before."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, cast

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...models.contract import Ability
from ...row import Row
from ...tree import ROOT, Siblings, Tree
from ..contract import Drafter, Drafting, DraftSession, Outcome, Room
from ..counting import count
from ..datastore import Datastore, check_search, opened
from ..merging import bundle

ENTRY = Entry(
    name="codeswift",
    family="speculate",
    source="arXiv 2502.17139 (CodeSwift, later FastCoder)",
    parts="codeswift",
    guarantee=Guarantee.EXACT,
    number=81,
    needs=("datastore", "tree windows"),
    confirmed=False,
    summary="retrieves from general code and the repository, but not where it rarely pays; caches what was verified",
)

STRENGTH = 4  # observations that a prior hit rate weighs
CACHE_SCORE = 0.8  # of a cached guess, until the planner knows better


@dataclass(frozen=True, slots=True)
class CodeSwift(Drafter):
    """Guess from the cache where the last `cached` tokens are in it; else search both stores, unless it rarely pays.

    It rarely pays after a token after which retrieved drafts hit less often than `threshold`: rates are learnt per
    token over all requests, from a prior that is lower for white space. The cache holds what prompts and answers went
    on with, answers first; it is emptied when a store is rebuilt. The published class of low-value tokens, the source
    weights and the cache's lengths are not known; those here are ours. Keep the file that is being written out of the
    repository's store, or it is found there (`stretto store build --exclude`).
    """

    path: str = "stretto.store"  # store of general code; empty: none
    repository: str = ""  # store of the repository's files; empty: none
    longest: int = 16  # tokens, ≥ shortest
    shortest: int = 2  # tokens, ≥ 1
    depth: int = 10  # tokens of each continuation, ≥ 1
    hits: int = 1000  # occurrences to count in each store, ≥ 1
    nodes: int = 64  # ≥ 1; the planner's room is the other limit
    weight: float = 2.0  # of an occurrence in the repository, where one in general code weighs 1, > 0
    threshold: float = 0.2  # hit rate below which a search is skipped, 0 … 1; 0: never
    prior: float = 0.5  # hit rate before anything was seen, 0 … 1
    blank_prior: float = 0.1  # the same after white space, 0 … 1
    retry: int = 16  # skipped rounds after which a token is tried again; 0: never
    cached: int = 4  # tokens that must match in the cache, ≥ 1
    kept: int = 2  # continuations for each in the cache, ≥ 1
    capacity: int = 50_000  # entries of the cache, ≥ 0; 0: no cache

    name: ClassVar[str] = "codeswift"

    def __post_init__(self) -> None:
        check_search(
            self.name,
            longest=self.longest,
            shortest=self.shortest,
            depth=self.depth,
            hits=self.hits,
            nodes=self.nodes,
        )
        if not self.path and not self.repository:
            raise InvalidRequest("codeswift has no datastore", hint="codeswift(path=…,repository=…)")
        if self.weight <= 0:
            raise InvalidRequest(f"codeswift weighs the repository {self.weight}", hint="weight > 0")
        if not all(0 <= rate <= 1 for rate in (self.threshold, self.prior, self.blank_prior)):
            raise InvalidRequest(
                f"codeswift has rates {self.threshold}, {self.prior}, {self.blank_prior}",
                hint="0 <= threshold, prior, blank_prior <= 1",
            )
        if self.retry < 0 or self.cached < 1 or self.kept < 1 or self.capacity < 0:
            raise InvalidRequest(
                f"codeswift(retry={self.retry},cached={self.cached},kept={self.kept},capacity={self.capacity})",
                hint="retry >= 0, cached >= 1, kept >= 1, capacity >= 0",
            )

    @property
    def needs(self) -> Ability:
        return Ability.TREE

    @property
    def siblings(self) -> Siblings:
        return Siblings.DISTINCT

    def begin(self, context: Context) -> Drafting:
        stores = [opened(path, context) if path else None for path in (self.path, self.repository)]
        content = tuple(store.about.content if store else "" for store in stores)
        if context.steady:
            return CodeSwiftDrafting(self, cast(tuple[Datastore | None, Datastore | None], tuple(stores)), None)
        memory = context.remembered(Memory, self, lambda: Memory(content), version=content)
        return CodeSwiftDrafting(self, cast(tuple[Datastore | None, Datastore | None], tuple(stores)), memory)


Gram = tuple[int, ...]


@dataclass(slots=True)
class Rate:
    """How often searches after one token hit."""

    hits: int = 0
    searches: int = 0
    skipped: int = 0  # rounds since the last search


@dataclass(slots=True)
class Memory:
    """What is kept from one request to the next, for as long as the stores hold the same."""

    content: tuple[str, ...]
    rates: dict[int, Rate] = field(default_factory=dict)  # by the token before
    windows: OrderedDict[Gram, tuple[Gram, ...]] = field(default_factory=OrderedDict)  # the oldest entry first

    def copy(self) -> Memory:
        return Memory(self.content, {token: replace(rate) for token, rate in self.rates.items()}, self.windows.copy())

    def learn(self, gram: Gram, window: Gram, settings: CodeSwift, answered: bool) -> None:
        """Enter what followed an n-gram: what the model answered comes first, what a prompt held last."""
        known = [other for other in self.windows.get(gram, ()) if other != window]
        self.windows[gram] = tuple([window, *known] if answered else [*known, window])[: settings.kept]
        self.windows.move_to_end(gram)
        if len(self.windows) > settings.capacity:
            self.windows.popitem(last=False)


class CodeSwiftDrafting(Drafting):
    """The stores, and what was learnt about them."""

    def __init__(
        self, settings: CodeSwift, stores: tuple[Datastore | None, Datastore | None], memory: Memory | None
    ) -> None:
        """`memory`: that of all rows; None: each row has its own."""
        super().__init__(settings, self._open_session)
        self.settings = settings
        self.stores = stores
        self.memory = memory
        self.blanks = frozenset[int]().union(*(store.blanks() for store in stores if store))
        self.rounds = 0  # in which something was asked for
        self.searches = 0  # rounds of these in which the stores were searched

    def _open_session(self, row: Row) -> DraftSession:
        session = CodeSwiftSession(self, row, self.memory or Memory(()))
        session.enter()
        return session

    def worth(self, token: int, memory: Memory) -> bool:
        """Whether a search after this token is expected to pay, by what is remembered."""
        settings = self.settings
        prior = settings.blank_prior if token in self.blanks else settings.prior
        seen = memory.rates.get(token)
        if seen is None:
            return prior >= settings.threshold
        if settings.retry and seen.skipped >= settings.retry:
            return True
        return (seen.hits + prior * STRENGTH) / (seen.searches + STRENGTH) >= settings.threshold

    def search(self, tokens: Sequence[int], room: Room) -> Tree:
        """What most often followed the text's longest ends in both stores, occurrences weighed by their store."""
        settings = self.settings
        rows, weights, owners, matched = [], [], [], 0
        for owner, (store, weight) in enumerate(zip(self.stores, (1.0, settings.weight), strict=True)):
            found = store.longest(tokens, settings.longest, settings.shortest) if store else None
            if store and found:
                rows.append(store.continuations(found, min(settings.depth, room.depth), settings.hits))
                weights.append(np.full(len(rows[-1]), weight))
                owners.append(np.full(len(rows[-1]), float(owner)))
                matched = max(matched, found.length)
        if not rows:
            return Tree()
        together, mass, owner_of = np.concatenate(rows), np.concatenate(weights), np.concatenate(owners)
        if len(rows) > 1:
            order = np.lexsort(together.T[::-1])
            together, mass, owner_of = together[order], mass[order], owner_of[order]
        counted = count(together, min(settings.nodes, room.nodes), mass)
        owned = np.concatenate([[0.0], np.cumsum(mass * owner_of)])  # by the repository, up to each row
        sources = [
            f"{settings.name}, repository" if 2 * (owned[end] - owned[first]) > weight else settings.name
            for first, end, weight in zip(counted.first, counted.end, counted.weights, strict=True)
        ]
        return counted.tree(sources, doubt=2 / matched)


class CodeSwiftSession(DraftSession):
    """One row: what of it is in the cache, and what was asked in this round."""

    def __init__(self, drafting: CodeSwiftDrafting, row: Row, memory: Memory, entered: int = 0) -> None:
        self.drafting = drafting
        self.memory = memory
        self.history = row.history
        self._entered = entered  # tokens up to here are in the cache as the first of a window
        self._searched: set[int] | None = None  # first tokens that a search guessed; None: there was none
        self._skipped = False

    def propose(self, room: Room) -> Tree:
        drafting, settings, tokens = self.drafting, self.drafting.settings, self.history.tokens
        drafting.rounds += 1
        self._searched, self._skipped = None, False
        windows = self.memory.windows.get(tuple(tokens[-settings.cached :]))
        if windows:
            return bundle(
                [window[: room.depth] for window in windows], room.nodes, f"{settings.name}, cache", CACHE_SCORE
            )
        if not drafting.worth(tokens[-1], self.memory):
            self._skipped = True
            return Tree()
        drafting.searches += 1
        tree = drafting.search(tokens[-settings.longest :], room)
        self._searched = {token for token, parent in zip(tree.tokens, tree.parents, strict=True) if parent == ROOT}
        return tree

    def advance(self, outcome: Outcome) -> None:
        token = self.history.tokens[-len(outcome.committed) - 1]  # the one that was last when it was proposed
        if self._searched is not None:
            rate = self.memory.rates.setdefault(token, Rate())
            rate.searches += 1
            rate.hits += outcome.committed[0] in self._searched
            rate.skipped = 0
        elif self._skipped:
            self.memory.rates.setdefault(token, Rate()).skipped += 1
        self._searched, self._skipped = None, False
        self.enter()

    def enter(self, *, whole: bool = True) -> None:
        """Put what was committed into the cache, window by window; unless `whole`, the cut ones at the end as well."""
        settings, tokens, memory = self.drafting.settings, self.history.tokens, self.memory
        if not settings.capacity:
            return
        end = len(tokens) - settings.depth + 1 if whole else len(tokens)
        for place in range(max(self._entered, settings.cached), end):
            window = tuple(tokens[place : place + settings.depth])
            gram = tuple(tokens[place - settings.cached : place])
            memory.learn(gram, window, settings, answered=place >= self.history.prompt_length)
        self._entered = max(self._entered, end)

    def fork(self, row: Row) -> DraftSession:
        memory = self.memory if self.drafting.memory else self.memory.copy()
        return CodeSwiftSession(self.drafting, row, memory, self._entered)

    def close(self) -> None:
        self.enter(whole=False)
