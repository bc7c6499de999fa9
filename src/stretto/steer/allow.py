"""Allowed tokens only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from .contract import Stage, Steer, require
from .logits import token_set

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes


@dataclass(frozen=True, slots=True)
class Allow(Steer):
    """Remove every token but these."""

    name: ClassVar[str] = "allow"
    stage: ClassVar[Stage] = Stage.MASK
    pointwise: ClassVar[bool] = True

    tokens: Iterable[int] | None = None  # at least one, kept as a frozenset; None: every token, which is neutral
    _index: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.tokens is not None:
            object.__setattr__(self, "tokens", token_set(self.tokens, "allow"))
            require(bool(self.named_tokens), "allow permits no token at all", "name at least one, or leave it out")
        object.__setattr__(self, "_index", torch.tensor(sorted(self.named_tokens), dtype=torch.int64))

    @property
    def idle(self) -> bool:
        return self.tokens is None

    @property
    def named_tokens(self) -> frozenset[int]:
        return frozenset(self.tokens or ())

    @classmethod
    def examples(cls) -> tuple[Allow, ...]:
        return cls(), cls({1, 2, 3}), cls({2})

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        index = self._index.to(logits.device)
        return torch.full_like(logits, -torch.inf).index_copy_(1, index, logits.index_select(1, index))
