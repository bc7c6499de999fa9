from __future__ import annotations

import copy
import math
import random

import pytest
import torch

from bench.subjects import END, subject
from laws.worlds import Guesser, random_tree
from models.families import VOCABULARY
from stretto.bench.baselines import baselines
from stretto.bench.contestants import Case, Contestant, Draw, Ours, with_models
from stretto.bench.replay import CERTAIN, CLOSE, FORCED, Replayed, followers, force, forcing_costs
from stretto.bench.subject import padded
from stretto.noise import WIDEST_GAP
from stretto.speculate.acceptors.exact import Exact
from stretto.speculate.loop import Speculate
from stretto.speculate.planners.fixed import Fixed
from stretto.tree import Tree

LIMIT = 26


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

    return [case(7, 22), case(12, 16), case(9, 60)]


@pytest.fixture(scope="module")
def contestants(world) -> dict[str, Contestant]:
    texts = ("plain", "lookup", "draft", "draft+fixed(4)", "lookup+fixed(6)")
    given = ("zoo/draft", world.draft)
    made: list[Contestant] = [
        Ours(text, world.engine, world.replayed, with_models(text, world.replayed, given), LIMIT) for text in texts
    ]
    tree = Speculate(Guesser(lambda tokens, room: random_tree(tokens, room, 9)), Exact(), Fixed(12))
    made.append(Ours("tree", world.engine, world.replayed, tree, LIMIT))
    made += baselines(world.watched, world.draft_module, world.ends, LIMIT)
    return {contestant.name: contestant for contestant in made}


ALL = ["plain", "lookup", "draft", "draft+fixed(4)", "lookup+fixed(6)", "tree", "hf greedy", "hf lookup 3"]
ALL += ["hf lookup 10", "hf lookup 20", "hf assisted", "hf assisted 3", "hf assisted 5"]


def test_every_contestant_is_tried(contestants):
    assert list(contestants) == ALL


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("batch", [1, 3])
def test_the_output_is_the_reference(world, contestants, cases, name, batch):
    if "assisted" in name and batch == 1:
        cases = cases[:1]  # drafting is slow here, and they take one prompt at a time in any case
    contestant = contestants[name]
    for at in range(0, len(cases), batch):
        group = cases[at : at + batch]
        contestant.prepare(group)
        answer = contestant.answer(group)
        assert answer.tokens == [case.expected for case in group]
        assert answer.counters.new_tokens == sum(len(case.expected) for case in group)


@pytest.mark.parametrize("name", ["plain", "draft+fixed(4)", "tree", "hf greedy", "hf lookup 3", "hf assisted 5"])
def test_drawn_tokens_are_the_reference_as_well(world, contestants, cases, name):
    contestant = contestants[name]
    for repeat in range(2):
        contestant.prepare(cases[:1], Draw(1.0, seed=3, repeat=repeat))
        assert contestant.answer(cases[:1]).tokens == [cases[0].expected]
    assert contestant.bound(cases[0], Draw(1.0))


@pytest.mark.parametrize("name", ["plain", "draft+fixed(4)", "tree", "hf greedy", "hf lookup 3", "hf assisted 3"])
def test_rounds_account_for_every_token(world, contestants, cases, name):
    """Tokens, forwards and guesses add up, row by row, whoever tells them."""
    for group in (cases[:1], cases):
        contestant = contestants[name]
        contestant.prepare(group)
        answer = contestant.answer(group)
        rounds = answer.rounds()
        assert [sum(r.committed for r in row) for row in rounds] == [len(case.expected) for case in group]
        assert sum(r.accepted for row in rounds for r in row) == answer.counters.accepted
        assert sum(r.slots - 1 for row in rounds for r in row) == answer.counters.drafted
        if len(group) == 1:
            assert len(rounds[0]) == answer.counters.row_forwards
        assert all(r.seconds > 0 for row in rounds for r in row[1:])


@pytest.mark.parametrize("name", ["hf greedy", "hf lookup 3", "plain", "lookup+fixed(6)"])
def test_free_draws(world, contestants, cases, name):
    """transformers draws a text of its own, another in each repeat and the same again; ours is the seed's."""
    free = [Case(cases[0].prompt, [], False)]
    contestant = contestants[name]

    def text(draw):
        contestant.prepare(free, draw)
        return contestant.answer(free).tokens

    draws = [Draw(1.0, 5, 0), Draw(1.0, 5, 1), Draw(1.0, 6, 0)]
    written = [text(draw) for draw in draws]
    assert written == [text(draw) for draw in draws]
    assert written[0] != written[2]
    assert (written[0] == written[1]) is contestant.ours is contestant.bound(free[0], draws[0])
    if contestant.ours:
        plain = world.engine.generate(cases[0].prompt, "plain", max_new_tokens=LIMIT, temperature=1.0, seed=5)
        assert written[0] == [plain.tokens]


def test_transformers_draws_from_all_tokens(world, cases):
    """Not from the 50 best, which is its default: at a high temperature most first tokens lie beyond those or not."""
    contestant = baselines(world.watched, None, world.ends, 1)[0]
    free = [Case(cases[0].prompt, [], False)]
    with torch.no_grad():
        best = world.watched.module(torch.tensor([free[0].prompt])).logits[0, -1].topk(50).indices.tolist()
    drawn = []
    for repeat in range(24):
        contestant.prepare(free, Draw(1000.0, repeat=repeat))
        drawn.append(contestant.answer(free).tokens[0][0])
    assert 3 < sum(token not in best for token in drawn) < 21


@pytest.mark.parametrize("name", ["lookup+fixed(6)", "tree", "hf lookup 3", "hf lookup 10"])
def test_right_guesses_are_accepted(world, contestants, cases, name):
    contestant = contestants[name]
    contestant.prepare(cases[:1])
    counters = contestant.answer(cases[:1]).counters
    assert 0 < counters.accepted < counters.drafted
    assert counters.rounds < counters.new_tokens


@pytest.mark.parametrize("name", ["draft+fixed(4)", "hf assisted", "hf assisted 5"])
def test_the_draft_model_is_not_forced(world, contestants, cases, name):
    """A forced draft would always agree; this one is random and hardly ever does."""
    contestant = contestants[name]
    contestant.prepare(cases[:1])
    counters = contestant.answer(cases[:1]).counters
    assert counters.drafted >= 20
    assert counters.accepted < counters.drafted / 4


@pytest.mark.parametrize("name", ["plain", "hf greedy", "hf assisted 5"])
def test_free_again_after_a_replay(world, contestants, cases, name):
    contestant = contestants[name]
    contestant.prepare(cases[:1])
    contestant.answer(cases[:1])
    free = [Case(cases[0].prompt, [], False)]
    contestant.prepare(free)
    written = contestant.answer(free).tokens
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


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_drawing_the_forced_token_is_certain_and_costs_its_full_price(temperature):
    """By the widest noise there is: none can win, and none is ruled out beforehand. Trained logits reach 100."""
    highest, lowest = -math.log(-math.log1p(-(2.0**-41))), -math.log(41 * math.log(2))
    logits = torch.tensor([[[100.0, -100.0, 3.0, 4.0, 5.0]]])
    order = logits[0, 0, :4].argsort().tolist()
    force(logits, torch.tensor([[4]]), temperature)
    steered = logits[0, 0] / temperature
    assert steered[4] + lowest > steered[:4].max() + highest
    assert steered[:4].min() >= steered[4] - WIDEST_GAP
    assert logits[0, 0, :4].argsort().tolist() == order  # drafters that observe see the same ranks
    assert highest - lowest < CERTAIN - 100 * CLOSE


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
    contestant = Ours("nothing", world.engine, world.replayed, nothing, LIMIT)
    contestant.prepare(cases[::-1])
    assert contestant.answer(cases[::-1]).tokens == [case.expected for case in cases[::-1]]
