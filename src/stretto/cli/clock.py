"""`stretto clock`: what evaluating windows costs here, from which the planners reckon how much to draft.

Engines learn that as they work; where nothing is known yet, or on request, it is measured.
"""

from __future__ import annotations

import argparse
import json

from ..errors import InvalidRequest
from .arguments import add_model, load_engine, waiting

BAR = 40  # columns of the longest bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("--rows", type=int, default=1, metavar="N", help="rows side by side in each window (1)")
    parser.add_argument("--fresh", action="store_true", help="forget what ~/.cache/stretto remembers, and measure")
    parser.add_argument("--json", action="store_true", help="a list of objects")
    add_model(parser)


def run(given: argparse.Namespace) -> int:
    """Print the curve: tokens in the window, milliseconds, how many windows of one token that is."""
    from ..models.learnt import LearntClock
    from ..models.numbers import numbers_of
    from ..models.study import SIZES, study

    if given.rows < 1:
        raise InvalidRequest(f"rows is {given.rows}", hint="rows >= 1")
    engine = load_engine(given)
    clock = LearntClock(engine.model, fresh=given.fresh)
    if not clock.knows(given.rows):
        with waiting("measuring"):
            study(engine.model, clock, given.rows)
    seconds = {tokens: clock.cost(tokens, given.rows) for tokens in SIZES}
    if given.json:
        records = [
            {"tokens": n, "rows": given.rows, "seconds": s, "windows": s / seconds[1]} for n, s in seconds.items()
        ]
        print(json.dumps(records, indent=1))
        return 0
    rows = f", {given.rows} rows" if given.rows > 1 else ""
    print(f"{given.model} ({engine.model.dtype}, {engine.model.device}{rows})".replace("torch.", ""))
    print("tokens        ms  in windows of one token")
    for tokens, cost in seconds.items():
        bar = "█" * max(1, round(BAR * cost / max(seconds.values())))
        print(f"{tokens:6}{1000 * cost:10.2f}{cost / seconds[1]:7.2f}  {bar}")
    for kind, kernel in numbers_of(engine.model).kernels.items():
        print(f"{kind} by {kernel}")
    return 0
