"""What ships is found, is small, and belongs together."""

from __future__ import annotations

import json
import random

import pytest
from safetensors import safe_open

from stretto import zoo
from stretto.engine import Engine
from stretto.errors import UnknownName
from stretto.gym import prior_grid, questions, task
from stretto.models.pictures import Pictured

BLOCK = 16


def test_unknown_models_are_refused_with_a_hint() -> None:
    hints = {"casual": "'causal'", "eagel": "'eagle'", "eagle": "--method eagle", "x": "block, causal"}
    for name, said in hints.items():
        with pytest.raises(UnknownName, match=said):
            zoo.path(name)


def test_shipped_models_are_complete_small_and_of_one_vocabulary() -> None:
    names = zoo.names()
    if not names:
        pytest.skip("no models have been trained yet")
    folders = [zoo.path(name) for name in names]
    assert sum(file.stat().st_size for folder in folders for file in folder.iterdir()) < 40 * 2**20
    tokenizers = set()
    for folder in folders:
        assert "Apache-2.0" in (folder / "README.md").read_text()
        assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"
        with safe_open(folder / "model.safetensors", "pt") as weights:
            assert {weights.get_slice(key).get_dtype() for key in weights.keys()} == {"F16"}  # noqa: SIM118
        if folder.name != "grid":  # which has words of its own
            tokenizers.add((folder / "tokenizer.json").read_text())
    assert len(tokenizers) == 1


def test_the_grid_model_sees_what_is_there_and_by_habit_what_is_not() -> None:
    engine = Engine.load("zoo/grid")
    chance = random.Random(5)
    scenes = [prior_grid.scene(chance, 0.0) for _ in range(40)]
    found = {}
    for noise in (0.0, 0.6):
        seen = [engine.sight.picture(prior_grid.picture(scene, noise, at)) for at, scene in enumerate(scenes)]
        prompts = [Pictured("<s> <image> describe :", [picture]) for picture in seen]
        said = [answer.text for answer in engine.generate(prompts, "plain", max_new_tokens=20)]
        found[noise] = prior_grid.inspected(said, scenes)
    assert found[0.0].recall > 0.5 and found[0.6].invented > 1.4 * found[0.0].invented


@pytest.mark.parametrize("name", ["masked", "block"])
def test_the_twins_answer_by_many_methods(name) -> None:
    """One position a step, many at once, and a lossless lookahead: the right answer, in ever fewer rounds."""
    engine = Engine.load(f"zoo/{name}")
    asked = list(questions("sql", "test", 3, 7))
    chats = [[{"role": "user", "content": question.prompt}] for question in asked]
    cache = {"masked": "dual-cache", "block": "block-cache"}[name]
    rounds = []
    for order in ("low-confidence", "low-confidence+freedave(4)", "threshold"):
        method = f"{order}+blocks({BLOCK})+{cache}+end-of-text"
        answers = engine.generate(chats, method, max_new_tokens=32)
        right = [task("sql").check(each, answer.text) for each, answer in zip(asked, answers, strict=True)]
        assert sum(right) >= 2, method
        rounds.append(sum(answer.counters.rounds for answer in answers))
    assert rounds[0] > rounds[1] > rounds[2]
