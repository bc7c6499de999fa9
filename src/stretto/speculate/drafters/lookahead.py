"""Lookahead decoding: a window of guesses that rides along and yields n-grams, which are drafted when they fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...models.contract import Ability, Want
from ...row import Row
from ...tree import ROOT, NodeKind, Siblings, Tree, slot_of
from ..chance import DRAFTING, chance_of
from ..contract import Drafter, Drafting, DraftSession, Outcome, Room

ENTRY = Entry(
    name="lookahead-decoding",
    family="speculate",
    source="arXiv 2402.02057; github.com/hao-ai-lab/LookaheadDecoding",
    parts="lookahead+fixed(56)",
    guarantee=Guarantee.EXACT,
    needs=("tree windows",),
    summary="a two-dimensional Jacobi window makes n-grams in the forward that verifies the ones found before",
)

FIRST, LOWER = "lookahead window", "lookahead column"  # sources of riders: row 0 is a chain, columns hang from it


@dataclass(frozen=True, slots=True)
class Lookahead(Drafter):
    """Guess the n-grams that Jacobi iteration found after the last token.

    The window has `level` - 1 rows of `window` tokens. Its row 0 is a chain under the root; below its column j hang
    column j of rows 1, 2 …, each row one iteration younger and one position further. All of them are riders. The best
    token after each token of the newest row makes the next row (the best by the raw logits, at any temperature) and
    ends an n-gram, which is kept under its first token. The first `level` - 2 rounds only fill the window, which is
    wider then. Accepted tokens move the window on; the columns that are new then yield nothing until all of their
    rows come from the target.

    The full window and its guesses take (`level` - 1) · (`window` + `guesses`) nodes. In a smaller room the guesses
    take at most half of it from the window, which then shows only its first columns.
    """

    level: int = 5  # tokens of an n-gram, ≥ 2
    window: int = 7  # columns, ≥ 1
    guesses: int = 7  # n-grams kept for each first token, the newest, and drafted together, ≥ 0
    prompt: bool = False  # begin with the n-grams of the prompt

    name: ClassVar[str] = "lookahead"
    proposals: ClassVar[frozenset[NodeKind]] = frozenset({NodeKind.POINT, NodeKind.RIDER})

    def __post_init__(self) -> None:
        if self.level < 2 or self.window < 1 or self.guesses < 0:
            raise InvalidRequest(
                f"lookahead({self.level}, {self.window}, {self.guesses})",
                hint="level >= 2, window >= 1 and guesses >= 0",
            )

    @property
    def needs(self) -> Ability:
        return Ability.TREE

    @property
    def siblings(self) -> Siblings:
        return Siblings.DISTINCT if self.guesses > 1 else Siblings.NONE

    def begin(self, context: Context) -> Drafting:
        return LookaheadDrafting(self, lambda row: LookaheadSession(self, row))


class LookaheadDrafting(Drafting):
    """Watches the window's nodes."""

    want = Want()


class LookaheadSession(DraftSession):
    """The window of one row and the n-grams it has yielded."""

    def __init__(self, settings: Lookahead, row: Row) -> None:
        self.settings = settings
        self.row = row
        self.pool: dict[int, dict[tuple[int, ...], None]] = {}  # first token -> those that follow, newest last
        tokens = row.history.tokens.copy()
        self._fillers = [token for token in tokens if token not in row.limits.ends] or tokens
        self.rows: list[list[int]] = [[]]  # row r begins r + 1 positions after the root
        self.ages: list[int] = []  # of the columns: how many of their newest rows come from the target
        self._fill()
        if settings.prompt:
            for end in range(settings.level, len(tokens) + 1):
                self._pool(tokens[end - settings.level : end])

    def propose(self, room: Room) -> Tree:
        tree = Tree()
        size = len(self.rows)
        self._guess(tree, max(room.nodes - size * self.settings.window, room.nodes // 2), room.depth)
        columns = min(len(self.ages), (room.nodes - len(tree)) // size, room.depth - size + 1)
        above = ROOT
        for column in range(columns):
            node = above = tree.add(self.rows[0][column], above, source=FIRST, score=0.0, proposal=NodeKind.RIDER)
            for row in self.rows[1:]:
                node = tree.add(row[column], node, source=LOWER, score=0.0, proposal=NodeKind.RIDER)
        return tree

    def advance(self, outcome: Outcome) -> None:
        newest = self._newest(outcome.tree)
        shift = len(outcome.committed)
        if newest and outcome.logits is not None:
            best = outcome.logits[[slot_of(node) for node in newest]]  # [columns, V]
            if self.row.limits.ends:  # a guess beyond an end is no use
                best[:, list(self.row.limits.ends)] = -float("inf")
            self._grow(best.argmax(-1).tolist())
        if len(self.rows) == self.settings.level:
            del self.rows[0]
            shift -= 1
        self.rows = [row[shift:] for row in self.rows]
        self.ages = self.ages[shift:]
        self._fill()

    def fork(self, row: Row) -> DraftSession:
        copy = LookaheadSession.__new__(LookaheadSession)
        copy.settings, copy.row, copy._fillers = self.settings, row, self._fillers
        copy.pool = {token: grams.copy() for token, grams in self.pool.items()}
        copy.rows = [tokens.copy() for tokens in self.rows]
        copy.ages = self.ages.copy()
        return copy

    def _guess(self, tree: Tree, nodes: int, depth: int) -> None:
        """Enter the n-grams that begin with the root as paths, the newest first, at most `nodes` nodes."""
        at: dict[tuple[int, int], int] = {}
        for gram in reversed(self.pool.get(self.row.root, {})):
            parent = ROOT
            for token in gram[:depth]:
                if (parent, token) not in at:
                    if len(tree) == nodes:
                        return
                    at[parent, token] = tree.add(token, parent, source=self.settings.name)
                parent = at[parent, token]

    def _newest(self, tree: Tree) -> list[int]:
        """The nodes of the newest row as far as they were evaluated, whatever else the tree holds."""
        riders = {
            (tree.parents[node], tree.tokens[node], tree.sources[node]): node
            for node, proposal in enumerate(tree.proposals)
            if proposal is NodeKind.RIDER
        }
        found: list[int] = []
        above: int | None = ROOT
        for column in range(len(self.ages)):
            node = above = riders.get((above, self.rows[0][column], FIRST)) if above is not None else None
            for row in self.rows[1:]:
                node = riders.get((node, row[column], LOWER)) if node is not None else None
            if node is None:
                break
            found.append(node)
        return found

    def _grow(self, fresh: list[int]) -> None:
        """Add a row, of whose columns the first were evaluated; the others keep the last guess at their position."""
        self.rows.append([*fresh, *self.rows[-1][len(fresh) + 1 :]])
        self.ages = [*(age + 1 for age in self.ages[: len(fresh)]), *([0] * (len(self.ages) - len(fresh)))]
        for column, age in enumerate(self.ages):
            if age >= self.settings.level - 1:
                self._pool([row[column] for row in self.rows])

    def _pool(self, gram: list[int]) -> None:
        """Keep an n-gram as the newest under its first token; the oldest goes where there are too many."""
        if self.settings.guesses:
            grams = self.pool.setdefault(gram[0], {})
            grams.pop(tuple(gram[1:]), None)
            grams[tuple(gram[1:])] = None
            if len(grams) > self.settings.guesses:
                del grams[next(iter(grams))]

    def _fill(self) -> None:
        """Lengthen the rows with tokens of the prompt, taken by chance, by one more for each row that is missing."""
        chance = chance_of(self.row, DRAFTING)
        width = self.settings.window + self.settings.level - 1 - len(self.rows)
        for row in self.rows:
            while len(row) < width:
                row.append(self._fillers[int(chance.uniform() * len(self._fillers))])
        self.ages += [0] * (width - len(self.ages))
