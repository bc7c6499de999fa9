"""What a search may take for one prompt: once it has, the best so far is the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..errors import InvalidRequest
from ..generation import Counters
from ..values import Checked


@dataclass(frozen=True, slots=True)
class Within(metaclass=Checked):
    """0: as much as it likes. Bounds are looked at after each round, so the last round may go beyond them."""

    tokens: int = 0  # ≥ 0, evaluated by the model, those of the prompt left out
    rounds: int = 0  # ≥ 0, evaluations of the model
    calls: int = 0  # ≥ 0, answers or beginnings of answers that the scorer judged
    seconds: float = 0.0  # ≥ 0; not the same twice

    name: ClassVar[str] = "within"
    kind: ClassVar[str] = "bound"

    def __post_init__(self) -> None:
        if min(self.tokens, self.rounds, self.calls, self.seconds) < 0:
            raise InvalidRequest(
                "a search may not take less than nothing", hint="bounds are numbers from 0; 0 sets none"
            )

    def spent(self, counters: Counters) -> bool:
        """Whether that was as much as it may be."""
        taken = (counters.token_forwards, counters.rounds, counters.scorer_calls, counters.seconds)
        most = (self.tokens, self.rounds, self.calls, self.seconds)
        return any(0 < bound <= amount for amount, bound in zip(taken, most, strict=True))


UNBOUNDED = Within()
