"""What `stretto bench constrain` counts, on schemas and a model at hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from constrain.test_guidance import PERSON, WHOLE
from stretto import zoo
from stretto.bench.constrain.answers import answered, mean
from stretto.bench.constrain.command import Found, table
from stretto.bench.constrain.otherwise import in_some_order, plainly
from stretto.bench.constrain.schemas import SAMPLE, SUITE, Alone, Case, Ours, measured, sample, suite
from stretto.cli import main
from stretto.constrain.json_schema import Schema
from stretto.engine import Engine
from stretto.errors import InvalidRequest, StrettoError

GOOD, BAD = {"name": "a", "age": 3}, {"name": "", "age": 3}
CASES = [
    Case("person", PERSON, [(GOOD, True), (BAD, False), ({"age": 3, "name": "a"}, True), ({**GOOD, "age": 3.0}, True)]),
    Case("unknown", {"type": "object", "minProprties": 3}, [({}, False)]),
    Case("anything", True, [([1], True), ("\ud800", True)]),
    Case("judged", {"uniqueItems": True, "items": {"type": "integer"}}, [([1, 2], True), ([1, 1], False)]),
    Case("nothing fits", {"properties": {"a": {"type": "text"}}}, [({}, True)]),
]


def test_schemas_are_counted_as_what_becomes_of_their_instances() -> None:
    ours, alone = measured((Ours(), Alone()), "some", CASES, WHOLE)
    assert (ours.schemas, ours.served, ours.refused_by_place, len(ours.refusals)) == (5, 3, 2, 2)
    assert (ours.valid, ours.renumbered, ours.reordered, ours.valid_refused) == (6, 1, 1, 1)
    assert (ours.invalid, ours.invalid_taken) == (2, 0)
    assert (ours.both.schemas, ours.judged.schemas, ours.alone.schemas) == (1, 1, 1)
    assert ours.both.masks.count > len(json.dumps(GOOD)) and ours.both.first.most >= ours.both.first.median > 0
    assert (alone.schemas, alone.served, alone.invalid_taken) == (5, 2, 1)  # what it does not know it passes over
    assert alone.both.masks.count == ours.both.masks.count and not alone.judged.schemas


ORDERED = {
    "properties": {
        "a": {"type": "integer"},
        "b": {"items": {"$ref": "#/$defs/in"}},
        "c": True,
        "d": {"$ref": "#/$defs/all"},
    },
    "$defs": {
        "all": {"properties": {"u": True, "v": True, "w": True}, "required": ["v", "w"]},
        "in": {"properties": {"x": {"type": "boolean"}, "y": {"type": "null"}}},
    },
}


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        ({"z": 0, "c": [], "b": [{"y": None, "x": True}, 1e30, {"q": 1, "y": None}], "a": 2.0}, True),
        ({"d": {"w": 1, "u": 2, "v": 3}, "c": 1}, True),
        ({"c": 1, "b": [{"y": None, "x": 0}], "a": 2}, False),
        ({str(at): at for at in range(30)} | {"a": 0.5}, False),  # given up
    ],
)
def test_valid_in_another_order_of_keys(value: Any, taken: bool) -> None:
    assert in_some_order(Schema(json.dumps(ORDERED)).open(WHOLE), WHOLE, value) is taken
    assert json.loads(plainly(value)) == value


def test_an_instance_that_is_taken_wrongly_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = measured([Ours()], "one", [Case("person", PERSON, [(GOOD, False)])], WHOLE)
    assert found.invalid_taken == 1 and found.wrong[0].startswith("taken, person: {")
    told = "\n".join(table(Found({"settings": {"model": "m"}, "machine": {"threads": 1, "cpu": "c"}}, [found])))
    assert "stretto, one" in told and "100.0%" in told


def test_files_are_read_as_they_are_laid_out(tmp_path: Path) -> None:
    group = {
        "description": "d",
        "schema": {"type": "null"},
        "tests": [{"data": None, "valid": True, "description": ""}],
    }
    records: dict[Path, Any] = {
        SAMPLE: {"name": "n", "schema": {}, "tests": [{"data": 1, "valid": True}]},
        SUITE / "draft7.jsonl.gz": {"file": "f.json", "groups": [group, {**group, "schema": True}]},
    }
    for file, record in records.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(tmp_path / file, "wt", encoding="utf-8") as lines:
            lines.write(json.dumps(record) + "\n\n")
    assert sample(tmp_path, None) == [Case("n", {}, [(1, True)])]
    read = suite(tmp_path, "draft7")
    assert read[0].name == "f.json: d" and "draft-07" in read[0].schema["$schema"] and read[1].schema is True
    with pytest.raises(InvalidRequest, match="is not there"):
        suite(tmp_path, "draft2020-12")
    with pytest.raises(InvalidRequest, match="not at hand"):
        main_without_data()


def main_without_data() -> None:
    from stretto.bench.constrain.command import run

    run(None, None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def engine() -> Engine:
    if "causal" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    return Engine.load("zoo/causal")


def test_answers_hold_and_are_the_same_with_drafting(engine: Engine) -> None:
    long = Case("long", {"description": "x" * 2000}, [])
    found = list(answered(engine, [long, *CASES[:2], CASES[2]], 2, 40, 0))
    assert [case.name for case, _ in found] == ["person", "unknown", "anything"]
    person, unknown, anything = (each for _, each in found)
    assert isinstance(unknown, StrettoError)
    for each in (person, anything):
        assert not isinstance(each, StrettoError) and each.valid and each.complete and each.same
        assert 0 < each.tokens <= 40 and min(each.free, each.plain, each.drafted) > 0
    assert mean([1.0, 4.0]) == pytest.approx(2.0)


def test_the_command_writes_what_it_found(engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / SAMPLE).parent.mkdir(parents=True)
    with gzip.open(tmp_path / SAMPLE, "wt", encoding="utf-8") as lines:
        lines.write(json.dumps({"name": "n", "schema": PERSON, "tests": []}) + "\n")
    out = tmp_path / "found"
    asked = ["bench", "constrain", "--count", "1", "--max-new-tokens", "30", "--data", str(tmp_path), "--out", str(out)]
    assert main(asked) == 0
    assert "valid 1 of 1, complete 1 of 1" in capsys.readouterr().out
    assert Found.load(out.with_suffix(".json")).answers[0].name == "n"
