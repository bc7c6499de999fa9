"""Mirostat against llama.cpp's two samplers in plain Python: every text of three tokens, with its probability."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from laws.worlds import adversaries, decode
from steer.slow import softmax
from stretto.engine import Engine
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.steer.min_p import MinP
from stretto.steer.mirostat import MirostatV1, MirostatV2
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path
from stretto.steer.pipeline import Pipeline
from stretto.steer.repetition import Repetition
from stretto.steer.temperature import Temperature

V = 5
MODEL = TableModel.random(V, seed=5, order=2)
STEERS = [MirostatV1(1.0, 0.5), MirostatV1(0.6, 1.0), MirostatV2(1.0, 0.5), MirostatV2(0.3, 1.0), MirostatV2(2.0)]


def kept(steer: MirostatV1 | MirostatV2, row: list[float], bound: float) -> list[float]:
    """What llama.cpp draws from: the probabilities [V] of what the bound leaves."""
    p = softmax(row)
    order = sorted(range(V), key=lambda token: -p[token])
    order = [token for token in order if p[token] > 0]
    if isinstance(steer, MirostatV2):
        stay = {token for token in order if -math.log2(p[token]) <= bound} or {order[0]}
    elif len(order) == 1:
        stay = {order[0]}
    else:
        t = [math.log((at + 2) / (at + 1)) for at in range(len(order) - 1)]
        b = [math.log(p[one] / p[two]) for one, two in itertools.pairwise(order)]
        s = sum(x * y for x, y in zip(t, b, strict=True)) / sum(x * x for x in t)
        k = ((s - 1) * 2**bound / (1 - V ** (1 - s))) ** (1 / s)
        stay = set(order[: max(int(k), 1)])
    total = sum(p[token] for token in stay)
    return [p[token] / total if token in stay else 0.0 for token in range(V)]


def of_definition(steer: MirostatV1 | MirostatV2, prompt: tuple[int, ...], size: int) -> dict[tuple[int, ...], float]:
    """Every text that can be drawn, and how likely it is."""
    texts = {(): (1.0, 2 * steer.tau)}
    for _ in range(size):
        longer = {}
        for text, (mass, bound) in texts.items():
            p = kept(steer, list(MODEL.rule((*prompt, *text))), bound)
            for token in range(V):
                if p[token]:
                    moved = bound - steer.eta * (-math.log2(p[token]) - steer.tau)
                    longer[*text, token] = (mass * p[token], moved)
        texts = longer
    return {text: mass for text, (mass, _) in texts.items()}


def drawn_from(steer: MirostatV1 | MirostatV2, prompt: tuple[int, ...], size: int) -> dict[tuple[int, ...], float]:
    """The same of the steer, asked at each node of the tree of all texts, level by level."""
    history, level = History(prompt), {(): 1.0}
    for _ in range(size):
        texts = list(level)
        logits = torch.tensor([MODEL.rule((*prompt, *text)) for text in texts], dtype=torch.float64)
        p = steer(logits, Nodes([Path(history, text) for text in texts], logits)).softmax(-1).tolist()
        level = {
            (*text, token): level[text] * mass
            for text, row in zip(texts, p, strict=True)
            for token, mass in enumerate(row)
            if mass
        }
    return level


@pytest.mark.parametrize("steer", STEERS, ids=repr)
def test_every_text_has_the_probability_of_the_definition(steer) -> None:
    for prompt in [(0,), (3, 1), (2, 2)]:
        expected = of_definition(steer, prompt, 3)
        assert drawn_from(steer, prompt, 3) == pytest.approx(expected)
    assert len({sum(text.count(token) for text in expected) for token in range(V)}) > 1


def test_the_bound_follows_the_surprise() -> None:
    """By hand: of a half and two quarters, a quarter surprises by two bits."""
    steer = MirostatV2(1.5, 0.5)
    logits = torch.tensor([[0.5, 0.25, 0.25, 0.0, 0.0]], dtype=torch.float64).log()
    row = History([0])
    for token, bound in [(1, 3.0), (0, 2.75), (2, 3.0), (4, 2.75)]:
        steer(logits, Nodes([Path(row)], logits))
        (state,) = Nodes([Path(row)], logits).states(steer)
        assert state.bound == pytest.approx(bound)
        row.extend([token])
    assert Nodes([Path(row)], logits).states(steer) == [2.75]  # 4 was not to be had: another rule wrote it


@pytest.mark.parametrize("steer", [MirostatV1(0.7, 0.6), MirostatV2(0.7, 0.6)], ids=repr)
def test_one_token_is_always_left_and_equals_stay(steer) -> None:
    rows = [
        [0.0, -math.inf, -math.inf, -math.inf, -math.inf],
        [1.0] * V,
        [0.0, 0.0, -9.0, -9.0, -math.inf],
        [-40, 0] * 2 + [-1],
    ]
    logits = torch.tensor(rows, dtype=torch.float64)
    steered = steer(logits, Nodes([Path(History([at])) for at in range(4)], logits))
    assert not steered.isnan().any() and (steered > -math.inf).any(-1).all()
    assert steered[0].tolist() == rows[0] and len(set(steered[2, :2].tolist())) == 1


def test_it_works_on_what_penalties_and_truncations_leave() -> None:
    """llama.cpp leaves them out without a word."""
    engine = Engine(TableModel(4, lambda path: [3.0, 2.5, 2.4, -1.0]), clock=SimulatedClock())
    settings = {"temperature": 1.0, "samples": 40, "seed": 1, "max_new_tokens": 3}
    steered = engine.generate([0], "plain+mirostat_v2(3)", logit_bias={0: -50.0}, top_k=2, **settings)
    assert {token for answer in steered for token in answer.tokens} == {1, 2}
    assert engine.generate([0], "plain+mirostat_v2(3)", max_new_tokens=4).tokens == [0] * 4  # greedy


@pytest.mark.parametrize("steer", [MirostatV1(0.9, 0.7), MirostatV2(0.9, 0.7)], ids=repr)
def test_beside_other_steers_whoever_drafts_gives_the_tokens_of_plain_decoding(steer) -> None:
    pipeline = Pipeline([Repetition(1.3), Temperature(1.4), MinP(0.02), steer])
    prompts = [[0, 1, 0], [2], [3, 3, 1]]
    plain = [row.new_tokens for row in decode(MODEL, prompts, pipeline=pipeline, seed=4, new_tokens=16)]
    for name, drafter in adversaries(V).items():
        rows = decode(MODEL, prompts, drafter=drafter, pipeline=pipeline, seed=4, new_tokens=16)
        assert [row.new_tokens for row in rows] == plain, name


def test_the_text_is_about_as_surprising_as_asked_for() -> None:
    """Of a model that says little: 400 tokens of 64, 3 bits each."""
    chance = torch.Generator().manual_seed(0)
    rows = 1.5 * torch.randn(64, 64, generator=chance)
    lines = rows.tolist()
    engine = Engine(TableModel(64, lambda path: lines[path[-1]]), clock=SimulatedClock())
    for way in ("mirostat_v1", "mirostat_v2"):
        answer = engine.generate(
            [0], f"lookup+{way}(3)", temperature=1.0, seed=2, max_new_tokens=400, log_probabilities=0
        )
        surprise = sum(-each.steered for each in answer.log_probabilities) / 400 / math.log(2)
        assert surprise == pytest.approx(3.0, abs=0.1), way


def test_out_of_range() -> None:
    for make in (lambda: MirostatV1(-0.5), lambda: MirostatV2(-1.0), lambda: MirostatV2(5.0, 2.0)):
        with pytest.raises(InvalidRequest):
            make()
