"""Single figures beside the speed of whole answers: what a window costs, what a batch gains, whether memory grows."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import ClassVar, Protocol

import torch
from transformers import DynamicCache, PreTrainedModel

from ..engine import Engine
from ..errors import Unsupported
from ..generation import Generation
from ..models.contract import Model
from ..models.hooks import cache_argument
from ..models.network import Network
from ..models.window import Window
from .contestants import twin
from .provenance import machine_line
from .results import Spread
from .stored import Stored
from .subject import Subject
from .tasks import Exercise
from .tasks.gym import gym_tasks

Progress = Callable[[], object]  # called after each part of the work

WINDOWS = (1, 2, 4, 8, 16)  # tokens
CONTEXT = 128  # tokens in the cache before the window
ROWS = 8
ROW_TOKENS = 64  # new tokens of each row of the batch
REQUESTS = 200
WARM_REQUESTS = 20
REQUEST_TOKENS = 16


@dataclass(slots=True)
class WindowCost:
    """What one forward costs whom."""

    runner: str  # lean, network or transformers
    tokens: int  # of the window
    milliseconds: Spread


@dataclass(slots=True)
class BatchGain:
    """Unequal rows side by side against one by one."""

    method: str
    rows: int
    identical: int  # rows whose tokens are those of the row alone
    gain: Spread  # tokens per second together over one by one


@dataclass(slots=True)
class Growth:
    """Resident memory over many requests."""

    requests: int
    before: float  # MiB, after a few requests to warm up
    after: float


@dataclass(slots=True)
class Shape(Stored):
    """Everything `stretto bench shape` found."""

    COMMAND: ClassVar[str] = "stretto bench shape"
    ENTRY: ClassVar[str] = "windows"

    windows: list[WindowCost] = field(default_factory=list)
    batches: list[BatchGain] = field(default_factory=list)
    growth: Growth | None = None


class Forward(Protocol):
    """One forward of a window over a filled cache. Only `step` is timed."""

    @property
    def name(self) -> str:
        """As in `WindowCost.runner`."""

    def step(self, tokens: list[int]) -> None:
        """Evaluate the window, logits of all its slots included."""

    def undo(self, size: int) -> None:
        """Take the window back out of the cache."""


class OurForward:
    """A `Model`'s."""

    def __init__(self, name: str, model: Model, context: list[int]) -> None:
        self.name = name
        self._model = model
        self._start = len(context)
        self._cache = model.new_cache(1, len(context) + max(WINDOWS))
        self._row = self._cache.open()
        window = Window.chain([self._row], [context], [0], model.device)
        model.evaluate(window, self._cache)

    def step(self, tokens: list[int]) -> None:
        """Build the window and evaluate it."""
        window = Window.chain([self._row], [tokens], [self._start], self._model.device)
        self._model.evaluate(window, self._cache)

    def undo(self, size: int) -> None:
        """Back to the context."""
        self._cache.truncate(self._row, self._start)


class TheirForward:
    """A transformers module's, with the cache it uses by itself."""

    name = "transformers"

    def __init__(self, module: PreTrainedModel, context: list[int]) -> None:
        self._module = module
        self._cache = DynamicCache(config=module.config)
        self.step(context)

    @torch.inference_mode()
    def step(self, tokens: list[int]) -> None:
        """Call the module."""
        ids = torch.tensor([tokens], device=self._module.device)
        self._module(input_ids=ids, use_cache=True, **{cache_argument(self._module): self._cache})

    def undo(self, size: int) -> None:
        """Crop the window away."""
        self._cache.crop(-size)


def window_costs(
    forwards: Sequence[Forward],
    vocabulary: int,
    repeats: int,
    *,
    clock: Callable[[], float] = perf_counter,
    progress: Progress = lambda: None,
) -> list[WindowCost]:
    """Median milliseconds of windows of 1 … 16 tokens, the runners taking turns."""
    seconds: dict[tuple[str, int], list[float]] = {}
    for turn, size in itertools.product(range(-2, repeats), WINDOWS):  # the first two turns warm up
        tokens = [(37 * turn + 11 * at) % vocabulary for at in range(size)]
        first = turn % len(forwards)
        for forward in (*forwards[first:], *forwards[:first]):
            begun = clock()
            forward.step(tokens)
            taken = clock() - begun
            forward.undo(size)
            if turn >= 0:
                seconds.setdefault((forward.name, size), []).append(1000 * taken)
        progress()
    return [WindowCost(name, size, Spread.of(taken)) for (name, size), taken in seconds.items()]


def forwards(subject: Subject) -> list[Forward]:
    """The engine's own model, the module driven layer by layer where that is something else, and the module."""
    model = subject.replayed.model
    module = subject.watched.module
    context = [(7 * at + 5) % model.vocabulary for at in range(CONTEXT)]
    found: list[Forward] = [OurForward(type(model).__name__.lower(), model, context)]
    if not isinstance(model, Network):
        found.append(OurForward("network", Network(copy.deepcopy(module)), context))
    return [*found, TheirForward(module, context)]


def prompts(subject: Subject, count: int) -> list[list[int]]:
    """Prompts of different kinds and lengths."""
    exercises: list[Exercise] = [next(task.exercises(0)) for task in gym_tasks()]
    return [subject.encode(exercise) for exercise in itertools.islice(itertools.cycle(exercises), count)]


def batch_gain(
    subject: Subject,
    method: str,
    repeats: int,
    *,
    clock: Callable[[], float] = perf_counter,
    progress: Progress = lambda: None,
) -> BatchGain:
    """Eight unequal rows together and one by one, in turns. No row ends early: all write as many tokens."""
    rows = prompts(subject, ROWS)

    def together(engine: Engine) -> list[Generation]:
        return engine.generate(rows, method, max_new_tokens=ROW_TOKENS, end_tokens=())

    def alone(engine: Engine) -> list[Generation]:
        return [engine.generate(row, method, max_new_tokens=ROW_TOKENS, end_tokens=()) for row in rows]

    subject.replayed.follow(None)
    fresh = [twin(subject.engine) for _ in range(2 * repeats + 2)]  # none knows the texts already
    pairs = zip(together(fresh.pop()), alone(fresh.pop()), strict=True)  # warm-up, and the comparison
    identical = sum(one.tokens == other.tokens for one, other in pairs)
    gains = []
    for repeat in range(repeats):
        seconds = {}
        for way in (together, alone) if repeat % 2 else (alone, together):
            engine = fresh.pop()
            begun = clock()
            way(engine)
            seconds[way] = clock() - begun
        gains.append(seconds[alone] / seconds[together])
        progress()
    return BatchGain(method, ROWS, identical, Spread.of(gains))


def growth(subject: Subject, method: str, requests: int = REQUESTS, *, progress: Progress = lambda: None) -> Growth:
    """Resident memory before and after many requests."""
    subject.replayed.follow(None)
    asked = prompts(subject, WARM_REQUESTS + requests)
    before = 0.0
    for at, prompt in enumerate(asked):
        if at == WARM_REQUESTS:
            before = resident()
        subject.engine.generate(prompt, method, max_new_tokens=REQUEST_TOKENS)
        progress()
    return Growth(requests, before, resident())


def resident() -> float:
    """This process's memory in MiB. Raises Unsupported where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii") as lines:
            return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
    except (OSError, StopIteration) as error:
        raise Unsupported("resident memory can only be read on Linux", hint="leave this figure out") from error


def table(shape: Shape) -> str:
    """The figures as text."""
    names = list(dict.fromkeys(cost.runner for cost in shape.windows))
    costs = {(cost.runner, cost.tokens): cost.milliseconds for cost in shape.windows}
    settings = shape.provenance["settings"]
    lines = [
        f"{settings['model']}, {settings.get('dtype', 'float32')}, {machine_line(shape.provenance)}",
        "",
        f"one forward over {CONTEXT} cached tokens, milliseconds (quartiles), times a window of one, "
        f"times as fast as transformers",
    ]
    for name in names:
        for size in WINDOWS:
            cost = costs[name, size]
            lines.append(
                f"  {name:13}{size:4}{cost.median:9.2f} ({cost.low:.2f}–{cost.high:.2f})"
                f"{cost.median / costs[name, 1].median:8.2f}{costs['transformers', size].median / cost.median:8.2f}"
            )
    lines.append("")
    for gain in shape.batches:
        lines.append(
            f"{gain.rows} unequal rows together, {gain.method}: {gain.gain.median:.2f} x the tokens per second of "
            f"one by one, {gain.identical} of {gain.rows} rows identical"
        )
    if shape.growth is not None:
        grown = shape.growth
        lines.append(f"resident memory over {grown.requests} requests: {grown.before:.1f} -> {grown.after:.1f} MiB")
    return "\n".join(lines)
