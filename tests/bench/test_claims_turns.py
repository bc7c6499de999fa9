from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
import torch

from bench.subjects import subject
from stretto.bench.claims import retrieval, turns
from stretto.bench.claims.lab import Lab
from stretto.bench.claims.routes import CLAIMS
from stretto.generation import Generation
from stretto.route.entropy import Entropy

SURE, UNSURE = 9.0, 0.0  # logit of the model's choice, beside 0 of all others: entropies near 0 and of ln 4


@pytest.fixture
def lab(monkeypatch):
    monkeypatch.setattr(turns, "KINDS", ("letter",))
    monkeypatch.setattr(retrieval, "VARIED", ("letter",))
    made = Lab(subject(), "small", count=1)
    yield made
    made.close()


def said(*places: tuple[int, float]) -> torch.Tensor:
    """Logits [1, n, 4] of a model that is more or less sure of a token at each place."""
    lines = torch.zeros(1, len(places), 4)
    for at, (token, logit) in enumerate(places):
        lines[0, at, token] = logit + 1e-3
    return lines


def test_who_is_on_duty_where_the_small_model_errs():
    """Window 1: the large model has the turn after a token of which whoever wrote it was unsure."""
    own = said((0, SURE), (1, SURE), (2, SURE), (3, SURE))  # its entropies count where it has the turn
    small = said((1, UNSURE), (1, SURE), (0, UNSURE), (0, SURE))  # wrong at the first, third and fourth
    lab = SimpleNamespace(
        subject=SimpleNamespace(replayed=own), draft_model=lambda: small, logits=lambda model, texts, last: model
    )
    answer = SimpleNamespace(prompt_tokens=[0], tokens=[0, 1, 2, 3])
    rule = Entropy("", tau=1.0, window=1)
    # small writes the first and the third and is unsure each time, large what follows and is sure
    assert turns.on_duty(lab, rule, [answer]) == (0.0, 0.5)


def test_a_coin_has_the_share_it_is_given(lab):
    small, prompt = lab.draft_model(), [5, 6, 7]

    def written(share: float) -> Generation:
        route = turns.Coin(small, share, random.Random(1))
        return lab.subject.engine.generate(prompt, turns.Routed(route), max_new_tokens=40, end_tokens=[])

    sources = [source for step in written(0.5).steps for source in step.sources]
    assert 10 < sources.count(turns.SMALL) < 30
    plain = lab.subject.engine.generate(prompt, "plain", max_new_tokens=40, end_tokens=[])
    assert written(1.0).tokens == plain.tokens != written(0.0).tokens


def test_the_contests_give_what_their_claims_speak_of(lab):
    (claim,) = (each for each in CLAIMS if each.number == 198)
    figures = turns.switching(lab)
    assert {name for each in claim.must for name in (each.left, each.right)} - {""} <= figures.keys()
    assert 0 <= figures["share of the large one"] <= 1
    (claim,) = (each for each in retrieval.CLAIMS if each.number == 102)
    figures = retrieval.samples(lab)
    assert {name for each in claim.must for name in (each.left, each.right)} - {""} <= figures.keys()
    assert all(tau >= 1 for tau in figures.values())
