"""Windows that are evaluated only to see what they cost: for who asks for it, never within an answer."""

from __future__ import annotations

import time

from . import machine
from .contract import Model, Want
from .learnt import LearntClock
from .window import Window

SIZES = (1, 2, 4, 8, 16, 32, 64)  # windows that are seen, in tokens
MOST_SLOTS = 128  # in all rows of a window together
CONTEXT = 128  # tokens in the cache before each window
TURNS = 21  # windows of each size, at most
BUDGET = 0.7  # seconds after which no further turn begins; three are always taken, the first of which warms up


def study(model: Model, clock: LearntClock, rows: int = 1, budget: float = BUDGET) -> None:
    """Let a clock learn what windows of each size cost in each of `rows` rows, and of rows of unequal length.

    Each size is seen between windows of one token, as it comes in the midst of plain decoding.
    """
    context = min(CONTEXT, model.max_positions // 2)
    most = min(model.max_positions - context, MOST_SLOTS // rows, 1 + model.new_cache(1, 1).span)
    fitting = [size for size in SIZES if size <= most]
    shapes = [[size] * rows for size in fitting or [1]]
    if rows > 1 and len(shapes) > 1:
        shapes.append([*shapes[-1][:1], *[1] * (rows - 1)])
    tokens = [index % model.vocabulary for index in range(context + max(map(max, shapes)))]
    cache = model.new_cache(rows=rows, slots=len(tokens))
    places = [cache.open() for _ in range(rows)]
    if context:
        prompt = Window.chain(places, [tokens[:context]] * rows, [0] * rows, model.device)
        model.evaluate(prompt, cache, Want(logits=False))
    now, end = machine.stopwatch(model.device), time.perf_counter() + budget
    for turn in range(TURNS):
        for lengths in shapes:
            for each in (shapes[0], lengths):
                window = Window.chain(places, [tokens[-n:] for n in each], [context] * rows, model.device)
                begun = now()
                evaluation = model.evaluate(window, cache)
                if evaluation.logits is not None and model.device.type != "cpu":
                    evaluation.logits[0, 0, 0].item()  # the device works on its own until it is asked
                clock.learn(each, now() - begun)
                for place in places:
                    cache.truncate(place, context)
        if turn >= 2 and time.perf_counter() > end:
            break
    clock.keep()
