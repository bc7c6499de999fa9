from __future__ import annotations

import pytest

from bench.subjects import subject
from stretto.bench import overhead
from stretto.bench.overhead import Overhead, Timed, lengths, table, widths
from stretto.bench.provenance import provenance


@pytest.fixture(scope="module")
def world():
    return subject()


def test_overhead_is_what_a_step_takes_beyond_the_evaluation(world, monkeypatch):
    """With a clock that stands still inside of evaluations, all of a step is overhead; the reverse leaves none."""
    monkeypatch.setattr(overhead, "WIDE_TOKENS", 60)
    monkeypatch.setattr(overhead, "LEAST", 4)
    (usual,) = widths(world, ["suffix(factor=16,matches=4)+fixed(32)"])
    assert 0 < usual.share < 1 and usual.steps > 0 and 4 <= usual.nodes <= 32
    monkeypatch.setattr(overhead, "perf_counter", lambda: 0.0)
    (still,) = widths(world, ["suffix(factor=16,matches=4)+fixed(32)"])
    assert still.share == 1.0 and still.steps == usual.steps


def test_the_forced_text_comes_out_whatever_drafts(world):
    engine, model = overhead._timed(world, world.engine.model)
    text = overhead._text(engine, 120)
    for method in ("plain", "lookup", "auto"):
        answer, seconds = overhead._decode(engine, model, text, method)
        assert answer.tokens == text[overhead.PROMPT :] and len(seconds) == len(answer.steps)
    assert isinstance(model, Timed)


def test_each_part_of_a_long_text_has_its_figure(world, tmp_path):
    found = Overhead(provenance(model="tiny"), tokens=160)
    found.lengths = lengths(world, ["plain", "lookup"], tokens=160)
    assert [length.method for length in found.lengths] == ["plain", "lookup"]
    assert all(len(length.microseconds) == 8 and min(length.microseconds) > 0 for length in found.lengths)
    page = table(found)
    assert "lookup" in page and " 160" in page
    found.save(tmp_path / "overhead.json")
    assert Overhead.load(tmp_path / "overhead.json") == found
