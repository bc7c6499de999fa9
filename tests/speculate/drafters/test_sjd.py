from __future__ import annotations

import itertools
from collections import Counter
from functools import cache

import numpy as np
import pytest
import torch

from laws.branching import Branching, outcomes
from laws.worlds import decode, plainly
from speculate.drafters.by_hand import GREEDY, logits_of, play, row_of
from stretto.context import Context
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.row import Limits, Row
from stretto.speculate.acceptors.rejection import Rejection
from stretto.speculate.contract import Outcome, Room
from stretto.speculate.drafters.sjd import SpeculativeJacobi, SpeculativeJacobiSession
from stretto.speculate.loop import Speculate
from stretto.speculate.planners.fixed import Fixed
from stretto.steer.ban import Ban
from stretto.steer.choice import Rule
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path
from stretto.steer.pipeline import Pipeline
from stretto.steer.repetition import Repetition
from stretto.steer.temperature import Temperature
from stretto.steer.top_k import TopK
from stretto.tree import NodeKind, Siblings, Tree

SAMPLED = Pipeline([Temperature(1.0)])
STEERED = Pipeline([Repetition(1.4), Temperature(0.9), TopK(2)])
WIDE = Room(99, 99)


def session_of(tokens, pipeline=GREEDY, seed=0, highest=8, **settings):
    row = row_of(tokens, pipeline, seed)
    return row, SpeculativeJacobiSession(SpeculativeJacobi(**settings), row, highest)


def remembered(model: TableModel) -> TableModel:
    return TableModel(model.vocabulary, cache(model.rule))


def probabilities(logits: torch.Tensor, row: Row, drafted: list[int]) -> np.ndarray:
    return row.rule.pipeline(Nodes([Path(row.history, tuple(drafted))], logits[None]))[0].softmax(-1).numpy()


def judged(model, row, session, chance, *, wrong=False) -> Outcome:
    """One round with the rule of rejection and the given coins; `wrong`: it is told this round's distribution as q."""
    tree = session.propose(Room(2, 2))
    logits = logits_of(model, row, tree)

    def target(node: int) -> np.ndarray:
        return probabilities(logits[node + 1], row, tree.path_tokens(node))

    if wrong:
        tree.drawn_from = {node: target(tree.parents[node]) for node in tree.drawn_from}
    verdict = Rejection().walk(tree, target, chance)
    committed = [*(tree.tokens[node] for node in verdict.path), verdict.extra]
    row.history.extend(committed)
    outcome = Outcome(tree, verdict.path, committed, logits)
    session.advance(outcome)
    return outcome


def joint_of_decoding(model, pipeline, length, *, wrong=False, **settings) -> dict[tuple[int, ...], float]:
    """Every outcome of all coins, the drafter's and the acceptor's, over as many rounds as the length takes."""

    def experiment(chance: Branching) -> tuple[int, ...]:
        row = row_of([0], pipeline)
        session = SpeculativeJacobiSession(
            SpeculativeJacobi(window=2, **settings), row, model.vocabulary - 1, lambda row, purpose: chance
        )
        while len(row.new_tokens) < length:
            judged(model, row, session, chance, wrong=wrong)
        return tuple(row.new_tokens[:length])

    joint: dict[tuple[int, ...], float] = {}
    for weight, tokens in outcomes(experiment):
        joint[tokens] = joint.get(tokens, 0.0) + weight
    return joint


def joint_of_the_model(model, pipeline, length) -> dict[tuple[int, ...], float]:
    joint = {}
    for tokens in itertools.product(range(model.vocabulary), repeat=length):
        joint[tokens] = 1.0
        for at, token in enumerate(tokens):
            row = row_of([0], pipeline)
            row.history.extend(tokens[:at])
            logits = torch.tensor(model.rule(tuple(row.history.tokens)), dtype=torch.float64)
            joint[tokens] *= probabilities(logits, row, [])[token]
    return joint


def distance(left: dict, right: dict) -> float:
    return max(abs(left.get(tokens, 0.0) - right.get(tokens, 0.0)) for tokens in left.keys() | right.keys())


@pytest.mark.parametrize(
    ("vocabulary", "length", "start", "pipeline"),
    [(2, 4, "repeat", SAMPLED), (2, 3, "random", SAMPLED), (2, 4, "repeat", STEERED), (3, 3, "repeat", STEERED)],
    ids=["four tokens", "random guesses", "steered", "three symbols"],
)
def test_two_to_four_rounds_have_the_models_joint(vocabulary, length, start, pipeline):
    """By enumeration: no error but that of float64."""
    model = remembered(TableModel.random(vocabulary, seed=3))
    joint = joint_of_decoding(model, pipeline, length, start=start)
    assert sum(joint.values()) == pytest.approx(1.0, abs=1e-12)
    assert distance(joint, joint_of_the_model(model, pipeline, length)) < 1e-12


def test_real_coins_draw_from_the_models_joint():
    """Through the loop: the coins of drafting, accepting and successive rounds know nothing of each other."""
    model, size = remembered(TableModel.random(2, seed=3, sharpness=0.7)), 1000
    method = Speculate(SpeculativeJacobi(window=2), Rejection(), Fixed(2))
    outputs: Counter[tuple[int, ...]] = Counter()
    for start in range(0, size, 50):
        loop = method.loop(Context(model, SimulatedClock(), lambda name: model), model.new_cache(rows=50, slots=8))
        seeds = range(start, start + 50)
        rows = [Row(History([0]), loop.cache.open(), Rule(SAMPLED, seed, 0), Limits(4)) for seed in seeds]
        for row in rows:
            loop.add(row)
        while loop.rows:
            loop.step()
        outputs.update(tuple(row.new_tokens) for row in rows)
    joint = joint_of_the_model(model, SAMPLED, 4)
    surprise = sum((outputs[tokens] - size * weight) ** 2 / (size * weight) for tokens, weight in joint.items())
    assert surprise < 30.6  # chi-square with 15 degrees of freedom, one in a hundred


def test_the_distribution_of_now_in_place_of_the_one_drawn_from_is_found_out():
    model = remembered(TableModel.random(2, seed=3))
    biased = joint_of_decoding(model, SAMPLED, 4, start="repeat", wrong=True)
    assert distance(biased, joint_of_the_model(model, SAMPLED, 4)) > 1e-3


@pytest.mark.parametrize("pipeline", [SAMPLED, STEERED], ids=["plain", "steered"])
def test_a_draft_carries_what_the_target_said_last_round(pipeline):
    """Slow reference: positions after the root, each under the drafts of then with the committed tokens before."""
    model = TableModel.random(5, seed=8)
    row, session = session_of([4, 2], pipeline, seed=3, highest=4, window=4)
    for turn in range(12):
        told: list[np.ndarray] = []
        tree = session.propose(WIDE)
        drafts, logits = list(tree.tokens), logits_of(model, row, tree)
        assert tree.is_chain and len(tree) == 4
        accepted = turn % 4
        committed = [*drafts[:accepted], (drafts[accepted] + 1) % 5]
        row.history.extend(committed)
        for node in range(accepted, 4):
            told.append(probabilities(logits[node + 1], row, drafts[accepted + 1 : node + 1]))
        session.advance(Outcome(tree, list(range(accepted)), committed, logits))
        following = session.propose(WIDE)
        kinds = [NodeKind.SAMPLED] * (4 - accepted) + [NodeKind.POINT] * accepted
        assert following.proposals == kinds
        assert sorted(following.drawn_from) == list(range(4 - accepted))
        for node, expected in enumerate(told):
            assert np.allclose(following.drawn_from[node], expected, atol=1e-15)
            assert following.drawn_from[node][following.tokens[node]] > 0
        assert len(set(following.scores)) == 1  # a score that knew the token would bias what trimming keeps


def test_drafts_are_drawn_with_their_probabilities():
    q = np.array([0.1, 0.6, 0.0, 0.3])
    counts = np.zeros((2, 4))
    for seed in range(4000):
        _, session = session_of([1], SAMPLED, seed=seed, highest=3)
        session.ahead = [q, q]
        first, second = session.propose(Room(2, 2)).tokens
        counts[0, first] += 1
        counts[1, second] += 1
    assert np.abs(counts / 4000 - q).max() < 0.025  # three standard deviations
    assert counts[:, 2].sum() == 0


def test_without_chance_it_is_greedy_jacobi_decoding():
    """Slow reference: a sliding window; the tokens are those of plain decoding."""
    model = TableModel.random(4, seed=2, sharpness=0.7)

    def best(tokens):
        return max(range(4), key=model.rule(tuple(tokens)).__getitem__)

    row, session = session_of([1, 2], window=4, start="repeat")
    text, guesses = [1, 2], []
    for _ in range(15):
        while len(guesses) < 4:
            guesses.append((guesses or text)[-1])
        outcome = play(model, row, session, WIDE)
        assert outcome.tree.tokens == guesses
        assert set(outcome.tree.proposals) == {NodeKind.POINT}
        chosen = [best([*text, *guesses[:length]]) for length in range(5)]
        right = next((at for at in range(4) if guesses[at] != chosen[at]), 4)
        assert outcome.committed == chosen[: right + 1]
        text += chosen[: right + 1]
        guesses = chosen[right + 1 :]
    decoded = decode(model, [[1, 2]], drafter=SpeculativeJacobi(window=4), acceptor=Rejection(), new_tokens=20)[0]
    assert decoded.new_tokens == plainly(model, [1, 2], GREEDY, 0, 20)


def test_where_the_text_does_not_matter_every_draw_is_accepted():
    """Then last round's distribution is this round's; point guesses are accepted as often as they deserve."""
    model = TableModel(4, lambda path: [0.3, 1.0, 0.5, 0.0])
    for seed in range(5):
        row = decode(
            model,
            [[1]],
            drafter=SpeculativeJacobi(window=4),
            acceptor=Rejection(),
            planner=Fixed(4),
            pipeline=SAMPLED,
            seed=seed,
            new_tokens=60,
        )[0]
        assert row.counters.rounds < 30
        accepted = [len(step.accepted) for step in row.steps]
        assert all(later >= 4 - before for before, later in itertools.pairwise(accepted[:-1]))


def test_a_weak_memory_halves_the_rounds_under_chance():
    """The published claim in kind: about half as many steps at temperature 1, text drawn exactly."""
    model = TableModel.random(30, seed=1, sharpness=2.0)
    flat = TableModel(30, lambda path: [0.25 * a + b for a, b in zip(model.rule(path), model.rule(()), strict=True)])
    rows = [
        decode(
            flat,
            [[1]],
            drafter=SpeculativeJacobi(),
            acceptor=Rejection(),
            planner=Fixed(16),
            pipeline=SAMPLED,
            seed=seed,
            new_tokens=40,
        )[0]
        for seed in range(4)
    ]
    assert sum(row.counters.new_tokens for row in rows) / sum(row.counters.rounds for row in rows) > 2


def test_forced_tokens_stay_forced():
    """A ban holds for drafts and for what is committed."""
    pipeline = Pipeline([Ban([0, 2]), Temperature(1.5)])
    model = TableModel.random(4, seed=6)
    settings = {"acceptor": Rejection(), "planner": Fixed(6), "pipeline": pipeline, "seed": 1, "new_tokens": 60}
    row = decode(model, [[0, 2]], drafter=SpeculativeJacobi(window=6, start="repeat"), **settings)[0]
    assert set(row.new_tokens) == {1, 3}
    assert row.counters.accepted > 5


def test_guesses_without_the_target():
    _, session = session_of([7, 5], window=4, start="repeat")
    assert session.propose(WIDE).tokens == [5, 5, 5, 5]
    seen = set()
    for seed in range(40):
        _, session = session_of([7, 5], SAMPLED, seed=seed, highest=6, lowest=4)
        tree = session.propose(WIDE)
        seen |= set(tree.tokens)
        assert set(tree.proposals) == {NodeKind.POINT} and len(tree) == 16
    assert seen == {4, 5, 6}


def test_a_room_shows_the_beginning_and_the_rest_is_remembered():
    q = [np.eye(6)[token] for token in (1, 2, 3)]
    row, session = session_of([0], SAMPLED, highest=5, window=4, start="repeat")
    session.ahead = q
    assert session.propose(Room(2, 9)).tokens == session.propose(Room(9, 2)).tokens == [1, 2]
    row.history.extend([4])
    logits = torch.full((3, 6), -50.0)
    logits[1, 5] = logits[2, 0] = 50.0
    session.advance(Outcome(Tree.chain([1, 2]), [], [4], logits))
    assert session.propose(WIDE).tokens == [5, 0, 0, 0]  # after 1, after 2; then repeated
    session.ahead = q
    row.history.extend([4])
    session.advance(Outcome(Tree(), [], [4]))  # nothing was drafted
    assert session.propose(WIDE).tokens[:2] == [2, 3]


def test_it_drafts_only_inside_the_span():
    row, session = session_of([1, 2, 8], window=3, start="repeat", after=8, delay=2, span=4)
    lengths = []
    for token in (3, 4, 5, 6, 8, 3, 8, 4, 5, 6):
        lengths.append(len(session.propose(WIDE)))
        row.history.extend([token])
        session.advance(Outcome(Tree(), [], [token]))
    assert lengths == [0, 0, 3, 3, 0, 0, 0, 0, 0, 3]
    _, never = session_of([1, 2, 3], window=3, after=8)
    assert len(never.propose(WIDE)) == 0
    _, endless = session_of([8, *[1] * 50], window=3, after=8)
    assert len(endless.propose(WIDE)) == 3


def test_a_fork_draws_from_the_same_distributions_with_its_own_coins():
    q = np.full(50, 0.02)
    row, session = session_of([1], SAMPLED, highest=49)
    session.ahead = [q] * 16
    twin = Row(row.history.fork(), -1, Rule(SAMPLED, 0, 1), row.limits)
    copy = session.fork(twin)
    ours, theirs = session.propose(WIDE), copy.propose(WIDE)
    assert ours == session.propose(WIDE)
    assert ours.tokens != theirs.tokens and ours.proposals == theirs.proposals
    copy.advance(Outcome(Tree(), [], [3]))
    assert len(session.ahead) == 16


def test_alone_as_in_a_batch():
    model, prompts = TableModel.random(6, seed=2), [[1, 2, 3], [4], [5, 5]]
    settings = {
        "drafter": SpeculativeJacobi(window=5),
        "acceptor": Rejection(),
        "planner": Fixed(5),
        "pipeline": SAMPLED,
    }
    together = decode(model, prompts, new_tokens=[15, 9, 20], seed=3, **settings)
    for prompt, new, both in zip(prompts, (15, 9, 20), together, strict=True):
        alone = decode(model, [prompt], new_tokens=new, seed=3, **settings)[0]
        assert alone.new_tokens == both.new_tokens
        assert [(s.drafted, s.accepted) for s in alone.steps] == [(s.drafted, s.accepted) for s in both.steps]


def test_what_it_declares_and_refuses():
    assert SpeculativeJacobi().siblings is Siblings.NONE
    assert NodeKind.SAMPLED in SpeculativeJacobi().proposals
    for settings in ({"window": 0}, {"delay": -1}, {"span": -1}, {"start": "x"}, {"lowest": 3, "highest": 2}):
        with pytest.raises(InvalidRequest, match="sjd"):
            SpeculativeJacobi(**settings)
    target = TableModel.random(4, seed=0)
    context = Context(target, SimulatedClock(), lambda name: target)
    for settings in ({"lowest": 4}, {"highest": 4}):
        with pytest.raises(InvalidRequest, match="sjd guesses"):
            SpeculativeJacobi(**settings).begin(context)
