from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest

from laws.worlds import decode, plainly
from speculate.drafters.by_hand import GREEDY, cyclic, play, row_of
from stretto.context import Context, Memory
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.speculate.chance import DRAFTING, chance_of
from stretto.speculate.contract import Outcome, Room
from stretto.speculate.drafters.aded import (
    Aded,
    AdedSession,
    Corpus,
    Place,
    Search,
    Trigrams,
    all_paths,
    read,
    select,
)
from stretto.speculate.planners.fixed import Fixed
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature
from stretto.tree import Tree

SAMPLED = Pipeline([Temperature(1.0)])
WIDE = Room(200, 200)


def table_of(*trigrams: tuple[int, int, int], **settings) -> Trigrams:
    table = Trigrams(Aded(**settings))
    for trigram in trigrams:
        table.reinforce(*trigram)
    return table


def random_table(vocabulary: int, seed: int, size: int = 400, **settings) -> Trigrams:
    chance = random.Random(seed)
    return table_of(*(tuple(chance.choices(range(vocabulary), k=3)) for _ in range(size)), **settings)


def coins(seed: int = 0):
    return chance_of(row_of([1], seed=seed), DRAFTING)


def test_the_selection_score_by_hand():
    """(32 + ln(10/8)) · 0.5 = 16.11 for a child not visited; after one visit half of that and its mean reward."""
    place = Place((0, 0))
    place.priors, place.visits, place.rewards = [0.5, 0.5], [0, 0], [0.0, 0.0]
    assert select(place, 1) == 0  # equal scores: the first
    place.visits, place.rewards = [0, 1], [0.0, 8.0]
    assert select(place, 1) == 0  # 16.11 against 16.11 / 2 + 8.0 = 16.06
    place.rewards = [0.0, 8.1]
    assert select(place, 1) == 1  # 16.16
    place.visits, place.rewards = [0, 3], [0.0, 3 * 24.3]
    assert select(place, 4) == 0  # √4 · (32 + ln(13/8)) = 64.97: 32.49 against 8.12 + 24.3 = 32.42
    place.rewards = [0.0, 3 * 24.4]
    assert select(place, 4) == 1  # 32.52


def test_a_step_adds_exactly_and_stops_at_the_cap():
    table = table_of((1, 2, 3), (1, 2, 4))
    before = table.weights[1, 2][3]
    for _ in range(3):
        table.reinforce(1, 2, 3)
    assert table.weights[1, 2][3] - before == pytest.approx(0.12)
    for _ in range(100):
        table.reinforce(1, 2, 3)
    assert table.weights[1, 2] == {3: 3.0, 4: pytest.approx(0.04)}
    assert table.following((1, 2)) == [(3, pytest.approx(3 / 3.04)), (4, pytest.approx(0.04 / 3.04))]
    assert table.following((2, 1)) == []


def test_the_heaviest_followers_count_and_equal_ones_stand_by_token():
    table = table_of((0, 0, 5), (0, 0, 3), (0, 0, 4), (0, 0, 4), followers=2)
    assert table.following((0, 0)) == [(4, pytest.approx(2 / 3)), (3, pytest.approx(1 / 3))]
    table.reinforce(0, 0, 5)
    table.reinforce(0, 0, 5)
    assert [token for token, _ in table.following((0, 0))] == [5, 4]


def test_the_pair_untouched_for_longest_goes():
    table = table_of((0, 0, 1), (1, 1, 1), (0, 0, 2), (2, 2, 1), contexts=2)
    assert set(table.weights) == {(0, 0), (2, 2)}
    assert table.following((1, 1)) == []


def test_only_committed_text_is_learnt_and_of_that_the_newest():
    row = row_of([1, 2, 3])
    session = AdedSession(Aded(recent=2), row, Trigrams(Aded(recent=2)))
    assert session.table.weights == {(1, 2): {3: 0.04}}
    row.history.extend([4, 5, 6])
    session.advance(Outcome(Tree.chain([4, 5, 7, 8]), [0, 1], [4, 5, 6]))
    assert session.table.weights == {(1, 2): {3: 0.04}, (3, 4): {5: 0.04}, (4, 5): {6: 0.04}}
    long = row_of([*range(40)])
    assert len(AdedSession(Aded(prompt=False), long, Trigrams(Aded())).table.weights) == 16
    assert len(AdedSession(Aded(), long, Trigrams(Aded())).table.weights) == 38


def paths_by_brute_force(table: Trigrams, pair, depth: int) -> dict[tuple[int, ...], float]:
    if depth == 0 or not table.following(pair):
        return {(): 1.0}
    return {
        (token, *path): share * mass
        for token, share in table.following(pair)
        for path, mass in paths_by_brute_force(table, (pair[1], token), depth - 1).items()
    }


@pytest.mark.parametrize("seed", range(4))
def test_a_patient_search_finds_every_path(seed):
    """So where there are few paths, listing them is what the search would come to."""
    table = random_table(4, seed, size=100)
    expected = paths_by_brute_force(table, (1, 2), 3)
    listed = all_paths(table, (1, 2), 3, 1000)
    assert {tuple(path) for path in listed} == set(expected) and len(listed) > 5
    masses = [expected[tuple(path)] for path in listed]
    assert masses == sorted(masses, reverse=True)
    found = Search(table, (1, 2), 3).run(600, coins())
    assert {tuple(path) for path in found} == set(expected)
    assert all_paths(table, (1, 2), 3, len(expected) - 1) is None
    assert all_paths(table, (1, 2), 3, len(expected)) is not None
    assert all_paths(table, (9, 9), 3, 5) == []


def test_visits_add_up_and_go_where_the_probable_is():
    table = random_table(6, 1)
    search = Search(table, (1, 2), 3)
    paths = search.run(150, coins())
    pending, leaves = [search.root], 0
    while pending:
        place = pending.pop()
        leaves += not place.tokens
        for visits, below in zip(place.visits, place.below, strict=True):
            assert visits >= sum(below.visits)
            pending.append(below)
    assert sum(search.root.visits) == 149 and leaves == len(paths)  # the first visit expands the root
    masses = paths_by_brute_force(table, (1, 2), 3)

    def mass(path) -> float:
        return sum(mass for other, mass in masses.items() if other[: len(path)] == tuple(path))

    assert sum(map(mass, paths[:24])) > 2 * sum(map(mass, paths[-24:]))
    assert Search(table, (1, 2), 3).run(150, coins()) == paths != Search(table, (1, 2), 3).run(150, coins(1))


def test_a_draft_is_the_trie_of_the_sentences_each_with_one_token_more():
    table = table_of((1, 2, 3), (1, 2, 4), (1, 2, 4), (2, 3, 5), (3, 5, 6), (2, 4, 7), (4, 7, 8), (5, 6, 9), (7, 8, 9))
    session = AdedSession(Aded(depth=2, prompt=False), row_of([1, 2]), table)
    tree = session.propose(WIDE)
    leaves = [tree.path_tokens(node) for node in range(len(tree)) if not tree.children(node)]
    assert leaves == [[4, 7, 8], [3, 5, 6]]  # the likelier first
    assert tree.scores == pytest.approx([2 / 3, 1, 1, 1 / 3, 1, 1])
    assert session.propose(Room(4, 9)).tokens == [4, 7, 8, 3]
    assert session.propose(Room(9, 1)).tokens == [4, 3]
    assert len(AdedSession(Aded(), row_of([1]), table).propose(WIDE)) == 0  # no pair yet
    one = AdedSession(Aded(sentences=1, visits=1, prompt=False), row_of([1, 2]), table)
    assert one.propose(WIDE).tokens == [4, 7]  # one visit expands the root: a path of one token, and one more


def test_a_large_table_drafts_the_sentences_most_visited():
    table = random_table(7, 2, size=2000)
    session = AdedSession(Aded(prompt=False), row_of([1, 2]), table)
    tree = session.propose(WIDE)
    tree.check()
    assert 24 < len(tree) <= 64
    paths = Search(table, (1, 2), 3).run(150, chance_of(session.row, DRAFTING))[:24]
    drafted = {tuple(tree.path_tokens(node)) for node in range(len(tree))}
    whole = [path for path in paths if tuple(path) in drafted]
    assert whole == paths[: len(whole)] and len(whole) > 10  # as many as fit, the most visited first
    for path in whole[:-1]:
        best = table.following((path[-2], path[-1]))[0][0]
        assert (*path, best) in drafted
    assert tree == session.propose(WIDE)


@pytest.mark.parametrize("pipeline", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_a_misleading_table_never_changes_the_tokens(pipeline):
    model = TableModel.random(5, seed=4)
    for seed in range(3):
        row = row_of([1, 2, 3], pipeline, seed)
        session = AdedSession(Aded(), row, random_table(5, seed))
        while len(row.new_tokens) < 20:
            play(model, row, session, Room(20, 9))
        assert row.new_tokens[:20] == plainly(model, [1, 2, 3], pipeline, seed, 20)


class Frozen(AdedSession):
    def advance(self, outcome: Outcome) -> None:
        pass


def test_learning_beats_a_frozen_table_where_the_text_changes_its_subject():
    """Tokens per round on a cycle that the prompt does not show, and that the table learns in one lap."""
    model = cyclic(9, 12)
    rates = []
    for kind in (AdedSession, Frozen):
        row = row_of([11, 10, 9, 11, 10, 9, 0])
        session = kind(Aded(), row, Trigrams(Aded()))
        rounds = [len(play(model, row, session, WIDE).committed) for _ in range(25)]
        rates.append((sum(rounds[:9]) / 9, sum(rounds) / 25))
    (early, adaptive), (_, frozen) = rates
    assert frozen == early == 1.0 and adaptive > 3.0


def test_a_tree_accepts_at_least_what_a_chain_of_the_best_trigrams_does():
    model = TableModel.random(12, seed=3, order=2, sharpness=2.5)

    def accepted(**settings) -> int:
        rows = [
            decode(
                model,
                [[seed, 1]],
                drafter=Aded(shared=False, **settings),
                planner=Fixed(8, 4),
                pipeline=SAMPLED,
                seed=seed,
                new_tokens=120,
            )[0]
            for seed in range(2)
        ]
        return sum(row.counters.accepted for row in rows)

    chain = accepted(sentences=1, followers=1)
    assert accepted() > chain > 0


def test_a_shared_table_serves_the_next_request_and_a_fork_keeps_its_own():
    target = cyclic(9, 12)
    for shared in (True, False):
        context = Context(target, SimulatedClock(), lambda name: target)
        drafter, drafted = Aded(shared=shared), []
        for _ in range(2):
            row = row_of([7, 8, 0])
            session = drafter.begin(context).open(row)
            drafted.append(len(session.propose(WIDE)))
            for _ in range(12):
                play(target, row, session, WIDE)
        assert drafted == ([0, 4] if shared else [0, 0])
        copy = session.fork(row_of(row.history.tokens))
        assert copy.propose(WIDE) == session.propose(WIDE)
        session.table.reinforce(*row.history.tokens[-2:], 11)
        assert (copy.propose(WIDE) == session.propose(WIDE)) is shared


def test_alone_as_in_a_batch():
    model, prompts = TableModel.random(5, seed=2), [[1, 2, 3], [4], [0, 0]]
    together = decode(model, prompts, drafter=Aded(), planner=Fixed(12), new_tokens=[40, 9, 30])
    for prompt, new, both in zip(prompts, (40, 9, 30), together, strict=True):
        alone = decode(model, [prompt], drafter=Aded(), planner=Fixed(12), new_tokens=new)[0]
        assert [(s.drafted, s.parents) for s in alone.steps] == [(s.drafted, s.parents) for s in both.steps]


@pytest.mark.parametrize("name", ["visits", "depth", "sentences", "nodes", "recent", "followers", "contexts"])
def test_settings_out_of_range_are_refused(name):
    with pytest.raises(InvalidRequest, match=f"aded.*{name}=0"):
        Aded(**{name: 0})


@pytest.mark.parametrize("settings", [{"step": 1.0, "cap": 0.5}, {"step": -0.1}, {"step": 0.0, "cap": 0.0}])
def test_steps_out_of_range_are_refused(settings):
    with pytest.raises(InvalidRequest, match="cap"):
        Aded(**settings)


# -- corpus ---------------------------------------------------------------------------------------


def shares_by_hand(documents, pair, most):
    """The slow reference: count what follows the pair within each document."""
    after = Counter(
        document[at + 2]
        for document in documents
        for at in range(len(document) - 2)
        if tuple(document[at : at + 2]) == pair
    )
    best = sorted(after.items(), key=lambda item: (-item[1], item[0]))[:most]
    return {token: times / after.total() for token, times in best}


def test_a_corpus_counts_what_follows_within_documents():
    chance = random.Random(1)
    documents = [chance.choices(range(6), k=length) for length in (0, 1, 2, 3, 80, 150)]
    corpus = Corpus(documents, 6)
    for pair in itertools.product(range(6), repeat=2):
        assert corpus.following(pair, 4) == pytest.approx(shares_by_hand(documents, pair, 4))
    assert Corpus([], 6).following((1, 2), 4) == {}


def test_a_corpus_is_where_weights_begin_and_steps_go_on_from():
    corpus = Corpus([[1, 2, 3, 1, 2, 4, 1, 2, 3]], 6)
    table = Trigrams(Aded(), corpus)
    assert table.following((1, 2)) == [(3, pytest.approx(2 / 3)), (4, pytest.approx(1 / 3))]
    table.reinforce(1, 2, 5)
    assert table.weights[1, 2] == pytest.approx({3: 2 / 3, 4: 1 / 3, 5: 0.04})
    assert table.copy().following((2, 4)) == [(1, 1.0)]
    assert Trigrams(Aded(), corpus).following((1, 2))[0] == (3, pytest.approx(2 / 3))  # the corpus itself stays


def test_a_frozen_table_never_learns():
    model = cyclic(5, 5)
    rows = decode(model, [[0, 1, 2, 3, 4, 0, 1]], drafter=Aded(step=0.0), planner=Fixed(8), new_tokens=20)
    assert rows[0].counters.drafted == 0
    rows = decode(model, [[0, 1, 2, 3, 4, 0, 1]], drafter=Aded(), planner=Fixed(8), new_tokens=20)
    assert rows[0].counters.accepted > 10


def test_a_corpus_is_read_from_files_and_drafted_from(tmp_path):
    (tmp_path / "a.txt").write_text("0 1 2 3 4 0 1 2 3 4 0 1")
    (tmp_path / "b.md").write_text("0 1 4")
    model = cyclic(5, 5)

    def context(memory):
        return Context(
            model, SimulatedClock(), lambda name: model, memory, encode=lambda text: [*map(int, text.split())]
        )

    memory = Memory()
    corpus = read(str(tmp_path), context(memory))
    assert corpus.following((0, 1), 9) == {2: 1.0} and read(str(tmp_path), context(memory)) is corpus
    drafting = Aded(step=0.0, corpus=str(tmp_path / "a.txt")).begin(context(Memory()))
    assert drafting.open(row_of([3, 0, 1])).propose(WIDE).tokens == [2, 3, 4, 0]
    with pytest.raises(InvalidRequest, match="no text"):
        read(str(tmp_path / "c.txt"), context({}))
    with pytest.raises(Unsupported, match="no text"):
        read(str(tmp_path), Context(model, SimulatedClock(), lambda name: model))
