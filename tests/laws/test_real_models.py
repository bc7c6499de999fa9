"""The laws of drafting once more, on the zoo's models and on a real checkpoint: equality of tokens."""

from __future__ import annotations

import pytest
import torch

from models.llama2c import convert
from stretto import zoo
from stretto.engine import Engine
from stretto.models.window import Window

SETTINGS = {
    "greedy": {},
    "sampled": {"temperature": 1.0, "seed": 5},
    "truncated": {"temperature": 0.8, "top_p": 0.9, "top_k": 40, "seed": 6},
    "penalised": {"temperature": 0.9, "repetition_penalty": 1.2, "frequency_penalty": 0.3, "no_repeat_ngram": 4},
}
TIE = 1e-4  # scores closer than this may be ordered differently by another order of summation


@pytest.fixture(scope="module")
def zoo_engine():
    if {"causal", "draft"} - set(zoo.names()):
        pytest.skip("the zoo's models are not in this checkout")
    return Engine.load("zoo/causal")


@pytest.fixture(scope="module")
def stories_engine(shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stories260k")
    source = shared_data / "models" / "stories260k"
    convert(source / "stories260K.bin", source / "tok512.bin", folder)
    return Engine.load(str(folder)), str(folder)


@pytest.fixture(scope="module")
def plainly():
    """What plain decoding gives, once for all methods."""
    known = {}

    def answers(engine, prompts, settings):
        key = repr((engine.model.name, prompts, settings))
        if key not in known:
            known[key] = engine.generate(prompts, "plain", **settings)
        return known[key]

    return answers


def assert_same(plain, engine, prompts, method, settings):
    """Equal tokens; where they part, the two best scores must be a tie."""
    fast = engine.generate(prompts, method, **settings)
    alone = [engine.generate(prompt, method, **settings) for prompt in prompts]
    for expected, *others in zip(plain, fast, alone, strict=True):
        for other in others:
            if other.tokens != expected.tokens:
                assert gap_where_they_part(engine, expected, other, settings) < TIE
    return fast


def gap_where_they_part(engine, first, second, settings):
    """Distance of the two tokens' log-weights at the first difference, noise included, on a fresh forward."""
    from stretto.verify import compare

    found = compare(engine, first.prompt_tokens, first.method, second.method, **settings)
    return found.gap if found.gap is not None else 0.0


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize(
    "method", ["lookup", "lookup(matches=3)+fixed(12)", "draft(model=zoo/draft)", "draft(model=zoo/draft)+fixed(4)"]
)
def test_zoo(zoo_engine, plainly, method, settings):
    prompts = [
        [{"role": "user", "content": "Sort these numbers: 41 7 23 15 7"}],
        [{"role": "user", "content": "Repeat: red blue green red blue green red blue"}],
        "def add(a, b):\n    return a + b\n\ndef sub(a, b):\n",
    ]
    prompts = [zoo_engine.encode(prompt) for prompt in prompts]
    settings = {"max_new_tokens": 32, **settings}
    assert_same(plainly(zoo_engine, prompts, settings), zoo_engine, prompts, method, settings)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("method", ["lookup+fixed(6)", "lookup(matches=4)+fixed(12)", "draft(model={itself})+fixed(5)"])
def test_stories(stories_engine, plainly, method, settings):
    engine, folder = stories_engine
    prompts = [engine.encode(text) for text in ("Once upon a time", "Lily and Tom went", "The big dog said")]
    settings = {"max_new_tokens": 40, **settings}
    fast = assert_same(plainly(engine, prompts, settings), engine, prompts, method.format(itself=folder), settings)
    if method.startswith("draft"):  # a model that drafts for itself is never rejected
        assert all(answer.counters.accepted >= answer.counters.drafted - 1 for answer in fast)


def test_the_cache_equals_a_fresh_prefill(stories_engine):
    engine, _ = stories_engine
    stream = engine.stream("Once upon a time, there", "lookup(matches=3)+fixed(9)", max_new_tokens=80)
    loop, row = stream._ticket.loop, stream._ticket.row
    for at, _piece in enumerate(stream):
        if at % 7 or row.finish:
            continue
        fresh = engine.model.new_cache()
        fresh_row = fresh.open()
        tokens = row.history.tokens[:-1]
        engine.model.evaluate(Window.chain([fresh_row], [tokens], [0], engine.model.device), fresh)
        for layer in range(engine.model.layers):
            torch.testing.assert_close(
                loop.cache.keys(row.cache_row, layer), fresh.keys(fresh_row, layer), atol=1e-4, rtol=1e-4
            )
            torch.testing.assert_close(
                loop.cache.values(row.cache_row, layer), fresh.values(fresh_row, layer), atol=1e-4, rtol=1e-4
            )
