"""Token Recycling: for every token the best next ones of its last evaluation, spread as a tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...models.contract import NOTHING, Ability, Evaluation, Want
from ...row import Row
from ...tree import ROOT, Siblings, Tree, slot_of
from ..contract import Drafter, Drafting, DraftSession, Outcome, Room
from ..merging import plant

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

ENTRY = Entry(
    name="token-recycling",
    family="speculate",
    source="arXiv 2408.08696; github.com/Luowaterbi/TokenRecycling",
    parts="recycle+fixed(80)",
    guarantee=Guarantee.EXACT,
    number=61,
    needs=("tree windows",),
    summary="spreads a fixed tree over a table of each token's last best followers, rejected nodes included",
    generation="table",
)

# Children of each node of the published tree, by the ranks on its path; what is not named has none.
CHILDREN = {
    **{"": 8, "0": 8, "1": 4, "2": 3, "3": 2, "4": 1, "5": 1, "6": 1, "7": 1},
    **{"00": 8, "01": 3, "02": 2, "03": 1, "04": 1, "05": 1, "06": 1, "07": 1, "10": 2, "11": 1},
    **{"20": 1, "30": 1, "40": 1, "50": 1},
    **{"000": 5, "001": 2, "002": 1, "003": 1, "004": 1, "010": 1, "020": 1, "100": 1, "200": 1, "300": 1},
    **{"0000": 3, "0001": 1, "0002": 1, "0010": 1, "0100": 1, "1000": 1, "00000": 2, "00010": 1},
}
MOST = 8  # ranks of the published tree
LEAST = 1e-6  # weight of a remembered token that its row all but excluded: still better than none
BLOCK = 64  # tokens of which only the best is looked at first; see `best`
WORTH = 1 << 15  # logits from which on that pays


@dataclass(frozen=True, slots=True)
class Recycle(Drafter):
    """The published tree of 80 nodes over a table of followers; in a smaller room, its likeliest nodes.

    The table holds, for every token, the `ranks` best of the logits that came after it last, from every node of every
    round and from the prompt; of several nodes with one token the last counts. The score of a node is its share among
    the remembered ones, by the softmax of their logits. A rank that is empty drafts nothing.
    """

    ranks: int = MOST  # followers remembered of each token, 1 to 8
    shared: bool = True  # one table for all requests of an engine; False: each request starts with an empty one
    rejected: bool = True  # learn from rejected nodes too
    prompt: bool = True  # learn from the prompt

    name: ClassVar[str] = "recycle"

    def __post_init__(self) -> None:
        if not 1 <= self.ranks <= MOST:
            raise InvalidRequest(f"recycle remembers {self.ranks} followers", hint=f"1 <= ranks <= {MOST}")

    @property
    def needs(self) -> Ability:
        return Ability.TREE

    @property
    def siblings(self) -> Siblings:
        return Siblings.DISTINCT

    def begin(self, context: Context) -> Drafting:
        vocabulary = context.vocabulary
        if not self.shared or context.steady:
            own = replace(self, shared=False)
            return RecycleDrafting(own, lambda row: RecycleSession(own, row, Followers(vocabulary, self.ranks)))
        table = context.remembered(Followers, self, lambda: Followers(vocabulary, self.ranks))
        return RecycleDrafting(self, lambda row: RecycleSession(self, row, table))


class RecycleDrafting(Drafting):
    """Watches every node."""

    want = Want()

    def __init__(self, settings: Recycle, open_session: Callable[[Row], DraftSession]) -> None:
        super().__init__(settings, open_session)
        self.of_prompt = Want() if settings.prompt else NOTHING


class Followers:
    """The best next tokens of every token's last evaluation: distinct, best first, -1 where there is none."""

    def __init__(self, vocabulary: int, ranks: int) -> None:
        self.ids = np.full((vocabulary, ranks), -1, dtype=np.int32)  # [V, K]
        self.weights = np.zeros((vocabulary, ranks), dtype=np.float32)  # [V, K] shares, 0 where there is no token

    def learn(self, slots: Mapping[int, int], logits: Tensor) -> None:
        """Remember the best of logits [N, V] after each token, which stands at its slot."""
        tokens, found = list(slots), min(self.ids.shape[1], logits.shape[-1])
        values, ids = best(logits, found, list(slots.values()))  # small from here on: numpy is quicker than torch
        weights = np.exp(values - values[:, :1])
        weights = np.maximum(weights / weights.sum(-1, keepdims=True), LEAST) * (values > -np.inf)
        self.ids[tokens, :found] = np.where(weights > 0, ids, -1)
        self.weights[tokens, :found] = weights

    def copy(self) -> Followers:
        twin = Followers(0, 0)
        twin.ids, twin.weights = self.ids.copy(), self.weights.copy()
        return twin


def best(logits: Tensor, size: int, slots: Sequence[int]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Values and ids [n, size] of the best tokens of n of the rows of logits [N, V], best first.

    Every one of them is in one of the `size` blocks of tokens with the best maximum. On a CPU finding those first
    takes, for 32 nodes, half the time at 4,096 tokens and a sixth at 32,000.
    """
    vocabulary = logits.shape[-1]
    if logits.device.type != "cpu" or vocabulary % BLOCK or vocabulary < 2 * size * BLOCK or logits.numel() < WORTH:
        values, ids = logits[slots].topk(size)
        return values.cpu().numpy(), ids.cpu().numpy()
    blocks = logits.reshape(-1, BLOCK)  # of all rows, end to end
    peaks = blocks.amax(-1).view(len(logits), -1)
    rows = np.array(slots)
    chosen = peaks.index_select(0, torch.from_numpy(rows)).topk(size, sorted=False).indices.numpy()  # [n, size]
    places = torch.from_numpy((rows[:, None] * peaks.shape[1] + chosen).ravel())
    values, found = blocks.index_select(0, places).view(len(rows), -1).topk(size)
    at = found.numpy()  # in the chosen blocks, laid end to end
    return values.numpy(), np.take_along_axis(chosen, at // BLOCK, 1) * BLOCK + at % BLOCK


class RecycleSession(DraftSession):
    """One row's view of a table, its own or one that all rows write."""

    def __init__(self, settings: Recycle, row: Row, table: Followers) -> None:
        self.settings = settings
        self.tokens = row.history.tokens
        self.table = table

    def prime(self, evaluation: Evaluation, start: int) -> None:
        assert evaluation.logits is not None
        tokens = self.tokens[start : start + len(evaluation.logits)]
        self.table.learn({token: slot for slot, token in enumerate(tokens)}, evaluation.logits)

    def knows(self, tokens: Sequence[int]) -> bool:
        return bool((self.table.ids[tokens, 0] >= 0).all())

    def propose(self, room: Room) -> Tree:
        table, template = self.table, template_of(self.settings.ranks)
        tokens = np.empty(1 + template.size, dtype=np.int64)  # by slot: the root first
        reach = np.zeros(1 + template.size)  # product of the weights on the path; 0 where a rank is empty
        tokens[0], reach[0] = self.tokens[-1], 1.0
        for level in template.levels[: room.depth]:
            above, ranks = tokens[level.above], level.ranks
            tokens[level.slots] = table.ids[above, ranks]
            reach[level.slots] = table.weights[above, ranks] * reach[level.above]
        likeliest = np.argsort(-reach, kind="stable")[: 1 + room.nodes]  # parents before children among equals
        kept = np.sort(likeliest[reach[likeliest] > 0])
        return self._grow(tokens, reach, kept)

    def _grow(self, tokens: NDArray[Any], reach: NDArray[Any], kept: NDArray[Any]) -> Tree:
        """The tree of the slots that are kept, the root's first."""
        template, size = template_of(self.settings.ranks), len(kept) - 1
        above = template.above[kept[1:]]
        scores = (reach[kept[1:]] / reach[above]).tolist()
        parents = (np.searchsorted(kept, above) + ROOT).tolist()
        return plant(tokens[kept[1:]].tolist(), parents, scores, [self.settings.name] * size)

    def advance(self, outcome: Outcome) -> None:
        if outcome.logits is None:
            return
        tokens = outcome.tree.tokens
        nodes = range(len(tokens)) if self.settings.rejected else outcome.path
        slots = {self.tokens[-1 - len(outcome.committed)]: slot_of(ROOT)}
        slots |= {tokens[node]: slot_of(node) for node in nodes if tokens[node] >= 0}  # a raw row bears no token
        self.table.learn(slots, outcome.logits)  # of equal tokens the last counts

    def fork(self, row: Row) -> DraftSession:
        return RecycleSession(self.settings, row, self.table if self.settings.shared else self.table.copy())


@dataclass(frozen=True, slots=True)
class Level:
    """The nodes of one depth, by slot."""

    slots: slice
    above: NDArray[Any]  # slots of their parents
    ranks: NDArray[Any]


class Template:
    """The published tree as far as it uses the first `ranks` ranks."""

    def __init__(self, ranks: int) -> None:
        self.paths = [""]  # by slot
        self.levels: list[Level] = []
        above, start = [0], 0  # of the whole tree; and the slot at which the newest level begins
        while start < len(self.paths):
            end = len(self.paths)
            for slot in range(start, end):
                children = range(min(ranks, CHILDREN.get(self.paths[slot], 0)))
                self.paths += [f"{self.paths[slot]}{rank}" for rank in children]
                above += [slot] * len(children)
            start, stop = end, len(self.paths)
            if stop > start:
                last = [int(path[-1]) for path in self.paths[start:]]
                self.levels.append(Level(slice(start, stop), np.array(above[start:]), np.array(last)))
        self.above = np.array(above)
        self.size = len(self.paths) - 1


@cache
def template_of(ranks: int) -> Template:
    """The template of so many ranks, made once."""
    return Template(ranks)
