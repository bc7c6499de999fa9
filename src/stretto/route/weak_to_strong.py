"""Weak-to-strong decoding: a small aligned model begins the answer, until the large one would go on as it does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..context import Context
from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from ..models.contract import Model
from ..models.store import Store
from ..row import Row
from ..steer.choice import choose
from ..steer.nodes import Nodes
from ..steer.path import Path
from ..tree import Tree
from .contract import Route, Routing, Writing
from .proposing import OWN, SECOND, Proposal, Proposing
from .reader import second_model

if TYPE_CHECKING:
    from torch import Tensor

ENTRY = Entry(
    name="weak-to-strong",
    family="route",
    source="arXiv 2506.07434; code github.com/F2-Song/Weak-to-Strong-Decoding",
    parts="weak-to-strong",
    guarantee=Guarantee.NONE,
    number=144,
    needs=("small aligned model",),
    summary="a small aligned model begins the answer; once the large one finds its tokens likely, it goes on alone",
    generation="none",
    refinement="none",
    branch="none",
)

WEAK = "small"  # what the trace calls the second model


@dataclass(frozen=True, slots=True)
class WeakToStrong(Route):
    """The engine's own model is the large one. It takes over for good behind the first of the small one's tokens up to
    which the geometric mean of its own probabilities of the last `window` tokens is `sure` or more.

    It takes over as well after `most` tokens, and where the small one would end the answer: the end token is not taken.
    Probabilities are those of its softmax at temperature 1. With `most` 0, or `sure` 0 and a window of 1, it writes all
    but the first token at most; above 1 the small one writes all that it may. `block` changes what a round costs, never
    a token. Both models read the same tokens. Nothing is verified: this is no drafting.
    """

    small: str | Model = "zoo/draft"  # a name or folder, or a model that is loaded already
    sure: float = 0.8  # ≥ 0, a probability. Published: .8
    window: int = 6  # ≥ 1, tokens; no fewer were written when it takes over. Published: 6
    most: int = 512  # ≥ 0, tokens of the small model
    block: int = 8  # ≥ 1, tokens that it writes before the large one reads them

    name: ClassVar[str] = "weak-to-strong"
    obeys: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.sure < 0 or self.window < 1 or self.most < 0 or self.block < 1:
            raise InvalidRequest(
                f"a mean of {self.window} tokens from {self.sure}, {self.most} tokens in blocks of {self.block}",
                hint="sure and most are at least 0, window and block at least 1",
            )

    def begin(self, context: Context, cache: Store) -> Routing:
        return TakingOver(self, context, cache)

    def takes_over(self, odds: Sequence[float], start: int = 0) -> int | None:
        """The first place from `start` on at which the large model is sure, by its probabilities of all tokens."""
        for at in range(max(start, self.window - 1), len(odds)):
            if math.prod(odds[at - self.window + 1 : at + 1]) ** (1 / self.window) >= self.sure:
                return at
        return None


class TakingOver(Proposing):
    """Both models at work."""

    def __init__(self, settings: WeakToStrong, context: Context, cache: Store) -> None:
        super().__init__(context, cache, second_model(context, settings.small))
        self.settings = settings
        self._odds: dict[
            Row, tuple[float, ...]
        ] = {}  # the large model's, of what the small one wrote; none: it is over

    def open(self, row: Row) -> int:
        room = super().open(row)
        if self.settings.most:
            self._odds[row] = ()
        return room

    def fork(self, row: Row, copy: Row) -> None:
        super().fork(row, copy)
        if row in self._odds:
            self._odds[copy] = self._odds[row]

    def close(self, row: Row) -> None:
        super().close(row)
        self._odds.pop(row, None)

    def write(self, rows: Sequence[Row]) -> list[Writing]:
        writings: dict[Row, Writing] = {}
        weak = [row for row in rows if row in self._odds]
        if weak:
            proposals = self.propose(weak, SECOND, self._goes_on)
            read = self.judged(weak, OWN, proposals)
            for row, proposal, logits, slots in zip(weak, proposals, read.logits, read.slots, strict=True):
                writings[row] = self._judge(row, proposal, logits, slots)
        strong = [row for row in rows if row not in writings]
        if strong:
            for row, own in zip(strong, self.propose(strong, OWN, lambda row, drafted: False), strict=True):
                writings[row] = Writing(own.tokens, [""], own.raw, own.steered, forwards=own.forwards)
        return [writings[row] for row in rows]

    def _goes_on(self, row: Row, drafted: Sequence[int]) -> bool:
        left = min(self.settings.block, self.settings.most - len(self._odds[row]), row.remaining)
        return len(drafted) < left and drafted[-1] not in row.limits.ends

    def _judge(self, row: Row, proposal: Proposal, logits: Tensor, slots: int) -> Writing:
        """What was proposed, up to where the large model takes over; from there its next token, if it is known."""
        tokens, before = proposal.tokens, self._odds[row]
        odds = logits[: len(tokens)].double().softmax(-1)[range(len(tokens)), tokens].tolist()
        size = len(tokens) - (tokens[-1] in row.limits.ends)
        over = self.settings.takes_over((*before, *odds[:size]), len(before))
        kept = size if over is None else over + 1 - len(before)
        writing = Writing(
            tokens[:kept],
            [WEAK] * kept,
            proposal.raw[:kept],
            proposal.steered[:kept],
            Tree.chain(tokens, source=WEAK),
            list(range(kept)),
            [slots],
            calls=len(proposal.forwards),
        )
        self._odds[row] = (*before, *odds[:kept])
        if over is not None or size < len(tokens) or len(self._odds[row]) == self.settings.most:
            del self._odds[row]
        if kept < len(tokens):
            own = choose(Nodes([Path(row.history, tuple(tokens[:kept]))], logits[kept][None]), [row.rule])
            writing.tokens.append(own.tokens[0])
            writing.sources.append("")
            writing.raw.append(logits[kept])
            writing.steered.append(own.steered[0])
        return writing
