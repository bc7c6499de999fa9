"""`stretto fuzz`: drawn combinations of methods, settings and batches, held to what must be equal."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import count

from ..errors import InvalidRequest
from .arguments import add_model, load_engine

CASES = 200  # where neither their number nor a time is given


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.epilog = (
        "Each case is decoded twice, by an engine that remembers nothing, and each prompt alone; "
        "methods that promise plain decoding's tokens are held to them."
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--minutes", type=float, metavar="X", help="try new cases for so long")
    group.add_argument("--cases", type=int, metavar="N", help=f"try so many cases ({CASES})")
    group.add_argument("--case", type=int, metavar="N", help="try this one alone, as a finding names it")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="other seeds draw other cases (0)")
    parser.add_argument("--draft", metavar="NAME", help="the second model of parts that hold one (zoo/draft)")
    add_model(parser)


def run(given: argparse.Namespace) -> int:
    """Print what did not hold, then the counts. Status 0 where everything held, else 1."""
    from tqdm import tqdm

    if given.cases is not None and given.cases < 1:
        raise InvalidRequest(f"cases is {given.cases}", hint="cases >= 1")
    if given.minutes is not None and not 0 < given.minutes < float("inf"):
        raise InvalidRequest(f"minutes is {given.minutes}", hint="minutes > 0")
    engine = load_engine(given)

    from .. import fuzz

    told, tally = 0, fuzz.Tally()
    numbers = tqdm(_numbers(given), unit="case", leave=False, disable=None)
    try:
        for tally in fuzz.run(engine, numbers, given.seed, given.draft or fuzz.DRAFT):
            for finding in tally.findings[told:]:
                with tqdm.external_write_mode():
                    print(finding, flush=True)
            told = len(tally.findings)
    except KeyboardInterrupt:
        numbers.close()
    print(tally.line())
    return 1 if tally.findings else 0


def _numbers(given: argparse.Namespace) -> Iterator[int]:
    """Which cases to try."""
    if given.case is not None:
        yield given.case
    elif given.minutes is None:
        yield from range(given.cases or CASES)
    else:
        end = time.monotonic() + 60 * given.minutes
        for number in count():
            if time.monotonic() > end:
                return
            yield number
