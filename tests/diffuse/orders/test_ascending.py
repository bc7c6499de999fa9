"""Steps that grow: how many positions each fills."""

from __future__ import annotations

import pytest

from diffuse.canvases import answer
from stretto.diffuse.orders.ascending import Ascending
from stretto.diffuse.quotas import ascending
from stretto.errors import InvalidRequest
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable

TABLE = MaskedTable.random_masked(5, 2, Masking(4), sharpness=2.5)


def test_the_published_sizes() -> None:
    assert ascending(128) == [1, 2, 4, 8, 16, 32, 65] and sum(ascending(128)) == 128
    assert len(ascending(64)) == 6
    for total in range(1, 300):
        sizes = ascending(total)
        assert sum(sizes) == total and min(sizes) >= 1 and len(sizes) == max(1, total.bit_length() - 1)
    assert ascending(5, 1) == [1] * 5 and ascending(30, 3) == [1, 3, 26]


@pytest.mark.parametrize(
    ("method", "sizes"),
    [
        ("ascending", [1, 2, 9]),
        ("ascending(3)", [1, 11]),
        ("ascending+blocks(5)", [1, 2, 2, 5, 2]),  # the last size is all that is left of a window
        ("ascending(1)+blocks(5)", [1] * 12),
    ],
)
def test_each_step_fills_more(method: str, sizes: list[int]) -> None:
    found = answer(TABLE, [0], method, max_new_tokens=12, end_tokens=())
    assert [len(step.positions) for step in found.steps] == sizes


@pytest.mark.parametrize("rest", ["", "+blocks(4)+dual-cache"])
def test_without_growth_it_is_the_baseline(rest: str) -> None:
    settings = {"max_new_tokens": 10, "end_tokens": (), "temperature": 0.8, "seed": 4}
    plain = answer(TABLE, [0, 3], f"low-confidence{rest}", **settings)
    flat = answer(TABLE, [0, 3], f"ascending(1){rest}", **settings)
    assert flat.tokens == plain.tokens and [s.positions for s in flat.steps] == [s.positions for s in plain.steps]


def test_settings_out_of_range() -> None:
    for wrong in ({"growth": 0}, {"by": "colour"}):
        with pytest.raises(InvalidRequest):
            Ascending(**wrong)
