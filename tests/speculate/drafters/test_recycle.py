from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from laws.worlds import GREEDY, decode, plainly
from speculate.drafters.by_hand import cyclic, play, row_of
from stretto.context import Context
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.speculate.contract import Outcome, Room
from stretto.speculate.drafters.recycle import CHILDREN, Followers, Recycle, RecycleSession, best, template_of
from stretto.speculate.planners.fixed import Fixed
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature
from stretto.tree import ROOT, NodeKind, Tree


def test_the_template_is_the_published_tree():
    paths = template_of(8).paths[1:]
    assert len(paths) == len(set(paths)) == 80
    assert [sum(len(path) == depth for path in paths) for depth in range(1, 7)] == [8, 21, 25, 15, 8, 3]
    assert all(path[:-1] in ["", *paths] for path in paths)
    assert set(CHILDREN) <= {"", *paths}
    few = template_of(2).paths[1:]
    assert few == [path for path in paths if set(path) <= {"0", "1"}]


def session_on(ids: list[list[int]], weights: list[list[float]], root: int = 0) -> RecycleSession:
    table = Followers(0, 0)
    table.ids = np.array(ids, dtype=np.int32)
    table.weights = np.array(weights, dtype=np.float32)
    return RecycleSession(Recycle(), row_of([root]), table)


def random_table(vocabulary: int, seed: int) -> Followers:
    """Distinct followers in random order, some ranks empty."""
    chance = np.random.default_rng(seed)
    table = Followers(vocabulary, 8)
    for token in range(vocabulary):
        count = chance.integers(0, min(8, vocabulary) + 1)
        places = np.sort(chance.permutation(8)[:count])
        table.ids[token, places] = chance.permutation(vocabulary)[:count]
        table.weights[token, places] = np.sort(chance.random(count).astype(np.float32))[::-1]
    return table


def unrolled(table: Followers, root: int, depth: int) -> dict[tuple[int, ...], float]:
    """Slow reference: token paths of the whole template with the product of their weights."""
    found = {}
    for ranks in (path for path in template_of(8).paths if 1 <= len(path) <= depth):
        token, reach, path = root, 1.0, []
        for rank in map(int, ranks):
            reach *= float(table.weights[token, rank])
            token = int(table.ids[token, rank])
            path.append(token)
            if token < 0:
                break
        else:
            if reach > 0:
                found[tuple(path)] = reach
    return found


@pytest.mark.parametrize("seed", range(5))
def test_a_small_room_gets_the_likeliest_nodes(seed):
    session = RecycleSession(Recycle(), row_of([3]), random_table(12, seed))
    for nodes, depth in itertools.product((0, 1, 5, 30, 80, 200), (1, 3, 6, 20)):
        reference = unrolled(session.table, 3, depth)
        tree = session.propose(Room(nodes, depth))
        tree.check()
        paths = {tuple(tree.path_tokens(node)): node for node in range(len(tree))}
        assert len(paths) == len(tree) == min(nodes, len(reference))
        reaches = sorted(reference.values(), reverse=True)[:nodes]
        assert sorted((reference[path] for path in paths), reverse=True) == pytest.approx(reaches)
        for path, node in paths.items():  # scores multiply to the product of the weights
            assert np.prod([tree.scores[at] for at in tree.path(node)]) == pytest.approx(reference[path])
            assert tree.proposals[node] is NodeKind.POINT


def test_an_empty_table_drafts_nothing_and_empty_ranks_are_skipped():
    assert len(RecycleSession(Recycle(), row_of([3]), Followers(5, 8)).propose(Room(80, 9))) == 0
    empty = [-1] * 8
    session = session_on(
        [[-1, 1, -1, 2, *empty[:4]], empty, empty], [[0, 0.7, 0, 0.3, 0, 0, 0, 0], [0.0] * 8, [0.0] * 8]
    )
    tree = session.propose(Room(80, 9))
    assert (tree.tokens, tree.parents, tree.ranks) == ([1, 2], [ROOT, ROOT], [0, 1])


def test_every_node_teaches_and_of_equal_tokens_the_last_counts():
    tree = Tree.chain([1, 2])
    tree.add(2)  # a rejected sibling that bears a token met before
    tree.add(-1, embed=torch.zeros(1))  # a raw row bears none
    logits = torch.tensor([[9.0, 8, 7, 6], [1, 2, 3, 4], [0, 9, 0, -torch.inf], [5, 6, 4, 3], [0, 0, 0, 0]])
    expected = {
        True: {0: [0, 1, 2, 3], 1: [3, 2, 1, 0], 2: [1, 0, 2, 3], 3: [-1] * 4},
        False: {0: [0, 1, 2, 3], 1: [3, 2, 1, 0], 2: [-1] * 4, 3: [-1] * 4},
    }
    for rejected, rows in expected.items():
        row = row_of([0])
        session = RecycleSession(Recycle(rejected=rejected), row, Followers(4, 8))
        row.history.extend([1, 3])
        session.advance(Outcome(tree, [0], [1, 3], logits))
        for token, ids in rows.items():
            assert session.table.ids[token].tolist() == [*ids, -1, -1, -1, -1]
        weights = session.table.weights[0, :4]
        assert weights == pytest.approx(torch.tensor([9.0, 8, 7, 6]).softmax(-1).numpy())


def test_an_excluded_token_is_not_remembered():
    table = Followers(3, 8)
    table.learn({1: 0}, torch.tensor([[0.0, -torch.inf, 200.0]]))
    assert table.ids[1, :3].tolist() == [2, 0, -1]
    assert table.weights[1, 0] == 1.0 and 0 < table.weights[1, 1] < 1e-5 and table.weights[1, 2] == 0.0


@pytest.mark.parametrize("vocabulary", [7, 1000, 4096])
def test_the_best_are_those_of_a_full_sort(vocabulary):
    for nodes in (1, 9, 33):
        logits = torch.randn(nodes, vocabulary, generator=torch.Generator().manual_seed(nodes))
        size, slots = min(8, vocabulary), list(range(nodes))[::-2]  # some rows, in another order
        values, ids = best(logits, size, slots)
        expected = logits[slots].sort(-1, descending=True)
        assert np.array_equal(values, expected.values[:, :size].numpy())
        assert np.array_equal(ids, expected.indices[:, :size].numpy())


def test_the_second_lap_of_a_cycle_accepts_the_whole_depth():
    """6 tokens a round and the extra one, from a table that begins empty and knows no prompt."""
    period = 9
    row = decode(
        cyclic(period, 12), [[0]], drafter=Recycle(prompt=False), planner=Fixed(80), new_tokens=period + 7 * 5
    )[0]
    lap = next(at for at, step in enumerate(row.steps) if step.position > period)
    assert len(row.steps[0].accepted) == 0
    assert [len(step.accepted) for step in row.steps[lap:-1]] == [6] * len(row.steps[lap:-1])
    assert len(row.steps) > lap + 3


def test_the_prompt_teaches_too():
    settings = {"planner": Fixed(80), "new_tokens": 7}
    prompt = [*range(9), 0]
    assert decode(cyclic(9, 12), [prompt], drafter=Recycle(), **settings)[0].counters.rounds == 1
    assert decode(cyclic(9, 12), [prompt], drafter=Recycle(prompt=False), **settings)[0].counters.rounds > 1


def test_rejected_nodes_are_worth_learning_from():
    """Tokens per round: all nodes > accepted ones only > nothing drafted, clearly (2.35, 1.66 and 1)."""
    model, sampled = TableModel.random(60, seed=3, order=1, sharpness=3.0), Pipeline([Temperature(0.7)])

    def rate(drafter: Recycle) -> float:
        rows = [
            decode(model, [[seed]], drafter=drafter, planner=Fixed(20), pipeline=sampled, seed=seed, new_tokens=60)[0]
            for seed in range(4)
        ]
        return sum(row.counters.new_tokens for row in rows) / sum(row.counters.rounds for row in rows)

    every, accepted = rate(Recycle(shared=False)), rate(Recycle(shared=False, rejected=False))
    assert every > 1.2 * accepted > 1.2


@pytest.mark.parametrize("seed", range(4))
def test_a_random_table_never_changes_the_tokens(seed):
    model = TableModel.random(12, seed=seed)
    for pipeline in (GREEDY, Pipeline([Temperature(1.0)])):
        row = row_of([5, 2], pipeline, seed)
        session = RecycleSession(Recycle(), row, random_table(12, seed))
        while len(row.new_tokens) < 20:
            play(model, row, session, Room(40, 9))
        assert row.new_tokens[:20] == plainly(model, [5, 2], pipeline, seed, 20)


def test_a_shared_table_is_warm_for_the_next_request_and_an_own_one_is_not():
    target = cyclic(9, 12)
    for shared in (True, False):
        context = Context(target, SimulatedClock(), lambda name: target)
        drafter, rounds = Recycle(shared=shared, prompt=False), []
        for _ in range(2):  # two decodes in one engine
            row = row_of([0])
            session = drafter.begin(context).open(row)
            rounds.append(0)
            while len(row.new_tokens) < 14:
                play(target, row, session, Room(80, 80))
                rounds[-1] += 1
        assert rounds[1] == (2 if shared else rounds[0]) and rounds[0] > 2


def test_own_tables_part_in_a_fork():
    target = TableModel.random(6, seed=1)
    row = row_of([0, 1])
    session = Recycle(shared=False).begin(Context(target, SimulatedClock(), lambda name: target)).open(row)
    for _ in range(4):
        play(target, row, session, Room(10, 5))
    twin = row_of(row.history.tokens)
    copy = session.fork(twin)
    before = copy.table.ids.copy()
    assert copy.propose(Room(10, 5)) == session.propose(Room(10, 5))
    session.table.learn({0: 0, 1: 1, 2: 2}, torch.randn(3, 6))
    assert np.array_equal(copy.table.ids, before) and not np.array_equal(session.table.ids, before)


def test_alone_as_in_a_batch():
    """With tables of their own, rows draft the same trees in any company."""
    model, prompts = TableModel.random(9, seed=4), [[1, 2, 3], [4], [5, 5]]
    together = decode(model, prompts, drafter=Recycle(shared=False), planner=Fixed(12), new_tokens=[15, 9, 20])
    for prompt, new, row in zip(prompts, (15, 9, 20), together, strict=True):
        alone = decode(model, [prompt], drafter=Recycle(shared=False), planner=Fixed(12), new_tokens=new)[0]
        assert [(step.drafted, step.parents) for step in alone.steps] == [
            (step.drafted, step.parents) for step in row.steps
        ]


def test_settings_out_of_range_are_refused():
    for ranks in (0, 9):
        with pytest.raises(InvalidRequest, match="recycle"):
            Recycle(ranks=ranks)
