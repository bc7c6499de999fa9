"""A small model beside the target, for drafters that evaluate one: its cache, its rows, the tokens drafted there.

A `DraftRow` is one row in that cache. It catches up with the committed tokens when it is next read from, holds the
drafted tokens of one round as a trie below them, and keeps what was committed of those.

Windows see all that is cached, so a tree cannot stay in the cache while it grows: each level evaluates its own nodes
and those on the paths to them, except for a beginning that all paths share. On two AVX2 cores a level of 10 nodes of
the zoo's draft model takes 0.53 ms, and about 0.1 ms more for each 10 nodes that are evaluated again (one token:
0.28 ms); a cache row of its own for every node of the level takes 0.58 ms and the copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..context import Context
from ..errors import Unsupported
from ..models.contract import Ability, Evaluation, Model, Want
from ..models.reading import CHUNK, read, skip
from ..models.vocabulary import NEVER, in_vocabulary, readable
from ..models.window import Window
from ..row import Row
from ..tree import ROOT
from .drafted import Drafted, DraftSource

if TYPE_CHECKING:
    from torch import Tensor


class SmallModel(DraftSource):
    """The small model and the cache of all its rows."""

    def __init__(self, context: Context, model: str | Model, needs: Ability = Ability.NONE) -> None:
        """`model` is a name, a folder or a loaded model. Raises Unsupported where it does not fit the target."""
        self.model = context.second(model)
        self.vocabulary = context.vocabulary
        if needs & ~self.model.abilities:
            raise Unsupported(
                f"the draft model {self.model.name} cannot evaluate trees",
                hint="let it draft a chain with 'draft' or 'sampled', or use another draft model",
            )
        self.device = self.model.device
        self.cache = self.model.new_cache()

    def open(self, row: Row) -> DraftRow:
        """A place for `row` in it; nothing is evaluated before it is asked."""
        return DraftRow(self, row, self.cache.open())

    def read(self, drafts: Sequence[DraftRow], wanted: Sequence[Sequence[int]]) -> Tensor:
        """Logits [N, V] over the target's vocabulary after the wanted nodes of each draft, drafts in order.

        A node is one of `DraftRow.node`, `ROOT` the last committed token, `ROOT` - 1 the one before it, and so on as
        far as the model has not read them. Evaluates whatever is missing.
        """
        parts = [draft.part(nodes) for draft, nodes in zip(drafts, wanted, strict=True)]
        window = self._window(drafts, parts)
        most = max(len(part.wanted) for part in parts)
        if window.tokens.shape[1] == most and all(part.wanted == list(range(most)) for part in parts):
            want = Want()  # all slots: nothing to look up
        else:
            slots = [[*part.wanted, *([0] * (most - len(part.wanted)))] for part in parts]
            want = Want(logits=torch.tensor(slots, device=self.model.device))
        logits = self._evaluate(drafts, window, want).logits  # [B, n, V]
        assert logits is not None
        if len(parts) == 1:
            return self.as_target(logits[0])
        if all(len(part.wanted) == most for part in parts):
            return self.as_target(logits.flatten(0, 1))
        return self.as_target(torch.cat([logits[r, : len(part.wanted)] for r, part in enumerate(parts)]))

    def recite(self, draft: DraftRow) -> Iterator[tuple[Tensor, int]]:
        """Evaluate all but the newest committed token: logits [n, V] over the target's vocabulary, and their start."""
        tokens = draft.row.history.tokens[:-1]
        unread = self.readable(tokens[self.cache.following(draft.cache_row) :])
        for evaluation, start in read(self.model, self.cache, draft.cache_row, unread, Want()):
            assert evaluation.logits is not None
            yield self.as_target(evaluation.logits[0]), start

    def catch_up(self, cache_row: int, pending: list[int], least: int = 1) -> list[int]:
        """Evaluate whole chunks of many pending tokens, such as a prompt; at least `least` are left, of as many."""
        done = max(0, len(pending) - least) // CHUNK * CHUNK
        pending = self.readable(pending)
        skip(self.model, self.cache, cache_row, pending[:done])
        return pending[done:]

    def as_target(self, logits: Tensor) -> Tensor:
        """Logits over the target's vocabulary."""
        return in_vocabulary(logits, self.vocabulary, NEVER)

    def readable(self, tokens: list[int]) -> list[int]:
        """The target's tokens as this model can read them."""
        return readable(tokens, self.model.vocabulary) if self.model.vocabulary < self.vocabulary else tokens

    def _evaluate(self, drafts: Sequence[DraftRow], window: Window, want: Want) -> Evaluation:
        return self.model.evaluate(window, self.cache, want)

    def _window(self, drafts: Sequence[DraftRow], parts: Sequence[Slice]) -> Window:
        rows, tokens = [draft.cache_row for draft in drafts], [self.readable(part.tokens) for part in parts]
        if all(part.straight for part in parts):
            return Window.chain(rows, tokens, [p.start for p in parts], self.model.device)
        above = [part.above for part in parts]
        return Window.branching(rows, tokens, above, [part.start for part in parts], self.model.device)


@dataclass(slots=True)
class Slice:
    """One row's share of a window."""

    start: int  # the position that follows what is cached
    tokens: list[int]
    above: list[int]  # the slot of each one's parent; -1: the last cached token
    wanted: list[int]  # slots after which logits are wanted
    straight: bool  # whether each hangs on the one before it


class DraftRow(Drafted):
    """One row in the small model's cache, and the tokens drafted below it in this round."""

    def __init__(self, small: SmallModel, row: Row, cache_row: int) -> None:
        super().__init__(row)
        self.small = small
        self.cache_row = cache_row
        self._held: list[int] = []  # nodes in the cache, in the order of its slots, after the committed tokens
        self._line = False  # whether there are such nodes, each one below the one before

    # -- the tokens drafted in this round -----------------------------------------------------------

    def begin(self) -> int:
        """Forget what was drafted; how deep a node may lie: the model must evaluate all above it."""
        if self.tokens:
            self._keep(self._slots(), [])
            self._forget()
        return max(0, self.small.model.max_positions - len(self.row.history.tokens) + 1)

    def advance(self, committed: Sequence[int]) -> None:
        """The row has committed these tokens: keep what the cache holds of them, the newest left out."""
        if not self.tokens:  # nothing was drafted
            return
        kept: list[int] = []
        node = ROOT
        for token in committed[:-1]:
            node = self._nodes.get((node, token), ROOT)
            if node not in self._held:
                break
            kept.append(node)
        self._keep(self._slots(), kept)
        self._forget()

    def fork(self, row: Row) -> DraftRow:
        """A place for `row`, whose history is a copy of this one's; what is drafted stays behind."""
        copy = DraftRow(self.small, row, self.small.cache.fork(self.cache_row, fixed=self._slots())[0])
        self.small.cache.truncate(copy.cache_row, self._slots())
        return copy

    def close(self) -> None:
        """Give the cache row back."""
        self.small.cache.free(self.cache_row)

    @property
    def unread(self) -> int:
        """How many committed tokens the model has not read."""
        return len(self.row.history.tokens) - self._read()

    # -- evaluation ---------------------------------------------------------------------------------

    def part(self, wanted: Sequence[int]) -> Slice:
        """What must be evaluated for the logits after `wanted`; from now on counted as held by the cache."""
        if self._line and len(wanted) == 1 and self.parents[wanted[0]] == self._held[-1]:  # a chain grows: in a hurry
            self._held.append(wanted[0])
            return Slice(self.small.cache.following(self.cache_row), [self.tokens[wanted[0]]], [-1], [0], True)
        committed = self.row.history.tokens
        slots, read = self._slots(), self._read()
        if read == len(committed) and ROOT in wanted:  # read before: its logits are gone
            slots, read = slots - 1, read - 1
        path = self._path_to(wanted)
        kept = self._shared(path, wanted) if read == len(committed) else 0
        self._keep(slots, path[:kept])
        pending = self.small.catch_up(self.cache_row, committed[read:], least=-min([ROOT, *wanted]))
        trunk = len(pending) - 1  # the slot of the last committed token; -1: all before the nodes is cached
        slot_of = {ROOT: trunk}
        above = list(range(-1, trunk))
        for slot, node in enumerate(path[kept:], start=len(pending)):
            above.append(slot_of.get(self.parents[node], -1))
            slot_of[node] = slot
        straight = above == list(range(-1, len(above) - 1))
        self._held, self._line = path, straight and len(path) > 0
        return Slice(
            start=self.small.cache.following(self.cache_row),
            tokens=[*pending, *(self.tokens[node] for node in path[kept:])],
            above=above,
            wanted=[slot_of[node] if node >= 0 else trunk - (ROOT - node) for node in wanted],
            straight=straight,
        )

    def _path_to(self, wanted: Iterable[int]) -> list[int]:
        """The nodes on the paths down to the wanted ones, these included; parents first."""
        found: set[int] = set()
        for end in wanted:
            node = end
            while node > ROOT and node not in found:
                found.add(node)
                node = self.parents[node]
        return sorted(found)

    def _shared(self, path: Sequence[int], wanted: Sequence[int]) -> int:
        """How many nodes, from the first on, lie on the paths to all wanted ones, above them, and are held."""
        only: dict[int, int] = {}  # a node -> its one child, ROOT where there are several
        for node in path:
            only[self.parents[node]] = node if self.parents[node] not in only else ROOT
        shared, node = 0, only.get(ROOT, ROOT)
        while node != ROOT and node in self._held and node not in wanted:
            shared, node = shared + 1, only.get(node, ROOT)
        return shared

    def _keep(self, base: int, nodes: Sequence[int]) -> None:
        """Let the cache hold `base` slots of committed tokens and these nodes, one below the other, of those it has."""
        if list(nodes) != self._held or base != self._slots():
            slots = [self._slots() + self._held.index(node) for node in nodes]
            self.small.cache.keep(self.cache_row, base, slots)
            self._held = list(nodes)

    def _read(self) -> int:
        """How many committed tokens the model has read."""
        return self.small.cache.following(self.cache_row, self._slots())

    def _slots(self) -> int:
        """How many slots of the cache hold committed tokens."""
        return self.small.cache.length(self.cache_row) - len(self._held)

    def _forget(self) -> None:
        super()._forget()
        self._held, self._line = [], False
