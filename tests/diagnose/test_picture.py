"""The picture of a trace shows each token where and when it was written, and what was taken back."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from stretto.diagnose.picture import HEAD, HIGH, LEFT, SURE, UNKNOWN, UNSURE, WIDE, page, stays
from stretto.engine import Engine
from stretto.generation import Counters, Generation, Step
from stretto.models.clock import SimulatedClock
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable, TableModel

TAKEN = Generation(  # positions 2 … 4 after a prompt of two; 3 is taken back and written again, 4 is given
    text="x",
    tokens=[7, 8, 9],
    finish="length",
    prompt_tokens=[0, 1],
    counters=Counters(rounds=3, row_forwards=3, new_tokens=3),
    steps=[
        Step(2, [5, 6], ["", ""], positions=[2, 3], confidence=[0.9, 0.1]),
        Step(2, [], [], remasked=[3], revised=[2]),
        Step(3, [8], ["near"], positions=[3], confidence=[1.0]),
    ],
    method="<made up>",
)


def drawn(html: str) -> ElementTree.Element:
    """The drawing; the whole page is well-formed as well."""
    svg = ElementTree.fromstring(html.partition("\n")[2]).find(".//{*}svg")
    assert svg is not None
    return svg


def cells(html: str, kind: str) -> list[tuple[int, int]]:
    """(step, position after the prompt) of each cell of a kind."""
    found = [each for each in drawn(html).iter() if each.get("class") == kind]
    return sorted(((int(c.get("y", 0)) - HEAD) // HIGH, (int(c.get("x", 0)) - LEFT) // WIDE) for c in found)


def test_a_token_stays_until_it_is_taken_back_or_rewritten() -> None:
    found = stays(TAKEN)
    assert [(s.step, s.token, s.until, s.remasked, s.revised) for s in found[3]] == [
        (0, 6, 1, True, False),
        (2, 8, None, False, False),
    ]
    first, second = found[2]
    assert (first.token, first.until, first.remasked) == (5, 1, False)
    assert (second.token, second.step, second.revised) == (7, 1, True) and math.isnan(second.sure)
    assert 4 not in found


def test_each_event_is_a_cell_at_its_step_and_position() -> None:
    html = page(TAKEN, lambda token: f"<{token}>\n")
    assert cells(html, "written") == [(0, 0), (0, 1), (1, 0), (2, 1)]
    assert cells(html, "taken") == [(1, 1)]
    titles = [each.text for each in drawn(html).iter() if each.tag.endswith("title")]
    assert "position 3, step 2: '<8>\\n', sure 1.000, guessed by near" in titles
    assert "position 3, step 1: taken back" in titles
    fills = {each.get("fill") for each in drawn(html).iter() if each.get("class") == "written"}
    assert f"rgb{SURE}" in fills and f"rgb{UNKNOWN}" in fills and f"rgb{UNSURE}" not in fills
    assert "&lt;made up&gt;" in html and "1 taken back, 1 rewritten" in html and "<9>" not in html
    labels = [each.text for each in drawn(html).iter() if each.tag.endswith("text")]
    assert labels[-3:] == ["<7>⏎", "<8>⏎", "<9>⏎"]


@pytest.mark.parametrize("method", ["low-confidence", "threshold(0.3)"])
def test_a_decode_is_drawn_as_it_went(method) -> None:
    model = MaskedTable.random_masked(6, 3, Masking(5))
    found = Engine(model, clock=SimulatedClock()).generate([0, 1], method, max_new_tokens=9)
    expected = sorted((n, place - 2) for n, step in enumerate(found.steps) for place in step.positions)
    assert cells(page(found), "written") == expected and len(expected) == 9


def test_continued_text_is_a_staircase() -> None:
    model = TableModel(4, lambda path: [float(token == (path[-1] + 1) % 4) for token in range(4)])
    engine = Engine(model, clock=SimulatedClock())
    plain = page(engine.generate([0], "plain", max_new_tokens=6))
    assert cells(plain, "written") == [(at, at) for at in range(6)]
    drafted = page(engine.generate([0, 1, 2, 3, 0, 1], "lookup", max_new_tokens=12))
    assert len(cells(drafted, "written")) == 12 and re.search("guessed by lookup", drafted)


def test_nothing_but_the_page_is_needed() -> None:
    html = page(TAKEN)
    assert "src=" not in html and "href=" not in html and "<script" not in html
