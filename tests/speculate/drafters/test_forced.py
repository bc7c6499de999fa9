from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from laws.worlds import decode, plainly
from speculate.drafters.by_hand import row_of
from stretto import method
from stretto.context import Context
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.speculate.contract import Room
from stretto.speculate.drafters.forced import Forced, FromTemplate
from stretto.speculate.planners.fixed import Fixed
from stretto.speculate.script import HOLE, Template
from stretto.steer.contract import Stage, Steer
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature

A, B, C, D, E = range(5)
V = 5
WIDE = Room(99, 99)


def state_after(pattern, tokens):
    state = Template(pattern).open()
    for token in tokens:
        state.advance(token)
    return list(state.forced())


@pytest.mark.parametrize(
    ("pattern", "tokens", "forced"),
    [
        ((A, B, HOLE, C, D), [], [A, B]),
        ((A, B, HOLE, C, D), [A], [B]),
        ((A, B, HOLE, C, D), [A, B], []),
        ((A, B, HOLE, C, D), [A, B, E, E], []),
        ((A, B, HOLE, C, D), [A, B, E, C], [D]),
        ((A, B, HOLE, C, D), [A, B, C], [D]),  # a hole may be empty
        ((A, B, HOLE, C, D), [A, B, C, D], []),
        ((A, B, HOLE, C, D), [A, B, C, D, C], []),  # beyond the end nothing is known
        ((A, B, HOLE, C, D), [A, B, C, E], []),  # not the end of the hole after all …
        ((A, B, HOLE, C, D), [A, B, C, E, C], [D]),  # … this is
        ((A, B, HOLE, C, D), [A, B, C, C], [D]),  # the second one is where it ends
        ((A, B, HOLE, C, D), [A, E], []),  # before the first hole: off the template for good
        ((A, B, HOLE, C, D), [A, E, B, C], []),
        ((HOLE, C, HOLE, D, E), [A, C, B, D], [E]),
        ((HOLE, C, HOLE, D, E), [A, C, B, D, A, D], [E]),
        ((HOLE,), [A], []),
        ((), [A], []),
    ],
)
def test_a_template_knows_its_fixed_parts(pattern, tokens, forced):
    assert state_after(pattern, tokens) == forced


def test_what_is_forced_is_drafted_and_a_copy_goes_its_own_way():
    here = Context(TableModel.random(V, 0), SimulatedClock(), lambda name: None)
    row = row_of([E, C])
    session = FromTemplate((A, B, HOLE, C, D, E)).begin(here).open(row)
    assert session.propose(WIDE).tokens == [A, B] and session.propose(Room(1, 9)).tokens == [A]
    row.history.extend([A, B, C])
    assert session.propose(WIDE).tokens == [D, E] and set(session.propose(WIDE).sources) == {"template"}
    twin = row_of([E, C])
    twin.history.extend([A, B, C])
    copy = session.fork(twin)
    row.history.extend([D])
    twin.history.extend([B])
    assert copy.propose(WIDE).tokens == [] and session.propose(WIDE).tokens == [E]  # in whichever order


@dataclass(frozen=True)
class Pairs:
    """A toy constraint: every second token of an answer is one more than the token before it."""

    prompt: int

    def open(self):
        return PairsState(None)

    def allowed(self, answer):
        return [(answer[-1] + 1) % V] if len(answer) % 2 else list(range(V))


@dataclass
class PairsState:
    waiting: int | None  # the token that began a pair

    def forced(self):
        return [] if self.waiting is None else [(self.waiting + 1) % V]

    def advance(self, token):
        self.waiting = token if self.waiting is None else None

    def fork(self):
        return PairsState(self.waiting)


@dataclass(frozen=True)
class KeepsPairs(Steer):
    """The same constraint as a mask."""

    pairs: Pairs
    name = "pairs"
    stage = Stage.MASK
    pointwise = False
    idle = False

    def __call__(self, logits, nodes):
        steered = torch.full_like(logits, -torch.inf)
        for line, path in enumerate(nodes.paths):
            allowed = self.pairs.allowed(path.last(len(path))[self.pairs.prompt :])
            steered[line, allowed] = logits[line, allowed]
        return steered

    @classmethod
    def examples(cls):
        return ()


def test_what_a_constraint_forces_is_always_accepted_and_changes_no_token():
    pairs = Pairs(prompt=2)
    model = TableModel.random(V, 6)
    for temperature in (0.0, 1.0):
        pipeline = Pipeline([KeepsPairs(pairs), Temperature(temperature)])
        expected = plainly(model, [A, B], pipeline, 3, 20)
        assert all(expected[at + 1] == (expected[at] + 1) % V for at in range(0, 20, 2))
        row = decode(
            model, [[A, B]], drafter=Forced(pairs), planner=Fixed(4), pipeline=pipeline, seed=3, new_tokens=20
        )[0]
        assert row.new_tokens == expected
        assert row.counters.accepted == row.counters.drafted == 9 and row.counters.rounds == 11


def test_a_template_in_text_form_and_what_is_none():
    template = method.parse("template(5,7,-1,3)")
    assert template.draft == FromTemplate((5, 7, HOLE, 3))
    assert method.parse(method.describe(template)) == template
    for wrong in ((A, "b"), (A, -2), (A, HOLE, HOLE, B)):
        with pytest.raises(InvalidRequest):
            FromTemplate(wrong)
    with pytest.raises(InvalidRequest, match="script is a Script"):
        Forced("x")
    bare = method.parse("forced").draft  # what it drafts is the constraint's, and here is none
    assert decode(TableModel.random(V, 6), [[A, B]], drafter=bare)[0].counters.drafted == 0
    here = Context(TableModel.random(V, 0), SimulatedClock(), lambda name: None)
    with pytest.raises(Unsupported, match="holds token 7"):
        template.draft.begin(Context(here.target, here.clock, here.load))
