"""How much of prompts a round reads, by simulation: no answer stalls, rounds keep their budget, no token changes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from stretto import cli
from stretto.engine import Engine
from stretto.errors import InvalidRequest
from stretto.models.clock import Clock, SimulatedClock
from stretto.models.table import TableModel
from stretto.pace.contract import Pace
from stretto.pace.patience import Patience
from stretto.pace.sarathi import Sarathi
from stretto.row import Row
from stretto.scheduler import Ticket

V = 5
RULE = TableModel.random(V, seed=3).rule


@dataclass(frozen=True)
class AllAtOnce(Pace):
    """What Sarathi is compared with: a prompt is read whole before anybody goes on."""

    def tokens(self, clock: Clock, rows: Sequence[Row]) -> int:
        return 10**6


class Watched(TableModel):
    """Notes the rows and the tokens of each window."""

    def evaluate(self, window: Any, *rest: Any, **more: Any) -> Any:
        self.__dict__.setdefault("seen", []).append((len(window.rows), sum(window.lengths)))
        return super().evaluate(window, *rest, **more)


def engine(pace: Pace, kind: type[TableModel] = TableModel) -> Engine:
    model = kind(V, RULE)
    model.max_positions = 8192
    return Engine(model, clock=SimulatedClock(1.0, 0.01), prefixes=0, pace=pace)


def begin(served: Engine, prompt: Sequence[int], method: str = "plain", **settings: Any) -> Ticket:
    call = served._call(method, {"end_tokens": (), **settings})
    (ticket,) = served._submit([list(prompt)], call, strict=True)[1]
    assert isinstance(ticket, Ticket)
    return ticket


def rounds(served: Engine, done: Any) -> list[list[tuple[int, int]]]:
    """The windows of each round until `done()`."""
    model, found = served.model, []
    while not done():
        before = len(model.__dict__.get("seen", []))
        left = iter([False] * 3)
        served._scheduler.run(lambda left=left: next(left, True))
        found.append(model.__dict__["seen"][before:])
    return found


def running(served: Engine, count: int, method: str = "plain", tokens: int = 60) -> list[Ticket]:
    tickets = [begin(served, [1, at % V], method, max_new_tokens=tokens) for at in range(count)]
    rounds(served, lambda: all(ticket.row.settled for ticket in tickets))
    return tickets


def test_the_budget_is_filled_with_chunks() -> None:
    """The example of the method's description: 256 tokens, three answers, a prompt of 600, and another behind it."""
    served = engine(Sarathi(256), Watched)
    running(served, 3)
    first = begin(served, [n % V for n in range(600)], max_new_tokens=3)
    second = begin(served, [n % V for n in range(700)], max_new_tokens=3)
    found = rounds(served, lambda: first.row.settled)
    assert [[tokens for _, tokens in windows] for windows in found] == [
        [253, 3],
        [253, 3],
        [93, 159, 4],
    ]  # its last token is in the step
    assert second.status == "reading"
    assert [sum(tokens for _, tokens in each) for each in rounds(served, lambda: second.row.settled)][:2] == [256, 256]


@pytest.mark.parametrize("method", ["plain", "lookup+fixed(4)"])
@pytest.mark.parametrize("budget", [4, 32, 90])
def test_no_answer_stalls(budget: int, method: str) -> None:
    """Also where answers take the whole budget: then prompts wait until one ends."""
    served = engine(Sarathi(budget), Watched)
    tickets = running(served, 6, method, tokens=30)
    late = begin(served, [n % V for n in range(90)], max_new_tokens=5)
    while late.status != "ended":
        live = [ticket for ticket in tickets if ticket.status == "running"]
        before = [ticket.row.settled for ticket in live]
        (windows,) = rounds(served, iter([False, True]).__next__)
        assert all(ticket.row.settled > settled for ticket, settled in zip(live, before, strict=True))
        read = sum(tokens for rows, tokens in windows if rows == 1 < tokens) if method == "plain" else 0
        assert not live or read <= max(0, budget - len(live))
    if budget == 4 and method == "plain":
        assert sum(ticket.status == "ended" for ticket in tickets) >= 3  # these made room for it


def test_a_long_prompt_holds_answers_up_less_than_where_it_is_read_at_once() -> None:
    """1,024 tokens come amid eight answers: the longest gap is a third or less, for at most 15 % more time."""

    def run(pace: Pace) -> tuple[float, float]:
        served = engine(pace, Watched)
        tickets = running(served, 8, tokens=200)
        late = begin(served, [n % V for n in range(1024)], max_new_tokens=80)
        found = rounds(served, lambda: late.status == "ended")
        cost = [sum(served.clock.cost(tokens / rows, rows) for rows, tokens in windows) for windows in found]
        assert all(ticket.row.settled > len(found) for ticket in tickets)
        return max(cost), sum(cost)

    (gap, whole), (sooner, most) = run(AllAtOnce()), run(Sarathi(192))
    assert sooner * 3 <= gap and most < 1.15 * whole


@pytest.mark.parametrize("pace", [Patience(), Patience(0.5), Sarathi(), Sarathi(3), Sarathi(64), AllAtOnce()], ids=str)
def test_no_pace_changes_a_token(pace: Pace) -> None:
    rng, served = random.Random(4), engine(pace)
    asked = []
    for _ in range(8):
        prompt = [rng.randrange(V) for _ in range(rng.choice([1, 5, 40, 90]))]
        settings = {"max_new_tokens": rng.randint(1, 12), "seed": rng.randrange(9), "temperature": rng.choice([0, 1.0])}
        asked.append((prompt, rng.choice(["plain", "lookup+fixed(4)", "auto"]), settings))
    tickets = [begin(served, prompt, method, **settings) for prompt, method, settings in asked]
    served._scheduler.run(lambda: all(ticket.status == "ended" for ticket in tickets))
    for ticket, (prompt, _, settings) in zip(tickets, asked, strict=True):
        assert ticket.row.new_tokens == engine(Patience()).generate(prompt, "plain", end_tokens=(), **settings).tokens


def test_a_budget_of_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidRequest, match="a round of 0 tokens"):
        Sarathi(0)
    assert cli.main(["serve", "--round-tokens", "0"]) == 2
    assert "--round-tokens is 0" in capsys.readouterr().err
