from __future__ import annotations

from collections.abc import Sequence

import pytest

from stretto.bench import tables
from stretto.bench.results import Spread
from stretto.bench.tables import Entry

ENTRIES: Sequence[Entry[int]] = (
    Entry("half", 6, lambda row: f"{row / 2:g}"),
    Entry("odd", 5, lambda row: "yes" if row % 2 else "", "is it odd?"),
    Entry("square", 0, lambda row: f"<{row * row}>"),
)


def test_a_terminal_shows_what_has_a_width_under_its_heads():
    assert tables.head("n   ", ENTRIES, "said of it") == "n     half  odd   said of it"
    assert tables.line("a   ", ENTRIES, 3, "first") == "a      1.5  yes   first"


@pytest.mark.parametrize(
    ("row", "note", "said"), [(4, "", "b        2"), (5, "", "b      2.5  yes"), (4, "!", "b        2        !")]
)
def test_no_line_ends_in_blanks(row: int, note: str, said: str):
    assert tables.line("b   ", ENTRIES, row, note) == said


def test_a_page_shows_everything_under_its_titles():
    assert tables.titles("n", ENTRIES) == "<tr><th>n</th><th>half</th><th>is it odd?</th><th>square</th></tr>"
    row = '<tr class="mean"><td>a&amp;b</td><td>1.5</td><td>yes</td><td>&lt;9&gt;</td></tr>'
    assert tables.cells("a&b", ENTRIES, 3, "mean") == row


def test_a_spread_is_written_with_its_quartiles():
    assert f"{Spread(2.0, 1.5, 2.25):.1f}" == "2.0 (1.5–2.2)"
