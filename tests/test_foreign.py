"""Processors and criteria of transformers, and plain functions: the same tokens as there, whoever drafts here."""

from __future__ import annotations

import functools
import itertools
import random

import pytest
import torch
from transformers import (
    EosTokenCriteria,
    LogitsProcessor,
    LogitsProcessorList,
    MaxLengthCriteria,
    MaxTimeCriteria,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation.logits_process import UnbatchedClassifierFreeGuidanceLogitsProcessor

from laws.worlds import LastTwo
from models.families import FAMILIES
from stretto.engine import Engine
from stretto.errors import InvalidRequest, Unsupported
from stretto.foreign import processors
from stretto.models.clock import SimulatedClock
from stretto.models.fast import lean_or_none
from stretto.object_state import state_of
from stretto.request import Request
from stretto.speculate.acceptors.exact import Exact
from stretto.speculate.drafters.tree import DraftTree
from stretto.speculate.loop import Speculate
from stretto.speculate.planners.fixed import Fixed


class Alternate(LogitsProcessor):
    """Looks at the whole path: even tokens at even lengths, more so the more there are."""

    def __call__(self, input_ids, scores):
        tokens = torch.arange(scores.shape[-1])
        return scores + 0.3 * (input_ids % 2 == 0).sum() * ((tokens + input_ids.shape[1]) % 2)


def below(ids, scores):
    """A plain function: no token above the mean of the last three."""
    return scores.masked_fill(torch.arange(scores.shape[-1]) > ids[:, -3:].float().mean() + 4, -torch.inf)


GIVEN = {
    "theirs": [RepetitionPenaltyLogitsProcessor(1.4), NoRepeatNGramLogitsProcessor(3)],
    "prepared": [SequenceBiasLogitsProcessor([[[3], 2.0], [[5, 6], 4.0], [[7], -3.0]])],
    "written": [Alternate(), below],
    "partial": [
        functools.partial(lambda by, ids, scores: scores - by * ids[0].bincount(minlength=len(scores[0])), 1.5)
    ],
}


@pytest.fixture(scope="module")
def world():
    return Engine(LastTwo(6, seed=2), clock=SimulatedClock())


@pytest.fixture(scope="module")
def pair():
    """A small network as transformers drives it and as we do."""
    return FAMILIES["llama"](), Engine(lean_or_none(FAMILIES["llama"](), "small"), clock=SimulatedClock())


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_the_tokens_are_those_of_transformers(pair, given):
    network, engine = pair
    for prompt in ([1, 4, 3], [5, 6, 7, 5, 6]):
        ids = torch.tensor([prompt])
        theirs = network.generate(
            ids, max_new_tokens=20, do_sample=False, logits_processor=LogitsProcessorList(given), eos_token_id=2
        )[0, len(prompt) :].tolist()
        for way in ("plain", "lookup+fixed(5)"):
            answer = engine.generate(prompt, way, steers=LogitsProcessorList(given), max_new_tokens=20, end_tokens=[2])
            assert answer.tokens == theirs, way
        plain = engine.generate(prompt, "plain", max_new_tokens=20, end_tokens=[2])
        assert plain.tokens != theirs  # it bites


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_drafts_batches_and_forks_change_no_token(world, given, temperature):
    given = [each for each in given if not isinstance(each, SequenceBiasLogitsProcessor)] or [
        SequenceBiasLogitsProcessor([[[3], 2.0], [[4, 5], 4.0]])
    ]
    settings = {"steers": given, "max_new_tokens": 16, "temperature": temperature, "seed": 3}
    prompts = [[0, 1, 2], [3], [2, 2, 1, 0, 3, 1]]
    alone = [world.generate(prompt, "plain", samples=2, **settings) for prompt in prompts]
    expected = [answer.tokens for answer in itertools.chain.from_iterable(alone)]
    bare = world.generate(prompts, "plain", samples=2, **settings | {"steers": []})
    assert expected != [answer.tokens for answer in bare]
    tree = Speculate(DraftTree(width=3, model=LastTwo(6, seed=7)), Exact(), Fixed(9))
    for way in ("plain", "lookup(matches=3)+fixed(9)", "recycle+fixed(12)", tree):
        answers = world.generate(prompts, way, samples=2, **settings)
        assert [answer.tokens for answer in answers] == expected, way
    assert sum(answer.counters.accepted for answer in answers) > 0


class Counting(LogitsProcessor):
    def __init__(self):
        self.calls = 0

    def __call__(self, ids, scores):
        self.calls += 1
        return scores


class FirstLength(LogitsProcessor):
    """Remembers its first call alone: the length of the prompt, as it thinks."""

    start = None

    def __call__(self, ids, scores):
        if self.start is None:
            self.start = ids.shape[1]
        return scores


class Late(LogitsProcessor):
    """Begins to remember when the text is long."""

    def __init__(self):
        self.seen = {"long": []}

    def __call__(self, ids, scores):
        if ids.shape[1] > 8:
            self.seen["long"].append(int(ids[0, -1]))
        return scores


def closing_over():
    told = []

    def processor(ids, scores):
        told.append(ids.shape)
        return scores

    return processor


class Seeding(LogitsProcessor):
    """Draws from a generator of its own."""

    def __init__(self):
        self.chance = torch.Generator()

    def __call__(self, ids, scores):
        return scores + torch.rand(1, generator=self.chance)


class Appending(LogitsProcessor):
    def __init__(self):
        self.tell = [].append

    def __call__(self, ids, scores):
        self.tell(ids)
        return scores


HEARD = [0]


def through_a_global(ids, scores):
    HEARD[0] += 1
    return scores


REMEMBERING = {
    "counter": Counting(),
    "first call": FirstLength(),
    "late": Late(),
    "appending": Appending(),
    "generator": Seeding(),
    "closure": closing_over(),
    "global": through_a_global,
    "method": Counting().__call__,
    "chance": lambda ids, scores: scores + torch.rand(1),
    "python's chance": lambda ids, scores: scores + random.random(),
}


@pytest.mark.parametrize("given", REMEMBERING.values(), ids=REMEMBERING)
def test_what_remembers_is_refused(world, given):
    with pytest.raises(Unsupported, match="keeps a memory between calls") as caught:
        world.generate([0, 1], "lookup", steers=[given], max_new_tokens=20)
    assert "\n" not in str(caught.value) and "write-a-steer" in caught.value.hint


def test_nothing_is_written_into_what_was_given(world):
    given = SequenceBiasLogitsProcessor([[[3], 2.0]])
    before = state_of(given)
    world.generate([0, 1], "lookup", steers=[given], max_new_tokens=5)
    assert state_of(given)[0] == before[0]

    def overwriting(ids, scores):
        ids.zero_()
        return scores.fill_(0.5)

    assert world.generate([0, 1], "plain", steers=[overwriting], max_new_tokens=3).tokens == [0, 0, 0]


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"steers": [lambda ids: ids]}, InvalidRequest, "is not a steer, or a function"),
        ({"steers": [Counting]}, InvalidRequest, "is not a steer, or a function"),
        ({"steers": [MaxLengthCriteria(3)]}, InvalidRequest, "stops an answer and steers none"),
        ({"steers": [lambda ids, scores: scores[:, :2]]}, InvalidRequest, r"gives \(1, 2\) for scores \(1, 6\)"),
        ({"steers": [lambda ids, scores: None]}, InvalidRequest, "gives None for scores"),
        ({"steers": [lambda ids, scores: scores * torch.nan]}, InvalidRequest, "all numbers"),
        ({"steers": [lambda ids, scores: 1 / 0]}, InvalidRequest, "fails with ZeroDivisionError"),
        ({"stopping": [lambda ids, scores: scores.mean()]}, InvalidRequest, "fails with AttributeError"),
        ({"stopping": [lambda ids, scores: "yes"]}, InvalidRequest, "gives 'yes'"),
        ({"stopping": [3]}, InvalidRequest, "a value of the wrong kind"),
        ({"stopping": [MaxTimeCriteria(1.0)]}, Unsupported, "looks at the clock"),
        ({"steers": [UnbatchedClassifierFreeGuidanceLogitsProcessor(1.5, None)]}, Unsupported, "remembers"),
    ],
)
def test_mistakes_are_named(world, settings, error, says):
    with pytest.raises(error, match=says) as caught:
        world.generate([0, 1], "lookup", max_new_tokens=4, **settings)
    assert "\n" not in str(caught.value) and caught.value.hint


class After(StoppingCriteria):
    """Remembers, which a criterion may: ends with the second 3 that it is shown at the end."""

    def __init__(self):
        self.seen = 0

    def __call__(self, input_ids, scores, **kwargs):
        self.seen += int(input_ids[0, -1] == 3)
        return torch.full((input_ids.shape[0],), self.seen == 2)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_criteria_end_each_row_by_itself(world, temperature):
    settings = {"max_new_tokens": 30, "temperature": temperature, "seed": 1}
    prompts = [[0, 1, 2], [3, 3], [2, 2, 1]]
    full = world.generate(prompts, "plain", samples=2, **settings)
    for way in ("plain", "lookup(matches=3)+fixed(9)", "recycle+fixed(12)"):
        stopping = StoppingCriteriaList([After(), MaxLengthCriteria(28)])
        answers = world.generate(prompts, way, samples=2, stopping=stopping, **settings)
        for answer, whole in zip(answers, full, strict=True):
            threes = [at for at, token in enumerate(whole.tokens) if token == 3]
            size = min(threes[1] + 1 if len(threes) > 1 else 30, 28 - len(whole.prompt_tokens))
            assert answer.tokens == whole.tokens[:size] and answer.finish == "stop"
        assert stopping[0].seen == 0  # each row has its own
    strings = world.generate([0, 1, 2], "lookup", stop="3", stopping=[lambda ids, scores: False], **settings)
    assert strings.tokens == world.generate([0, 1, 2], "lookup", stop="3", **settings).tokens


def test_criteria_end_where_transformers_ends(pair):
    network, engine = pair
    given = StoppingCriteriaList([MaxLengthCriteria(15), EosTokenCriteria(9), After()])
    for prompt in ([1, 4, 3], [5, 6, 7, 5, 6]):
        theirs = network.generate(
            torch.tensor([prompt]), max_new_tokens=30, do_sample=False, stopping_criteria=[*given[:2], After()]
        )[0, len(prompt) :].tolist()
        answer = engine.generate(prompt, "lookup+fixed(5)", stopping=given, max_new_tokens=30, end_tokens=[2])
        assert answer.tokens == theirs


def test_lists_are_taken_apart():
    nested = [LogitsProcessorList([Alternate(), LogitsProcessorList([below])]), below]
    assert len(processors(nested)) == 3
    assert [steer.name for steer in Request(steers=["top_k(3)", *nested]).steers] == ["top_k"] + ["processor"] * 3
