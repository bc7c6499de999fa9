from __future__ import annotations

import json

import pytest

from laws.worlds import adversaries, decode
from stretto.diagnose.metrics import Metrics, Share, metrics, metrics_of_records
from stretto.errors import InvalidRequest
from stretto.generation import Counters, Generation, Step
from stretto.models.table import TableModel
from stretto.tree import ROOT

V = 4


def answer(*steps, forwards=None, **more):
    tokens = [token for step in steps for token in step.committed]
    counters = Counters(row_forwards=len(steps) if forwards is None else forwards)
    return Generation("", tokens, "length", [0], counters, list(steps), **more)


TREE = Step(  # 5 and 6 under the root, 7 and 8 under 6, 9 under 8
    position=1,
    committed=[6, 8, 3],
    sources=["a", "b", ""],
    drafted=[5, 6, 7, 8, 9],
    parents=[-1, -1, 1, 1, 3],
    drafters=["a", "a", "b", "b", "b"],
    accepted=[1, 3],
)
NOTHING = Step(position=4, committed=[2], sources=[""])
MISSED = Step(position=5, committed=[1], sources=[""], drafted=[4], parents=[-1], drafters=["a"])


def test_by_hand():
    found = metrics([answer(TREE, NOTHING, MISSED)])
    assert (found.rounds, found.new_tokens, found.drafted, found.accepted) == (3, 5, 6, 2)
    assert found.block_efficiency == pytest.approx(5 / 3) and found.acceptance == pytest.approx(2 / 6)
    assert found.by_depth == {1: Share(1, 2), 2: Share(1, 1), 3: Share(0, 1)}
    assert found.by_rank == {1: 2}
    assert found.by_source == {"a": Share(1, 3), "b": Share(1, 3)}
    assert found.written_by == {"a": 1, "b": 1, "": 3}
    assert (found.draft_depths, found.nodes_per_token, found.drafts_per_token) == (4, 6 / 5, 4 / 5)
    assert found.simulated_ratio(0.1) == pytest.approx(5 / 3.4) and found.simulated_ratio(0) == pytest.approx(5 / 3)


def test_a_row_that_ends_on_a_drafted_token_asks_no_further():
    ended = Step(
        position=1,
        committed=[6, 8],
        sources=["a", "a"],
        drafted=[6, 8, 9],
        parents=[-1, 0, 1],
        drafters=["a"] * 3,
        accepted=[0, 1],
    )
    assert metrics([answer(ended)]).by_depth == {1: Share(1, 1), 2: Share(1, 1)}


def test_of_nothing():
    found = metrics([answer(TREE, error=ValueError())])
    assert found == Metrics() and found.block_efficiency == found.acceptance == found.simulated_ratio(0.1) == 0.0


@pytest.mark.parametrize("name", ["random tree", "random chain", "every token", "nothing"])
def test_the_identity_and_depths_on_real_traces(name):
    """Committed = accepted + rounds − what the ends cut off; rates by depth against a slow count over the trees."""
    rows = decode(
        TableModel.random(V, seed=1), [[0, 1, 2], [3], [2, 2, 1]], drafter=adversaries(V)[name], new_tokens=40
    )
    answers = [
        Generation(
            "", row.new_tokens, "length", row.history.tokens[: row.history.prompt_length], row.counters, row.steps
        )
        for row in rows
    ]
    found = metrics(answers)
    cut = sum(1 + len(step.accepted) - len(step.committed) for row in rows for step in row.steps)
    assert found.new_tokens == found.accepted + found.rounds - cut == 120
    assert found.block_efficiency == pytest.approx(
        sum(row.counters.new_tokens for row in rows) / sum(row.counters.row_forwards for row in rows)
    )
    slow: dict[int, list[bool]] = {}
    for step in (step for row in rows for step in row.steps):
        node = ROOT
        for depth, token in enumerate(step.committed, start=1):
            children = [at for at, parent in enumerate(step.parents) if parent == node]
            if not children:
                break
            right = [at for at in children if step.drafted[at] == token]
            slow.setdefault(depth, []).append(bool(right))
            if not right:
                break
            node = right[0]
    assert {depth: (sum(hits), len(hits)) for depth, hits in slow.items()} == {
        depth: (share.hits, share.tried) for depth, share in found.by_depth.items()
    }


def test_saved_traces_give_the_same(tmp_path):
    given = [answer(TREE, NOTHING), answer(MISSED, forwards=4)]
    records = []
    for at, each in enumerate(given):
        each.save_trace(tmp_path / f"{at}.json")
        records.append(json.loads((tmp_path / f"{at}.json").read_text(encoding="utf-8")))
    records[0]["steps"][0]["later"] = 1  # a field of another version
    assert metrics_of_records(records) == metrics(given)
    assert metrics(given).forwards == 6
    assert json.loads(json.dumps(metrics(given).record()))["accepted_by_rank"] == {"1": 2}


@pytest.mark.parametrize("record", [{}, {"steps": [{"position": 1}], "counters": {}}, {"steps": 3, "counters": {}}])
def test_what_is_no_trace(record):
    with pytest.raises(InvalidRequest, match="no trace"):
        metrics_of_records([record])
