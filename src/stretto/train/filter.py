"""Learn2PD's filter: decode, decode again with an oracle that knows the outcome, and learn when a prediction is final.

The filter has about two thousand weights and reads confidences alone, so minutes on a processor are enough
(arXiv 2509.25188). It holds for the model, the refresh and the width of window that it was trained with:

    judge, report = train_filter(engine, prompts, "low-confidence+blocks(32)")
    judge.save(Path("filter.npz"))                      # then: learned(file=filter.npz)+blocks(32)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from stretto import method as methods
from stretto.context import Context
from stretto.diffuse.canvas import Canvas, Delta, Span
from stretto.diffuse.filter import Filter, features
from stretto.diffuse.method import Diffuse
from stretto.diffuse.orders.contract import Order, OrderState
from stretto.diffuse.prediction import Floats, Prediction, surest
from stretto.engine import Engine, Prompt
from stretto.errors import InvalidRequest
from stretto.generation import Generation

CHECK_EVERY = 100  # epochs between looks at the held-out tenth
AT_ONCE = 16  # prompts that are answered side by side
LEAST = 0.96  # probability from which a prediction counts as final in a report


@dataclass(frozen=True, slots=True)
class Settings:
    """How a filter is fitted."""

    epochs: int = 40_000  # passes over everything, ≥ 1
    rate: float = 3e-3
    seed: int = 0  # of the first weights, and of what is held out

    def __post_init__(self) -> None:
        if self.epochs < 1 or not self.rate > 0:
            raise InvalidRequest(f"{self.epochs} epochs at rate {self.rate}", hint="1 or more, at a rate above 0")


class Sample(NamedTuple):
    """One step of one window of width B."""

    features: Floats  # [B] what the filter reads
    final: NDArray[np.bool_]  # [B] whether the prediction was what came out in the end
    open: NDArray[np.bool_]  # [B] where there was a prediction


@dataclass(frozen=True, slots=True)
class Report:
    """What a filter learnt from, and how it does on steps that it has not seen."""

    samples: int
    oracle_rounds: int  # of all answers, where the oracle decoded them
    baseline_rounds: int  # and where the method did
    loss: float  # nats per open position
    precision: float  # share of those taken for final that are
    recall: float  # share of the final ones that are taken


class Lessons:
    """The outcome of each prompt, and what the oracle saw on the way there."""

    def __init__(self, answers: Sequence[Generation], width: int) -> None:
        self.outcomes = {tuple(answer.prompt_tokens): np.array(answer.tokens) for answer in answers}
        self.width = width
        self.samples: list[Sample] = []

    def __str__(self) -> str:
        return f"{len(self.outcomes)} answers"

    def outcome(self, canvas: Canvas) -> NDArray[np.int64]:
        """The tokens that the row had in the end, from the end of its prompt on."""
        return self.outcomes[tuple(canvas.ids[: canvas.prompt].tolist())]


@dataclass(frozen=True)
class Oracle(Order):
    """Fills whatever is proposed as it came out in the end; where nothing is, the surest position gets what came out.

    Nothing that keeps the outcome can be faster without other predictions.
    """

    lessons: Lessons

    name: ClassVar[str] = "oracle"

    def open(self, canvas: Canvas, context: Context) -> OrderState:
        return OracleState(self.lessons)


class OracleState(OrderState):
    """Remembers what it saw in the lessons."""

    def __init__(self, lessons: Lessons) -> None:
        self.lessons = lessons

    def begin_window(self, canvas: Canvas, window: Span) -> None:
        size, width = window.end - window.start, self.lessons.width
        if size > width:
            raise InvalidRequest(f"a window of {size} positions for a filter of {width}", hint=f"add blocks({width})")

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        confidence, width = prediction.confidence("raw"), self.lessons.width
        outcome = self.lessons.outcome(canvas)[prediction.positions - canvas.prompt]
        right = prediction.tokens == outcome
        at = prediction.positions - window.start
        final, is_open = np.zeros(width, np.bool_), np.zeros(width, np.bool_)
        final[at], is_open[at] = right, True
        read = features(window, prediction.positions, confidence, width)
        self.lessons.samples.append(Sample(read, final, is_open))
        if right.any():
            return Delta.of(prediction, np.flatnonzero(right))
        best = int(surest(confidence, 1)[0])
        return Delta({int(prediction.positions[best]): int(outcome[best])})


def train_filter(
    engine: Engine,
    prompts: Sequence[Prompt],
    method: str | Diffuse = "low-confidence+blocks(32)",
    *,
    width: int = 32,
    new_tokens: int = 256,
    settings: Settings = Settings(),
) -> tuple[Filter, Report]:
    """A filter for windows of `width` positions, from greedy answers to the prompts, and how good it is.

    `method` gives the answers to learn from, and the blocks and the refresh that the filter shall work under.
    Raises InvalidRequest where windows are wider, or where no prompt could be answered.
    """
    chosen = methods.parse(method)
    if not isinstance(chosen, Diffuse):
        raise InvalidRequest(f"{method!r} fills no masks", hint="for example 'low-confidence+blocks(32)'")
    answers = _answers(engine, prompts, chosen, new_tokens)
    lessons = Lessons(answers, width)
    known = [answer.prompt_tokens for answer in answers]
    again = _answers(engine, known, replace(chosen, order=Oracle(lessons)), new_tokens)
    assert [answer.tokens for answer in again] == [answer.tokens for answer in answers], "an oracle keeps the outcome"
    judge, report = fit(lessons.samples, settings)
    rounds = [sum(answer.counters.rounds for answer in each) for each in (again, answers)]
    return judge, replace(report, oracle_rounds=rounds[0], baseline_rounds=rounds[1])


def _answers(engine: Engine, prompts: Sequence[Prompt], method: Diffuse, new_tokens: int) -> list[Generation]:
    """Whole canvases, end tokens and what follows them included."""
    found: list[Generation] = []
    for start in tqdm(range(0, len(prompts), AT_ONCE), unit="batch", leave=False, disable=None, delay=2):
        some = engine.generate(list(prompts[start : start + AT_ONCE]), method, max_new_tokens=new_tokens, end_tokens=())
        assert isinstance(some, list)
        found += some
    good = [answer for answer in found if answer.error is None]
    if not good:
        raise next((answer.error for answer in found if answer.error), InvalidRequest("there is no prompt"))
    return good


def fit(samples: Sequence[Sample], settings: Settings = Settings()) -> tuple[Filter, Report]:
    """Fit to four fifths of the samples, keep what does best on a tenth, and report on the last tenth.

    Raises InvalidRequest for fewer than ten samples.
    """
    if len(samples) < 10:
        raise InvalidRequest(f"{len(samples)} steps to learn from", hint="10 at least: more prompts, more tokens")
    data = [torch.from_numpy(np.stack(part)).float() for part in zip(*samples, strict=True)]
    mixed = np.random.default_rng(settings.seed).permutation(len(samples))
    tenth = len(samples) // 10
    test, check, learn = (
        tuple(part[torch.from_numpy(chosen)] for part in data)
        for chosen in (mixed[:tenth], mixed[tenth : 2 * tenth], mixed[2 * tenth :])
    )
    network = _fitted(learn, check, data[0].shape[1], settings)
    inner, outer = cast(nn.Linear, network[0]), cast(nn.Linear, network[2])
    weights = (inner.weight, inner.bias, outer.weight, outer.bias)
    judge = Filter(*(part.detach().double().numpy().copy() for part in weights))
    return judge, _report(judge, network, test, len(samples))


def _fitted(learn: tuple[Tensor, ...], check: tuple[Tensor, ...], width: int, settings: Settings) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.rate)
    best, kept = float("inf"), {name: value.clone() for name, value in network.state_dict().items()}
    for epoch in tqdm(range(1, settings.epochs + 1), unit="epoch", leave=False, disable=None, delay=2):
        optimiser.zero_grad(set_to_none=True)
        _loss(network, learn).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if epoch % CHECK_EVERY == 0 or epoch == settings.epochs:
            with torch.no_grad():
                found = float(_loss(network, check))
            if found < best:
                best, kept = found, {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(kept)
    return network


def _loss(network: nn.Sequential, data: tuple[Tensor, ...]) -> Tensor:
    """Binary cross entropy per open position; elsewhere there is nothing to judge."""
    read, final, is_open = data
    losses = F.binary_cross_entropy_with_logits(network(read), final, reduction="none")
    return (losses * is_open).sum() / is_open.sum().clamp(min=1)


def _report(judge: Filter, network: nn.Sequential, test: tuple[Tensor, ...], samples: int) -> Report:
    read, final, is_open = (part.numpy() for part in test)
    taken = (judge(read.astype(np.float64)) > LEAST) & (is_open > 0)
    right = taken & (final > 0)
    with torch.no_grad():
        loss = float(_loss(network, test))
    recall = right.sum() / max(1, int(final.sum()))
    return Report(samples, 0, 0, loss, float(right.sum() / max(1, int(taken.sum()))), float(recall))
