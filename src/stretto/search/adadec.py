"""AdaDec: where the model is unsure, its likeliest tokens are each followed a little, and the best one is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..annotations import Unbounded
from ..entry import Entry, Guarantee
from ..errors import InvalidRequest, Unsupported
from ..models.contract import Model
from ..steer.pipeline import Pipeline
from .texts import compiled
from .unsure import Unsure
from .within import UNBOUNDED, Within

ENTRY = Entry(
    name="adadec",
    number=35,
    family="search",
    source="adaptive decoding with uncertainty guidance; code github.com/SYSUSELab/AdaDec",
    parts="adadec",
    guarantee=Guarantee.APPROXIMATE,
    summary="at an unsure place the likeliest tokens are each followed greedily, and the best mean decides which it is",
)


@dataclass(frozen=True, slots=True)
class AdaDec(Unsure):
    """Greedy where the entropy of what the model says is below `nats`; else the best of `width` tokens.

    Each is followed greedily for `ahead` tokens, or up to a match of `until`, and the one is taken whose tokens have
    the largest mean log-probability. What was followed stays up to the next unsure place: it would have come to that
    anyway. With `nats=inf` or one token it is greedy decoding.
    """

    width: int = 3  # ≥ 1, tokens that are followed. Published: 3
    nats: Unbounded = 1.0  # ≥ 0; 0: at every place. Published: .6 to 1.3, by the model
    ahead: int = 5  # ≥ 0, tokens behind each. Published: 5
    until: str = "\n"  # a regular expression: nothing is followed beyond a match
    within: Within = UNBOUNDED

    name: ClassVar[str] = "adadec"
    steered: ClassVar[bool] = False
    whole: ClassVar[bool] = False

    def __post_init__(self) -> None:
        compiled(self.until)
        if self.width < 1 or self.ahead < 0 or not self.nats >= 0:
            raise InvalidRequest(
                f"{self.width} tokens followed for {self.ahead}, from {self.nats} nats", hint="at least 1; from 0"
            )

    @property
    def far(self) -> int:  # type: ignore[override]  # with the token itself
        return 1 + self.ahead

    def check(self, model: Model, pipeline: Pipeline, samples: int) -> None:
        if not pipeline.greedy:
            raise Unsupported(f"{self.name} involves no chance", hint="leave the temperature at 0")

    def rows(self, samples: int) -> int:
        return self.width * (1 + self.ahead * (self.width - 1))  # with those that are set aside

    def ways(self, nats: float) -> int:
        return self.width if nats >= self.nats else 1
