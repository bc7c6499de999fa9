"""What the model predicts at the open positions: a token for each, and how sure it is.

All rows of a step are one tensor [N, V]; each figure is computed once for all of them, and only if somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
import torch

from ..generation import LogProbability
from ..row import reported
from ..steer.choice import draw_all, draw_few
from ..steer.nodes import Nodes
from ..steer.pipeline import Pipeline

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Floats: TypeAlias = "NDArray[np.float64]"
Positions: TypeAlias = "NDArray[np.int64]"

# How sure the model is of a position, from the model's own distribution (raw: temperature 1, nothing steered) or from
# the one that tokens are drawn from (tempered: after temperature and truncation). Larger is surer.
Confidence = Literal[
    "raw",  # probability of the predicted token
    "tempered",
    "top",  # raw probability of the likeliest token
    "margin",  # tempered: likeliest minus second
    "raw-margin",
    "entropy",  # tempered: minus the entropy, in nats
    "raw-entropy",
]
CONFIDENCES: tuple[str, ...] = get_args(Confidence)


class StepPredictions:
    """Of all rows of one step. `keys` [N] are those of the noise (see `chance.token_keys`); None: greedy."""

    def __init__(
        self, logits: Tensor, pipeline: Pipeline, keys: Positions | None, steered: Tensor | None = None
    ) -> None:
        self.logits = logits  # [N, V] of the model, guided; float32 or float64
        self.pipeline = pipeline
        self.keys = keys
        self._steered = steered  # where they are known already
        self._chosen: Tensor | None = None
        self._logs: dict[bool, Tensor] = {}
        self._figures: dict[str, NDArray[np.generic]] = {}

    @property
    def steered(self) -> Tensor:
        """Log-weights that tokens are drawn from [N, V], −inf where a token is excluded."""
        if self._steered is None:
            self._steered = self.logits if self.pipeline.plain else self.pipeline(Nodes((), self.logits))
        return self._steered

    @property
    def chosen(self) -> Tensor:
        """The predicted token of each position [N]; of equally good ones the lowest id."""
        if self._chosen is None:
            if self.keys is None:
                self._chosen = self.steered.argmax(-1)
            else:
                draw = draw_few if self.logits.device.type == "cpu" else draw_all
                self._chosen = draw(self.steered, torch.from_numpy(self.keys).to(self.logits.device))
        return self._chosen

    def log(self, raw: bool) -> Tensor:
        """Log-probabilities [N, V], raw or tempered."""
        if raw not in self._logs:
            if not raw and self.steered is self.logits:
                return self.log(True)
            self._logs[raw] = (self.logits if raw else self.steered).log_softmax(-1)
        return self._logs[raw]

    def figure(self, name: str) -> NDArray[np.generic]:
        """One number per position [N]: "tokens", or a `Confidence`."""
        if name not in self._figures:
            self._figures[name] = FIGURES[name](self).cpu().numpy()
        return self._figures[name]


def _probability(raw: bool) -> Callable[[StepPredictions], Tensor]:
    return lambda found: found.log(raw).gather(1, found.chosen[:, None])[:, 0].double().exp()


def _margin(raw: bool) -> Callable[[StepPredictions], Tensor]:
    def margin(found: StepPredictions) -> Tensor:
        best = found.log(raw).topk(2, dim=-1).values.double().exp()
        return best[:, 0] - best[:, 1]

    return margin


def _entropy(raw: bool) -> Callable[[StepPredictions], Tensor]:
    def entropy(found: StepPredictions) -> Tensor:
        logs = found.log(raw)
        return (logs.exp() * logs.clamp(min=torch.finfo(logs.dtype).min)).sum(-1).double()

    return entropy


FIGURES: dict[str, Callable[[StepPredictions], Tensor]] = {
    "tokens": lambda found: found.chosen,
    "raw": _probability(True),
    "tempered": _probability(False),
    "top": lambda found: found.log(True).amax(-1).double().exp(),
    "margin": _margin(False),
    "raw-margin": _margin(True),
    "entropy": _entropy(False),
    "raw-entropy": _entropy(True),
}


class Prediction:
    """The part of one row: n positions, ascending, whose logits were computed in this step."""

    def __init__(
        self, whole: StepPredictions, rows: Positions, positions: Positions, weights: Floats | None = None
    ) -> None:
        self._whole = whole
        self._rows = rows  # [n] where the positions stand in the whole
        self._weights = weights  # [n] of the confidence; None: all 1
        self.positions = positions  # [n]

    @property
    def tokens(self) -> Positions:
        """The predicted token of each position [n]."""
        tokens: Positions = self._whole.figure("tokens")[self._rows].astype(np.int64)
        return tokens

    def confidence(self, source: str) -> Floats:
        """How sure the model is of each position [n]; see `Confidence`."""
        sure: Floats = self._whole.figure(source)[self._rows].astype(np.float64)
        if self._weights is None:
            return sure
        return np.where(sure < 0, sure / self._weights, sure * self._weights)  # entropies stand below 0

    @property
    def logits(self) -> Tensor:
        """The model's own logits, guided [n, V]."""
        return self._whole.logits[torch.from_numpy(self._rows).to(self._whole.logits.device)]

    @property
    def steered(self) -> Tensor:
        """Log-weights that tokens are drawn from [n, V]."""
        return self._whole.steered[torch.from_numpy(self._rows).to(self._whole.logits.device)]

    @property
    def logs(self) -> Tensor:
        """The model's own log-probabilities, at temperature 1 and unsteered [n, V]."""
        return self._whole.log(True)[torch.from_numpy(self._rows).to(self._whole.logits.device)]

    @property
    def best(self) -> Positions:
        """The likeliest token of each position [n], of those that may be drawn: what greedy decoding predicts."""
        best: Positions = self.steered.argmax(-1).cpu().numpy()
        return best

    def probability(self, tokens: Positions) -> Floats:
        """The raw probability of one given token at each position [n]."""
        logs = self.logs
        found = logs.gather(1, torch.from_numpy(tokens).to(logs.device)[:, None])[:, 0].double().exp()
        probabilities: Floats = found.cpu().numpy()
        return probabilities

    def at(self, positions: Positions) -> Prediction:
        """The same for those of the positions that are among these."""
        if not len(self.positions) or np.array_equal(self.positions, positions):  # mostly; it is asked all the time
            return self
        found = np.searchsorted(self.positions, positions)
        kept = np.zeros(len(self.positions), np.bool_)
        kept[found[self.positions.take(found, mode="clip") == positions]] = True
        if kept.all():
            return self
        weights = None if self._weights is None else self._weights[kept]
        return Prediction(self._whole, self._rows[kept], self.positions[kept], weights)

    def weighed(self, weights: Floats) -> Prediction:
        """The same with other confidence: `weights` [n] above 0, less than 1 where it shall be less sure."""
        return Prediction(self._whole, self._rows, self.positions, weights)

    def redrawn(self, keys: Positions) -> Prediction:
        """The same distributions with other draws: `keys` [n] are those of the noise. Itself where nothing is drawn."""
        if self._whole.pipeline.greedy:
            return self
        whole = StepPredictions(self.logits, self._whole.pipeline, keys, self.steered)
        return Prediction(whole, np.arange(len(self.positions)), self.positions)

    def under(self, logits: Tensor) -> Prediction:
        """The same positions had the model given these logits [n, V]; with the same draws."""
        keys = self._whole.keys
        whole = StepPredictions(logits, self._whole.pipeline, None if keys is None else keys[self._rows])
        return Prediction(whole, np.arange(len(self.positions)), self.positions)

    def report(self, tokens: Sequence[int], most: int, chosen_from: Prediction) -> list[LogProbability]:
        """Both log-probabilities of one token at each position, with the `most` likeliest beside.

        `chosen_from` is what the order chose from, at the same positions.
        """
        return reported(tokens, self.logits, chosen_from.steered, most)


def surest(confidence: Floats, count: int) -> Positions:
    """Indices of the `count` largest, largest first; of equals the first."""
    order: Positions = np.argsort(-confidence, kind="stable")[:count]
    return order
