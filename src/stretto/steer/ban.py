"""Banned tokens, and end tokens banned for a while."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from .contract import Stage, Steer, require
from .logits import remove, token_set

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes


@dataclass(frozen=True, slots=True)
class Ban(Steer):
    """Remove the tokens."""

    name: ClassVar[str] = "ban"
    stage: ClassVar[Stage] = Stage.PENALTY
    pointwise: ClassVar[bool] = True

    tokens: Iterable[int] = frozenset()  # kept as a frozenset; none is neutral
    _index: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", token_set(self.tokens, "ban"))
        object.__setattr__(self, "_index", torch.tensor(sorted(self.named_tokens), dtype=torch.int64))

    @property
    def idle(self) -> bool:
        return not self.tokens

    @property
    def named_tokens(self) -> frozenset[int]:
        return frozenset(self.tokens)

    @classmethod
    def examples(cls) -> tuple[Ban, ...]:
        return cls(), cls({0, 2})

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        return logits if self.idle else logits.index_fill(1, self._index.to(logits.device), -torch.inf)


@dataclass(frozen=True, slots=True)
class MinTokens(Steer):
    """Remove the end tokens until the output has `least` tokens."""

    name: ClassVar[str] = "min_tokens"
    stage: ClassVar[Stage] = Stage.PENALTY
    pointwise: ClassVar[bool] = False

    end_tokens: Iterable[int]  # kept as a frozenset; none is neutral
    least: int  # output tokens before an end token, 0 or more; 0 is neutral

    def __post_init__(self) -> None:
        require(self.least >= 0, f"min_tokens {self.least} is out of range", "0 or more tokens; 0 demands nothing")
        object.__setattr__(self, "end_tokens", token_set(self.end_tokens, "end tokens"))

    @property
    def idle(self) -> bool:
        return self.least == 0 or not self.end_tokens

    @property
    def named_tokens(self) -> frozenset[int]:
        return frozenset(self.end_tokens)

    @classmethod
    def examples(cls) -> tuple[MinTokens, ...]:
        return cls({3}, 0), cls({1, 3}, 3)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        early = [node for node, path in enumerate(nodes.paths) if path.output_length < self.least]
        return remove(logits, [(node, token) for node in early for token in self.end_tokens])
