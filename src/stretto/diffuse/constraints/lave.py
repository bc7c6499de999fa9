"""LAVE: a token is kept if one of a few fillings of the holes before it is read by the parser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...constrain.completion import HOLE, Gap
from ...constrain.languages import language
from ...constrain.lookahead import Choices, best_fillings, survivor
from ...constrain.matcher import Matcher
from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ..canvas import Canvas, Delta, Span
from ..chance import Use, uniform
from ..contract import World
from ..grammatical import GrammaticalState
from ..prediction import Floats, Prediction
from .contract import CanvasConstraint

ENTRY = Entry(
    name="lave",
    family="diffusion",
    source="code github.com/zhangyitonggg/CD4dLLM (arXiv id unconfirmed)",
    parts="low-confidence+blocks(32)+lave(json)",
    guarantee=Guarantee.APPROXIMATE,
    number=56,
    needs=("masked-diffusion model", "tokenizer"),
    confirmed=False,
    summary="keeps a token if one of a few fillings of the holes before it is read by an incremental parser",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)
MOST = 20_000  # columns of the parser that a row keeps; beyond, it reads anew


@dataclass(frozen=True, slots=True)
class Lave(CanvasConstraint):
    """The holes before the last known token are filled with the step's own predictions, the likeliest and some drawn.

    An accepted step has a filling that the parser read: it begins a sentence, with an end token it is one. An end
    token is refused where known text follows. Beyond the published method, the positions that are left must suffice
    to end the sentence; so a row never has to be taken back. Where the order finds nothing that passes, the step
    fills from the left instead, with the last filling that was read, and what the grammar allows after it.
    """

    language: str = "json"  # json, expression, or the path of a grammar
    best: int = 5  # likeliest fillings tried, ≥ 1
    drawn: int = 5  # fillings drawn by chance, ≥ 0
    top: int = 5  # tokens of each hole among which is chosen, ≥ 1
    retries: int = 5  # other choices asked of the order in a step, ≥ 0

    name: ClassVar[str] = "lave"

    def __post_init__(self) -> None:
        if min(self.best, self.top) < 1 or min(self.drawn, self.retries) < 0:
            raise InvalidRequest(
                f"best={self.best}, top={self.top}, drawn={self.drawn}, retries={self.retries}",
                hint="best and top are 1 or more, the others 0 or more",
            )

    def check(self, world: World) -> None:
        language(self.language)

    def open(self, canvas: Canvas, context: Context) -> GrammaticalState:
        return LaveState(self, canvas, context)


class LaveState(GrammaticalState):
    """Remembers the last filling that was read."""

    def __init__(self, settings: Lave, canvas: Canvas, context: Context) -> None:
        known = language(settings.language)
        super().__init__(known, settings.language, canvas, context, gap=Gap.EXACT, retries=settings.retries)
        self.settings = settings
        self.filling: list[int] = []  # the answer's first tokens
        self.matcher = Matcher(self.completion.language)  # it has read nothing, and knows what it has read before

    def admit(
        self, canvas: Canvas, prediction: Prediction, window: Span, choose: Callable[[Prediction], Delta]
    ) -> tuple[Prediction, Delta]:
        holes = self._choices(prediction)
        draws = uniform(canvas.rule, canvas.masks(Span(canvas.prompt, len(canvas))), canvas.step, Use.OTHER)
        read: dict[tuple[int, ...], list[int] | None] = {}

        def holds(text: list[int]) -> bool:
            key = tuple(text)
            if key not in read:
                read[key] = self._read(text, canvas.prompt, holes, draws)
            return read[key] is not None

        chosen, delta, held = self.choose(canvas, prediction, choose, holds)
        if held:
            self.filling = read.get(tuple(self.text(canvas, delta))) or self.filling
            return chosen, delta
        return chosen, self._recover(canvas, prediction, window, len(delta.commit))

    def _recover(self, canvas: Canvas, prediction: Prediction, window: Span, count: int) -> Delta:
        """As many of the first open positions: from the last filling as far as it goes, and then what is allowed."""
        first = [int(at) for at in canvas.masks(window) if at in prediction.positions][: max(1, count)]
        known = {at: self.filling[at - canvas.prompt] for at in first if at - canvas.prompt < len(self.filling)}
        opened = canvas.masks(Span(canvas.prompt, canvas.prompt + min(len(self.filling), len(canvas) - canvas.prompt)))
        settled = {int(at): self.filling[at - canvas.prompt] for at in opened}
        rest = self.mend(canvas, prediction, [at for at in first if at not in known], settled)
        return Delta({**known, **rest.commit})

    def _choices(self, prediction: Prediction) -> dict[int, Choices]:
        """The likeliest tokens of each position that was computed."""
        steered = prediction.steered.log_softmax(-1)
        best = steered.topk(min(self.settings.top, steered.shape[-1]), dim=-1)
        lines = zip(prediction.positions.tolist(), best.indices.tolist(), best.values.tolist(), strict=True)
        return {at: [(t, p) for t, p in zip(ids, logs, strict=True) if p > -np.inf] for at, ids, logs in lines}

    def _read(self, text: list[int], prompt: int, holes: dict[int, Choices], draws: Floats) -> list[int] | None:
        """A filling up to the last known token that is read, and that the rest of the canvas can complete."""
        ends = self.completion.ends
        end = next((at for at, token in enumerate(text) if token in ends), len(text))
        last = max((at for at, token in enumerate(text) if token != HOLE and token not in ends), default=-1)
        if last > end:
            return None
        size = end if end < len(text) else last + 1
        part = text[:size]
        opened = [holes.get(prompt + at) for at, token in enumerate(part) if token == HOLE]
        if any(each is None for each in opened):  # not predicted for in this step: what was read before may still do
            tried: Iterator[tuple[int, ...]] = iter(())
        else:
            tried = self._fillings([each for each in opened if each is not None], draws)
        old = self.filling[:size]
        if len(old) == size and all(token in (HOLE, kept) for token, kept in zip(part, old, strict=True)):
            before = tuple(kept for token, kept in zip(part, old, strict=True) if token == HOLE)
            tried = (each for each in [before, *tried])
        if self.matcher.built > MOST:
            self.matcher = Matcher(self.completion.language)
        for filling in tried:
            found = survivor(self.matcher, self.completion.pieces, part, [filling])
            if found is not None and self.completion.can_extend([*found, *text[size:]], Gap.EXACT):
                return found
        return None

    def _fillings(self, holes: list[Choices], draws: Floats) -> Iterator[tuple[int, ...]]:
        """The likeliest by the sum of log-probabilities, then some by chance, drawn with the row's own noise."""
        yield from best_fillings(holes, self.settings.best)
        for turn in range(self.settings.drawn):
            lots = np.modf(draws[: len(holes)] + turn * 0.6180339887498949)[0]
            yield tuple(_drawn(each, float(lot)) for each, lot in zip(holes, lots, strict=False))


def _drawn(choices: Choices, lot: float) -> int:
    """The token under a draw in [0, 1), by probability among these."""
    weights = np.exp([log for _, log in choices])
    at = int(np.searchsorted(np.cumsum(weights) / weights.sum(), lot, side="right"))
    return choices[min(at, len(choices) - 1)][0]
