from __future__ import annotations

import math

import pytest
import torch

from route.pairs import LARGE, PROMPTS, SMALL, V, context, engine
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.table import TableModel
from stretto.route.ambedkar import Ambedkar, AmbedkarRouting, Swap, divergence
from stretto.route.loop import Routed


def test_the_divergence():
    first, second = torch.tensor([0.5, 0.3, 1e-6, 0.2, 0.0]), torch.tensor([0.1, 0.25, 3e-6, 0.2, 0.0])
    assert divergence(first, second).tolist() == pytest.approx([0.072776, 0.001138, 2.6e-7, 0, 0], rel=1e-2, abs=1e-9)


def chosen(log_q, a, b, **settings):
    routing = AmbedkarRouting(Ambedkar(("he:she",), SMALL, **settings), context(), LARGE.new_cache())
    return routing._best(log_q, a, divergence(torch.tensor(a), torch.tensor(b)).tolist())


def test_what_nobody_would_write_wins_unless_a_floor_rules_it_out():
    q, a, b = [math.log(x) for x in (0.6, 0.3, 0.02)], [0.5, 0.3, 1e-6], [0.1, 0.25, 3e-6]
    assert chosen(q, a, b) == 2
    assert chosen(q, a, b, least_q=0.05) == 1
    assert chosen(q, a, b, least_a=0.01) == 1
    assert chosen(q, a, b, least_q=0.5) == 0
    assert chosen(q, a, b, least_q=0.9) == 0  # no candidate passes: the likeliest
    assert chosen(q, a, b, least_q=0.9, least_a=0.25) == 1  # one floor is enough
    assert chosen(q, a, b, fluency=0.01, least_q=0.05) == 1
    assert chosen(q, a, b, fluency=1.0) == 0


def by_hand(prompt, swapped, route, new_tokens):
    """The slow reference: full reads of three texts at every token."""
    output: list[int] = []
    for _ in range(new_tokens):
        q = torch.tensor(SMALL.rule((*prompt, *output)), dtype=torch.float64).log_softmax(-1)
        a, b = (
            torch.tensor(LARGE.rule((*text, *output)), dtype=torch.float64).softmax(-1) for text in (prompt, swapped)
        )
        scored = []
        for token in sorted(range(V), key=lambda token: -q[token])[: route.candidates]:
            middle = (a[token] + b[token]) / 2
            d = (a[token] * (a[token] / middle).log() + b[token] * (b[token] / middle).log()) / 2
            scored.append((float(d - route.fluency * q[token]), token))
        output.append(min(scored, key=lambda pair: pair[0])[1])
    return output


@pytest.mark.parametrize("fluency", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("candidates", [1, 3, V])
def test_against_a_slow_reference(candidates, fluency):
    route = Ambedkar(("he:she",), SMALL, candidates, fluency)
    for prompt in PROMPTS:
        answer = engine().generate(prompt, Routed(route), max_new_tokens=12, end_tokens=())
        swapped = [{1: 2, 2: 1}.get(token, token) for token in answer.prompt_tokens]
        assert swapped != answer.prompt_tokens
        assert answer.tokens == by_hand(answer.prompt_tokens, swapped, route, 12)


def test_the_floor_of_the_verifier_is_that_of_the_prompt_itself():
    route = Ambedkar(("he:she",), SMALL, V, least_a=0.3)
    answer = engine().generate(PROMPTS[0], Routed(route), max_new_tokens=14, end_tokens=())
    path = list(answer.prompt_tokens)
    reached = 0
    for step in answer.steps:
        a = torch.tensor(LARGE.rule(tuple(path)), dtype=torch.float64).softmax(-1)
        if float(a.max()) >= 0.3:
            assert float(a[step.committed[0]]) >= 0.3
            reached += 1
        path += step.committed
    assert reached > 7


def test_much_fluency_and_prompts_without_the_words_are_the_small_model():
    settings = {"max_new_tokens": 15, "end_tokens": [5]}
    small = [answer.tokens for answer in engine(SMALL).generate(PROMPTS, "plain", **settings)]
    fluent = Routed(Ambedkar(("he:she",), SMALL, fluency=1e6))
    assert [answer.tokens for answer in engine().generate(PROMPTS, fluent, **settings)] == small
    absent = Routed(Ambedkar(("man:woman",), SMALL))
    assert [answer.tokens for answer in engine().generate(PROMPTS, absent, **settings)] == small


def test_a_planted_bias_is_cut():
    """Generator and verifier prefer one word after each pronoun; the verifier knows a word that depends on neither."""

    def rule(path):
        about = next((token for token in path if token in (1, 2)), 1)
        probabilities = [0.02, 0.02, 0.02, 0.3, 0.02, 0.02]
        probabilities[4 if about == 1 else 5] = 0.6
        return [math.log(p) for p in probabilities]

    biased = TableModel(V, rule)
    plain = engine(biased).generate(PROMPTS[:2], "plain", max_new_tokens=10, end_tokens=())
    assert [set(answer.tokens) for answer in plain] == [{4}, {5}]
    fair = engine(biased).generate(
        PROMPTS[:2], Routed(Ambedkar(("he:she",), biased, least_q=0.05)), max_new_tokens=10, end_tokens=()
    )
    assert [set(answer.tokens) for answer in fair] == [{3}, {3}]


def test_the_swap_undoes_itself_and_keeps_to_whole_words():
    swap = Swap.of(("he:she", "man:woman", "new york:old town"))
    text = "He saw the man; SHE, woman-like, met a woman in New york. The mantle? hers."
    assert swap(text) == "She saw the woman; HE, man-like, met a man in Old town. The mantle? hers."
    assert swap(swap("he saw The man, SHE smiled")) == "he saw The man, SHE smiled"
    assert Swap.of(())(text) == text


def test_special_tokens_stay_when_words_are_swapped():
    routing = AmbedkarRouting(Ambedkar(("he:she",), SMALL), context(), LARGE.new_cache())
    assert routing._swapped([0, 1, 3, 0, 4, 0, 2]) == [0, 2, 3, 0, 4, 0, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"swaps": ("he",)}, "no pair"),
        ({"swaps": ("he:",)}, "no pair"),
        ({"swaps": ("he:he",)}, "each word once"),
        ({"swaps": ("he:she", "him:SHE")}, "each word once"),
        ({"candidates": 0}, "candidates >= 1"),
        ({"fluency": -1.0}, "finite number"),
        ({"least_q": 1.5}, r"\[0, 1\]"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(InvalidRequest, match=message):
        Ambedkar(**settings)


def test_what_it_cannot_serve_is_refused():
    with pytest.raises(InvalidRequest, match="no words to swap"):
        engine().generate(PROMPTS[0], Routed(Ambedkar((), SMALL)))
    with pytest.raises(Unsupported, match="leave the temperature at 0"):
        engine().generate(PROMPTS[0], Routed(Ambedkar(("he:she",), SMALL)), temperature=1.0)
