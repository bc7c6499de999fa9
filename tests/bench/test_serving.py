"""Figures of a server: requests are in time or not by what they took, and answers are the engine's."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("starlette", reason="pip install 'stretto[serve]'")
pytest.importorskip("uvicorn", reason="pip install 'stretto[serve]'")

from serve.serving import serving as live_server
from stretto.bench import serving
from stretto.bench.provenance import provenance
from stretto.bench.results import Spread
from stretto.bench.serving import Load, Served, Told, Way, alone, load, table, ways, wishes
from stretto.engine import Engine
from stretto.errors import ModelError
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.serve.service import Limits, Service


def engine() -> Engine:
    model = TableModel.random(6, seed=4)
    model.max_positions = 4096
    return Engine(model, clock=SimulatedClock())


def spread(value: float) -> Spread:
    return Spread(value, value, value)


def test_each_answer_is_compared_with_the_engines(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "RATES", (50,))
    for bound in ("FIRST", "EACH"):  # whatever comes is in time
        monkeypatch.setattr(serving, bound, 10**6)
    asked = wishes([[1, 2], [3, 4, 5]], 5, 12, seed=1)
    assert asked == wishes([[1, 2], [3, 4, 5]], 5, 12, seed=1) and len({wish.seed for wish in asked}) == 5
    with live_server(Service(engine(), "table", Limits(waiting=99))) as live:
        address = f"http://127.0.0.1:{live.port}/v1"
        found = alone(engine(), address, asked)
        assert (found.different, found.asked) == (0, 5) and found.first > 0 and found.each >= 0
        other = Engine(TableModel.random(6, seed=5), clock=SimulatedClock())
        assert alone(other, address, asked).different > 0
        found.provenance = provenance(model="table")
        found.ways = ways({"here": address}, asked, found, 1)
        assert [way.name for way in found.ways] == ["here, together", "here, one at a time"]
        with pytest.raises(ModelError, match="answered 400"):
            serving.ask(address, serving.Wish([77], 3, 1))
    assert all(each.inside == 1 for way in found.ways for loads in way.loads for each in loads)
    assert "0 of 5 answers differ" in table(found) and "1.00 (1.00–1.00) x one at a time" in table(found)
    found.save(tmp_path / "serve.json")
    assert Served.load(tmp_path / "serve.json") == found


def test_in_time_is_what_keeps_both_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([Told("", 11, 0.05, 0.15), Told("", 11, 0.06, 0.16), Told("", 11, 0.01, 0.22), Told("", 1, 0.05, 0.05)])
    monkeypatch.setattr(serving, "ask", lambda *given: next(told))
    found = Served({}, spread(1.0), 10.0, 10.0, 0, 4)  # milliseconds: in time are 50 and 20
    made = load("", wishes([[1]], 4, 9, 0), 1e9, found, one=True, seed=0)
    assert made.inside == 0.5  # one begins too late, one goes on too slowly
    assert made.good == pytest.approx(2 / 0.22, rel=0.01)


def test_the_goodput_is_that_of_the_highest_rate_with_enough_in_time() -> None:
    loads = [Load(rate, inside, rate * inside, spread(0), spread(0)) for rate, inside in ((1, 1), (2, 0.9), (4, 0.8))]
    assert Way("", [loads, loads[2:]]).goodputs == [1.8, 0.0]
