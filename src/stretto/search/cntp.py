"""Cautious next token prediction: the less sure the model is, the more ways on are drawn, and the likeliest stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest, Unsupported
from ..models.contract import Model
from ..steer.pipeline import Pipeline
from .texts import compiled
from .unsure import Unsure
from .within import UNBOUNDED, Within

ENTRY = Entry(
    name="cntp",
    number=196,
    family="search",
    source="arXiv 2507.03038; code github.com/wyzjack/CNTP",
    parts="cntp",
    guarantee=Guarantee.APPROXIMATE,
    summary="where the model is unsure several ways on are drawn up to a punctuation mark, and the likeliest stays",
)

MARK = r"[.,?!:;)\]}\n]"


@dataclass(frozen=True, slots=True)
class Cautious(Unsure):
    """From a place of entropy H, 1 + ⌊(most − 1) · (H − low) / (high − low)⌋ ways are drawn, from 1 to `most`.

    The entropy is that of what is drawn from, behind temperature and truncations. Of the ways the one of lowest
    perplexity, over its own tokens, stays. With `most` 1 it is plain decoding.
    """

    most: int = 10  # ≥ 1, ways. Published: 10
    low: float = 0.01  # nats, up to which there is one way
    high: float = 1.5  # nats, above `low`, from which there are `most`
    until: str = MARK  # a regular expression: a way ends with the token that completes a match in it
    far: int = 32  # ≥ 1, tokens of a way at most
    by: Literal["steered", "raw"] = "steered"  # published: by what truncations leave, which favours what they cut most
    within: Within = UNBOUNDED

    name: ClassVar[str] = "cntp"

    def __post_init__(self) -> None:
        compiled(self.until)
        if self.most < 1 or self.far < 1 or not self.low < self.high:
            raise InvalidRequest(
                f"{self.most} ways of {self.far} tokens, from {self.low} to {self.high} nats",
                hint="at least 1 each; low below high",
            )

    def check(self, model: Model, pipeline: Pipeline, samples: int) -> None:
        if pipeline.greedy:
            raise Unsupported(f"{self.name} draws its ways, and without chance all are one", hint="temperature=1")

    def rows(self, samples: int) -> int:
        return samples * self.most

    def ways(self, nats: float) -> int:
        share = (nats - self.low) / (self.high - self.low)
        return 1 + int((self.most - 1) * min(max(share, 0.0), 1.0))
