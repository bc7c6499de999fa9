"""What constraints allow is found while the model computes: beside its forward, in a thread of its own.

Nothing depends on it: what is not found by then is found when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Event

from ..errors import StrettoError
from ..tree import ROOT, Tree
from .held import Held

Question = tuple[Held, list[int], Tree]  # a constraint of a row, its tokens, what is drafted behind them


@contextmanager
def meanwhile(questions: Sequence[Question]) -> Iterator[None]:
    """Let constraints find what may follow at roots and nodes, in their order, for as long as the block takes."""
    over = Event()
    task = _thread().submit(_ask, questions, over)
    try:
        yield
    finally:
        over.set()
        if not task.cancel():
            task.result()  # one question at most is left: whoever asks now finds nobody at work


@cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "constraints")


def _ask(questions: Sequence[Question], over: Event) -> None:
    for held, tokens, tree in questions:
        for node in range(ROOT, len(tree)) if held.masks else ():
            if over.is_set():
                return
            try:
                held.at(tokens, tuple(tree.path_tokens(node)))
            except StrettoError:
                break  # whoever asks next is told
