from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from route.pairs import LARGE, PROMPTS, SMALL, V, engine
from stretto.errors import InvalidRequest
from stretto.models.table import TableModel
from stretto.noise import split
from stretto.route.loop import Routed
from stretto.route.reverse import SUBSTITUTE, Reverse
from stretto.steer.choice import Rule, choose
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature


def logits_of(model, tokens):
    return torch.tensor([model.rule(tuple(tokens))], dtype=torch.float64)


def tokenwise(prompt, route, pipeline, seed, new_tokens):
    """The slow reference: token by token, no cache, no block; the tokens and who wrote them."""
    history, authors = History(prompt), []
    other = split(0, SUBSTITUTE)
    for _ in range(new_tokens):
        path = [Path(history)]
        proposed = choose(Nodes(path, logits_of(LARGE, history.tokens)), [Rule(pipeline, seed)]).tokens[0]
        judged = logits_of(SMALL, history.tokens)
        if float(judged.softmax(-1)[0, proposed]) >= route.tau:
            authors.append("teacher")
        else:
            own = choose(Nodes(path, judged), [Rule(pipeline, seed, other)])
            proposed = own.tokens[0] if route.substitute == "sample" else int(own.steered.argmax())
            authors.append("student")
        history.extend([proposed])
    return history.tokens[len(prompt) :], authors


@pytest.mark.parametrize("substitute", ["sample", "argmax"])
@pytest.mark.parametrize("block", [1, 2, 7, 30])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_blocks_change_no_token(block, temperature, substitute):
    route = Reverse(SMALL, tau=0.15, block=block, substitute=substitute)
    pipeline = Pipeline([Temperature(temperature)])
    authors = set()
    for seed in range(3 if temperature else 1):
        settings = {"temperature": temperature, "seed": seed, "max_new_tokens": 15, "end_tokens": ()}
        for answer in engine().generate(PROMPTS, Routed(route), **settings):
            tokens, expected = tokenwise(answer.prompt_tokens, route, pipeline, seed, 15)
            assert answer.tokens == tokens
            assert [source for step in answer.steps for source in step.sources] == expected
            authors |= set(expected)
    assert authors == {"teacher", "student"}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_no_threshold_is_the_teacher_alone(temperature):
    settings = {"temperature": temperature, "seed": 3, "max_new_tokens": 20, "end_tokens": [5]}
    mixed = engine().generate(PROMPTS, Routed(Reverse(SMALL, tau=0.0)), **settings)
    assert [a.tokens for a in mixed] == [a.tokens for a in engine().generate(PROMPTS, "plain", **settings)]


def test_a_threshold_above_one_is_the_student_alone():
    settings = {"max_new_tokens": 20, "end_tokens": [5]}
    mixed = engine().generate(PROMPTS, Routed(Reverse(SMALL, tau=1.5)), **settings)
    assert [a.tokens for a in mixed] == [a.tokens for a in engine(SMALL).generate(PROMPTS, "plain", **settings)]
    assert {source for answer in mixed for step in answer.steps for source in step.sources} == {"student"}


def test_the_distribution_of_a_token():
    """By frequency over seeds: y comes from the teacher if the student allows it, else from the student, afresh."""
    prompt, tau, seeds = [1, 2], 0.15, 2500
    teacher, student = (logits_of(model, prompt).softmax(-1)[0] for model in (LARGE, SMALL))
    allowed = student >= tau
    vetoed = float(teacher[~allowed].sum())
    assert 0.2 < vetoed < 0.9  # the case is worth trying
    expected = teacher * allowed + vetoed * student
    counts = torch.zeros(V)
    batch = engine().generate(
        prompt, Routed(Reverse(SMALL, tau=tau, block=1)), samples=seeds, temperature=1.0, max_new_tokens=1
    )
    for answer in batch:
        counts[answer.tokens[0]] += 1
    chi = float(((counts - seeds * expected) ** 2 / (seeds * expected)).sum())
    assert chi < 20.5  # 5 degrees of freedom: exceeded by chance once in 1,000; seeds are fixed


def test_kept_tokens_satisfy_the_threshold_and_fewer_do_as_it_rises():
    kept = []
    for tau in (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5):
        answers = engine().generate(
            PROMPTS[0], Routed(Reverse(SMALL, tau=tau)), samples=80, temperature=1.0, max_new_tokens=1
        )
        teacher = [answer for answer in answers if answer.steps[0].sources == ["teacher"]]
        for answer in teacher:
            assert float(logits_of(SMALL, answer.prompt_tokens).softmax(-1)[0, answer.tokens[0]]) >= tau
        kept.append(len(teacher))
    assert kept[0] == 80 and kept[-1] == 0
    assert all(more >= fewer for more, fewer in pairwise(kept)) and len(set(kept)) > 3


def test_a_round_costs_a_block_of_the_teacher_and_one_forward_of_the_student(monkeypatch):
    calls = []
    student = TableModel(V, LARGE.rule)  # never vetoes
    evaluate = student.evaluate
    monkeypatch.setattr(student, "evaluate", lambda *args: calls.append(args[0].lengths[0]) or evaluate(*args))
    answer = engine().generate(PROMPTS[0], Routed(Reverse(student, tau=0.01, block=4)), max_new_tokens=8, end_tokens=())
    assert calls == [len(answer.prompt_tokens) - 1, 4, 4]
    assert (answer.counters.rounds, answer.counters.row_forwards, answer.counters.drafter_calls) == (2, 8, 2)
    assert answer.counters.drafted == answer.counters.accepted == 8


def test_nothing_is_proposed_after_an_end_token():
    whole = engine().generate(PROMPTS[0], Routed(Reverse(SMALL, tau=0.0)), max_new_tokens=20, end_tokens=())
    end = whole.tokens[6]
    length = whole.tokens.index(end) + 1
    cut = engine().generate(PROMPTS[0], Routed(Reverse(SMALL, tau=0.0)), max_new_tokens=20, end_tokens=[end])
    assert (len(cut.tokens), cut.counters.row_forwards, cut.counters.drafted) == (length,) * 3


@pytest.mark.parametrize("settings", [{"tau": -0.1}, {"block": 0}, {"substitute": "beam"}])
def test_settings_out_of_range(settings):
    with pytest.raises(InvalidRequest) as caught:
        Reverse(**settings)
    assert caught.value.hint
