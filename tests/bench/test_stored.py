from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from stretto.bench.anytime import Anytime
from stretto.bench.canvas import Comparison
from stretto.bench.claims.table import Tried
from stretto.bench.overhead import Overhead
from stretto.bench.quality.results import Quality
from stretto.bench.real.results import Real
from stretto.bench.results import Report
from stretto.bench.shape import Shape
from stretto.bench.stored import Stored
from stretto.errors import InvalidRequest

RESULTS = Path(__file__).parents[2] / "docs" / "results"
KINDS = (Anytime, Quality, Shape, Overhead, Comparison, Tried, Report, Real)


@dataclass(frozen=True, slots=True)
class Leaf:
    size: float
    names: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Tree(Stored):
    COMMAND: ClassVar[str] = "stretto grow"
    ENTRY: ClassVar[str] = "leaves"

    leaves: dict[str, list[Leaf]] = field(default_factory=dict)
    tallest: Leaf | None = None
    height: int = 0


TREE = Tree({"date": "today"}, {"a": [Leaf(1), Leaf(2.5, ["x ] y"]), Leaf(3, ["x, y", "ü"])]}, Leaf(0.5), 7)


@pytest.mark.parametrize("tree", [TREE, Tree({})], ids=["full", "empty"])
def test_what_is_written_is_read(tmp_path: Path, tree: Tree):
    tree.save(tmp_path / "tree.json")
    assert Tree.is_in(tmp_path / "tree.json") and Tree.load(tmp_path / "tree.json") == tree


def test_the_innermost_stands_in_a_line(tmp_path: Path):
    TREE.save(tmp_path / "tree.json")
    assert '"names": ["x, y", "ü"]' in (tmp_path / "tree.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"height": "7"}, "height is '7'"),
        ({"height": 0.5}, "height is 0.5"),
        ({"tallest": [1]}, r"tallest is \[1\]"),
        ({"tallest": {}}, "'size'"),
        ({"leaves": {"a": [{"size": None}]}}, "size is None"),
        ({"leaves": {"a": [{"size": 1, "names": [2]}]}}, "names is 2"),
        ({"leaves": []}, r"leaves is \[\]"),
        ({"roots": 1}, "'roots'"),
    ],
)
def test_what_is_not_of_its_type_is_refused(tmp_path: Path, change: dict[str, Any], said: str):
    (tmp_path / "tree.json").write_text(json.dumps({"provenance": {}, "leaves": {}} | change))
    with pytest.raises(InvalidRequest, match=rf"holds no result of `stretto grow`: .*{said}") as refused:
        Tree.load(tmp_path / "tree.json")
    assert "stretto grow --out" in str(refused.value)


@pytest.mark.parametrize("kind", [Tree, *KINDS])
@pytest.mark.parametrize("content", ["", "[]", "{}", "7", '{"provenance": {}}', '{"provenance": {}, "tasks": 1}'])
def test_no_result_is_one_typed_error(tmp_path: Path, kind: type[Stored], content: str):
    (tmp_path / "x.json").write_text(content)
    assert not kind.is_in(tmp_path / "x.json")
    with pytest.raises(InvalidRequest, match="holds no result of"):
        kind.load(tmp_path / "x.json")


@pytest.mark.parametrize("name", sorted(file.name for file in RESULTS.glob("*.json")))
def test_a_published_result_is_of_one_kind_and_comes_back_byte_for_byte(tmp_path: Path, name: str):
    (kind,) = [kind for kind in KINDS if kind.is_in(RESULTS / name)]
    kind.load(RESULTS / name).save(tmp_path / name)
    assert (tmp_path / name).read_bytes() == (RESULTS / name).read_bytes()
