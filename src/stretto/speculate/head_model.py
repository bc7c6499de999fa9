"""A head beside the target, for drafters that grow chains and trees: it reads rows that the target computes anyway."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..context import Context
from ..entry import Entry, Guarantee
from ..errors import StrettoError
from ..models.contract import Evaluation, Model, Want
from ..models.heads.contract import Around, Memory, RowHead
from ..models.heads.files import find_head
from ..models.heads.target import bound
from ..models.vocabulary import NEVER, in_vocabulary
from ..row import Row
from ..tree import ROOT, slot_of
from .contract import Drafter, Outcome
from .drafted import Drafted, DraftSource

if TYPE_CHECKING:
    from torch import Tensor


ENTRIES = (
    Entry(
        name="medusa",
        family="heads",
        source="arXiv 2401.10774; github.com/FasterDecoding/Medusa",
        parts="draft-tree(model=zoo/medusa)+fixed(24,depth=5)",
        guarantee=Guarantee.EXACT,
        number=100,
        needs=("trained head", "tree windows"),
        summary="heads that each look at the newest row alone, one for every token ahead",
        generation="target's parts",
        training="head",
        branch="speculative",
    ),
    Entry(
        name="hydra",
        family="heads",
        source="arXiv 2402.05109; github.com/zankner/Hydra",
        parts="draft-tree(model=zoo/hydra)+fixed(24,depth=5)",
        guarantee=Guarantee.EXACT,
        number=212,
        needs=("trained head", "tree windows"),
        summary="such heads that also see the tokens drafted before theirs",
        generation="target's parts",
        training="head",
        branch="speculative",
    ),
    Entry(
        name="eagle",
        family="heads",
        source="arXiv 2401.15077, tree of arXiv 2406.16858; github.com/SafeAILab/EAGLE",
        parts="draft-tree(model=zoo/eagle)+fixed(24,depth=5)",
        guarantee=Guarantee.EXACT,
        needs=("trained head", "tree windows"),
        summary="a decoder layer that continues the rows of the target, one token after the other",
        generation="target's parts",
        training="head",
        branch="speculative",
    ),
)


WIDTH = 3  # children of a node where nothing else is said: what few slots more cost is little
EARLIER = 16_384  # tokens of earlier texts of which a head remembers what it made of them


class Earlier:
    """Texts of earlier rows and what the head made of them, the newest last: an engine does not read them twice."""

    def __init__(self) -> None:
        self._texts: list[tuple[list[int], Memory]] = []  # n + 1 tokens of n pairs

    def add(self, tokens: list[int], memory: Memory) -> None:
        """Of a row that has ended."""
        self._texts = [each for each in self._texts if each[0] != tokens[: len(each[0])]] + [(tokens, memory)]
        while sum(len(text) for text, _ in self._texts) > EARLIER:
            self._texts.pop(0)

    def memory(self, tokens: list[int]) -> Memory | None:
        """What the head made of the pairs of these tokens."""
        found = (memory for text, memory in reversed(self._texts) if text[: len(tokens)] == tokens)
        memory = next(found, None)
        return None if memory is None else memory.as_of(len(tokens) - 1)


class HeadModel(DraftSource):
    """The head, bound to the target."""

    def __init__(self, context: Context, head: RowHead) -> None:
        head.check(context.target)
        self.head = head
        self.around = context.remembered(Around, head, lambda: bound(context.target, head.common))
        self.vocabulary = context.vocabulary
        self.device = context.target.device
        self.layers = head.taps(context.target.layers)
        self.earlier = context.remembered(Earlier, head, Earlier)
        self.want = self.of_prompt = Want(logits=False, hidden=self.layers)

    def open(self, row: Row) -> HeadRow:
        return HeadRow(self, row)

    def read(self, drafts: Sequence[HeadRow], wanted: Sequence[Sequence[int]]) -> Tensor:
        memories = [draft.memory for draft in drafts]
        asked = [(nodes, draft.tokens, draft.parents) for draft, nodes in zip(drafts, wanted, strict=True)]
        with torch.inference_mode():
            if behind := [draft for draft in drafts if draft.waiting]:
                told = [draft.told() for draft in behind]
                memories[0].read_all([draft.memory for draft in behind], *map(list, zip(*told, strict=True)))
            lines = memories[0].after_all(memories, asked)
        lines = lines.nan_to_num(nan=NEVER, posinf=-NEVER, neginf=NEVER)  # whatever it says, nobody believes it
        return in_vocabulary(lines, self.vocabulary, NEVER)


class HeadRow(Drafted):
    """One row's memory in the head, and the target's rows that it has not read yet.

    Rows come in the order of their positions. Where some never came (the drafter rested, or the text was read before),
    the head goes on from those that did: it then guesses worse, not wrongly.
    """

    def __init__(self, model: HeadModel, row: Row) -> None:
        super().__init__(row)
        self.model = model
        self.memory = model.head.memory(model.around)
        self.waiting: list[tuple[int, Tensor]] = []  # (position of the first, rows [n, k * C])
        self._end = 0  # the position behind the newest row that came
        self._read = 0  # pairs, from the first on: -1 where some never came

    def prime(self, evaluation: Evaluation, start: int) -> None:
        self._take(start, evaluation.hidden, None)

    def knows(self, tokens: Sequence[int]) -> bool:
        if tokens:
            memory = self.model.earlier.memory(self.row.history.tokens[: len(tokens) + 1])
            if memory is None:
                return False
            self.memory, self._read = memory, len(tokens)
        return True

    def hear(self, outcome: Outcome) -> None:
        kept = [ROOT, *outcome.path][: len(outcome.committed)]
        start = len(self.row.history.tokens) - len(outcome.committed) - 1
        if outcome.hidden:
            self._take(start, outcome.hidden, [slot_of(node) for node in kept])
        self.advance(outcome.committed)

    def _take(self, start: int, hidden: dict[int, Tensor], slots: Sequence[int] | None) -> None:
        parts = [hidden[layer] if slots is None else hidden[layer][list(slots)] for layer in self.model.layers]
        rows = torch.cat(parts, -1).float() if len(parts) > 1 else parts[0].float()
        self.waiting.append((start, rows))
        self._end = start + len(rows)

    def begin(self) -> int:
        if self.tokens:
            self._forget()
        newest = len(self.row.history.tokens) - 1
        return self.model.head.depth if 0 < self._end == newest else 0  # else the newest row is not there

    def told(self) -> tuple[Tensor, list[int]]:
        """The rows that it has not read, and the tokens behind them; from now on they are read."""
        tokens, waiting = self.row.history.tokens, self.waiting
        self.waiting = []
        for start, rows in waiting:
            self._read = start + len(rows) if start == self._read else -1
        following = [token for start, rows in waiting for token in tokens[start + 1 : start + 1 + len(rows)]]
        return waiting[0][1] if len(waiting) == 1 else torch.cat([rows for _, rows in waiting]), following

    def advance(self, committed: Sequence[int]) -> None:
        if self.tokens:
            self._forget()

    def fork(self, row: Row) -> HeadRow:
        copy = HeadRow(self.model, row)
        copy.memory, copy.waiting = self.memory.copy(), list(self.waiting)
        copy._end, copy._read = self._end, self._read
        return copy

    def close(self) -> None:
        if self._read > 0:
            self.model.earlier.add(self.row.history.tokens[: self._read + 1], self.memory)

    def _forget(self) -> None:
        super()._forget()
        self.memory.forget()


def drafters(folders: Sequence[Path], model: Model) -> list[Drafter]:
    """What drafts for a model by the first of these folders that holds a head of it; nothing where none does."""
    from .drafters.tree import DraftTree

    for folder in folders:
        try:
            head = find_head(str(folder))
            if head is not None:
                head.check(model)
                bound(model)
                return [DraftTree(WIDTH, model=str(folder))]
        except StrettoError:  # of another model, or of one that shows no rows: nobody asked for it
            continue
    return []
