"""What the documentation shows works as it stands there."""

from __future__ import annotations

import doctest
import importlib
import json
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from laws.worlds import decode
from stretto import catalogue, cli, zoo
from stretto.constrain.languages import language
from stretto.constrain.matcher import Matcher
from stretto.diffuse.family import FILLS
from stretto.engine import Engine
from stretto.models.masked import LAYOUTS, Masking
from stretto.models.table import MaskedTable, TableModel
from stretto.steer.contract import Stage
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature

DOCS = Path(__file__).parents[1] / "docs"
PACKAGE = DOCS.parent / "src" / "stretto"
FAMILIES = ("speculate", "diffuse", "steer", "search", "route", "constrain")
CONTRACTS = [file.relative_to(PACKAGE) for name in FAMILIES for file in sorted((PACKAGE / name).rglob("contract.py"))]


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("file", [*CONTRACTS, Path("diffuse/canvas.py")], ids=str)
def test_what_a_contract_shows_runs(file: Path) -> None:
    module = importlib.import_module(".".join(["stretto", *file.with_suffix("").parts]))
    shown = doctest.testmod(module)
    assert not shown.failed
    assert shown.attempted, "a contract shows how a part of its kind is written"


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


def test_the_page_on_many_answers_works_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    if "causal" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    shown: dict[str, Any] = {}
    for block in blocks("many-at-once.md"):
        exec(compile(block, "many-at-once.md", "exec"), shown)
    assert len(capsys.readouterr().out) > 200 and shown["code"].status == shown["story"].status == "ended"


def test_the_page_on_structured_output_works_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    if "causal" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    shown = vars(module := ModuleType("shown"))
    monkeypatch.setitem(sys.modules, "shown", module)  # types look their module up
    shown["__name__"] = "shown"
    for block in blocks("structured-output.md"):
        exec(compile(block, "structured-output.md", "exec"), shown)
    assert shown["child"].text.startswith('{"name":"') and shown["answer"].finish == "end"


def test_the_page_on_steers_works_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    if "causal" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    shown: dict[str, Any] = {}
    for block in blocks("steers.md"):
        exec(compile(block, "steers.md", "exec"), shown)
    order = ["temperature", "top_n_sigma", "top_k", "xtc"]
    assert capsys.readouterr().out.splitlines() == ["True", str(order), "True"]
    page = (DOCS / "steers.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)[(`]", page)) & {*catalogue.parts()}
    stages = {part.stage for part in map(catalogue.part, named) if part.kind == "steer"}
    assert stages == set(Stage), "a stage that the table does not name"


def test_the_page_on_pictures_works_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    if "grid" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    shown: dict[str, Any] = {}
    for block in blocks("images.md"):
        exec(compile(block, "images.md", "exec"), shown)
    there = {"a blue ring", "a white cross", "a yellow square"}
    assert {*shown["answer"].text.strip().split(" and ")} - there == {"a green bars"}
    assert {*shown["steered"].text.strip().split(" and ")} < there


def test_the_page_on_edits_works_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "causal" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    monkeypatch.chdir(tmp_path)
    shown: dict[str, Any] = {}
    for block in blocks("edits.md"):
        exec(compile(block, "edits.md", "exec"), shown)
    assert "True" in capsys.readouterr().out
    texts = [handle.result().text for handle in shown["handles"]]
    assert len(set(texts)) > 1 and shown["by_file"].text == texts[-1]


def test_the_steers_of_the_page_work_as_they_stand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(catalogue, "_added", catalogue._Others())
    module = ModuleType("steered")
    monkeypatch.setitem(sys.modules, "steered", module)
    shown = vars(module)
    source, *rest = blocks("write-a-steer.md")
    assert len([line for line in source.splitlines() if line.strip()]) < 25
    for block in (source, *rest):
        exec(compile(block, "write-a-steer.md", "exec"), shown)
    assert capsys.readouterr().out.splitlines() == ["True", "True", "stop 20"]
    engine = shown["engine"]
    bare = engine.generate(shown["prompt"], "plain", **shown["settings"])
    assert bare.tokens != shown["by_value"].tokens
    assert shown["answer"].tokens.count(shown["comma"]) > 1
    assert bare.tokens != shown["plain"].tokens


def test_the_constraint_of_the_page_works_as_it_stands_and_from_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(catalogue, "_added", catalogue._Others())
    module = ModuleType("constrained")
    monkeypatch.setitem(sys.modules, "constrained", module)
    shown = vars(module)
    source, use = blocks("write-a-constraint.md")
    assert len([line for line in source.splitlines() if line.strip()]) < 45
    for block in (source, use):
        exec(compile(block, "write-a-constraint.md", "exec"), shown)
    assert capsys.readouterr().out == "True end\n"
    *words, stop = shown["by_value"].text.split(" ")[1:]
    words.append(stop.removesuffix("."))
    assert stop.endswith(".") and [len(word) > 4 for word in words] == [False, True] * 3
    monkeypatch.setattr(catalogue, "_added", catalogue._Others())
    file = tmp_path / "rhythm.py"
    file.write_text(source)
    catalogue.plug_in(file)
    again = shown["engine"].generate(shown["prompt"], "plain+rhythm(4)", **shown["settings"])
    assert again.tokens == shown["by_value"].tokens


def test_the_order_of_the_page_works_as_it_stands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, use = blocks("write-an-order.md")
    module = ModuleType("shown")
    monkeypatch.setitem(sys.modules, "shown", module)
    shown = vars(module)
    exec(compile(source, "write-an-order.md", "exec"), shown)
    order, model = shown["Near"], MaskedTable.random_masked(6, 3, Masking(5), sharpness=2.5)
    assert Engine(model).generate([0, 2], order(1.0), max_new_tokens=8).counters.rounds == 8
    assert Engine(model).generate([0, 2], order(0.0), max_new_tokens=8).counters.rounds == 1
    if "masked" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    monkeypatch.setattr(catalogue, "_added", catalogue._Others())
    exec(compile(use, "write-an-order.md", "exec"), shown)
    same, whole, less = capsys.readouterr().out.split()
    assert same == "True" and 1 <= int(whole) < 32 and 1 <= int(less) < 32


def test_the_searches_and_the_scorer_of_the_page_work_as_they_stand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stepwise, segmentwise, use, *scorer = blocks("write-a-search.md")
    monkeypatch.setattr(catalogue, "_added", catalogue._Others())
    module = ModuleType("shown")
    monkeypatch.setitem(sys.modules, "shown", module)
    shown = vars(module)
    for block in (stepwise, segmentwise):
        exec(compile(block, "write-a-search.md", "exec"), shown)
    model = TableModel.random(5, seed=2)
    chance = {"temperature": 1.0, "seed": 3}
    for search, given in ((shown["Widening"](1), {}), (shown["Survivor"](1), chance)):
        settings = {"max_new_tokens": 12, "end_tokens": (), **given}
        alone = Engine(model).generate([0, 1], search, **settings)
        assert alone.tokens == Engine(model).generate([0, 1], "plain", **settings).tokens
    if "causal" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    for block in (use, *scorer):
        exec(compile(block, "write-a-search.md", "exec"), shown)
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("3 ") and second.endswith(" True")
    lengths = json.loads(third)
    assert len(lengths) == 6 and lengths == sorted(lengths) and lengths[0] < lengths[-1]


def test_the_page_on_masked_models_works_as_it_stands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown: dict[str, Any] = {}
    for block in blocks("diffusion.md"):
        exec(compile(block, "diffusion.md", "exec"), shown)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) >= 4 and "</html>" in shown["html"]
    rounds = {line.split()[0]: int(line.split()[-2]) for line in printed if line.startswith(("low-", "threshold"))}
    assert rounds[shown["baseline"]] == 32
    assert "len(s.split())" in shown["answer"].text
    assert re.search(r"purple lamp .+ Then a strong wind .+ the lamp away", engine_text(shown), re.DOTALL)


def test_the_page_on_chats_works_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    shown: dict[str, Any] = {}
    (block,) = blocks("chats.md")
    exec(compile(block, "chats.md", "exec"), shown)
    assert "lamp, owl" in capsys.readouterr().out
    assert shown["prefilled"].prompt_tokens[: len(shown["answer"].prompt_tokens)] == shown["answer"].prompt_tokens
    assert shown["prefilled"].text.strip().startswith("owl") and shown["streamed"].generation.text


def test_what_the_readme_shows_answers(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Python, and its lines that decode."""
    monkeypatch.chdir(tmp_path)  # one of them writes a page
    page = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    shown: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), shown)
    assert "banana" in shown["answer"].text and "banana" in capsys.readouterr().out
    lines = [shlex.split(line, comments=True) for line in re.findall(r"^stretto (generate .*)$", page, re.MULTILINE)]
    assert len(lines) >= 3
    answers = []
    for line in lines:
        assert cli.main(line) == 0
        answers.append(capsys.readouterr().out.strip())
    assert "banana, brush, lamp, owl" in answers[0] and all(answers) and "def count_owl(s)" in answers[-1]


def test_the_page_on_scoring_works_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    shown: dict[str, Any] = {}
    for block in blocks("scoring.md"):
        exec(compile(block, "scoring.md", "exec"), shown)
    assert shown["best"] == " fox" and shown["add"].total > shown["subtract"].total
    assert len(shown["score"].tokens) > 128 and "perplexity" in capsys.readouterr().out


def test_the_page_on_compressing_works_as_it_stands() -> None:
    if "causal" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    shown: dict[str, Any] = {}
    (block,) = blocks("compress.md")
    exec(compile(block, "compress.md", "exec"), shown)
    assert len(shown["coded"]) < 450


def test_the_grammar_of_the_page_is_one(tmp_path: Path) -> None:
    page = (DOCS / "diffusion.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```\n(# sums.*?)^```", page, re.MULTILINE | re.DOTALL)
    file = tmp_path / "sums"
    file.write_text(shown, encoding="utf-8")
    for text, expected in (("1 + (20+300)", True), ("0", True), ("01", False), ("1 +", False), ("1000", False)):
        matcher = Matcher(language(str(file)))
        assert (matcher.push(text) and matcher.complete) == expected, text


def engine_text(shown: dict[str, Any]) -> str:
    """The whole text of the filled example."""
    return str(shown["engine"].decode([*shown["filled"].prompt_tokens, *shown["filled"].tokens]))


def test_the_page_on_masked_models_names_what_there_is() -> None:
    text = (DOCS / "diffusion.md").read_text(encoding="utf-8")
    for kind in re.findall(r'"stretto_diffusion": (.*)', text):
        assert set(json.loads(kind)) == {"mask_token_id", "block", "shift"}
    for layout in ("llada", "Dream", "sdar", "Fast_dLLM_Qwen"):
        assert layout in LAYOUTS and layout in text
    for default in FILLS.values():
        assert f"`{default}`" in text
