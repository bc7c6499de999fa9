from __future__ import annotations

import math

import pytest
import torch

from route.pairs import LARGE, PROMPTS, SMALL, engine
from stretto.errors import InvalidRequest
from stretto.noise import gumbel, key
from stretto.route.loop import Routed
from stretto.route.weak_to_strong import WeakToStrong


def tokenwise(prompt, route, seed, temperature, size, ends):
    """The slow reference: token by token, no block; the tokens and who wrote them."""
    tokens, odds, authors, weak = [], [], [], route.most > 0
    while len(tokens) < size and not set(tokens[-1:]) & set(ends):
        text = (*prompt, *tokens)
        model = SMALL if weak else LARGE
        scores = torch.tensor(model.rule(text), dtype=torch.float32)
        if temperature:
            scores = scores + gumbel(torch.tensor(key(seed, 0, len(text))), torch.arange(len(scores)))
        token = int(scores.argmax())
        if weak and token in ends:
            weak = False
            continue
        tokens.append(token)
        authors.append("small" if weak else "")
        if weak:
            odds.append(float(torch.tensor(LARGE.rule(text)).softmax(-1)[token]))
            recent = odds[-route.window :]
            mean = math.prod(recent) ** (1 / len(recent))
            weak = not (len(recent) == route.window and mean >= route.sure) and len(odds) < route.most
    return tokens, authors


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("block", [1, 3, 20])
@pytest.mark.parametrize(("sure", "window", "most"), [(0.3, 2, 20), (0.25, 3, 6), (0.9, 2, 20), (0.35, 1, 20)])
def test_the_large_model_takes_over_once_it_is_sure(sure, window, most, block, temperature):
    route = WeakToStrong(SMALL, sure, window, most, block)
    for ends in ((), (5,)):
        settings = {"temperature": temperature, "seed": 4, "max_new_tokens": 12, "end_tokens": ends}
        for answer in engine().generate(PROMPTS, Routed(route), **settings):
            tokens, authors = tokenwise(answer.prompt_tokens, route, 4, temperature, 12, ends)
            assert answer.tokens == tokens
            assert [source for step in answer.steps for source in step.sources] == authors


def test_numbers_by_hand():
    odds = (0.9, 0.5, 0.95, 0.9, 0.99, 0.97, 0.96, 0.98)
    assert [WeakToStrong(SMALL, sure).takes_over(odds) for sure in (0.8, 0.9, 0.96)] == [5, 7, None]
    for sure, at in ((0.8470, 5), (0.8472, 6), (0.8562, 6), (0.8564, 7), (0.9578, 7), (0.958, None)):
        assert WeakToStrong(SMALL, sure).takes_over(odds) == at  # g: .8471, .8563, .9579
    assert WeakToStrong(SMALL).takes_over(odds[:5]) is None, "short texts stay"
    assert WeakToStrong(SMALL).takes_over(odds, 7) == 7


def test_the_ends_are_the_models_alone():
    settings = {"max_new_tokens": 12, "end_tokens": ()}
    for prompt in PROMPTS:
        strong = engine().generate(prompt, Routed(WeakToStrong(SMALL, most=0)), **settings)
        assert strong.tokens == engine().generate(prompt, "plain", **settings).tokens
        weak = engine().generate(prompt, Routed(WeakToStrong(SMALL, sure=1.1)), **settings)
        assert weak.tokens == engine(SMALL).generate(prompt, "plain", **settings).tokens
    one = engine().generate(PROMPTS[0], Routed(WeakToStrong(SMALL, 0.0, 1)), **settings)
    assert [source for step in one.steps for source in step.sources] == ["small", *[""] * 11]


def test_a_draft_is_read_at_once_and_what_follows_it_is_known():
    """Twelve tokens that are never sure are read in two forwards; the small model is asked for each."""
    settings = {"max_new_tokens": 12, "end_tokens": ()}
    answer = engine().generate(PROMPTS[0], Routed(WeakToStrong(SMALL, 1.1, block=6)), **settings)
    assert (answer.counters.row_forwards, answer.counters.drafter_calls) == (2, 12)
    early = engine().generate(PROMPTS[0], Routed(WeakToStrong(SMALL, 0.0, 1, block=6)), **settings)
    assert (early.counters.row_forwards, early.counters.drafter_calls) == (11, 6)


def test_settings_out_of_range():
    for wrong in ({"sure": -0.1}, {"window": 0}, {"most": -1}, {"block": 0}):
        with pytest.raises(InvalidRequest, match="at least"):
            WeakToStrong(SMALL, **wrong)
