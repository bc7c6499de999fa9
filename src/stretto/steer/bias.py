"""Static logit bias."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from .contract import Stage, Steer, in_range, require
from .logits import token_set

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes


@dataclass(frozen=True, slots=True)
class Bias(Steer):
    """Add a number to the logits of chosen tokens. To remove a token, ban it."""

    name: ClassVar[str] = "bias"
    stage: ClassVar[Stage] = Stage.PENALTY
    pointwise: ClassVar[bool] = True

    biases: tuple[tuple[int, float], ...] = ()  # (token, logits to add, -100 to 100); none is neutral
    _tokens: Any = field(init=False, repr=False, compare=False)
    _amounts: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        amounts = dict(self.biases)
        token_set(amounts, "bias")
        require(len(amounts) == len(self.biases), "bias names a token twice", "give one number for each token")
        for token, amount in amounts.items():
            require(
                in_range(amount, -100.0, 100.0),
                f"bias {amount} of token {token} is out of range",
                "-100 to 100; to remove a token, ban it",
            )
        object.__setattr__(self, "_tokens", torch.tensor(list(amounts.keys()), dtype=torch.int64))
        object.__setattr__(self, "_amounts", torch.tensor(list(amounts.values()), dtype=torch.float64))

    @property
    def idle(self) -> bool:
        return not any(amount for _, amount in self.biases)

    @property
    def named_tokens(self) -> frozenset[int]:
        return frozenset(token for token, _ in self.biases)

    @classmethod
    def examples(cls) -> tuple[Bias, ...]:
        return cls(), cls(((1, 1.5), (3, -2.0)))

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        amounts = self._amounts.to(logits.device, logits.dtype)
        return logits.index_add(1, self._tokens.to(logits.device), amounts.expand(len(logits), -1))
