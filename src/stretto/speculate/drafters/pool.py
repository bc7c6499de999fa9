"""One tree of all that can be known for nothing: how this text and earlier answers went on after the same tokens."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import ClassVar

from ...context import Context
from ...errors import InvalidRequest
from ...models.contract import Ability
from ...row import Row
from ...tree import ROOT, Siblings, Tree
from ..contract import Drafter, Drafting, DraftSession, Outcome, Room
from ..evidence import EARLIER, OWN, Weights, signs
from ..grams import Grams
from ..merging import plant

LEAST = 0.04  # chance of a node with all tokens up to it, below which it is not drafted
UNBOUNDED = 1 << 40  # contexts of a row's own text
LED_IN = 4  # prompt tokens that are counted with an answer, so that its beginning can be found


@dataclass(frozen=True, slots=True)
class Pool(Drafter):
    """The likeliest paths by all signs at once: how the text went on after its last one to six tokens, and how earlier
    answers of the engine did after one to four.

    The score of a node is its chance if its parent is right, by weights that are learnt (`evidence.py`). What earlier
    answers teach never changes an answer, but how fast it comes may tell what others wrote.
    """

    earlier: int = (
        16_384  # tokens of earlier answers kept at least, at most twice as many; 0: nothing of other requests
    )

    name: ClassVar[str] = "pool"

    def __post_init__(self) -> None:
        if self.earlier < 0:
            raise InvalidRequest(f"pool keeps {self.earlier} tokens of earlier answers", hint="earlier >= 0; 0: none")

    @property
    def needs(self) -> Ability:
        return Ability.TREE

    @property
    def siblings(self) -> Siblings:
        return Siblings.DISTINCT

    def begin(self, context: Context) -> Drafting:
        if context.steady or not self.earlier:
            return Drafting(self, lambda row: PoolSession(self, row, Known(self)))
        known = context.remembered(Known, self, lambda: Known(self))
        return Drafting(self, lambda row: PoolSession(self, row, known, shared=True))


class Known:
    """What is known beside a row's own text."""

    def __init__(self, settings: Pool) -> None:
        self.answers = Grams(EARLIER, EARLIER * max(settings.earlier, 1))
        self.weights = Weights()

    def copy(self) -> Known:
        twin = object.__new__(Known)
        twin.answers, twin.weights = self.answers.copy(), self.weights.copy()
        return twin


@dataclass(slots=True)
class Guess:
    """What is said of one token behind a node."""

    signs: list[int]
    chance: float
    node: int | None = None  # that it became


class PoolSession(DraftSession):
    """One row's text, counted, beside what is known of others."""

    def __init__(self, settings: Pool, row: Row, known: Known, *, shared: bool = False) -> None:
        self._settings, self._row, self._known, self._shared = settings, row, known, shared
        self._own = Grams(OWN, UNBOUNDED)
        self._read = 0  # tokens of the row that are counted
        self._guesses: dict[int, dict[int, Guess]] = {}  # behind each node of this round's draft, by token

    def propose(self, room: Room) -> Tree:
        tokens = self._row.history.tokens
        for at in range(self._read, len(tokens)):
            self._own.add(tokens, at)
        self._read = len(tokens)
        bears: list[int] = []
        parents: list[int] = []
        scores: list[float] = []
        waiting: list[tuple[float, int, int, int, int, tuple[int, ...], float]] = []  # the likeliest first
        turn = count()
        node, depth, reach, context = ROOT, 0, 1.0, tuple(tokens[: -OWN - 1 : -1])
        self._guesses = {}
        least = max(LEAST, room.least)
        while True:
            if depth < room.depth:
                for token, score in self._after(node, context):
                    if reach * score >= least:
                        heappush(waiting, (-reach * score, next(turn), node, depth + 1, token, context, score))
            if not waiting or len(bears) == room.nodes:
                return plant(bears, parents, scores, [self._settings.name] * len(bears))
            negative, _, parent, depth, token, above, score = heappop(waiting)
            node, reach, context = len(bears), -negative, (token, *above[: OWN - 1])
            self._guesses[parent][token].node = node
            bears.append(token)
            parents.append(parent)
            scores.append(score)

    def _after(self, node: int, context: tuple[int, ...]) -> list[tuple[int, float]]:
        """The tokens that may stand behind a node, each with its chance; together they have no more than 1."""
        known = self._known
        found = signs(self._own.after(context), known.answers.after(context))
        guesses = {token: Guess(seen, known.weights.chance(seen)) for token, seen in found.items()}
        self._guesses[node] = guesses
        total = max(1.0, sum([guess.chance for guess in guesses.values()]))
        return [(token, guess.chance / total) for token, guess in guesses.items()]

    def advance(self, outcome: Outcome) -> None:
        known, node = self._known, ROOT
        for committed in outcome.committed:
            guesses = self._guesses.get(node, {})
            for token, guess in guesses.items():
                known.weights.learn(guess.signs, guess.chance, token == committed)
            if committed not in guesses or (below := guesses[committed].node) is None:
                break
            node = below
        self._guesses = {}

    def fork(self, row: Row) -> DraftSession:
        copy = PoolSession(
            self._settings, row, self._known if self._shared else self._known.copy(), shared=self._shared
        )
        copy._own, copy._read = self._own.copy(), self._read
        return copy

    def close(self) -> None:
        if self._shared:
            history = self._row.history
            text = history.tokens[max(0, history.prompt_length - LED_IN) :]
            for at in range(min(LED_IN, history.prompt_length), len(text)):
                self._known.answers.add(text, at)
