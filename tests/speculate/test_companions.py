"""Companions: what steers see of other readings is what these say along each path, whoever drafts, beside whatever."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from transformers import LogitsProcessorList
from transformers.generation.logits_process import UnbatchedClassifierFreeGuidanceLogitsProcessor

from laws.worlds import adversaries, seen
from models.families import FAMILIES
from stretto.context import Context
from stretto.engine import Engine
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.contract import Ability
from stretto.models.fast import lean_or_none
from stretto.models.table import TableModel
from stretto.row import Limits, Row
from stretto.speculate.acceptors.exact import Exact
from stretto.speculate.companions import Companions
from stretto.speculate.loop import Loop, Speculate
from stretto.speculate.planners.fixed import Fixed
from stretto.steer.choice import Rule, choose
from stretto.steer.contrast import Contrast
from stretto.steer.guide import Guide
from stretto.steer.path import History, Path
from stretto.steer.pipeline import Pipeline
from stretto.steer.repetition import Repetition
from stretto.steer.temperature import Temperature


def table(size: int, seed: int) -> TableModel:
    """Its rows depend on nine tokens, and are drawn once."""
    return TableModel(size, cache(TableModel.random(size, seed, order=9).rule))


MODEL, LESSER = table(5, 3), table(5, 4)
WIDE, NARROW = table(64, 3), table(60, 5)
PROMPTS = [[0, 1, 2], [3], [2, 2, 1, 0, 3, 1]]
STEERS = {
    "negative": [Guide(2.0, (4, 0, 3))],
    "contrast": [Contrast(LESSER, beta=1.0)],
    "less prompt": [Contrast(beta=2.0, newest=1, share=0.3)],
    "several": [Guide(1.7), Contrast(LESSER, 0.3, share=0.05), Repetition(1.3), Guide(0.5, (1,))],
}
WAYS = ["plain", "lookup(matches=3)+fixed(9)", "recycle+fixed(7)", "lookahead+fixed(9)"]


def by_hand(prompt, steers, temperature, stream=0, size=10, model=MODEL):
    """The slow reference: no cache, no tree; every reading anew, token by token."""
    history, pipeline = History(prompt), Pipeline([Temperature(temperature), *steers])

    for _ in range(size):
        raw = torch.tensor([model.rule(tuple(history.tokens))], dtype=torch.float64)
        nodes = seen([Path(history)], raw, pipeline, model.rule)
        for companion in nodes.companions:
            if companion.model:
                nodes.companions[companion][0] = torch.tensor(companion.model.rule(tuple(history.tokens)))
        history.extend(choose(nodes, [Rule(pipeline, 7, stream)]).tokens)
    return history.tokens[len(prompt) :]


def engine():
    return Engine(MODEL, clock=SimulatedClock())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("steers", STEERS.values(), ids=STEERS)
def test_tokens_are_those_of_reading_everything_anew(steers, temperature):
    expected = [by_hand(prompt, steers, temperature, stream) for prompt in PROMPTS for stream in (0, 1)]
    settings = {"max_new_tokens": 10, "temperature": temperature, "seed": 7, "steers": steers}
    assert expected != [by_hand(prompt, [], temperature, stream) for prompt in PROMPTS for stream in (0, 1)]
    for way in WAYS:
        found = engine().generate(PROMPTS, way, samples=2, **settings)
        assert [answer.tokens for answer in found] == expected, way
        assert engine().generate(PROMPTS[2], way, **settings).tokens == expected[4], way


def loop_of(drafter, rows):
    context = Context(MODEL, SimulatedClock(), lambda name: MODEL)
    loop = Loop(context, MODEL.new_cache(4), Speculate(drafter, Exact(), Fixed(7)))
    made = []
    for prompt, steers, size in rows:
        rule = Rule(Pipeline([Temperature(1.0), *steers]), 7, 0)
        made.append(Row(History(prompt), loop.cache.open(), rule, Limits(size)))
        loop.add(made[-1])
    return loop, made


@pytest.mark.parametrize("name", ["random tree", "riders", "every token", "nothing"])
def test_rows_with_unlike_companions_share_rounds(name):
    """Beside rows without any; each has what it has alone, and its cache holds its committed tokens but the last."""
    cases = [
        ([0, 1], STEERS["negative"], 9),
        ([3], [], 5),
        ([2, 2, 1], STEERS["contrast"], 10),
        ([1], STEERS["negative"], 7),
    ]
    loop, rows = loop_of(adversaries(5)[name], cases)
    while loop.rows:
        loop.step()
        for reading in loop._companions._readings.values():
            for row, place in reading.places.items():
                assert row in loop.rows
                assert reading.cache.length(place.cache_row) == len(place.prompt) + len(row.new_tokens) - 1
    for row, (prompt, steers, size) in zip(rows, cases, strict=True):
        assert row.new_tokens == by_hand(prompt, steers, 1.0, size=size)
    assert not any(reading.places for reading in loop._companions._readings.values())


@pytest.mark.parametrize("method", ["plain", "recycle+fixed(7)"])
def test_a_row_that_was_preempted_is_read_anew_by_its_companions_too(method):
    served, steers = engine(), STEERS["several"]
    call = served._call(method, {"steers": steers, "max_new_tokens": 10, "temperature": 1.0, "seed": 7})
    tickets = [ticket for prompt in PROMPTS for ticket in served._submit([prompt], call, strict=True)[1]]
    rounds = iter([False] * 5)  # asked before each round, and within it
    served._scheduler.run(lambda: next(rounds, True))
    assert 0 < len(tickets[0].row.new_tokens) < 10
    served._scheduler.preempt(tickets[0])
    served._scheduler.run(lambda: all(ticket.status == "ended" for ticket in tickets))
    assert [ticket.row.new_tokens for ticket in tickets] == [by_hand(prompt, steers, 1.0) for prompt in PROMPTS]


def test_a_companion_of_fewer_tokens_reads_others_in_their_place():

    def reads(tokens):
        return [*NARROW.rule(tuple(min(token, 59) for token in tokens)), *[-3e4] * 4]

    told = [Contrast(TableModel(64, reads), beta=0.4, share=0.0)]
    for temperature in (0.0, 1.5):
        found = Engine(WIDE, clock=SimulatedClock()).generate(
            [[62, 1], [5, 63, 61, 63]],
            "recycle+fixed(9)",
            steers=[Contrast(NARROW, beta=0.4, share=0.0)],
            max_new_tokens=10,
            temperature=temperature,
            seed=7,
        )
        for answer in found:
            assert answer.tokens == by_hand(answer.prompt_tokens, told, temperature, model=WIDE)
    assert {60, 61, 62, 63} & {token for answer in found for token in answer.tokens}


def test_neutral_settings_ask_for_nothing():
    assert not Pipeline([Guide(1.0), Contrast(beta=0.0, share=0.0)]).companions
    assert Pipeline([Guide(2.0), Guide(3.0)]).companions == Guide(2.0).companions  # one reading for both
    same = engine().generate([1, 2], "lookup", steers=[Contrast(MODEL, beta=3.0, share=0.0)], max_new_tokens=9)
    assert same.tokens == engine().generate([1, 2], "lookup", max_new_tokens=9).tokens  # no better than itself


def test_guidance_is_that_of_transformers():
    """Of tokens and scores; without its cache, as what it keeps there holds one token only."""
    network, lean = FAMILIES["llama"](), lean_or_none(FAMILIES["llama"](), "small")
    for scale, negative in ((1.6, None), (2.5, [7, 8, 9]), (0.0, [7, 8, 9])):
        ids = None if negative is None else torch.tensor([negative])
        theirs = UnbatchedClassifierFreeGuidanceLogitsProcessor(scale, network, ids, use_cache=False)
        prompt = [1, 4, 3, 11]
        expected = network.generate(
            torch.tensor([prompt]), max_new_tokens=16, do_sample=False, logits_processor=LogitsProcessorList([theirs])
        )[0, 4:].tolist()
        for way in ("plain", "lookup+fixed(5)"):
            steer = Guide(scale, tuple(negative or ()))
            answer = Engine(lean, clock=SimulatedClock()).generate(
                prompt, way, steers=[steer], max_new_tokens=16, end_tokens=[2]
            )
            assert answer.tokens == expected, (scale, way)


@pytest.mark.parametrize(
    ("method", "steers", "settings", "error", "says"),
    [
        ("plain", [Guide(2.0, (9,))], {}, InvalidRequest, "token 9 of a companion is outside"),
        ("plain", [Guide(2.0, "some text")], {}, InvalidRequest, "has no tokenizer"),
        ("plain", [Contrast(TableModel(900, lambda path: []))], {}, Unsupported, "has 900 tokens"),
        ("plain", [Contrast(TableModel(5, lambda path: [], max_positions=8))], {}, Unsupported, "has 8 positions"),
        (
            "entropy(small=zoo/draft)",
            [Guide(2.0)],
            {},
            Unsupported,
            "guide looks inside of the model, at other readings",
        ),
        ("superposed(text=x)", [Guide(2.0)], {"samples": 2}, Unsupported, "guide looks inside"),
    ],
)
def test_refusals_come_before_any_work(method, steers, settings, error, says):
    with pytest.raises(error, match=says) as caught:
        engine().generate([1, 2], method, steers=steers, max_new_tokens=9, **settings)
    assert "\n" not in str(caught.value) and caught.value.hint


def test_a_companion_without_trees_is_refused_beside_a_target_with_them():
    chained = TableModel.random(5, seed=1)
    chained.abilities = Ability.NONE
    context = Context(MODEL, SimulatedClock(), lambda name: MODEL)
    row = Row(History([1]), 0, Rule(Pipeline([Contrast(chained)])), Limits(3))
    with pytest.raises(Unsupported, match="cannot evaluate trees"):
        Companions(context).add(row)
