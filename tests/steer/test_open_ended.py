"""Penalty decoding, momentum decoding and the annealed temperature against their definitions in plain Python."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace

import pytest
import torch

from steer import slow
from steer.slow import NONE, by_likelihood, softmax
from stretto.engine import Engine
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.steer.contract import Steer
from stretto.steer.ead import Ead
from stretto.steer.momentum import Momentum
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path
from stretto.steer.penalty_decoding import PenaltyDecoding

V = 5
ROWS = 2 * torch.randn(60, V, generator=torch.Generator().manual_seed(8), dtype=torch.float64)


def path(prompt: list[int], output: list[int], drafted: tuple[int, ...] = ()) -> Path:
    history = History(prompt)
    history.extend(output)
    return Path(history, drafted)


def steered(step: Steer, row: list[float], where: Path) -> list[float]:
    logits = torch.tensor([row], dtype=torch.float64)
    return step(logits, Nodes([where], logits))[0].tolist()


def places() -> list[tuple[list[float], list[int], list[int], tuple[int, ...]]]:
    """Random rows, prompts, outputs, and drafts below them."""
    chance, found = random.Random(4), []
    for row in ROWS.tolist():
        found.append((row, *(chance.choices(range(V), k=chance.randrange(1, 6)) for _ in range(3))))
    return [(row, prompt, output, tuple(drafted)) for row, prompt, output, drafted in found]


# -- penalty decoding


def penalty(row: list[float], output: list[int], step: PenaltyDecoding) -> list[float]:
    row = slow.repetition(row, output[-step.last :], step.penalty, step.named_tokens)
    short = max(0.0, 1 - len(output) / step.least)
    for end in step.ends:
        if step.form == "minus":
            row[end] -= step.delay * short
        else:
            row = slow.repetition(row, [end], 1 + step.delay * short)
    return row


@pytest.mark.parametrize(
    "step",
    [
        PenaltyDecoding(last=3),
        PenaltyDecoding(1.2, 2, {4}, 3.0, 8),
        PenaltyDecoding(1.4, 4, {4, 0}, 0.7, 6, "times", {1}),
        PenaltyDecoding(1.0, ends={2}, least=5),
    ],
    ids=repr,
)
def test_penalty_decoding(step):
    """The prompt does not count; committed and drafted tokens do alike."""
    for row, prompt, output, drafted in places():
        expected = penalty(row, [*output, *drafted], step)
        assert steered(step, row, path(prompt, output, drafted)) == pytest.approx(expected)
        assert steered(step, row, path(prompt, [*output, *drafted])) == pytest.approx(expected)


def test_a_token_is_forgotten_after_the_window():
    step, row = PenaltyDecoding(2.0, last=3), [2.0, 0.0, -1.0, 0.5, 0.1]
    assert steered(step, row, path([0], [0, 1, 1]))[0] == 1.0
    assert steered(step, row, path([0], [0, 1, 1, 1]))[0] == 2.0


def test_the_penalty_keeps_a_loop_from_feeding_itself():
    """Each repetition makes the next likelier: so greedy decoding never leaves, and this does."""

    def row(tokens: tuple[int, ...]) -> list[float]:
        last = tokens[-1]
        again = sum(1 for _ in itertools.takewhile(lambda token: token == last, reversed(tokens)))
        return [1.0 + min(again, 4) * 0.3 if token == last else 0.8 - 0.05 * token for token in range(V)]

    engine = Engine(TableModel(V, row), clock=SimulatedClock())
    assert engine.generate([0], max_new_tokens=20).tokens == [0] * 20
    left = engine.generate([0], "lookup+penalty_decoding(3,4)", max_new_tokens=20).tokens
    assert max(len(list(run)) for _, run in itertools.groupby(left)) == 1 and set(left) == set(range(V))


# -- momentum decoding


def run_of(tokens: list[int], token: int, longest: int) -> int:
    """By trying every run."""
    text = [*tokens, token]
    for size in range(longest, 0, -1):
        run = text[len(text) - size :]
        if len(run) == size and any(tokens[at : at + size] == run for at in range(len(tokens) - size + 1)):
            return size
    return 0


@pytest.mark.parametrize("step", [Momentum(), Momentum(0.5, 3, (0, 0, 1, 4)), Momentum(1.0, V, (0, 2))], ids=repr)
def test_momentum(step):
    for row, prompt, output, drafted in places():
        p, tokens, longest = softmax(row), [*prompt, *output, *drafted], len(step.resistance) - 1
        expected = [NONE] * V
        for token in by_likelihood(row)[: step.among]:
            expected[token] = p[token] - step.by * step.resistance[run_of(tokens, token, longest)]
        assert steered(step, row, path(prompt, output, drafted)) == pytest.approx(expected)


def test_runs_by_hand():
    where = path([1, 2, 3, 4, 0], [2, 3])
    assert Momentum().runs(where, range(6)) == {0: 1, 1: 1, 2: 1, 3: 1, 4: 3, 5: 0}
    row = [math.log(p) for p in (0.5, 0.3, 0.1, 0.05, 0.05)]
    scores = steered(Momentum(resistance=(0, 0, 2)), row, path([4, 0, 4], []))  # 4 0 would come again
    assert scores == pytest.approx([0.1, 0.3, 0.1, 0.05, 0.05])
    assert steered(Momentum(0.0), row, where) == pytest.approx(softmax(row))


def test_answers_under_momentum_are_those_of_its_own_greedy_loop():
    model = TableModel.random(V, seed=2, order=2)
    tokens = [0, 1]
    for _ in range(30):
        p = softmax(list(model.rule(tuple(tokens))))
        score = {token: p[token] - 0.2 * run_of(tokens, token, 5) for token in by_likelihood(p)[:3]}
        tokens.append(max(score, key=lambda token: (score[token], -token)))
    engine = Engine(model, clock=SimulatedClock())
    for way in ("plain", "lookup", "recycle+fixed(12)"):
        assert engine.generate([0, 1], f"{way}+momentum(among=3)", max_new_tokens=30).tokens == tokens[2:], way
    assert engine.generate([0, 1], "plain", max_new_tokens=30).tokens != tokens[2:]


# -- annealed temperature


def test_ead_by_hand():
    step = Ead()
    found = [round(step.temperature(length), 4) for length in (0, 9, 10, 100, 300, 372, 10**9)]
    assert found == [1.0, 1.0, 1.1798, 0.9786, 0.3779, 0.1, 0.1]
    assert Ead(training=5).temperature(100) == pytest.approx(2.2 - math.exp(100 / (20 * 50)))
    falling = [step.temperature(length) for length in range(10, 500)]
    assert falling == sorted(falling, reverse=True)


def test_ead_counts_the_answer_alone():
    for row, prompt, output, drafted in places():
        step = Ead(3.0, 0.2, 0.2, warm=3)
        by = step.temperature(len(output) + len(drafted))
        assert steered(step, row, path(prompt, output, drafted)) == pytest.approx([value / by for value in row])


def test_greedy_choice_leaves_it_out_and_samples_are_reported_as_they_are_drawn():
    engine = Engine(TableModel(V, lambda tokens: ROWS[len(tokens)].tolist()), clock=SimulatedClock())
    assert engine.generate([0], "plain+ead", max_new_tokens=8).tokens == ROWS[1:9].argmax(-1).tolist()
    step = Ead(2.0, 0.1, 0.5, warm=2)
    answer = engine.generate(
        [0], "lookup", steers=[step], temperature=1.0, seed=1, max_new_tokens=40, log_probabilities=0
    )
    for at, (token, told) in enumerate(zip(answer.tokens, answer.log_probabilities, strict=True)):
        assert told.steered == pytest.approx(float((ROWS[at + 1] / step.temperature(at)).log_softmax(-1)[token]))


def test_neutral_and_out_of_range():
    assert Ead(0.5, 1.0).idle and Ead(0.5, 1.0, 0.1, 0).temperature(3) == 1.0
    assert not replace(Ead(), highest=1.0).idle
    for make in (
        lambda: PenaltyDecoding(0.0),
        lambda: PenaltyDecoding(last=0),
        lambda: PenaltyDecoding(delay=-1.0),
        lambda: PenaltyDecoding(least=0),
        lambda: PenaltyDecoding(form="other"),
        lambda: Momentum(-1.0),
        lambda: Momentum(among=-1),
        lambda: Momentum(resistance=(0,)),
        lambda: Ead(0.0),
        lambda: Ead(decay=0.0),
        lambda: Ead(warm=-1),
    ):
        with pytest.raises(InvalidRequest):
            make()
