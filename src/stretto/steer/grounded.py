"""Grounded decoding: what the model would say, times what the world allows (arXiv 2303.00855)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..entry import Entry, Guarantee
from .contract import Stage, Steer, in_range, require
from .path import Scope

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

ENTRY = Entry(
    name="grounded-decoding",
    family="steer",
    number=54,
    source="arXiv 2303.00855 (grounded decoding)",
    parts="plain+grounded(((1,2),0.9),((1,3),0))",
    guarantee=Guarantee.DEFINED,
    confirmed=False,  # how many tokens are looked at, and how a part of a phrase is valued
    summary="tokens are weighed by how well what they make of the answer fits a state of the world",
)

LEAST = 1e-6  # of a value: nothing is ruled out for good, as the model's own doubts are not


@dataclass(frozen=True, slots=True)
class Grounded(Steer):
    """Of the `among` best tokens, and their equals, each gains `by` times the logarithm of its answer's value.

    The value, 0 to 1, is a function's of the answer's tokens so far with this one; or that of phrases with a value
    each, such as skills that can be done now: an answer that is on its way to some is worth the best of these, one that
    begins with a phrase what that is worth, and any other nothing. A value below 1e-6 counts as that.
    """

    name: ClassVar[str] = "grounded"
    stage: ClassVar[Stage] = Stage.PENALTY

    grounding: tuple[tuple[tuple[int, ...], float], ...] | Callable[[tuple[int, ...]], float]  # pure, if a function
    by: float = 1.0  # 0 to 100; 0 is neutral
    among: int = 20  # tokens, 1 or more

    def __post_init__(self) -> None:
        require(in_range(self.by, 0, 100), f"grounded by {self.by}", "0 to 100, usually 1")
        require(self.among >= 1, f"grounded among {self.among} tokens", "1 or more, usually 20")
        if not callable(self.grounding):
            require(bool(self.grounding), "grounded in no phrase", "give phrases with a value each, or a function")
            for phrase, value in self.grounding:
                require(bool(phrase) and min(phrase) >= 0, f"grounded in {phrase}", "one or more token ids")
                require(in_range(value, 0, 1), f"grounded in {phrase} of the value {value}", "0 to 1")

    @property
    def idle(self) -> bool:
        return self.by == 0

    @property
    def named_tokens(self) -> frozenset[int]:
        return (
            frozenset() if callable(self.grounding) else frozenset(each for line, _ in self.grounding for each in line)
        )

    @classmethod
    def examples(cls) -> tuple[Grounded, ...]:
        skills = (((1, 2), 0.9), ((1, 3), 0.0), ((2,), 0.2))
        return cls(skills, 0.0), cls(skills), cls(skills, 2.0, 3)

    def value(self, answer: tuple[int, ...]) -> float:
        """Of an answer so far: 0 to 1. Raises InvalidRequest where a function says something else."""
        if not callable(self.grounding):
            sizes = ((min(len(phrase), len(answer)), phrase, value) for phrase, value in self.grounding)
            return max((value for size, phrase, value in sizes if phrase[:size] == answer[:size]), default=0.0)
        value = float(self.grounding(answer))
        require(in_range(value, 0, 1), f"the grounding of {answer[-3:]} is {value}", "a number from 0 to 1")
        return value

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        least = logits.topk(min(self.among, logits.shape[-1])).values[:, -1:]
        able = (logits >= least) & (logits > -torch.inf)
        gains: list[float] = []
        for path, row in zip(nodes.paths, able, strict=True):
            answer = path.last(path.output_length, Scope.OUTPUT)
            tokens = row.nonzero()[:, 0].tolist()
            gains += [self.by * math.log(max(self.value((*answer, token)), LEAST)) for token in tokens]
        gained = logits[able] + torch.tensor(gains, dtype=logits.dtype, device=logits.device)
        return torch.full_like(logits, -torch.inf).masked_scatter(able, gained)
