"""Penalty decoding: a repetition penalty that forgets, and an end that it does not bring on (arXiv 2310.14971)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from ..entry import Entry, Guarantee
from .contract import Stage, Steer, in_range, require
from .logits import spare, token_set
from .occurrences import occurrences
from .path import Scope

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

ENTRY = Entry(
    name="penalty-decoding",
    family="steer",
    number=106,
    source="arXiv 2310.14971; zwhong714/penalty_decoding",
    parts="plain+penalty_decoding",
    guarantee=Guarantee.DEFINED,
    confirmed=False,  # the window, the penalty and the form of the length penalty
    summary="a repetition penalty over the newest tokens of the answer, and no early end",
)


@dataclass(frozen=True, slots=True)
class PenaltyDecoding(Steer):
    """Penalise the tokens of the newest `last` of the answer, once each, and end tokens while it is short.

    A positive logit is divided by the penalty, a negative one multiplied by it. An end token is held back by `delay` in
    full at the first token, and less and less up to the length `least`. End tokens and the exempt are never penalised
    for having occurred. The paper's choice is greedy.
    """

    name: ClassVar[str] = "penalty_decoding"
    stage: ClassVar[Stage] = Stage.PENALTY

    penalty: float = 1.5  # 0.01 to 100; above 1 discourages, 1 is neutral
    last: int = 100  # tokens of the answer that count, 1 or more
    ends: Iterable[int] = frozenset()  # kept as a frozenset; tokens that end an answer
    delay: float = 2.0  # 0 to 100: logits, or a factor above 1, that hold back the end; 0 does not
    least: int = 64  # tokens, 1 or more: from this length on the end is held back no more
    form: Literal["minus", "times"] = "minus"  # the delay is taken off the logit; or it is penalised by 1 + delay
    exempt: Iterable[int] = frozenset()  # kept as a frozenset; other tokens never penalised, such as line ends

    def __post_init__(self) -> None:
        require(in_range(self.penalty, 0.01, 100), f"penalty decoding by {self.penalty}", "0.01 to 100, usually 1.5")
        require(self.last >= 1, f"penalty decoding over the last {self.last} tokens", "1 or more, usually 100")
        require(in_range(self.delay, 0, 100), f"penalty decoding delays the end by {self.delay}", "0 to 100")
        require(self.least >= 1, f"penalty decoding up to a length of {self.least} tokens", "1 or more")
        object.__setattr__(self, "ends", token_set(self.ends, "end tokens of penalty decoding"))
        object.__setattr__(self, "exempt", token_set(self.exempt, "exempt from penalty decoding"))

    @property
    def idle(self) -> bool:
        return self.penalty == 1 and (self.delay == 0 or not self.ends)

    @property
    def named_tokens(self) -> frozenset[int]:
        return frozenset(self.ends) | frozenset(self.exempt)

    @classmethod
    def examples(cls) -> tuple[PenaltyDecoding, ...]:
        held = cls(1.0, ends={3, 1}, least=8)
        return cls(1.0), cls(last=3), held, cls(1.3, 2, {3}, form="times", exempt={0})

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        flat = occurrences(nodes.paths, Scope.OUTPUT, self.last, logits.shape[-1]).flat.to(logits.device)
        penalised = _penalised(logits.reshape(-1)[flat], self.penalty)
        steered = spare(logits.reshape(-1).index_copy(0, flat, penalised).view_as(logits), logits, self.named_tokens)
        return self._held_back(steered, nodes) if self.ends and self.delay else steered

    def _held_back(self, logits: Tensor, nodes: Nodes) -> Tensor:
        """The end tokens less likely, the more so the shorter the answer is."""
        short = [max(0.0, 1 - path.output_length / self.least) for path in nodes.paths]
        delay = self.delay * torch.tensor(short, dtype=logits.dtype, device=logits.device)[:, None]  # [N, 1]
        ends = torch.tensor(sorted(self.ends), device=logits.device)
        old = logits.index_select(1, ends)
        return logits.index_copy(1, ends, old - delay if self.form == "minus" else _penalised(old, 1 + delay))


def _penalised(logits: Tensor, penalty: float | Tensor) -> Tensor:
    return torch.where(logits > 0, logits / penalty, logits * penalty)
