"""Soft thinking: for a while the next input is no token, but a mixture of the likeliest tokens' embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch

from ..context import Context
from ..entry import Entry, Guarantee
from ..errors import InvalidRequest, Unsupported
from ..models.contract import Ability, Model, Want
from ..models.edits import changes
from ..models.pictures import Picture
from ..models.window import RAW, Window
from ..noise import gumbel, key
from ..row import Row
from ..steer.choice import Rule
from ..steer.path import History
from ..steer.pipeline import Pipeline
from .branches import Branches
from .contract import Branch, Group, Search, Searching
from .texts import tokens_of
from .within import UNBOUNDED, Within

if TYPE_CHECKING:
    from torch import Tensor

ENTRY = Entry(
    name="soft-thinking",
    number=125,
    family="search",
    source="arXiv 2508.03440 (randomised soft thinking)",
    parts="soft",
    guarantee=Guarantee.APPROXIMATE,
    needs=("embeddings as input",),
    summary="a thought of mixed embeddings, made random by Gumbel or Dirichlet noise, before an ordinary answer",
)


@dataclass(frozen=True, slots=True)
class Soft(Search):
    """Each answer has a thought of its own, which is no part of it; then it is decoded, and drafted for, as always.

    A thought ends where its likeliest token begins `end`, or after `tokens`; then `end` is read as it is. One token
    alone (`top` 1) makes an ordinary thought of the likeliest tokens; with Gumbel noise and a `spread` near 0 it is an
    ordinary one that is drawn. No thought at all is plain decoding.
    """

    tokens: int = 64  # of a thought at most, ≥ 0; 0: no thought
    top: int = 5  # tokens that are mixed at most, ≥ 1
    top_p: float = 0.95  # of which the first have this probability together, above 0 to 1
    temperature: float = 0.6  # above 0; of the thought
    chance: Literal["gumbel", "dirichlet", "none"] = "gumbel"
    spread: float = 0.5  # above 0; of Gumbel noise: its temperature; of Dirichlet's: how close to the odds it stays
    end: str = "</think>"  # what ends a thought
    within: Within = UNBOUNDED

    name: ClassVar[str] = "soft"

    def __post_init__(self) -> None:
        if self.tokens < 0 or self.top < 1 or not 0 < self.top_p <= 1 or min(self.temperature, self.spread) <= 0:
            raise InvalidRequest(
                "a soft thought of these settings is none",
                hint="tokens ≥ 0, top ≥ 1, top_p above 0 to 1, temperature and spread above 0",
            )

    def check(self, model: Model, pipeline: Pipeline, samples: int) -> None:
        if self.tokens and Ability.EMBEDS not in model.abilities:
            raise Unsupported(f"{model.name} takes no mixed embeddings", hint="tokens=0 thinks nothing")
        if self.tokens and pipeline.companions:
            raise Unsupported("companions would not see a soft thought as the model does", hint="leave them out")

    def rows(self, samples: int) -> int:
        return samples + 1

    def begin(self, context: Context, branches: Branches) -> Searching:
        return Thinking(self, context, branches)


@dataclass(slots=True, eq=False)
class Thought(Branch):
    """A branch before it answers: its row waits while the mixtures are read into its part of the cache."""

    recorded: list[int] = field(default_factory=list)  # the heaviest token of each mixture
    mixtures: list[Tensor] = field(default_factory=list)  # [C] each


class Thinking(Searching):
    """Soft thinking at work."""

    def __init__(self, search: Soft, context: Context, branches: Branches) -> None:
        self.search, self.model, self.branches = search, context.target, branches
        self.end = tokens_of(search.end, context.encode) if search.tokens else []
        if search.tokens and not self.end:
            raise InvalidRequest("nothing ends a soft thought", hint="give `end` a text")

    def grow(self, groups: Sequence[Group]) -> None:
        for group in (group for group in groups if not group.streams):
            group.streams = group.wanted
            rows = self.branches.spread(group.first, group)
            group.alive = [Thought(row=row, number=at) for at, row in enumerate(rows)]
            for row in rows:
                row.paused = self._most(row) > 0
        waiting = [(group, thought) for group in groups for thought in _thoughts(group)]
        if waiting:
            self._think(waiting)

    def settle(self, group: Group) -> None:
        group.catch_up()
        group.ended = not group.alive

    def _most(self, row: Row) -> int:
        """Mixtures of a row's thought: behind it `end` and a token of the answer have their places."""
        return min(self.search.tokens, self.model.max_positions - len(row.history.tokens) - len(self.end) - 1)

    def _think(self, waiting: Sequence[tuple[Group, Thought]]) -> None:
        """One more mixture in each thought; those that end begin their answers."""
        begun = perf_counter()
        rows = [thought.row for _, thought in waiting if thought.row is not None]
        starts = [
            len(row.history.tokens) - 1 + len(each.mixtures) for row, (_, each) in zip(rows, waiting, strict=True)
        ]
        tokens = [[RAW if each.mixtures else row.root] for row, (_, each) in zip(rows, waiting, strict=True)]
        window = Window.chain([row.cache_row for row in rows], tokens, starts, self.model.device)
        inputs = [each.mixtures[-1] if each.mixtures else None for _, each in waiting]
        if (known := next((each for each in inputs if each is not None), None)) is not None:
            window.embeds = torch.stack([torch.zeros_like(known) if each is None else each for each in inputs])[:, None]
        if any(row.rule.pipeline.edits for row in rows):
            window.edits = changes([row.rule.pipeline.edits for row in rows])
        evaluation = self.model.evaluate(window, self.branches.cache, Want())
        assert evaluation.logits is not None, "they were wanted"
        for group in dict.fromkeys(group for group, _ in waiting):
            group.spend([1] * len(_thoughts(group)), perf_counter() - begun)
        for (_, thought), row, logits, start in zip(waiting, rows, evaluation.logits[:, 0], starts, strict=True):
            ids, weights = self.mixed(logits, row.rule, start + 1)
            heaviest = int(ids[weights.argmax()])
            if heaviest != self.end[0]:
                thought.recorded.append(heaviest)
                embedded = self.model.embed(ids)  # [k, C]
                thought.mixtures.append((weights.to(embedded.device, torch.float32) @ embedded.float()).to(embedded))
            if heaviest == self.end[0] or len(thought.mixtures) == self._most(row):
                self._answer(thought, row)

    def mixed(self, logits: Tensor, rule: Rule, position: int) -> tuple[Tensor, Tensor]:
        """Tokens and their weights in the input at a position: logits [V] -> ids [k], float64 [k]."""
        odds = (logits.double() / self.search.temperature).softmax(-1)
        kept, ids = odds.topk(min(self.search.top, len(odds)))
        inside = kept.cumsum(-1) - kept < self.search.top_p
        kept, ids = kept[inside] / kept[inside].sum(), ids[inside]
        if self.search.chance == "gumbel":
            noise = gumbel(torch.tensor(key(rule.seed, rule.stream, position), device=ids.device), ids)
            kept = ((kept.log() + noise) / self.search.spread).softmax(-1)
        elif self.search.chance == "dirichlet":
            drawn = np.random.default_rng([rule.seed, rule.stream, position])
            kept = torch.from_numpy(drawn.dirichlet(self.search.spread * kept.cpu().numpy())).to(kept)
        return ids, kept

    def _answer(self, thought: Thought, before: Row) -> None:
        """Read what ends the thought, and let its branch begin to answer."""
        prompt = before.history.tokens
        mixed = [Picture(torch.stack(thought.mixtures), at=len(prompt))] if thought.mixtures else []
        thought.row = self.branches.reread(before, History([*prompt, *thought.recorded, *self.end], tuple(mixed)))


def _thoughts(group: Group) -> list[Thought]:
    """Those that are not over."""
    return [each for each in group.alive if isinstance(each, Thought) and each.row is not None and each.row.paused]
