"""No n-gram twice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..entry import Entry, Guarantee
from .contract import Stage, Steer, require
from .logits import remove, token_set
from .path import Scope

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

ENTRY = Entry(
    name="no-repeat-ngram",
    family="steer",
    source="arXiv 1705.04304 (a deep reinforced model for abstractive summarization)",
    parts="plain+no_repeat(3)",
    guarantee=Guarantee.DEFINED,
    summary="no run of n tokens twice",
)


@dataclass(frozen=True, slots=True)
class NoRepeat(Steer):
    """Remove every token that would complete a run of n tokens that the path already holds."""

    name: ClassVar[str] = "no_repeat"
    stage: ClassVar[Stage] = Stage.PENALTY
    pointwise: ClassVar[bool] = False

    size: int  # n, in tokens; 0 is neutral
    scope: Scope = Scope.PATH  # path (prompt and output) or output
    exempt: Iterable[int] = frozenset()  # kept as a frozenset; tokens never removed, such as end tokens

    def __post_init__(self) -> None:
        require(self.size >= 0, f"no-repeat n-gram of {self.size} tokens", "1 or more tokens; 0 forbids nothing")
        object.__setattr__(self, "exempt", token_set(self.exempt, "exempt from no_repeat"))

    @property
    def idle(self) -> bool:
        return self.size == 0

    @property
    def named_tokens(self) -> frozenset[int]:
        return frozenset(self.exempt)

    @classmethod
    def examples(cls) -> tuple[NoRepeat, ...]:
        return cls(0), cls(2), cls(1, exempt={0}), cls(3, scope=Scope.OUTPUT)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        banned = [path.followers(self.size, self.scope) - self.named_tokens for path in nodes.paths]
        return remove(logits, [(node, token) for node, tokens in enumerate(banned) for token in tokens])
