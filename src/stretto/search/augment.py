"""Cache augmentation: another model reads what was read of the prompt, and adds rows of its own before the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch

from ..context import Context
from ..entry import Entry, Guarantee
from ..errors import InvalidRequest, ModelError, Unsupported
from ..models.contract import Ability, Model, Want
from ..models.control_vector import unit
from ..models.pictures import Picture
from ..models.window import RAW, Window
from ..row import Row
from ..steer.path import History
from ..steer.pipeline import Pipeline
from .branches import Branches
from .contract import Branch, Group, Search, Searching
from .within import UNBOUNDED, Within

if TYPE_CHECKING:
    from torch import Tensor

RANDOM = "random:"  # and a seed

ENTRY = Entry(
    name="cache-augmentation",
    number=246,
    family="search",
    source="arXiv 2412.17747 (deliberation in latent space)",
    parts="augment(2)",
    guarantee=Guarantee.APPROXIMATE,
    needs=("embeddings as input", "hidden states", "a trained coprocessor"),
    training="target",
    summary="before the answer, a coprocessor adds rows to the cache, made of what was read of the prompt",
)


@dataclass(frozen=True, slots=True)
class Augment(Search):
    """Answers behind `rows` latent rows, which stand before the prompt's last token and are no part of the answer.

    The coprocessor, a model of the target's own architecture, evaluates as many soft rows over the target's cache of
    the prompt up to there; what leaves its last layer enters the target in the place of tokens' embeddings, at
    positions of its own (published: behind the prompt). No row at all is plain decoding. Steers see the prompt's last
    token in the place of each row.
    """

    size: int = 16  # ≥ 0; 0: none. Published: 4 to 64
    coprocessor: str | Model = ""  # a folder, a model of the zoo, or a loaded one; empty: the target itself, untrained
    soft: str = "random:0"  # a .safetensors file with `rows` [n, C] of n ≥ size, or random ones by a seed
    within: Within = UNBOUNDED

    name: ClassVar[str] = "augment"

    def __post_init__(self) -> None:
        if self.size < 0:
            raise InvalidRequest(f"{self.size} rows are added", hint="0 or more")

    def check(self, model: Model, pipeline: Pipeline, samples: int) -> None:
        if self.size and (Ability.EMBEDS | Ability.HIDDEN) not in model.abilities:
            raise Unsupported(f"{model.name} takes no rows in the place of tokens", hint="0 rows are plain decoding")
        if self.size and pipeline.companions:
            raise Unsupported("companions would not see the rows as the model does", hint="leave them out")

    def rows(self, samples: int) -> int:
        return samples + 1

    def begin(self, context: Context, branches: Branches) -> Searching:
        return Augmenting(self, context, branches)


class Augmenting(Searching):
    """Augmentation at work."""

    def __init__(self, search: Augment, context: Context, branches: Branches) -> None:
        self.search, self.target, self.branches = search, context.target, branches
        self.coprocessor = context.second(search.coprocessor) if search.coprocessor else context.target
        shapes = {(each.channels, getattr(each.new_cache(), "shape", None)) for each in (self.target, self.coprocessor)}
        if len(shapes) > 1:
            raise Unsupported(
                f"{self.coprocessor.name} is built otherwise than {self.target.name}", hint="one of its architecture"
            )
        self.soft = soft_rows(search.soft, search.size, self.target)

    def grow(self, groups: Sequence[Group]) -> None:
        for group in (group for group in groups if not group.streams):
            group.streams = group.wanted
            first = self._augmented(group) if self.search.size else group.first
            rows = self.branches.spread(first, group)
            group.alive = [Branch(row=row, number=at) for at, row in enumerate(rows)]

    def settle(self, group: Group) -> None:
        group.catch_up()
        group.ended = not group.alive

    def _augmented(self, group: Group) -> Row:
        """The group's first row again, with the rows before its last token."""
        first, size = group.first, self.search.size
        tokens = first.history.tokens
        if len(tokens) + size + first.limits.new_tokens > self.target.max_positions:
            raise Unsupported(
                f"no place is left for {size} rows in {self.target.name}", hint="ask for a shorter answer"
            )
        added = [Picture(self.latents(first.cache_row, len(tokens) - 1), at=len(tokens) - 1)]
        history = History([*tokens[:-1], *[tokens[-1]] * size, tokens[-1]], tuple(added))
        return self.branches.reread(first, history)

    def latents(self, cache_row: int, start: int) -> Tensor:
        """What the coprocessor makes of a row of the target's cache that holds `start` tokens: [n, C]."""
        cache, size = self.branches.cache, len(self.soft)
        copy = cache.fork(cache_row)[0]
        window = Window.chain([copy], [[RAW] * size], [start], self.target.device)
        window.embeds = self.soft[None]
        found = self.coprocessor.evaluate(window, cache, Want(logits=False, hidden=(self.coprocessor.layers,)))
        cache.free(copy)
        return found.hidden[self.coprocessor.layers][0].clone()


def soft_rows(name: str, size: int, model: Model) -> Tensor:
    """So many rows [size, C] by their name: see `Augment.soft`. Raises InvalidRequest or ModelError."""
    like = model.embed(torch.zeros(1, dtype=torch.int64, device=model.device)) if size else torch.zeros(0)
    if name.startswith(RANDOM):
        if not (seed := name.removeprefix(RANDOM)).isdecimal():
            raise InvalidRequest(f"{name!r} names no seed", hint="random:7, say")
        rows = [unit(int(seed), at, model.channels) for at in range(size)]
        return (torch.stack(rows).to(like) * like.norm()) if rows else like
    from safetensors.torch import load_file

    if not Path(name).is_file():
        raise ModelError(f"there is no file {name}", hint="a .safetensors file with `rows` [n, C]")
    rows_of = load_file(name).get("rows", torch.zeros(0))
    if rows_of.dim() != 2 or rows_of.shape[-1] != model.channels or len(rows_of) < size:
        raise ModelError(
            f"{name} does not hold {size} rows of {model.channels} channels", hint="a tensor `rows` [n, C]"
        )
    taken: Tensor = rows_of[:size].to(like)
    return taken
