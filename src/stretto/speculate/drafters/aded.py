"""ADED: a table of trigrams that verified text reinforces, searched as a small game tree for what to draft."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import log, sqrt
from typing import ClassVar

import numpy as np

from ...context import Context
from ...documents import counted
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...models.contract import Ability
from ...row import Row
from ...tree import ROOT, Siblings, Tree
from ..chance import DRAFTING, KeyedChance, chance_of
from ..contract import Drafter, Drafting, DraftSession, Outcome, Room

ENTRY = Entry(
    name="aded",
    family="speculate",
    source="arXiv 2407.12021; github.com/liuxukun2000/Adaptix",
    parts="aded+fixed(64)",
    guarantee=Guarantee.EXACT,
    number=5,
    needs=("tree windows",),
    summary="Monte Carlo tree search over a trigram table that grows with the verified text",
    generation="table",
)

EXPLORE, SLOWLY = 32.0, 8.0  # c1 and c2 of the selection score
Two = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Aded(Drafter):
    """Search the trigrams that follow the last two tokens, and draft the sentences most visited.

    The table begins empty, as other requests of the engine left it, or with a corpus: each trigram of that weighs its
    share of what follows its pair there, the heaviest `followers` of a pair. Trigrams of committed text gain `step`, at
    most the last `recent` of each round; nothing that was rejected enters. The search selects by
    Q/N + (c1 + ln((N_parent + c2 + 1)/c2)) · P · √N_parent/(1 + N), expands all followers at once, and rewards a leaf
    by 1 + the probabilities along a rollout to `depth`. Where the table has no more paths than `sentences`, all of them
    are drafted without a search, the likeliest first. The score of a node is its probability in the table.
    """

    visits: int = 150  # of the search in each round, ≥ 1
    depth: int = 3  # tokens of a path in the search, ≥ 1
    sentences: int = 24  # paths that are drafted, each with one more token, the best by the table; ≥ 1
    nodes: int = 64  # most nodes of a draft, ≥ 1
    step: float = 0.04  # what a trigram gains, ≥ 0; 0: the corpus alone
    cap: float = 3.0  # the largest weight, ≥ step, > 0
    recent: int = 16  # trigrams that are learnt in a round, ≥ 1
    followers: int = 12  # of a context that are considered, the heaviest; ≥ 1
    contexts: int = 1 << 16  # pairs that the table holds; the one untouched for longest goes; ≥ 1
    prompt: bool = True  # learn the whole prompt; False: its last trigrams only
    shared: bool = False  # one table for all requests of an engine
    corpus: str = ""  # a file, or a folder of *.txt files, in UTF-8; empty: none

    name: ClassVar[str] = "aded"

    def __post_init__(self) -> None:
        counts = ("visits", "depth", "sentences", "nodes", "recent", "followers", "contexts")
        wrong = next((name for name in counts if getattr(self, name) < 1), None)
        if wrong is not None:
            raise InvalidRequest(f"aded({wrong}={getattr(self, wrong)})", hint=f"{wrong} >= 1")
        if not 0 <= self.step <= self.cap or self.cap <= 0:
            raise InvalidRequest(f"aded(step={self.step}, cap={self.cap})", hint="0 <= step <= cap, cap above 0")

    @property
    def needs(self) -> Ability:
        return Ability.TREE

    @property
    def siblings(self) -> Siblings:
        return Siblings.DISTINCT

    def begin(self, context: Context) -> Drafting:
        corpus = read(self.corpus, context) if self.corpus else None
        if not self.shared or context.steady:
            own = replace(self, shared=False)
            return Drafting(own, lambda row: AdedSession(own, row, Trigrams(own, corpus)))
        table = context.remembered(Trigrams, (self, corpus), lambda: Trigrams(self, corpus))
        return Drafting(self, lambda row: AdedSession(self, row, table))


class Corpus:
    """What follows each pair of tokens in some documents: counted once, looked up by one binary search."""

    def __init__(self, documents: Iterable[Sequence[int]], vocabulary: int) -> None:
        """`vocabulary` V: an upper bound of the token ids; O(N log N) for N tokens."""
        arrays = [np.asarray(document, dtype=np.int64) for document in documents]
        keys = [(each[:-2] * vocabulary + each[1:-1]) * vocabulary + each[2:] for each in arrays if len(each) > 2]
        runs, self._counts = np.unique(np.concatenate([*keys, np.zeros(0, np.int64)]), return_counts=True)
        self._vocabulary = vocabulary
        self._pairs, self._tokens = np.divmod(runs, vocabulary)  # sorted by pair, then by token

    def following(self, pair: Two, most: int) -> dict[int, float]:
        """The commonest followers, and their shares of all that followed the pair; of equals the lower tokens."""
        place = pair[0] * self._vocabulary + pair[1]
        low, high = np.searchsorted(self._pairs, [place, place + 1]).tolist()
        if low == high:
            return {}
        counts, tokens = self._counts[low:high], self._tokens[low:high]
        best = np.argsort(-counts, kind="stable")[:most]
        return dict(zip(tokens[best].tolist(), (counts[best] / counts.sum()).tolist(), strict=True))


def read(text: str, context: Context) -> Corpus:
    """The trigrams of a text; see `counted`, also for what it raises."""
    return counted(Corpus, text, context, lambda documents: Corpus(documents, context.vocabulary))


class Trigrams:
    """Weights of what follows each pair of tokens; of a pair that nothing has touched, the corpus' own."""

    def __init__(self, settings: Aded, corpus: Corpus | None = None) -> None:
        self.settings = settings
        self.corpus = corpus
        self.weights: dict[Two, dict[int, float]] = {}  # the pair touched last stands last
        self._ranked: dict[Two, list[tuple[int, float]]] = {}

    def reinforce(self, first: int, second: int, third: int) -> None:
        """Let a trigram gain a step."""
        if not self.settings.step:
            return
        pair = (first, second)
        known = self.weights.pop(pair, None)
        if known is None:
            known = self._untouched(pair)
            if len(self.weights) >= self.settings.contexts:
                oldest = next(iter(self.weights))
                del self.weights[oldest]
                self._ranked.pop(oldest, None)
        known[third] = min(known.get(third, 0.0) + self.settings.step, self.settings.cap)
        self.weights[pair] = known
        self._ranked.pop(pair, None)

    def following(self, pair: Two) -> list[tuple[int, float]]:
        """The heaviest followers with their probabilities among themselves, heaviest first, then by token."""
        ranked = self._ranked.get(pair)
        if ranked is None:
            weights = self.weights.get(pair) or self._untouched(pair)
            if not weights:
                return []
            heaviest = sorted(weights.items(), key=lambda item: (-item[1], item[0]))
            heaviest = heaviest[: self.settings.followers]
            total = sum(weight for _, weight in heaviest)
            ranked = self._ranked[pair] = [(token, weight / total) for token, weight in heaviest]
        return ranked

    def _untouched(self, pair: Two) -> dict[int, float]:
        return {} if self.corpus is None else self.corpus.following(pair, self.settings.followers)

    def copy(self) -> Trigrams:
        twin = Trigrams(self.settings, self.corpus)
        twin.weights = {pair: known.copy() for pair, known in self.weights.items()}
        return twin


class AdedSession(DraftSession):
    """One row's place in a table, its own or one that all rows write."""

    def __init__(self, settings: Aded, row: Row, table: Trigrams) -> None:
        self.settings = settings
        self.row = row
        self.table = table
        tokens = row.history.tokens
        self._learn(0 if settings.prompt else len(tokens) - settings.recent)

    def propose(self, room: Room) -> Tree:
        tokens = self.row.history.tokens
        tree = Tree()
        if len(tokens) < 2:
            return tree
        settings, root = self.settings, (tokens[-2], tokens[-1])
        depth = min(settings.depth, room.depth)
        paths = all_paths(self.table, root, depth, settings.sentences)
        if paths is None:
            paths = Search(self.table, root, depth).run(settings.visits, chance_of(self.row, DRAFTING))
        at: dict[tuple[int, int], int] = {}
        for path in paths[: settings.sentences]:
            pair, parent = root, ROOT
            for token in self._lengthened(pair, path)[: room.depth]:
                if (parent, token) not in at:
                    if len(tree) == min(room.nodes, settings.nodes):
                        return tree
                    share = next(share for follower, share in self.table.following(pair) if follower == token)
                    at[parent, token] = tree.add(token, parent, source=settings.name, score=share)
                parent, pair = at[parent, token], (pair[1], token)
        return tree

    def advance(self, outcome: Outcome) -> None:
        tokens = self.row.history.tokens
        self._learn(len(tokens) - min(len(outcome.committed), self.settings.recent))

    def fork(self, row: Row) -> DraftSession:
        copy = AdedSession.__new__(AdedSession)
        copy.settings, copy.row = self.settings, row
        copy.table = self.table if self.settings.shared else self.table.copy()
        return copy

    def _learn(self, start: int) -> None:
        """Reinforce the trigrams that end at position `start` or later."""
        tokens = self.row.history.tokens
        for end in range(max(start, 2), len(tokens)):
            self.table.reinforce(*tokens[end - 2 : end + 1])

    def _lengthened(self, pair: Two, path: list[int]) -> list[int]:
        """A path and the best token after it."""
        more = self.table.following((*pair, *path)[-2:])  # type: ignore[arg-type]
        return [*path, more[0][0]] if more else path


def all_paths(table: Trigrams, root: Two, depth: int, most: int) -> list[list[int]] | None:
    """Every path of up to `depth` tokens that ends where the table or the depth does, likeliest first.

    None where there are more than `most`; no path at all where nothing follows the root.
    """
    found: list[tuple[float, list[int]]] = []
    stack: list[tuple[Two, float, list[int]]] = [(root, 1.0, [])]
    while stack:
        pair, mass, path = stack.pop()
        following = table.following(pair) if len(path) < depth else []
        if len(found) + len(stack) + len(following) > most:
            return None
        if not following and path:
            found.append((-mass, path))
        for token, share in following:
            stack.append(((pair[1], token), mass * share, [*path, token]))
    return [path for _, path in sorted(found)]


class Place:
    """A node of the search; its followers stand in parallel lists once it is expanded."""

    __slots__ = ("below", "expanded", "pair", "priors", "rewards", "tokens", "visits")

    def __init__(self, pair: Two) -> None:
        self.pair = pair
        self.expanded = False
        self.tokens: list[int] = []
        self.priors: list[float] = []
        self.visits: list[int] = []
        self.rewards: list[float] = []
        self.below: list[Place] = []


class Search:
    """Monte Carlo tree search over the trigrams that follow a pair."""

    def __init__(self, table: Trigrams, pair: Two, depth: int) -> None:
        self.table = table
        self.root = Place(pair)
        self.depth = depth

    def run(self, visits: int, chance: KeyedChance) -> list[list[int]]:
        """Paths from the root to the leaves after so many visits, the most visited first, then the likeliest."""
        for count in range(1, visits + 1):
            self._visit(count, chance)
        found: list[tuple[int, float, list[int]]] = []
        stack: list[tuple[Place, int, float, list[int]]] = [(self.root, visits, 1.0, [])]
        while stack:
            place, seen, mass, path = stack.pop()
            if not place.tokens:
                found.append((-seen, -mass, path))
                continue
            for child, token, times, prior in zip(place.below, place.tokens, place.visits, place.priors, strict=True):
                stack.append((child, times, mass * prior, [*path, token]))
        return [path for _, _, path in sorted(found)]

    def _visit(self, count: int, chance: KeyedChance) -> None:
        """Go down to a leaf, expand it, and credit the way there with the reward."""
        place, seen, way = self.root, count, []
        while place.tokens:
            best = select(place, seen)
            way.append((place, best))
            seen = place.visits[best] + 1  # this visit included
            place = place.below[best]
        if not place.expanded and len(way) < self.depth:
            self._expand(place)
        reward = 1.0 + self._roll_out(place.pair, self.depth - len(way), chance)
        for above, index in way:
            above.visits[index] += 1
            above.rewards[index] += reward

    def _expand(self, place: Place) -> None:
        place.expanded = True
        for token, prior in self.table.following(place.pair):
            place.tokens.append(token)
            place.priors.append(prior)
            place.visits.append(0)
            place.rewards.append(0.0)
            place.below.append(Place((place.pair[1], token)))

    def _roll_out(self, pair: Two, steps: int, chance: KeyedChance) -> float:
        """The sum of the probabilities of tokens drawn one after the other."""
        total = 0.0
        for _ in range(steps):
            following = self.table.following(pair)
            if not following:
                break
            token, share = pick(following, chance)
            total += share
            pair = (pair[1], token)
        return total


def pick(following: list[tuple[int, float]], chance: KeyedChance) -> tuple[int, float]:
    """One of the followers, with its probability, drawn by it."""
    left = chance.uniform() if len(following) > 1 else 0.0
    for token, share in following:
        left -= share
        if left < 0:
            return token, share
    return following[-1]


def select(place: Place, seen: int) -> int:
    """The follower with the best selection score; `seen` are the visits of the place, this one included."""
    pull = (EXPLORE + log((seen + SLOWLY + 1) / SLOWLY)) * sqrt(seen)
    best, index = -1.0, 0
    for at, (prior, visits, reward) in enumerate(zip(place.priors, place.visits, place.rewards, strict=True)):
        score = pull * prior / (1 + visits) + (reward / visits if visits else 0.0)
        if score > best:
            best, index = score, at
    return index
