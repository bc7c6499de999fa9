"""DRY, don't repeat yourself: what would go on with a repetition costs the more, the longer that is already."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch

from ..entry import Entry, Guarantee
from .contract import Stage, Steer, in_range, require
from .logits import token_set

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from .nodes import Nodes

ENTRY = Entry(
    name="dry",
    family="steer",
    source="github.com/oobabooga/text-generation-webui/pull/5677; as in llama.cpp",
    parts="plain+dry",
    guarantee=Guarantee.DEFINED,
    summary="what would lengthen a repetition is made the less likely, the longer that is",
)

LARGEST = 88.7228391  # the natural logarithm of the largest float32: no penalty is larger


class Past(NamedTuple):
    """A path, and how the texts that end at its tokens are like the whole of it."""

    tokens: NDArray[np.int64]  # [L]
    alike: NDArray[np.int64]  # [L - 1]: how many tokens up to each but the last are those that the path ends in


@dataclass(frozen=True, slots=True)
class Dry(Steer):
    """Lower the logits of tokens that go on as before: by multiplier * base ^ (length - allowed).

    The length is that of the longest run of tokens that the text ends in and that the token has followed already, and
    counts from `allowed` on. Prompt and output are one text. No run holds a breaker, and no breaker is penalised: as
    runs of markup and names recur rightly, line ends, quotes and the like are usual ones.
    """

    name: ClassVar[str] = "dry"
    stage: ClassVar[Stage] = Stage.PENALTY

    multiplier: float = 0.8  # logits, 0 to 100: the penalty of a run of the allowed length; 0 is neutral
    base: float = 1.75  # 1 to 100: what each token more multiplies it by
    allowed: int = 2  # tokens, 1 or more: the shortest run that counts
    last: int = 0  # tokens; repetitions within the newest of the text only, 0: all of it
    breakers: Iterable[int] = frozenset()  # kept as a frozenset; tokens at which a run ends

    def __post_init__(self) -> None:
        require(in_range(self.multiplier, 0, 100), f"dry multiplier {self.multiplier} is out of range", "0 to 100")
        require(in_range(self.base, 1, 100), f"dry base {self.base} is out of range", "1 to 100, usually 1.75")
        require(self.allowed >= 1, f"dry allows runs of {self.allowed} tokens", "1 or more, usually 2")
        require(self.last >= 0, f"dry over the last {self.last} tokens", "0 (all) or more tokens")
        object.__setattr__(self, "breakers", token_set(self.breakers, "breakers of dry"))

    @property
    def idle(self) -> bool:
        return self.multiplier == 0

    @property
    def named_tokens(self) -> frozenset[int]:
        return frozenset(self.breakers)

    @property
    def longest(self) -> int:
        """The length of runs from which on the penalty grows no more."""
        return self.allowed + (int(LARGEST / math.log(self.base)) if self.base > 1.000001 else 0)

    @classmethod
    def examples(cls) -> tuple[Dry, ...]:
        return cls(0.0), cls(allowed=1), cls(2.0, allowed=1, breakers={2}), cls(4.0, 1.0, allowed=1, last=5)

    def begin(self, prompt: Sequence[int]) -> Past:
        tokens = np.array(prompt, dtype=np.int64)
        alike = np.zeros(max(0, len(tokens) - 1), dtype=np.int64)
        ends, length = np.arange(len(alike)), 0
        while length < self.longest:  # the ends of runs that are one token longer
            ends = ends[ends >= length]
            if not len(ends) or int(tokens[-1 - length]) in self.named_tokens:
                break
            ends = ends[tokens[ends - length] == tokens[-1 - length]]
            length += 1
            alike[ends] = length
        return Past(tokens, alike)

    def step(self, state: Any, token: int) -> Past:
        size = len(state.tokens)
        longer = np.zeros(size, dtype=np.int64)
        if token not in self.named_tokens:
            longer[1:] = state.alike
            longer = np.where(state.tokens == token, np.minimum(longer + 1, self.longest), 0)
        return Past(np.append(state.tokens, token), longer)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        found: dict[int, float] = {}  # flat index -> penalty
        for node, past in enumerate(nodes.states(self)):
            for token, length in self._runs(past).items():
                penalty = self.multiplier * self.base ** (length - self.allowed)
                found[node * logits.shape[-1] + token] = penalty
        if not found:
            return logits
        flat = torch.tensor(list(found), device=logits.device)
        penalties = torch.tensor(list(found.values()), dtype=logits.dtype, device=logits.device)
        return logits.reshape(-1).index_add(0, flat, penalties, alpha=-1).view_as(logits)

    def _runs(self, past: Past) -> dict[int, int]:
        """The tokens that would go on with a run, and the length of the longest one of each."""
        runs: dict[int, int] = {}
        start = len(past.tokens) - self.last if self.last else 0
        for end in np.flatnonzero(past.alike >= self.allowed).tolist():
            length, token = min(int(past.alike[end]), end + 1 - start), int(past.tokens[end + 1])
            if length >= max(self.allowed, runs.get(token, 0)) and token not in self.named_tokens:
                runs[token] = length
        return runs
