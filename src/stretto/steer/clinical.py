"""Clinical contrastive decoding: what an expert sees in a picture guides the prompt, and the words for it
(arXiv 2509.23379)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from ..entry import Entry, Guarantee
from ..models.vocabulary import NEVER
from .contract import Companion, Stage, Steer, in_range, require

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

SURE = 0.5  # from here on a label is named in the guidance

ENTRY = Entry(
    name="clinical-contrast",
    family="steer",
    number=110,
    source="arXiv 2509.23379 (clinical contrastive decoding); X-iZhang/CCD",
    parts="plain+clinical(1,2,odds=(0.9,0.2),guide=(3,1))",
    guarantee=Guarantee.DEFINED,
    needs=("a classifier's labels",),
    summary="between the prompt and one that says what a classifier finds; words for labels gain by their odds",
)


@dataclass(frozen=True, slots=True)
class Clinical(Steer):
    """(1 - alpha) log p + alpha log g, g being what follows where `guide` stands before the prompt; then words gain.

    A token that begins the word for a label gains `beta` times the label's log-odds, of at most ln `most` either way.
    What a classifier says of a picture comes from outside: `Clinical.of` makes guide and words of its scores. Penalties
    and truncations work on all of the outcome (published: on 1 - beta of it), and the guide stands before the prompt
    (published: behind the question).
    """

    name: ClassVar[str] = "clinical"
    stage: ClassVar[Stage] = Stage.CONTRAST

    labels: tuple[int, ...] = ()  # tokens that begin the words for what the classifier knows
    odds: tuple[float, ...] = ()  # 0 to 1: of each, the probability of what its word names
    alpha: float = 0.5  # 0 to 1: the guided reading's part
    beta: float = 0.5  # 0 to 100, how much words gain
    guide: str | tuple[int, ...] = ()  # text or token ids that stand before the prompt; none: no guided reading
    most: float = 10.0  # 1 to 1e6: the greatest odds that count

    def __post_init__(self) -> None:
        require(in_range(self.alpha, 0, 1), f"clinical with alpha {self.alpha}", "0 to 1")
        require(in_range(self.beta, 0, 100), f"clinical with beta {self.beta}", "0 to 100")
        require(in_range(self.most, 1, 1e6), f"clinical with odds of {self.most} at most", "1 to 1000000")
        same = len(self.labels) == len(self.odds)
        require(same, f"clinical has {len(self.labels)} labels, {len(self.odds)} probabilities", "one for each")
        for token, p in zip(self.labels, self.odds, strict=True):
            require(token >= 0, f"clinical names the token {token}", "token ids from 0")
            require(in_range(p, 0, 1), f"clinical gives the token {token} a probability of {p}", "0 to 1")

    @classmethod
    def of(
        cls,
        scores: Mapping[str, float],
        encode: Callable[[str], Sequence[int]],
        guidance: Callable[[Iterable[str]], str] = lambda found: f"Findings: {', '.join(found)}.\n",
        alpha: float = 0.5,
        beta: float = 0.5,
    ) -> Self:
        """Of a classifier's labels with their probabilities: those of 0.5 or more are named in the guidance.

        A label counts by the first token of its word: as it is written and in small letters, behind a space or not.
        """
        forms = {label: {before + form for before in ("", " ") for form in (label, label.lower())} for label in scores}
        labels = sorted({(encode(form)[0], scores[label]) for label, written in forms.items() for form in written})
        found = [label for label, score in scores.items() if score >= SURE]
        tokens, odds = tuple(token for token, _ in labels), tuple(p for _, p in labels)
        return cls(tokens, odds, alpha, beta, guidance(found) if found else "")

    @property
    def gains(self) -> dict[int, float]:
        """Token -> the log-odds that count, in nats; of a token that several labels begin with, the furthest from 0."""
        bound, gains = math.log(self.most), dict[int, float]()
        for token, p in zip(self.labels, self.odds, strict=True):
            odds = math.log(p / (1 - p)) if 0 < p < 1 else math.copysign(bound, p - 0.5)
            gains[token] = max(gains.get(token, 0.0), min(max(odds, -bound), bound), key=abs)
        return gains

    @property
    def idle(self) -> bool:
        return not self.companions and (self.beta == 0 or not any(self.gains.values()))

    @property
    def companions(self) -> tuple[Companion, ...]:
        return (Companion(before=self.guide),) if self.alpha and self.guide else ()

    @property
    def named_tokens(self) -> frozenset[int]:
        return frozenset(self.labels)

    @classmethod
    def examples(cls) -> tuple[Clinical, ...]:
        words = (1, 2, 3), (0.9, 0.2, 1.0)
        return cls(*words, 0.5, 0.0), cls(*words), cls(*words, 0.7, 2.0, (3, 1)), cls(alpha=1.0, guide=(2,))

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        moved = logits.clone()
        for companion in self.companions:
            own = nodes.log_probabilities.clamp(min=NEVER)
            guided = nodes.companions[companion].log_softmax(-1, dtype=own.dtype).clamp(min=NEVER)
            moved += self.alpha * (guided - own).to(moved.dtype)
        if gains := self.gains:
            moved[:, list(gains)] += self.beta * moved.new_tensor(list(gains.values()))
        return moved.masked_fill(logits == -math.inf, -math.inf)
