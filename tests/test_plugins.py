"""Parts from outside of the package: they work wherever the package's own do."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import ClassVar

import pytest

import stretto
from laws.worlds import LastTwo
from stretto import catalogue, cli, method, zoo
from stretto.engine import Engine
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.speculate.contract import Drafter, Drafting, DraftSession
from stretto.tree import Tree
from test_docs import blocks

SOURCE = '''
from dataclasses import dataclass
from typing import ClassVar

from stretto.entry import Entry, Guarantee
from stretto.speculate.contract import Drafter, Drafting, DraftSession
from stretto.tree import Tree

ENTRY = Entry("three-again", "speculate", source="an example", parts="thrice(times=3)", guarantee=Guarantee.EXACT)


@dataclass(frozen=True)
class Thrice(Drafter):
    """The last token again."""

    name: ClassVar[str] = "thrice"
    times: int = 2  # tokens, >= 1

    def begin(self, context):
        return Drafting(self, lambda row: Again(row, self.times))


class Again(DraftSession):
    def __init__(self, row, times):
        self.row, self.times = row, times

    def propose(self, room):
        return Tree.chain([self.row.root] * min(self.times, room.nodes, room.depth), source="thrice")

    def fork(self, row):
        return Again(row, self.times)
'''


@pytest.fixture(autouse=True)
def apart(monkeypatch):
    """What a test takes in is forgotten after it."""
    monkeypatch.setattr(catalogue, "_added", catalogue._Others())


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "thrice.py"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def engine():
    return Engine(LastTwo(5, seed=1), clock=SimulatedClock())


def test_a_file_works_in_text_alone_and_within_other_parts(file, engine):
    with pytest.raises(stretto.errors.UnknownName):
        method.parse("thrice")
    catalogue.plug_in(file)
    plain = engine.generate([1, 2], "plain", max_new_tokens=30)
    for text in ("thrice", "thrice(times=4)+fixed(4)", "fuse(lookup,thrice)+fixed(6)"):
        answer = engine.generate([1, 2], text, max_new_tokens=30)
        assert answer.tokens == plain.tokens and "thrice" in answer.method
    assert answer.counters.drafted > 0
    assert engine.generate([1, 2], "three-again", max_new_tokens=3).method == "thrice(times=3)"


def test_the_command_line_takes_a_file(file, capsys):
    assert cli.main(["methods", "thrice", "--plugin", str(file)]) == 0
    assert "The last token again" in capsys.readouterr().out
    assert cli.main(["methods", "--plugin", str(file)]) == 0
    assert "three-again" in capsys.readouterr().out


PAGES = {  # what a page defines, and a method made of it
    "drafter": ("write-a-drafter.md", 1, ["--method", "bigram"]),
    "steer": ("write-a-steer.md", 1, ["--method", "lookup", "--steer", "sober(0.5)"]),
    "order": ("write-an-order.md", 1, ["--model", "zoo/masked", "--method", "near(1.0)+blocks(8)"]),
    "search": ("write-a-search.md", 2, ["--method", "widening(3)+lookup"]),
    "scorer": ("write-a-search.md", -2, ["--method", "best-of(3,brief())", "--temperature", "1"]),
}


@pytest.mark.parametrize("kind", PAGES)
def test_the_parts_of_the_pages_work_from_a_file(kind, tmp_path, capsys):
    page, number, given = PAGES[kind]
    if ("masked" if kind == "order" else "causal") not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    found = blocks(page)
    path = tmp_path / "mine.py"
    path.write_text("\n".join(found[:number] if number > 0 else [found[number]]), encoding="utf-8")
    model = [] if "--model" in given else ["--model", "zoo/causal"]
    line = ["generate", "a owl", "--json", "--plugin", str(path), "--max-new-tokens", "8", *model, *given]
    assert cli.main(line) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["tokens"] and record["finish"] in ("end", "length")
    assert record["method"].startswith(given[given.index("--method") + 1][:5])


def test_a_bare_part_is_a_method(file, engine):
    catalogue.plug_in(file)
    part = catalogue.part("thrice")(times=5)
    assert engine.generate([1, 2], part, max_new_tokens=9).method == "thrice(times=5)"
    assert method.describe(method.parse(part)) == "thrice(times=5)"


@dataclass(frozen=True)
class Nothing(Drafter):
    """Guesses nothing."""

    name: ClassVar[str] = "nothing"

    def begin(self, context):
        return Drafting(self, Silent)


class Silent(DraftSession):
    def __init__(self, row):
        pass

    def propose(self, room):
        return Tree()

    def fork(self, row):
        return self


def test_a_class_at_hand(engine):
    assert stretto.register(Nothing) is Nothing
    assert stretto.register(Nothing) is Nothing  # a cell of a notebook that runs again
    assert engine.generate([1, 2], "nothing+fixed(3)", max_new_tokens=9).counters.drafted == 0


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (int, "is no part"),
        (type("Unnamed", (Nothing,), {"name": None}), "is no part"),
        (type("Open", (Drafter,), {"name": "open"}), "lacks begin"),
        (type("Loose", (Drafter,), {"name": "loose", "begin": Nothing.begin}), "no frozen dataclass"),
        (type("Lookup", (Nothing,), {"name": "lookup"}), "there already"),
    ],
    ids=lambda value: getattr(value, "__name__", "says"),
)
def test_what_is_no_part_is_refused(part, says):
    with pytest.raises(InvalidRequest, match=says):
        stretto.register(part)
    assert not catalogue._added.parts


@pytest.mark.parametrize(
    ("text", "says"),
    [("import nowhere", "ModuleNotFoundError"), ("x = (", "SyntaxError"), ("x = 1", "defines no part")],
)
def test_a_file_that_brings_nothing_is_refused(tmp_path, capsys, text, says):
    path = tmp_path / "bad.py"
    path.write_text(text)
    assert cli.main(["methods", "--plugin", str(path)]) == 2
    told = capsys.readouterr().err
    assert says in told and told.count("\n") == 1
    assert cli.main(["methods", "--plugin", str(tmp_path / "none.py")]) == 2


def test_installed_packages_bring_parts(file, engine, monkeypatch, tmp_path):
    """Those that name a module under the entry points; one that fails costs the others nothing."""
    monkeypatch.syspath_prepend(tmp_path)
    points = [EntryPoint("a", name, catalogue.GROUP) for name in ("missing_module", "thrice")]
    monkeypatch.setattr(catalogue, "entry_points", lambda group: points if group == catalogue.GROUP else [])
    catalogue._installed.cache_clear()
    try:
        with pytest.warns(UserWarning, match="missing_module brings no parts"):
            assert "thrice" in catalogue.parts()
        assert engine.generate([1, 2], "three-again", max_new_tokens=3).method == "thrice(times=3)"
    finally:
        catalogue._installed.cache_clear()
        sys.modules.pop("thrice", None)
