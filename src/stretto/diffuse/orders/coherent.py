"""CCD: a prediction is trusted as far as the contexts of the last steps agree on it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest, closest
from ..canvas import Canvas, Delta, Span
from ..prediction import Prediction, surest
from ..quotas import require_steps, steps_of, transfers
from .contract import Order, OrderState

if TYPE_CHECKING:
    from torch import Tensor

ENTRIES = (
    Entry(
        name="ccd-ds",
        family="diffusion",
        source="arXiv 2512.02044; code github.com/tonyckc/CCD-DLM-code",
        parts="coherent",
        guarantee=Guarantee.APPROXIMATE,
        number=37,
        needs=("masked-diffusion model",),
        summary="all positions that have been among the surest, with the same token, for some steps",
        generation="fill",
        refinement="iterative",
        branch="non-autoregressive",
    ),
    Entry(
        name="ccd",
        family="diffusion",
        source="arXiv 2512.02044; code github.com/tonyckc/CCD-DLM-code",
        parts="coherent(adaptive=false)",
        guarantee=Guarantee.APPROXIMATE,
        number=37,
        needs=("masked-diffusion model",),
        summary="as many positions each step, by what was predicted on average over some steps",
        generation="fill",
        refinement="iterative",
        branch="non-autoregressive",
    ),
)

MEASURES = {"probability": "raw", "entropy": "raw-entropy"}  # -> `prediction.Confidence`
LATE = 0.1  # share of masks from which on the staged history is short again


@dataclass(frozen=True, slots=True)
class Coherent(Order):
    """Each step notes its `most` surest positions. What is noted is predicted by the mean over the last `history`
    steps that noted it, and chosen from that.

    Adaptive: all positions that each of these steps noted with the same likeliest token are filled; where there is
    none, as many as a fixed schedule gives. Else that schedule alone, over what is noted. With `history` and `most` 1
    it is the baseline. Published: history 2, on Dream 3.

    `staged` is the schedule of the published code as described: `warmup` steps without judging coherence, then a
    history that grows from 1 by 1 a step and is 1 again when a tenth of the masks is left; twice as many positions
    are noted as it has steps.
    """

    history: int = 2  # steps, this one among them, ≥ 1
    most: int = 4  # positions noted in a step, ≥ 1
    adaptive: bool = True  # fills all that the last steps agree on; else as many as a fixed schedule says
    by: Literal["probability", "entropy"] = "probability"  # how sure a position is; probability of the token predicted
    steps: int = 0  # of the fixed schedule, for the whole canvas, ≥ 1; 0: one for each position
    staged: bool = False  # the history grows over the steps, as in the published code
    warmup: int = 5  # steps, ≥ 0; where it is staged

    name: ClassVar[str] = "coherent"

    def __post_init__(self) -> None:
        require_steps(self.steps)
        if self.history < 1 or self.most < 1 or self.warmup < 0:
            raise InvalidRequest(
                f"coherent(history={self.history},most={self.most},warmup={self.warmup})",
                hint="history >= 1, most >= 1, warmup >= 0",
            )
        if self.by not in MEASURES:
            raise InvalidRequest(f"{self.by!r} is no measure here", hint=closest(self.by, MEASURES))

    def open(self, canvas: Canvas, context: Context) -> OrderState:
        return CoherentState(self)


class Note(NamedTuple):
    """The surest positions of one step."""

    tokens: dict[int, int]  # position -> its likeliest token
    rows: dict[int, int]  # position -> its row in the probabilities
    probabilities: Tensor  # [most, V] float64


class CoherentState(OrderState):
    """Remembers the notes of the last steps in this window, the latest last."""

    def __init__(self, settings: Coherent) -> None:
        self.settings = settings
        self.notes: list[Note] = []
        self.quota: list[int] = []

    def fork(self) -> Self:
        twin = copy.copy(self)  # a note never changes
        twin.notes = self.notes.copy()
        return twin

    def begin_window(self, canvas: Canvas, window: Span) -> None:
        self.notes = []
        self.quota = transfers(len(canvas.masks(window)), steps_of(self.settings.steps, canvas, window))

    def adjust(self, canvas: Canvas, prediction: Prediction, window: Span) -> Prediction:
        """Notes this step's surest positions; what earlier steps noted as well is predicted by the mean."""
        history, most = self._reach(canvas)
        surely = prediction.at(prediction.positions[surest(prediction.confidence(MEASURES[self.settings.by]), most)])
        tokens = dict(zip(surely.positions.tolist(), surely.best.tolist(), strict=True))
        rows = {position: row for row, position in enumerate(tokens)}
        self.notes = [*self.notes, Note(tokens, rows, surely.logs.double().exp())][-history:]
        return self._averaged(prediction)

    def _averaged(self, prediction: Prediction) -> Prediction:
        """With the mean of the noted distributions where an earlier step noted a position."""
        logits: Tensor | None = None
        for line, position in enumerate(prediction.positions.tolist()):
            noted = [note.probabilities[note.rows[position]] for note in self.notes[:-1] if position in note.rows]
            if not noted:
                continue
            if logits is None:
                logits = prediction.logs.clone()
                now = logits.double().exp()
            logits[line] = torch.stack([*noted, now[line]]).mean(0).log().to(logits.dtype)
        return prediction if logits is None else prediction.under(logits)

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        if self.settings.adaptive:
            agreed = np.flatnonzero(np.isin(prediction.positions, self._agreed(canvas)))
            if len(agreed):
                return Delta.of(prediction, agreed)
        strange = ~np.isin(prediction.positions, [position for note in self.notes for position in note.tokens])
        ranked = np.lexsort((-prediction.confidence(MEASURES[self.settings.by]), strange))
        return Delta.of(prediction, ranked[: self.quota[0 if self.settings.adaptive else canvas.window_step]])

    def _agreed(self, canvas: Canvas) -> list[int]:
        """Positions that all steps of the history noted with one token; none before there are so many steps."""
        if len(self.notes) < self._reach(canvas)[0] or (self.settings.staged and canvas.step < self.settings.warmup):
            return []
        first, *others = (note.tokens for note in self.notes)
        return [at for at, token in first.items() if all(note.get(at) == token for note in others)]

    def _reach(self, canvas: Canvas) -> tuple[int, int]:
        """The steps of the history, and the positions noted in each."""
        settings = self.settings
        if not settings.staged:
            return settings.history, settings.most
        late = int(canvas.open.sum()) <= LATE * canvas.total
        steps = 1 if late else min(settings.history, max(1, canvas.step - settings.warmup + 1))
        return steps, 2 * steps
