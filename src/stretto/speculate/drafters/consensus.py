"""Several samples of one prompt draft from each other: what the others wrote after the same few tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...models.contract import NOTHING, Ability, Want
from ...row import Row
from ...tree import ROOT, Siblings, Tree, slot_of
from ..contract import LONGEST_GRAM, Drafter, Drafting, DraftSession, Outcome, Room
from ..counting import Trie

ENTRY = Entry(
    name="multi-sample",
    family="speculate",
    source="arXiv 2503.05330 (speculative decoding for multi-sample inference)",
    parts="consensus",
    guarantee=Guarantee.EXACT,
    number=102,
    needs=("tree windows",),
    summary="samples of one prompt, decoded together, draft from each other, weighed by the model's probabilities",
)


@dataclass(frozen=True, slots=True)
class Consensus(Drafter):
    """Guess what followed the row's last `longest` … `shortest` tokens in all rows of its prompt, itself included.

    The continuations are merged; an edge weighs the sum of the probabilities that the model gave its token at those
    places, a prompt token 1. Guessed are the paths whose edges' shares among their siblings multiply to `least` or
    more. Rows that have ended go on helping. The published lengths and thresholds are not known.
    """

    longest: int = 4  # tokens, ≥ shortest
    shortest: int = 1  # tokens, ≥ 1
    depth: int = 10  # tokens of each continuation, ≥ 1
    hits: int = 16  # places to look at, the newest, ≥ 1
    least: float = 0.3  # 0 … 1
    weighted: bool = True  # false: count places; saves asking for the model's probabilities

    name: ClassVar[str] = "consensus"

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest <= LONGEST_GRAM:
            raise InvalidRequest(
                f"consensus matches {self.shortest} to {self.longest} tokens",
                hint=f"1 <= shortest <= longest <= {LONGEST_GRAM}",
            )
        if self.depth < 1 or self.hits < 1:
            raise InvalidRequest(
                f"consensus takes {self.depth} tokens from {self.hits} places", hint="depth >= 1 and hits >= 1"
            )
        if not 0 <= self.least <= 1:
            raise InvalidRequest(f"consensus asks for a share of {self.least}", hint="0 <= least <= 1")

    @property
    def needs(self) -> Ability:
        return Ability.TREE

    @property
    def siblings(self) -> Siblings:
        return Siblings.DISTINCT

    def begin(self, context: Context) -> Drafting:
        return ConsensusDrafting(self, alone=context.steady)


class ConsensusDrafting(Drafting):
    """One pool for each prompt; `alone`: for each row, which then guesses by what it wrote itself."""

    def __init__(self, settings: Consensus, alone: bool = False) -> None:
        super().__init__(settings, self._open_session)
        self.settings = settings
        self.alone = alone
        self.want = Want() if settings.weighted else NOTHING
        self._pools: dict[tuple[int, ...], Pool] = {}

    def _open_session(self, row: Row) -> DraftSession:
        prompt = tuple(row.history.tokens[: row.history.prompt_length])
        if self.alone:
            return self._join(Pool(self.settings), Member(row, 0))
        known = prompt in self._pools
        pool = self._pools.setdefault(prompt, Pool(self.settings))
        return self._join(pool, Member(row, len(prompt) if known else 0))  # the prompt is entered once

    def _join(self, pool: Pool, member: Member) -> DraftSession:
        pool.enter(member)
        return ConsensusSession(self, pool, member)

    def fork(self, session: ConsensusSession, row: Row) -> DraftSession:
        """The session of a copy of a row."""
        member = Member(row, 0 if self.alone else session.member.entered)
        member.weights = session.member.weights.copy()
        return self._join(Pool(self.settings) if self.alone else session.pool, member)


class Member:
    """What one row has brought into the pool. Stays when the row has ended."""

    def __init__(self, row: Row, entered: int) -> None:
        self.tokens = row.history.tokens
        self.start = row.history.prompt_length
        self.entered = entered  # tokens up to here are in the pool as followers
        self.weights: list[float] = []  # of the tokens from `start` on

    def weights_from(self, place: int, size: int) -> list[float]:
        """Of the `size` tokens from `place` on: 1 in the prompt."""
        prompt = [1.0] * max(0, min(size, self.start - place))
        own = max(0, place - self.start)
        return prompt + self.weights[own : own + size - len(prompt)]


class Pool:
    """Where each n-gram of the members occurred; occurrences are numbered, each linked to the last one of its kind."""

    def __init__(self, settings: Consensus) -> None:
        self.settings = settings
        self._last: dict[tuple[int, ...], int] = {}  # n-gram -> its newest occurrence
        self._before: list[list[int]] = [[0] for _ in range(settings.longest + 1)]  # by length and occurrence; 0: none
        self._members: list[Member | None] = [None]  # by occurrence: who has it, …
        self._places: list[int] = [0]  # … and where the token stands that followed

    def enter(self, member: Member) -> None:
        """Index what a member has committed since it was last entered."""
        tokens, settings = member.tokens, self.settings
        for place in range(max(member.entered, 1), len(tokens)):
            gram = tuple(tokens[max(0, place - settings.longest) : place])
            for length in range(settings.shortest, settings.longest + 1):
                if length > len(gram):
                    self._before[length].append(0)
                    continue
                key = gram[-length:]
                self._before[length].append(self._last.get(key, 0))
                self._last[key] = len(self._places)
            self._members.append(member)
            self._places.append(place)
        member.entered = len(tokens)

    def guess(self, tokens: list[int], room: Room) -> Tree:
        """What followed the end of `tokens`, where its longest match occurred."""
        settings = self.settings
        depth = min(settings.depth, room.depth)
        for length in range(min(settings.longest, len(tokens)), settings.shortest - 1, -1):
            found = self._last.get(tuple(tokens[-length:]), 0)
            if not found:
                continue
            trie = Trie()
            for _ in range(settings.hits):
                member, place = self._members[found], self._places[found]
                assert member is not None
                chain = member.tokens[place : place + depth]
                trie.add(chain, member.weights_from(place, len(chain)))
                found = self._before[length][found]
                if not found:
                    break
            return trie.tree(room.nodes, Consensus.name, settings.least, doubt=1 / length)
        return Tree()


class ConsensusSession(DraftSession):
    """One row's share in its pool."""

    def __init__(self, drafting: ConsensusDrafting, pool: Pool, member: Member) -> None:
        self.drafting = drafting
        self.pool = pool
        self.member = member

    def propose(self, room: Room) -> Tree:
        return self.pool.guess(self.member.tokens, room)

    def advance(self, outcome: Outcome) -> None:
        self.member.weights += _probabilities(outcome)
        self.pool.enter(self.member)

    def fork(self, row: Row) -> DraftSession:
        return self.drafting.fork(self, row)


def _probabilities(outcome: Outcome) -> list[float]:
    """The model's own probabilities of the committed tokens; 1 each where it was not asked, or not asked so far."""
    size = len(outcome.committed)
    if outcome.logits is None:
        return [1.0] * size
    slots = [slot_of(node) for node in (ROOT, *outcome.path)][:size]
    logits = outcome.logits[slots]  # [n, V]
    chosen = logits.gather(1, torch.tensor(outcome.committed[: len(slots)], device=logits.device)[:, None])[:, 0]
    found: list[float] = (chosen - logits.logsumexp(-1)).exp().tolist()
    return [*found, *([1.0] * (size - len(slots)))]
