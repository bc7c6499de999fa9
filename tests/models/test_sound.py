"""What is no number is found in every evaluation, and the error names where it began."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from models.families import FAMILIES
from models.test_network import CPU, TOKENS
from stretto import Engine
from stretto.errors import ModelError
from stretto.models.contract import NOTHING, Evaluation, Model, Want
from stretto.models.fast import lean_or_none
from stretto.models.lean import Lean
from stretto.models.network import Network
from stretto.models.sound import sound
from stretto.models.window import Window

WANTS = {"all": Want(), "the last": Want(logits=torch.tensor([[len(TOKENS) - 1]])), "nothing": NOTHING}


def fast() -> Lean:
    lean = lean_or_none(FAMILIES["llama"]())
    assert lean is not None
    return lean


def error_of(model: Model, want: Want = Want(), start: int = 0) -> str:
    """What is said of TOKENS, evaluated from `start` on in a window of their own."""
    cache = model.new_cache()
    row = cache.open()
    if start:
        model.evaluate(Window.chain([row], [TOKENS[:start]], [0], CPU), cache, NOTHING)
    with pytest.raises(ModelError) as error:
        model.evaluate(Window.chain([row], [TOKENS[start:]], [start], CPU), cache, want)
    return error.value.message


@pytest.mark.parametrize("want", WANTS)
def test_a_row_of_the_embedding(want: str) -> None:
    lean, network = fast(), Network(FAMILIES["llama"]())
    at = next(place for place in range(3, len(TOKENS)) if TOKENS[place] not in TOKENS[:place])
    lean.weights.table[TOKENS[at], 0] = math.nan
    network.module.get_input_embeddings().weight.data[TOKENS[at], 0] = math.nan
    for model in (lean, network):
        assert f"at position {at} what leaves the embedding is not finite" in error_of(model, WANTS[want])
        if want == "all":
            assert f"at position {at} what leaves the embedding" in error_of(model, start=at - 2)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_layer(bad: float) -> None:
    lean, network = fast(), Network(FAMILIES["llama"]())
    lean.weights.layers[1].mlp_norm.gain[3] = bad
    network.module.model.layers[1].post_attention_layernorm.weight.data[3] = bad
    for model in (lean, network):
        assert "at position 0 what leaves layer 2 of 3 is not finite" in error_of(model)
        assert "at position 0 what leaves layer 2 of 3 is not finite" in error_of(model, NOTHING)


def test_the_head() -> None:
    lean, network = fast(), Network(FAMILIES["llama"]())
    lean.weights.final_norm.gain[3] = math.inf
    network.module.model.norm.weight.data[3] = math.inf
    for model in (lean, network):
        assert "at position 0 what leaves the head is not finite" in error_of(model)


def test_one_row_of_several() -> None:
    lean = fast()
    lean.weights.table[TOKENS[0]] = math.inf
    cache = lean.new_cache(2)
    rows = [cache.open(), cache.open()]
    others = [token for token in TOKENS if token != TOKENS[0]]
    window = Window.chain(rows, [others[:4], [*others[:1], TOKENS[0]]], [0, 0], CPU)
    with pytest.raises(ModelError, match="at position 1 what leaves the embedding"):
        lean.evaluate(window, cache)


def test_only_what_stands_for_nothing_may_be_infinite() -> None:
    logits, rows = torch.zeros(2, 3, 5), torch.zeros(2, 3, 4)
    logits[0, 0, :4] = -math.inf
    assert sound(Evaluation(logits), Want(), [3, 3], rows)
    for bad in (math.nan, math.inf):
        logits[1, 2, 0] = bad
        assert not sound(Evaluation(logits), Want(), [3, 3], rows)
        assert sound(Evaluation(logits), Want(), [3, 2], rows)  # it is padding
        assert not sound(Evaluation(readout={1: logits}), Want(logits=torch.zeros(2, 0)), [3, 3], rows)
    logits[1, 2] = -math.inf
    assert not sound(Evaluation(logits), Want(), [3, 3], rows)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load("zoo/causal")


@pytest.mark.parametrize(
    "method", ["plain", "auto", "lookup", "draft(model=zoo/draft)", "rejection+draft(model=zoo/draft)", "jacobi"]
)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_an_answer_ends_in_the_error(engine: Engine, method: str, temperature: float) -> None:
    settings: dict[str, Any] = {"max_new_tokens": 12, "temperature": temperature, "end_tokens": ()}
    prompt = engine.encode("A story of a dog.")
    answer = engine.generate(prompt, **settings).tokens
    token = next(token for token in answer[:-1] if token not in prompt)
    table = engine.model.weights.table  # type: ignore[attr-defined]
    sound_row = table[token].clone()
    table[token] = math.nan
    try:
        with pytest.raises(ModelError, match=r"zoo.causal: at position \d+ what leaves the embedding is not finite"):
            engine.generate(prompt, method, **settings)
    finally:
        table[token] = sound_row


@pytest.mark.parametrize("method", ["plain", "auto"])
def test_a_prompt_fails_alone(method: str) -> None:
    engine = Engine.load("zoo/causal")
    good, bad = "Sort: pear, fig, apple", [5, 17, 3, 900, 8, 9]
    alone = engine.generate(good, method, max_new_tokens=8)
    engine.model.weights.table[900] = math.nan  # type: ignore[attr-defined]
    failed, answered = engine.generate([bad, good], method, max_new_tokens=8)
    assert isinstance(failed.error, ModelError) and "at position 3" in failed.error.message
    assert answered.tokens == alone.tokens
    with pytest.raises(ModelError, match="at position 3"):
        engine.generate(bad, method)


@pytest.mark.parametrize("name", ["zoo/masked", "zoo/block"])
def test_masked_models_too(name: str) -> None:
    engine = Engine.load(name)
    engine.generate("Sort: pear, fig, apple", max_new_tokens=8)
    engine.model.model.weights.layers[2].attention_norm.gain[0] = math.inf  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match="what leaves layer 3 of"):
        engine.generate("Sort: pear, fig, apple", max_new_tokens=8)


def test_routes_and_searches_too() -> None:
    for method in ("entropy(small=zoo/draft)", "superposed(alpha=0)"):
        engine = Engine.load("zoo/causal")
        engine.model.weights.layers[1].mlp_norm.gain[0] = math.nan  # type: ignore[attr-defined]
        with pytest.raises(ModelError, match="what leaves layer 2 of"):
            engine.generate("Sort: pear, fig, apple", method, max_new_tokens=8)
