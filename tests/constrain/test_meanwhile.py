"""Constraints think beside the model's forward, and nothing that goes wrong there is lost or told twice."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event, current_thread
from typing import Any, ClassVar

import numpy as np
import pytest

from stretto.constrain.contract import Constraint, State
from stretto.constrain.tokens import Tokens
from stretto.engine import Engine
from stretto.errors import NothingAllowed
from stretto.models.table import TableModel

asked = Event()
names: list[str] = []


@dataclass(frozen=True)
class Even(Constraint):
    """Even tokens alone; with `fails`, what may follow is never known."""

    fails: bool = False

    name: ClassVar[str] = "even"

    def open(self, tokens: Tokens) -> State:
        return EvenState(len(tokens), self.fails)


class EvenState(State):
    def __init__(self, size: int, fails: bool) -> None:
        self.size, self.fails = size, fails

    @property
    def complete(self) -> bool:
        return True

    def allowed(self) -> Any:
        names.append(current_thread().name)
        asked.set()
        if self.fails:
            raise NothingAllowed("it is not known", hint="ask somebody else")
        return np.arange(self.size) % 2 == 0

    def advance(self, token: int) -> bool:
        return token % 2 == 0

    def rollback(self, count: int) -> None: ...

    def fork(self) -> State:
        return self


def waiting(path: tuple[int, ...]) -> list[float]:
    """A model that is not done before the constraint was asked."""
    if not asked.wait(60):
        raise TimeoutError
    return [0.0, 9.0, 1.0]


def test_a_constraint_is_asked_beside_the_forward() -> None:
    asked.clear()
    names.clear()
    answer = Engine(TableModel(3, waiting)).generate([0], "plain", constraint=Even(), max_new_tokens=3)
    assert answer.tokens == [2, 2, 2]
    assert names[0] == "constraints_0"


def test_what_fails_beside_it_is_told_by_whoever_asks() -> None:
    asked.set()
    with pytest.raises(NothingAllowed, match="it is not known"):
        Engine(TableModel(3, waiting)).generate([0], "plain", constraint=Even(True), max_new_tokens=3)
