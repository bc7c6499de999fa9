from __future__ import annotations

import gc
import threading

import pytest
import torch

from laws.worlds import GREEDY, decode, plainly
from stretto import method
from stretto.bench.claims.overlap import Workers, side_by_side
from stretto.context import Context
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.row import Limits, Row
from stretto.speculate.contract import Outcome, Room
from stretto.speculate.drafters.pearl import Pearl
from stretto.speculate.planners.fixed import Fixed
from stretto.steer.choice import Rule, choose
from stretto.steer.frequency import Frequency
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path
from stretto.steer.pipeline import Pipeline
from stretto.steer.repetition import Repetition
from stretto.steer.temperature import Temperature
from stretto.tree import Tree

V = 4
TARGET = TableModel.random(V, seed=1)
SAMPLED = Pipeline([Temperature(1.0)])
PENALISED = Pipeline([Repetition(1.3), Frequency(0.4, 0.2), Temperature(1.0)])
NEAR = TableModel(V, lambda path: [a + 0.3 * b for a, b in zip(TARGET.rule(path), OTHER.rule(path), strict=True)])
OTHER = TableModel.random(V, seed=2)
TWIN = TableModel.random(V, seed=1)  # the target once more


def chooser(model: TableModel, pipeline: Pipeline, seed: int, prompt: int):
    """The model's choice after a text, without cache and window."""

    def next_token(text) -> int:
        history = History(text[:prompt])
        history.extend(text[prompt:])
        logits = torch.tensor([model.rule(tuple(text))], dtype=torch.float64)
        return choose(Nodes([Path(history)], logits), [Rule(pipeline, seed, 0)]).tokens[0]

    return next_token


@pytest.mark.parametrize("draft", [NEAR, OTHER, TWIN], ids=["near", "other", "twin"])
@pytest.mark.parametrize("pipeline", [GREEDY, SAMPLED, PENALISED], ids=["greedy", "sampled", "penalised"])
@pytest.mark.parametrize("ahead", [1, 3])
def test_round_for_round_it_does_what_the_simulation_says(draft, pipeline, ahead):
    prompt = [0, 1, 2]
    row = decode(
        TARGET, [prompt], drafter=Pearl(draft, ahead), planner=Fixed(9), pipeline=pipeline, seed=3, new_tokens=40
    )[0]
    workers = Workers(
        chooser(TARGET, pipeline, 3, 3), chooser(draft, pipeline, 3, 3), SimulatedClock(), SimulatedClock()
    )
    rounds = side_by_side(workers, prompt, 40, ahead).rounds
    assert [step.committed for step in row.steps] == [each.committed for each in rounds]
    assert [step.drafted for step in row.steps] == [each.verified for each in rounds]
    assert row.new_tokens == plainly(TARGET, prompt, pipeline, 3, 40)


def test_a_twin_of_the_target_is_never_wrong():
    row = decode(TARGET, [[0, 1]], drafter=Pearl(TWIN, 4), planner=Fixed(9), pipeline=SAMPLED, new_tokens=41)[0]
    assert [len(step.committed) for step in row.steps] == [1] + [4] * 10


def test_the_draft_is_made_in_a_thread_while_the_target_works():
    """Target and draft wait for each other inside their forwards: one after the other would never end."""
    meet = threading.Barrier(2, timeout=20)
    state = {"rounds": 0}

    def meeting(model: TableModel, who: str) -> TableModel:
        evaluate = model.evaluate

        def together(window, cache, want=None):
            if state["rounds"] and state.get(who) != state["rounds"]:
                state[who] = state["rounds"]
                meet.wait()
            return evaluate(window, cache, want) if want is not None else evaluate(window, cache)

        model.evaluate = together
        return model

    target, draft = meeting(TableModel.random(V, seed=1), "target"), meeting(TableModel.random(V, seed=1), "draft")

    def count(loop) -> None:
        state["rounds"] = loop.rows[0].counters.rounds if loop.rows and loop.rows[0].remaining > 5 else 0

    row = decode(target, [[0, 1]], drafter=Pearl(draft, 2), planner=Fixed(9), new_tokens=20, each_round=count)[0]
    assert row.new_tokens == plainly(TARGET, [0, 1], GREEDY, 0, 20)


def sessions(prompts, draft=NEAR, ahead=3):
    drafting = Pearl(draft, ahead).begin(Context(TARGET, SimulatedClock(), lambda name: TARGET))
    rows = [Row(History(prompt), -1, Rule(GREEDY, 0, 0), Limits(99)) for prompt in prompts]
    return drafting, rows, [drafting.open(row) for row in rows]


def test_its_cache_holds_a_beginning_of_the_committed_and_drafted_tokens():
    drafting, (row,), (session,) = sessions([[0, 1, 2]])
    for agreed in (0, 2, 1, 9, 9, 0, 3, 9):
        tree = session.propose(Room(9, 9))
        drafting.wait()
        assert session.drafted[: len(tree)] == tree.tokens
        text = row.history.tokens + session.drafted
        held = [int(key) for key in drafting.small.cache.keys(session.cache_row, 0)[0, :, 0]]
        assert held == text[: len(held)] and len(held) < len(text)
        path = tree.tokens[:agreed]
        last = session.drafted[len(path)] if agreed == 9 else (session.drafted[len(path)] + 1) % V
        beyond = [3, 3] if agreed == 2 else []  # as when another drafter's branch was accepted
        row.history.extend([*path, last, *beyond])
        session.advance(Outcome(tree, list(range(len(path))), [*path, last, *beyond]))
        assert session.history.tokens == row.history.tokens
        assert bool(session.drafted) == (agreed == 9)
        held = [int(key) for key in drafting.small.cache.keys(session.cache_row, 0)[0, :, 0]]
        text = row.history.tokens + session.drafted
        assert held == text[: len(held)] and session.behind >= 1


def test_what_waits_does_not_pile_up_where_little_is_verified():
    drafting, (row,), (session,) = sessions([[0, 1, 2]], draft=TWIN)
    for _ in range(12):
        tree = session.propose(Room(1, 1))
        assert len(tree) <= 1
        drafting.wait()
        assert len(session.drafted) <= 4
        path = tree.tokens
        last = session.drafted[len(path)]
        row.history.extend([*path, last])
        session.advance(Outcome(tree, list(range(len(path))), [*path, last]))


def test_no_room_drafts_nothing_and_forgets_nothing():
    drafting, _, (session,) = sessions([[0, 1, 2]], draft=TWIN)
    session.propose(Room(9, 9))
    drafting.wait()
    before = session.drafted.copy()
    assert len(session.propose(Room(0, 0))) == 0
    drafting.wait()
    assert session.drafted == before


def test_a_fork_has_its_own_draft():
    _, (row,), (session,) = sessions([[0, 1, 2]], draft=TWIN)
    session.propose(Room(9, 9))
    twin = Row(row.history.fork(), -1, row.rule, row.limits)
    copy = session.fork(twin)
    copy.propose(Room(9, 9))
    copy.propose(Room(0, 0))  # the draft has come to its end
    assert (len(session.drafted), len(copy.drafted)) == (3, 6)
    wrong = (session.drafted[0] + 1) % V
    row.history.extend([wrong])
    session.advance(Outcome(session.propose(Room(0, 0)), [], [wrong]))
    assert session.drafted == [] and len(copy.drafted) == 6
    assert copy.propose(Room(9, 9)).tokens == copy.drafted[:6]
    copy.close()
    session.close()


def test_the_number_drafted_follows_the_clock_when_it_is_not_given():
    """As many as take as long as the target's forward: none is measured at first, then the thread's own time."""
    drafting, _, (session,) = sessions([[0, 1, 2]], ahead=0)
    session.propose(Room(9, 9))
    drafting.wait()
    assert len(session.drafted) == 4
    drafting._token_seconds = 0.3
    assert drafting._affordable(0, 1) == 4  # ⌈1.0 / 0.3⌉
    assert drafting._affordable(5, 1) == 5  # ⌈1.5 / 0.3⌉
    drafting._token_seconds = 1e-6
    assert drafting._affordable(0, 1) == 16
    drafting._token_seconds = 50.0
    assert drafting._affordable(0, 1) == 2  # one would be judged beside its drafting, and leave nothing to verify


def test_an_error_in_the_thread_is_raised_where_the_draft_is_awaited():
    broken = TableModel(V, lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        decode(TARGET, [[0, 1]], drafter=Pearl(broken, 2), new_tokens=5)


def test_rows_join_and_leave():
    prompts = [[0, 1, 2], [3], [2, 2, 1, 0, 3, 1]]
    rows = decode(TARGET, prompts, drafter=Pearl(NEAR, 3), new_tokens=[5, 30, 12], pipeline=SAMPLED, seed=2)
    assert [row.new_tokens for row in rows] == [
        plainly(TARGET, prompt, SAMPLED, 2, length) for prompt, length in zip(prompts, [5, 30, 12], strict=True)
    ]


def test_mistakes():
    with pytest.raises(InvalidRequest):
        Pearl(ahead=-1)
    with pytest.raises(Unsupported, match="the target itself"):
        Pearl(TARGET).begin(Context(TARGET, SimulatedClock(), lambda name: TARGET))
    with pytest.raises(Unsupported, match="tokens"):
        Pearl(TableModel.random(9, seed=1)).begin(Context(TARGET, SimulatedClock(), lambda name: TARGET))
    assert method.parse("pearl(ahead=5)+fixed(16)").draft == Pearl(ahead=5)


def test_a_draft_that_is_as_slow_as_the_target_is_still_verified():
    """Two tokens a round where the target's forward leaves time for one."""
    drafting, (row,), (session,) = sessions([[0, 1, 2]], draft=TWIN, ahead=0)
    drafting._token_seconds = 10.0
    assert session.propose(Room(16, 16)).tokens == []
    drafting.wait()
    assert len(session.drafted) == 2
    row.history.extend(session.drafted[:1])
    session.advance(Outcome(Tree(), [], session.drafted[:1]))
    assert len(session.propose(Room(16, 16))) == 1
    session.close()


def test_the_thread_ends_with_the_last_row():
    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("pearl")]

    gc.collect()  # rows of other tests that were dropped in the middle
    for thread in threading.enumerate():
        if thread.name.startswith("pearl"):
            thread.join(5)
    before, seen = threads(), []
    decode(
        TARGET,
        [[0, 1, 2], [3]],
        drafter=Pearl(NEAR, 3),
        planner=Fixed(9),
        new_tokens=(8, 14),
        each_round=lambda loop: seen.append(len(threads()) - len(before)),
    )
    assert max(seen) == 1 and threads() == before
