"""What the documentation shows works as it stands there."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from laws.worlds import decode
from stretto.models.table import TableModel
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature

DOCS = Path(__file__).parents[1] / "docs"


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_drafter_of_the_page_is_short_and_lawful(monkeypatch: pytest.MonkeyPatch) -> None:
    source, use = blocks("write-a-drafter.md")
    lines = [line for line in source.splitlines() if line.strip()]
    assert len(lines) < 40
    module = ModuleType("shown")
    monkeypatch.setitem(sys.modules, "shown", module)  # dataclasses look their module up
    shown = vars(module)
    exec(compile(source, "write-a-drafter.md", "exec"), shown)
    model = TableModel.random(4, seed=3)
    drafter = shown["Bigram"]()
    for pipeline in (Pipeline([Temperature(0.0)]), Pipeline([Temperature(1.0)])):
        plain = decode(model, [[0, 1, 0], [2]], pipeline=pipeline, new_tokens=30)
        fast = decode(model, [[0, 1, 0], [2]], drafter=drafter, pipeline=pipeline, new_tokens=30)
        assert [row.new_tokens for row in fast] == [row.new_tokens for row in plain]
    looping = TableModel(4, lambda path: [float(token == (path[-1] + 1) % 4) for token in range(4)])
    (row,) = decode(looping, [[0]], drafter=drafter, new_tokens=40)
    assert row.counters.rounds < 20
    exec(compile(use, "write-a-drafter.md", "exec"), shown)
