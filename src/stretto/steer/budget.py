"""A budget for spans: what is opened is closed in time (budget forcing, arXiv 2501.19393)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from .contract import Stage, Steer, require
from .logits import token_set

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

CLOSED = -1


@dataclass(frozen=True, slots=True)
class Budget(Steer):
    """After `most` tokens of a span that the token `opening` began, allow the token `closing` alone.

    Such spans are thoughts, calls of tools, quotations. Its state is how many tokens the open span holds; one that the
    prompt opened counts from there.
    """

    name: ClassVar[str] = "budget"
    stage: ClassVar[Stage] = Stage.MASK

    opening: int  # token id that begins a span
    closing: int  # token id that ends it; it may be the same
    most: int = 0  # tokens between them, 1 or more; 0 sets no limit

    def __post_init__(self) -> None:
        token_set((self.opening, self.closing), "budget")
        require(self.most >= 0, f"budget of {self.most} tokens", "1 or more tokens; 0 sets no limit")

    @property
    def idle(self) -> bool:
        return self.most == 0

    @property
    def named_tokens(self) -> frozenset[int]:
        return frozenset((self.opening, self.closing))

    @classmethod
    def examples(cls) -> tuple[Budget, ...]:
        return cls(0, 1), cls(2, 3, 1), cls(1, 0, 2)

    def begin(self, prompt: Sequence[int]) -> int:
        state = CLOSED
        for token in prompt:
            state = self.step(state, token)
        return state

    def step(self, state: int, token: int) -> int:
        if state == CLOSED:
            return 0 if token == self.opening else CLOSED
        return CLOSED if token == self.closing else state + 1

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        spent = [node for node, state in enumerate(nodes.states(self)) if state >= self.most]
        steered = logits.clone()
        steered[spent] = -torch.inf
        steered[spent, self.closing] = logits[spent, self.closing]
        return steered
