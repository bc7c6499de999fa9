"""Parts from outside of the package are put to the laws, and a part that breaks one is found."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from stretto import catalogue, cli
from stretto.errors import InvalidRequest
from stretto.laws.trial import Trials, trials

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ["write-a-drafter.md", "write-a-steer.md", "write-an-order.md", "write-a-search.md"]
DRAFTER = '''
from dataclasses import dataclass
from stretto.speculate.contract import Drafter, Drafting, DraftSession
from stretto.tree import Tree

@dataclass(frozen=True)
class Thrice(Drafter):
    """The last token again."""

    name = "thrice"

    def begin(self, context):
        return Drafting(self, lambda row: Again(row, []))

class Again(DraftSession):
    def __init__(self, row, asked):
        self.row, self.asked = row, asked

    def propose(self, room):
        self.asked.append(room)
        return Tree.chain([self.row.root] * min(2, room.nodes, room.depth), source="thrice")

    def fork(self, row):
        return Again(row, [])
'''
STEER = '''
from dataclasses import dataclass
import torch
from stretto.steer.contract import Steer

@dataclass(frozen=True, slots=True)
class Shy(Steer):
    """Away from the token before."""

    name = "shy"

    def __call__(self, logits, nodes):
        last = torch.tensor([path.token for path in nodes.paths]) if False else None
        rows = torch.arange(len(logits))
        before = torch.tensor([[*path.history.tokens, *path.drafted][-1] for path in nodes.paths])
        steered = logits.clone()
        steered[rows, before] -= 1.0
        return steered
'''
ORDER = re.search(r"```python\n(.*?)```", (DOCS / "write-an-order.md").read_text(encoding="utf-8"), re.DOTALL)[1]
ROUTE = """
from dataclasses import dataclass
from stretto.search.superposed import Superposed
"""


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test takes in is forgotten after it."""
    monkeypatch.setattr(catalogue, "_added", catalogue._Others())


def of(text: str, folder: Path) -> Trials:
    file = folder / "mine.py"
    file.write_text(text)
    return trials(str(file))


def broken(found: Trials) -> list[str]:
    """The trials that fail."""
    failed = []
    for name, run in found.items():
        try:
            run()
        except Exception:
            failed.append(name)
    return failed


@pytest.mark.parametrize("page", PAGES)
def test_the_parts_of_the_pages_obey_the_laws_that_the_pages_name(page: str, tmp_path: Path) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert re.search(r"`stretto laws \w+\.py`", text)
    found = of(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], tmp_path)
    assert len(found) >= 6 and broken(found) == []


SCORER = re.findall(r"```python\n(.*?)```", (DOCS / "write-a-search.md").read_text(encoding="utf-8"), re.DOTALL)[3]
SEARCH = re.search(r"```python\n(.*?)```", (DOCS / "write-a-search.md").read_text(encoding="utf-8"), re.DOTALL)[1]
CHAIN = 'return Tree.chain([self.row.root] * min(2, room.nodes, room.depth), source="thrice")'
TWINS = "tree = Tree()\n        for _ in range(min(2, room.nodes)):\n            tree.add(0)\n        return tree"
BREAKS = {
    "room": (DRAFTER, "min(2, room.nodes, room.depth)", "2", "keep to their room"),
    "no forks": (DRAFTER, "return Again(row, [])", "return None", "a fork goes on"),
    "twins": (DRAFTER, CHAIN, TWINS, "keep to their room"),
    "writes on the row": (DRAFTER, "self.asked.append(room)", "self.row.history.tokens[-1] = 0", "no token changes"),
    "in place": (STEER, "logits.clone()", "logits", "pure"),
    "blind to drafts": (STEER, "*path.drafted]", "]", "a tree equals its paths"),
    "says it is pointwise": (STEER, 'name = "shy"', 'name = "shy"\n    pointwise = True', "do not look at the path"),
    "chance": (
        ORDER,
        "confidence.max()",
        "confidence.max() * np.random.default_rng().random()",
        "every step is lawful",
    ),
    "a memory of its own": (
        SCORER,
        "    def full(self, drafts: Sequence[Draft]) -> list[float]:\n",
        "    said = []\n\n    def full(self, drafts: Sequence[Draft]) -> list[float]:\n"
        "        self.said.append(1)\n        return [(-1) ** len(self.said) * sum(each.tokens) for each in drafts]\n",
        "the same alone",
    ),
    "another count of branches in each call": (
        SEARCH,
        "width = min(",
        "object.__setattr__(self, 'most', 3 - self.most % 3)\n        width = min(",
        "the same alone",
    ),
    "what is not open": (ORDER, "np.flatnonzero(", "1 + np.flatnonzero(", "every step is lawful"),
}


@pytest.mark.parametrize("break_", BREAKS)
def test_a_part_that_breaks_a_law_is_found(break_: str, tmp_path: Path) -> None:
    text, right, wrong, law = BREAKS[break_]
    assert right in text
    failed = broken(of(text.replace(right, wrong), tmp_path))
    assert any(law in name for name in failed), failed


@pytest.mark.parametrize("text", [DRAFTER, STEER, SCORER], ids=["drafter", "steer", "scorer"])
def test_whole_they_break_none(text: str, tmp_path: Path) -> None:
    assert broken(of(text, tmp_path)) == []


def test_what_cannot_be_tried_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="defines no part"):
        of("x = 1", tmp_path)
    needy = DRAFTER.replace('name = "thrice"', 'times: int\n    name = "thrice"')
    with pytest.raises(InvalidRequest, match="no defaults") as caught:
        of(needy, tmp_path)
    assert "EXAMPLES" in caught.value.hint
    catalogue._added.parts.clear()
    assert any("times=4" in name for name in of(needy + "\nEXAMPLES = (Thrice(4),)\n", tmp_path))


def test_the_command_tells_by_its_status(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text(DRAFTER)
    assert cli.main(["laws", str(file), "-k", "room"]) == 0
    file.write_text(DRAFTER.replace("min(2, room.nodes, room.depth)", "2"))
    words = [sys.executable, "-m", "stretto.cli", "laws", str(file), "-k", "room"]
    assert subprocess.run(words, check=False).returncode == 1
    assert "assert len(tree) <= room.nodes" in capfd.readouterr().out
    assert cli.main(["laws", str(tmp_path / "none.py")]) == 2
