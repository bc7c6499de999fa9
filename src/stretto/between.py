"""A model for those who are no row: its windows are evaluated between the rounds, by whichever thread runs these.

A model evaluates one window at a time, and rows are on their way in other threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from .models.around import Around
from .models.contract import Evaluation, Model, Want
from .models.window import Window


class Rounds(Protocol):
    """What `Between` needs of a scheduler."""

    errands: list[Callable[[], object]]  # done before the next round

    @property
    def inside(self) -> bool:
        """Whether this thread runs the rounds."""

    def run(self, done: Callable[[], bool]) -> None:
        """Run rounds, or look on, until `done()`."""


class Between(Around):
    """The same model; to evaluate a window is an errand that the next round begins with."""

    def __init__(self, model: Model, rounds: Rounds) -> None:
        super().__init__(model)
        self._rounds = rounds

    def evaluate(self, window: Window, cache: Any, want: Want = Want()) -> Evaluation:
        if self._rounds.inside:
            return self.model.evaluate(window, cache, want)
        found: Future[Evaluation] = Future()

        def errand() -> None:
            try:
                found.set_result(self.model.evaluate(window, cache, want))
            except BaseException as error:
                found.set_exception(error)
                if not isinstance(error, Exception):  # an interrupt is of the thread that it came to
                    raise

        self._rounds.errands.append(errand)
        self._rounds.run(found.done)
        return found.result()
