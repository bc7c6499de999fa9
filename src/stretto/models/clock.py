"""What a window costs here: measured, or simulated so that planners can be tested deterministically."""

from __future__ import annotations

import json
import math
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from . import machine
from .contract import Model, Want
from .store import Store
from .window import Window

SIZES = (1, 2, 4, 8, 16, 32, 64)  # windows that are measured, in tokens
LARGEST = 1 << 20  # tokens in a window: no file tells of more
MOST_SLOTS = 128  # in all rows of a measured window together
MOST_ROWS = 32  # of a measured batch; larger ones cost in proportion
CONTEXT = 128  # tokens in the cache before each measured window
TURNS = 21  # windows of each size, at most
BUDGET = 0.7  # seconds after which no further turn begins; two are always taken


class Clock(Protocol):
    """Tells what evaluating a window costs."""

    def cost(self, tokens: float, rows: int = 1, padding: int = 0) -> float:
        """Seconds for one window of so many slots in each of `rows` rows, or on average in rows of unequal length.

        `padding`: slots, of all rows, that are only there because another row is longer.
        """
        ...


@dataclass(frozen=True, slots=True)
class SimulatedClock:
    """Fixed costs: `start` seconds per window and `per_token` for each slot of it beyond the first, padding too."""

    start: float = 1.0
    per_token: float = 0.1

    def cost(self, tokens: float, rows: int = 1, padding: int = 0) -> float:
        """Seconds, a straight line over all slots of the window."""
        return self.start + self.per_token * (tokens * rows + padding - 1)


@dataclass(frozen=True, slots=True)
class Cost:
    """One point of the cost curve."""

    tokens: int  # in the window
    seconds: float  # per window
    windows: float  # the same in windows of one token


@dataclass(frozen=True, slots=True)
class Curve:
    """What windows cost in one number of rows."""

    points: list[tuple[int, float]]  # (tokens in each row, seconds), ascending
    padding: float = 0.0  # seconds of a slot that another row's length brings along

    def at(self, tokens: float, padding: float = 0.0) -> float:
        """Between the points, and beyond the last, on straight lines."""
        points, filled = self.points, padding * self.padding
        if len(points) == 1:
            return points[0][1] * tokens + filled
        index = min(max(bisect_left(points, (tokens, 0.0)), 1), len(points) - 1)
        (left, low), (right, high) = points[index - 1], points[index]
        return low + (high - low) * (tokens - left) / (right - left) + filled


class MeasuredClock:
    """Measures windows of 1 to 64 tokens when it is first asked, and remembers the costs on disk.

    Costs never fall as windows grow, nor more than double with their size. Between the measured sizes, and
    beyond the last, they follow straight lines. Batches of 2, 4, 8 … rows have curves of their own, measured when such
    a batch is first asked for; numbers of rows in between lie between them. So does what padding costs there.
    """

    def __init__(self, model: Model, folder: Path | None = None, *, fresh: bool = False) -> None:
        """`folder` holds the remembered costs (None: the user's cache folder); `fresh` measures anew."""
        self._model = model
        self._folder = folder
        self._fresh = fresh
        self._curves: dict[int, Curve] = {}  # by rows

    def cost(self, tokens: float, rows: int = 1, padding: int = 0) -> float:
        """Seconds for one window, see `Clock.cost`."""
        fewer = min(1 << (rows.bit_length() - 1), MOST_ROWS)
        if fewer == MOST_ROWS:
            return self._curve(fewer).at(tokens, padding * fewer / rows) * rows / fewer
        low = self._curve(fewer).at(tokens, padding)
        if rows == fewer:
            return low
        return low + (self._curve(2 * fewer).at(tokens, padding) - low) * (rows - fewer) / fewer

    def curve(self) -> list[Cost]:
        """The measured points for a single row, for showing."""
        points = self._curve(1).points
        return [Cost(tokens, seconds, seconds / points[0][1]) for tokens, seconds in points]

    def _curve(self, rows: int) -> Curve:
        if rows not in self._curves:
            key = describe(self._model, rows)
            path = machine.place("clock", key, self._folder)
            remembered = None if self._fresh else _recall(path)
            self._curves[rows] = remembered or measure(self._model, rows)
            if not remembered:
                curve = self._curves[rows]
                machine.remember(path, {**json.loads(key), "points": curve.points, "padding": curve.padding})
        return self._curves[rows]


def measure(model: Model, rows: int = 1) -> Curve:
    """Seconds of windows of each size in each of `rows` rows, no more than doubling with their size.

    Each is timed between windows of one token, whose kernels hold the weights in another form, and what it costs
    the next of these counts as its own: so a window costs when it interrupts plain decoding. What padding costs is
    learnt from a window with one long row.
    """
    context = min(CONTEXT, model.max_positions // 2)
    fitting = [size for size in SIZES if context + size <= model.max_positions and rows * size <= MOST_SLOTS]
    sizes = fitting or [1]
    shapes = [[size] * rows for size in sizes]
    if rows > 1 and sizes[-1] > 1:
        shapes.append([sizes[-1], *[1] * (rows - 1)])
    costs = _time_shapes(model, shapes, context, BUDGET if rows == 1 else BUDGET / 3)
    points: list[tuple[int, float]] = []
    for size, cost in zip(sizes, costs, strict=False):
        least = points[-1][1] if points else cost  # sizes double, and a window can be evaluated as two halves
        points.append((size, min(max(cost, least), 2 * least)))
    if len(shapes) == len(sizes):
        return Curve(points)
    lengths = shapes[-1]
    level = Curve(points).at(sum(lengths) / rows)
    return Curve(points, max(0.0, costs[-1] - level) / (rows * max(lengths) - sum(lengths)))


def _time_shapes(model: Model, shapes: Sequence[Sequence[int]], context: int, budget: float) -> list[float]:
    """Seconds of a window of each shape, the lengths of its rows; the first shape is that of plain decoding."""
    rows, longest = len(shapes[0]), max(map(max, shapes))
    tokens = [index % model.vocabulary for index in range(context + longest)]
    cache = model.new_cache(rows=rows, slots=len(tokens))
    places = [cache.open() for _ in range(rows)]
    prompt = Window.chain(places, [tokens[:context]] * rows, [0] * rows, model.device)
    model.evaluate(prompt, cache, Want(logits=False))
    before: list[list[float]] = [[] for _ in shapes]  # a window of one token, which brings its weights back
    seconds: list[list[float]] = [[] for _ in shapes]  # then one of that shape
    after: list[list[float]] = [[] for _ in shapes]  # then again one of one token
    begun = time.perf_counter()
    for turn in range(TURNS + 1):
        for at, shape in enumerate(shapes):
            for taken, lengths in ((before, shapes[0]), (seconds, shape), (after, shapes[0])):
                parts = [tokens[-length:] for length in lengths]
                window = Window.chain(places, parts, [context] * rows, model.device)
                taken[at].append(_time(model, window, cache))
                for place in places:
                    cache.truncate(place, context)
        if turn >= 2 and time.perf_counter() > begun + budget:
            break
    alone = _quartile(seconds[0][1:])
    return [
        _quartile(own[1:]) + max(0.0, _quartile(next_one[1:]) - alone)
        for own, next_one in zip(seconds, after, strict=True)
    ]


def _quartile(times: list[float]) -> float:
    """The lower one, as what else the machine does only adds; the first turn, which warms up, is left out before."""
    return sorted(times)[len(times) // 4]


def describe(model: Model, rows: int = 1) -> str:
    """What the costs depend on: the model's shape and kind, the machine, the threads, the version of torch, rows."""
    facts = {
        "model": [type(model).__name__, model.name, model.layers, model.channels, model.vocabulary],
        "numbers": [str(model.dtype), str(model.device)],
        **machine.facts(model.device),
        "rows": rows,
    }
    return json.dumps(facts)


def _time(model: Model, window: Window, cache: Store) -> float:
    """Seconds of one evaluation."""
    now = machine.stopwatch(model.device)
    start = now()
    evaluation = model.evaluate(window, cache)
    if evaluation.logits is not None and model.device.type != "cpu":
        evaluation.logits[0, 0, 0].item()  # the device works on its own until it is asked
    return now() - start


def _recall(path: Path) -> Curve | None:
    """The costs in a file; None where there is none, or it holds what cannot be costs: they are measured again."""
    content = machine.recall(path)
    try:
        points = [(int(tokens), float(seconds)) for tokens, seconds in content["points"]]
        curve = Curve(points, float(content["padding"]))
    except (ValueError, KeyError, TypeError, OverflowError):  # absent, or not ours
        return None
    return curve if _makes_sense(curve) else None


def _makes_sense(curve: Curve) -> bool:
    """Whether it can have been measured: sizes that grow, seconds above zero that never fall, no padding below zero."""
    sizes, seconds = [size for size, _ in curve.points], [cost for _, cost in curve.points]
    if not sizes or not 1 <= sizes[0] <= sizes[-1] <= LARGEST:
        return False
    if sizes != sorted(set(sizes)) or seconds != sorted(seconds):
        return False
    return all(math.isfinite(each) for each in (*seconds, curve.padding)) and seconds[0] > 0 and curve.padding >= 0
