"""A prompt that an engine has read before is not read again, and no token of an answer changes by that."""

from __future__ import annotations

import pytest

from stretto import Engine
from stretto.errors import InvalidRequest
from stretto.models.prefixes import prefixes_of

SHARED = [3 + (at * at * 13 + at * 5) % 90 for at in range(150)]
PROMPTS = [[*SHARED, 7, 9, 11], [*SHARED[:100], 5, 5, 6], SHARED[:129], SHARED[:128]]
METHODS = (
    "plain",
    "lookup+fixed(5)",
    "auto",
    "recycle+fixed(8)",
    "draft(model=zoo/draft)+fixed(5)",
    "draft-tree(model=zoo/draft)+fixed(16,depth=4)",
    "prefix(first=zoo/draft)",
)


SAMPLED = {"temperature": 0.9, "top_p": 0.9, "seed": 3}


def load(**settings) -> Engine:
    return Engine.load("zoo/causal", dtype="float32", reproducible=True, **settings)


@pytest.fixture(scope="module")
def forgetful() -> Engine:
    return load(prefixes=0)


@pytest.mark.parametrize(("method", "settings"), [("plain", {}), *((method, SAMPLED) for method in METHODS)])
def test_a_hit_changes_no_token(method, settings, forgetful):
    engine = load()
    given = {"max_new_tokens": 6, "end_tokens": ()} | settings
    expected = [forgetful.generate(prompt, method, **given).tokens for prompt in PROMPTS]
    assert [engine.generate(prompt, method, **given).tokens for prompt in PROMPTS] == expected
    again = engine.generate(PROMPTS, method, samples=2, **given)
    assert [answer.tokens for answer in again[::2]] == expected
    assert forgetful._prefixes.bytes == 0 < engine._prefixes.bytes


def test_what_is_known_is_not_evaluated_again(monkeypatch):
    engine, evaluated = load(), []
    evaluate = type(engine.model).evaluate

    def counted(model, window, *rest):
        evaluated.append(sum(window.lengths))
        return evaluate(model, window, *rest)

    monkeypatch.setattr(type(engine.model), "evaluate", counted)
    sums = []
    # the first `recycle` is to see the logits of every token of a prompt, the second knows what follows them
    for method in ("plain", "plain", "recycle+fixed(8)", "recycle+fixed(8)", "recycle(shared=False)+fixed(8)"):
        evaluated.clear()
        engine.generate(PROMPTS[0], method, max_new_tokens=1, end_tokens=())
        sums.append(sum(evaluated))
    assert sums == [153, 153 - 128, 153, 153 - 128, 153]


def test_bits_are_the_bits_of_a_fresh_engine():
    given = {"max_new_tokens": 6, "end_tokens": (), "log_probabilities": 1}
    fresh, used = (Engine.load("zoo/causal", dtype="bfloat16", exact="bits") for _ in range(2))
    used.generate(PROMPTS[1], "plain", **given)
    found, expected = (engine.generate(PROMPTS[0], "plain", **given) for engine in (used, fresh))
    assert found.tokens == expected.tokens and found.log_probabilities == expected.log_probabilities
    assert used._prefixes.bytes


def test_where_numbers_round_coarsely_and_where_masks_are_filled_nothing_is_kept():
    coarse, masked = Engine.load("zoo/causal", dtype="bfloat16").model, Engine.load("zoo/masked").model
    assert prefixes_of(coarse, None).limit == 0
    assert prefixes_of(coarse, 1 << 20).limit == 1 << 20
    assert prefixes_of(masked, 1 << 20).limit == 0
    with pytest.raises(InvalidRequest, match="-1 bytes"):
        prefixes_of(coarse, -1)
