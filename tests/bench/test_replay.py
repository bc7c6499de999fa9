from __future__ import annotations

import copy
import random

import pytest
import torch

from bench.subjects import END, subject
from laws.worlds import Guesser, random_tree
from models.families import VOCABULARY
from stretto.bench.baselines import baselines
from stretto.bench.lanes import Case, Lane, Ours, with_draft
from stretto.bench.replay import FORCED, Replayed, followers, force, forcing_costs
from stretto.bench.subject import padded
from stretto.speculate.acceptors.exact import Exact
from stretto.speculate.loop import Speculate
from stretto.speculate.planners.fixed import Fixed
from stretto.tree import Tree

LIMIT = 40


@pytest.fixture(scope="module")
def world():
    return subject()


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """Texts of unequal length that hold repetitions, so that lookups hit; the last is cut off by the limit."""
    chance = random.Random(3)

    def case(prompt: int, length: int) -> Case:
        text = [chance.randrange(3, 9) for _ in range(prompt + length)]
        return Case(text[:prompt], [*text[prompt:], END][:LIMIT], True)

    return [case(7, 25), case(12, 18), case(9, 60)]


def lanes(world) -> dict[str, Lane]:
    texts = ("plain", "lookup", "draft", "draft+fixed(4)", "lookup+fixed(6)")
    made: list[Lane] = [
        Ours(text, world.engine, world.replayed, with_draft(text, "zoo/draft", world.draft), LIMIT) for text in texts
    ]
    tree = Speculate(Guesser(lambda tokens, room: random_tree(tokens, room, 9)), Exact(), Fixed(12))
    made.append(Ours("tree", world.engine, world.replayed, tree, LIMIT))
    made += baselines(world.watched, world.draft_module, world.ends, LIMIT)
    return {lane.name: lane for lane in made}


ALL = ["plain", "lookup", "draft", "draft+fixed(4)", "lookup+fixed(6)", "tree", "hf greedy", "hf lookup 3"]
ALL += ["hf lookup 10", "hf assisted", "hf assisted 5"]


def test_every_contestant_is_tried(world):
    assert list(lanes(world)) == ALL


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("batch", [1, 3])
def test_the_output_is_the_reference(world, cases, name, batch):
    lane = lanes(world)[name]
    for at in range(0, len(cases), batch):
        group = cases[at : at + batch]
        lane.prepare(group)
        answer = lane.answer(group)
        assert answer.tokens == [case.expected for case in group]
        assert answer.counters.new_tokens == sum(len(case.expected) for case in group)


@pytest.mark.parametrize("name", ["lookup+fixed(6)", "tree", "hf lookup 3", "hf lookup 10"])
def test_right_guesses_are_accepted(world, cases, name):
    lane = lanes(world)[name]
    lane.prepare(cases[:1])
    counters = lane.answer(cases[:1]).counters
    assert 0 < counters.accepted < counters.drafted
    assert counters.rounds < counters.new_tokens


@pytest.mark.parametrize("name", ["draft+fixed(4)", "hf assisted", "hf assisted 5"])
def test_the_draft_model_is_not_forced(world, cases, name):
    """A forced draft would always agree; this one is random and hardly ever does."""
    lane = lanes(world)[name]
    lane.prepare(cases[:1])
    counters = lane.answer(cases[:1]).counters
    assert counters.drafted >= 20
    assert counters.accepted < counters.drafted / 4


@pytest.mark.parametrize("name", ["plain", "hf greedy", "hf assisted 5"])
def test_free_again_after_a_replay(world, cases, name):
    lane = lanes(world)[name]
    lane.prepare(cases[:1])
    lane.answer(cases[:1])
    free = [Case(cases[0].prompt, [], False)]
    lane.prepare(free)
    written = lane.answer(free).tokens
    world.watched.follow(None)
    with torch.no_grad():
        expected = list(cases[0].prompt)
        while len(expected) < len(cases[0].prompt) + LIMIT and expected[-1] != END:
            expected.append(int(world.watched.module(torch.tensor([expected])).logits[0, -1].argmax()))
    assert written == [expected[len(cases[0].prompt) :]]


def test_followers():
    table = followers([[5, 6, 7], [8, 9]], torch.device("cpu"))
    assert table[:, :3].tolist() == [[6, 7, 0], [9, 0, 0]]


def test_force_makes_the_argmax_and_leaves_the_rest():
    logits = torch.randn(2, 3, 11)
    before = logits.clone()
    wanted = torch.randint(11, (2, 3))
    force(logits, wanted)
    assert logits.argmax(-1).equal(wanted)
    assert int((logits != before).sum()) == 6
    assert torch.finfo(torch.float16).max > FORCED


def test_slots_asked_for_are_forced_by_their_position(world):
    from stretto.models.contract import Want
    from stretto.models.window import Window

    model = Replayed(world.replayed.model)
    model.follow(followers([[5, 6, 7, 8, 9]], model.device))
    cache = model.new_cache()
    window = Window.chain([cache.open()], [[5, 6, 7, 8]], [0], model.device)
    logits = model.evaluate(window, cache, Want(logits=torch.tensor([[3, 1]]))).logits
    assert logits.argmax(-1).tolist() == [[9, 7]]


def test_costs_are_told():
    assert all(cost > 0 for cost in forcing_costs(VOCABULARY).values())


def test_a_padded_draft_guesses_as_before(world):
    module = copy.deepcopy(world.draft_module)
    tokens = torch.tensor([[5, 6, 7]])
    before = module(tokens).logits
    larger = padded(module, VOCABULARY + 30)
    after = larger(tokens).logits
    assert after.shape[-1] == VOCABULARY + 30
    assert torch.allclose(after[..., :VOCABULARY], before, atol=1e-5)
    assert not after[..., VOCABULARY:].any()


def test_a_guesser_of_nothing(world, cases):
    """The engine's rows are forced in the order of the prompts, whoever drafts."""
    nothing = Speculate(Guesser(lambda tokens, room: Tree()), Exact(), Fixed(3))
    lane = Ours("nothing", world.engine, world.replayed, nothing, LIMIT)
    lane.prepare(cases[::-1])
    assert lane.answer(cases[::-1]).tokens == [case.expected for case in cases[::-1]]
