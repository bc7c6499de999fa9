from __future__ import annotations

import math

import pytest
import torch

from route.pairs import LARGE, PROMPTS, SMALL, V, engine
from stretto.errors import InvalidRequest
from stretto.generation import Step
from stretto.route.entropy import Account, Entropy, EntropyPen, account
from stretto.route.loop import Routed
from stretto.route.switch import entropies

SEEN = [0.1, 0.2, 1.5, 1.6, 0.1, 0.1]


def large_after(pen, seen):
    """Whether the large model writes after each entropy."""
    turns = []
    for entropy in seen:
        pen.learn(entropy)
        turns.append(not pen.second(0))
    return turns


def test_the_rolling_mean_decides():
    """Means 0.1, 0.15, 0.85, 1.55, 0.85, 0.1: only the token after step 4 is large."""
    assert large_after(EntropyPen(Entropy(SMALL, tau=1.0, window=2)), SEEN) == [False, False, False, True, False, False]
    assert large_after(EntropyPen(Entropy(SMALL, tau=1.0, window=1)), SEEN) == [False, False, True, True, False, False]


def test_two_thresholds_and_a_least_turn():
    lower = Entropy(SMALL, tau=1.0, down=0.8, window=2)
    assert large_after(EntropyPen(lower), SEEN) == [False, False, False, True, True, False]
    dwelling = Entropy(SMALL, tau=1.0, window=1, dwell=3)
    assert large_after(EntropyPen(dwelling), [2.0, 2.0, 2.0, 0.1, 0.1, 0.1, 0.1]) == [
        *[False, False, True],  # three tokens of the small one
        *[True, True, False],  # three of the large one, though it was sure at once
        False,
    ]


def test_a_fork_goes_its_own_way():
    pen = EntropyPen(Entropy(SMALL, tau=1.0, window=2, dwell=2))
    pen.learn(1.9)
    twin = pen.fork()
    assert large_after(twin, [1.9]) == [True] and not pen.large
    assert large_after(pen, [0.0]) == [False] and twin.large


def test_the_share_of_the_large_model_falls_with_the_threshold():
    generator = torch.Generator().manual_seed(1)
    seen = (2 * torch.rand(200, generator=generator)).tolist()
    shares = [
        sum(large_after(EntropyPen(Entropy(SMALL, tau=tau, window=5)), seen))
        for tau in (-1, 0.0, 0.6, 0.9, 1.0, 1.1, 1.4, 2.0, math.inf)
    ]
    assert shares[0] == 200 and shares[-1] == 0
    assert shares == sorted(shares, reverse=True) and len(set(shares)) > 4


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.0, "seed": 3}, {"temperature": 0.7, "top_p": 0.8}])
@pytest.mark.parametrize(("tau", "model"), [(math.inf, SMALL), (-1, LARGE)])
def test_the_extremes_are_the_two_models(tau, model, settings):
    settings = {"max_new_tokens": 20, "repetition_penalty": 1.2, "end_tokens": [5], **settings}
    mixed = engine().generate(PROMPTS, Routed(Entropy(SMALL, tau=tau)), **settings)
    alone = engine(model).generate(PROMPTS, "plain", **settings)
    assert [answer.tokens for answer in mixed] == [answer.tokens for answer in alone]
    assert {source for answer in mixed for step in answer.steps for source in step.sources} == {
        "small" if model is SMALL else ""
    }


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_slow_reference_of_the_whole_route(temperature):
    """Both tables read in full at every token, the mean over all entropies seen so far but the last three."""
    route = Entropy(SMALL, tau=1.2, window=3)
    answer = engine().generate(PROMPTS[0], Routed(route), max_new_tokens=25, temperature=temperature, end_tokens=())
    path, seen, sources = list(answer.prompt_tokens), [], []
    for token in answer.tokens:
        large = bool(seen) and sum(seen[-3:]) / len(seen[-3:]) > 1.2
        model = LARGE if large else SMALL
        probabilities = torch.tensor(model.rule(tuple(path)), dtype=torch.float64).softmax(-1)
        seen.append(float(-(probabilities * probabilities.log()).sum()))
        sources.append("" if large else "small")
        if temperature == 0:
            assert token == int(probabilities.argmax())
        path.append(token)
    assert [source for step in answer.steps for source in step.sources] == sources
    assert len(set(sources)) == 2


def test_the_model_that_takes_over_reads_what_it_missed_in_one_forward(monkeypatch):
    lengths: list[int] = []
    evaluate = LARGE.evaluate

    def counted(window, cache, *rest):
        lengths.append(window.lengths[0])
        return evaluate(window, cache, *rest)

    monkeypatch.setattr(LARGE, "evaluate", counted)
    answer = engine().generate(PROMPTS[0], Routed(Entropy(SMALL, tau=1.2, window=3)), max_new_tokens=25, end_tokens=())
    sources = [source for step in answer.steps for source in step.sources]
    expected, behind = [], 0
    for source in sources:
        behind += 1
        if source == "":
            expected.append(behind)
            behind = 0
    assert lengths == [len(answer.prompt_tokens) - 1, *expected]  # the prompt once; then exactly what was missed
    assert max(expected) > 1
    found = account(answer.steps)
    assert (found.large, found.small) == (sources.count(""), sources.count("small"))
    assert found.large_read == sum(expected) - len(expected)
    counters = answer.counters
    assert (counters.row_forwards, counters.token_forwards) == (len(expected), sum(expected))
    assert counters.drafter_calls == sources.count("small")


def test_the_account():
    def written(*sources):
        return [Step(position=at, committed=[0], sources=[source]) for at, source in enumerate(sources)]

    found = account(written("small", "small", "small", "", "", "small", ""))
    assert found == Account(large=3, small=4, large_read=4, small_read=2)
    assert found.fraction == pytest.approx(3 / 7)
    assert found.cost(0.1) == pytest.approx((3 + 0.4) / 7)
    assert found.cost(0.1, reading=True) == pytest.approx((7 + 0.6) / 7)
    assert account(written("", "")).cost(0.5) == 1.0 and account([]).cost(0.5) == 0.0


def test_entropies_in_nats():
    logits = torch.tensor([[0.0] * V, [0.0, *[-torch.inf] * (V - 1)], [0.0, 0.0, *[-torch.inf] * (V - 2)]])
    assert entropies(logits) == pytest.approx([math.log(V), 0.0, math.log(2)])


@pytest.mark.parametrize("settings", [{"tau": math.nan}, {"tau": 1, "down": 2}, {"window": 0}, {"dwell": 0}])
def test_settings_out_of_range(settings):
    with pytest.raises(InvalidRequest) as caught:
        Entropy(**settings)
    assert caught.value.hint
