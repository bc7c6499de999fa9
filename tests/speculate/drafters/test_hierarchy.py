from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from laws.worlds import adversaries, decode, plainly
from speculate.drafters.growing import (
    GREEDY,
    OTHER,
    SMALL,
    STEERED,
    TARGET,
    WARM,
    V,
    Watched,
    begin,
    commit,
    drafts,
    held,
    row_of,
)
from stretto import method
from stretto.context import Context
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.contract import Ability, Want
from stretto.models.table import TableModel
from stretto.speculate.contract import Drafter, Drafting, DraftSession, Room
from stretto.speculate.drafters.dyspec import DySpec
from stretto.speculate.drafters.hierarchy import Hierarchy
from stretto.speculate.drafters.lookup import Lookup
from stretto.speculate.drafters.model import DraftModel
from stretto.speculate.drafters.recycle import Recycle
from stretto.speculate.drafters.sampled import Sampled
from stretto.speculate.drafters.tree import DraftTree
from stretto.speculate.planners.fixed import Fixed
from stretto.tree import NodeKind, Tree

INNER = {
    "lookup": Lookup(matches=2),
    "draft": DraftModel(OTHER),
    "itself": DraftModel(SMALL),
    "tree": DraftTree(2, model=OTHER),
    "drawn": DySpec(model=OTHER),
    "observing": Recycle(),
    "hierarchy": Hierarchy(Lookup(), OTHER, least=2),
    **{name: drafter for name, drafter in adversaries(V).items() if name != "riders"},
}


@pytest.mark.parametrize("pipeline", [GREEDY, WARM, STEERED], ids=["greedy", "sampled", "steered"])
@pytest.mark.parametrize("inner", INNER.values(), ids=INNER)
def test_the_chain_is_what_the_middle_model_would_draft_alone(inner, pipeline):
    """Whoever drafts for it; and as long as promised."""
    alone, drafting = begin(DraftModel(SMALL)), begin(Hierarchy(inner, SMALL, least=5, nodes=6, depth=2))
    rows = [row_of(tokens, pipeline, seed) for seed, tokens in enumerate(([0, 1, 2], [3], [1, 1, 2, 2]))]
    mine, theirs = ([each.open(row) for row in rows] for each in (drafting, alone))
    for turn in range(4):
        trees = drafting.propose(mine, [Room(9, 9)] * 3)
        for at, expected in enumerate(alone.propose(theirs, [Room(9, 9)] * 3)):
            tree, row = trees[at], rows[at]
            assert tree.is_chain and 5 <= len(tree) <= 4 + 2 + 1
            assert tree.tokens == expected.tokens[: len(tree)]
            before = list(row.history.tokens)
            commit(row, mine[at], tree, turn - 1, turn)
            committed = row.history.tokens[len(before) :]
            theirs[at].draft.advance(committed)


@pytest.mark.parametrize("inner", [DraftModel(OTHER), DraftTree(2, model=OTHER)], ids=["draft", "tree"])
@pytest.mark.parametrize("pipeline", [GREEDY, WARM], ids=["greedy", "sampled"])
def test_both_caches_follow_the_row(inner, pipeline):
    """Also where the target rejects what the middle model accepted."""
    drafting = begin(Hierarchy(inner, SMALL, least=4, depth=2))
    row = row_of([0, 1, 2], pipeline, 1)
    session = drafting.open(row)
    for turn in range(10):
        (tree,) = drafting.propose([session], [Room(8, 8)])
        commit(row, session, tree, turn % (len(tree) + 1) - 1, turn % V)
        middle, below = drafts(session)
        for draft in (middle, below):
            assert held(draft) == row.history.tokens[: len(held(draft))]
        agreed = turn % (len(tree) + 1)
        assert len(held(middle)) == len(row.history.tokens) - 1 - (agreed == len(tree))  # its own last token is not
    assert len(drafting.inner.small.cache.rows) <= 2  # forks were given back


def test_a_middle_model_that_is_drafted_for_well_needs_few_forwards():
    """A perfect inner drafter of depth 3: four tokens per forward of the middle model."""
    middle = Watched(SMALL)
    drafting = begin(Hierarchy(DraftModel(SMALL), middle, least=8, nodes=9, depth=3))
    (tree,) = drafting.propose([drafting.open(row_of([0, 1]))], [Room(9, 9)])
    assert len(tree) == 8 and middle.windows == [2 + 3, 1 + 3]
    hopeless = Watched(SMALL)
    drafting = begin(Hierarchy(Lookup(), hopeless, least=3))
    (tree,) = drafting.propose([drafting.open(row_of([0]))], [Room(9, 9)])
    assert len(tree) >= 3 and hopeless.windows[0] == 1


@pytest.mark.parametrize(("room", "length"), [(Room(3, 9), 3), (Room(9, 2), 2), (Room(1, 1), 1), (Room(0, 0), 0)])
def test_the_room_is_kept_to(room, length):
    drafting = begin(Hierarchy(DraftModel(SMALL), SMALL, least=6))
    (tree,) = drafting.propose([drafting.open(row_of([0, 1]))], [room])
    assert len(tree) == length


def test_an_end_token_ends_the_chain():
    for token in range(V):
        drafting = begin(Hierarchy(DraftModel(OTHER), SMALL, least=9))
        ends = frozenset({token})
        (tree,) = drafting.propose([drafting.open(row_of([0, 1], WARM, 2, ends))], [Room(12, 12)])
        assert token not in tree.tokens[:-1]
        assert tree.tokens[-1] == token or len(tree) >= 9


@pytest.mark.parametrize("inner", INNER.values(), ids=INNER)
def test_the_output_is_that_of_plain_decoding(inner):
    """Rows of unequal length, a limit within a chain."""
    prompts = [[3], [2, 2, 1, 0, 3, 1]]
    drafter = Hierarchy(inner, SMALL, least=3, nodes=5)
    rows = decode(TARGET, prompts, drafter=drafter, planner=Fixed(6), pipeline=STEERED, seed=7, new_tokens=11)
    assert [row.new_tokens for row in rows] == [plainly(TARGET, prompt, STEERED, 7, 11) for prompt in prompts]


@dataclass
class Note:
    """What a session was told."""

    kind: str
    tokens: list[int]  # the history at that moment
    what: object


class Watching(DraftSession):
    """Guesses one token, and notes what it is told; the notes of its forks stand among its own."""

    def __init__(self, row, notes):
        self.row, self.notes = row, notes

    def prime(self, evaluation, start):
        self.notes.append(Note("prime", list(self.row.history.tokens), (start, evaluation.logits.tolist())))

    def propose(self, room):
        return Tree.chain([len(self.row.history.tokens) % V][: room.nodes])

    def advance(self, outcome):
        self.notes.append(Note("advance", list(self.row.history.tokens), outcome))

    def fork(self, row):
        self.notes.append(Note("fork", list(row.history.tokens), None))
        return Watching(row, self.notes)


class Observer(Drafter):
    name = "observer"

    def __init__(self) -> None:
        self.notes: list[Note] = []

    def begin(self, context: Context) -> Drafting:
        assert context.target is SMALL
        drafting = Drafting(self, lambda row: Watching(row, self.notes))
        drafting.want = drafting.of_prompt = Want()
        return drafting


def test_the_inner_drafter_learns_from_the_middle_model():
    """It sees the prompt's logits, those of each inner tree, and in the end what the target made of its first one."""
    observer = Observer()
    row = row_of([0, 1, 2])
    session = begin(Hierarchy(observer, SMALL, least=3)).open(row)
    assert [note.what for note in observer.notes] == [(0, [SMALL.rule((0,)), SMALL.rule((0, 1))])]
    observer.notes.clear()
    tree = session.propose(Room(9, 9))
    commit(row, session, tree, 0, V - 1 if tree.tokens[1] != V - 1 else 0)
    *inner, last = observer.notes
    assert inner[0].kind == "fork" and inner[0].tokens == [0, 1, 2]  # before the fork learns anything
    text = [0, 1, 2]
    for note in inner[1:]:
        guess = len(text) % V
        assert note.what.tree.tokens == [guess]
        assert note.what.logits.tolist() == [SMALL.rule(tuple(text)), SMALL.rule((*text, guess))]
        text += note.what.committed
        assert note.tokens == text == [0, 1, 2, *tree.tokens][: len(text)] and len(text) > 3
    assert len(inner) > 1
    assert last.kind == "advance" and last.tokens == row.history.tokens
    assert last.what.tree.tokens == [3] and last.what.committed == row.history.tokens[3:]
    assert last.what.path == ([0] if row.history.tokens[3] == 3 else [])
    assert last.what.logits.tolist() == [SMALL.rule((0, 1, 2)), SMALL.rule((0, 1, 2, 3))]


def test_it_wins_where_wide_windows_of_the_target_are_dear():
    """By simulated costs: 1 + 0.03 (n - 1) for n tokens, as with 4-bit weights. At 1 for any n the tree wins."""

    def mixed(weight: float, seed: int) -> Watched:
        other = TableModel.random(12, seed)
        pairs = lambda path: zip(large.rule(path), other.rule(path), strict=True)  # noqa: E731
        return Watched(TableModel(12, lambda path: [a + weight * b for a, b in pairs(path)]))

    large = TableModel.random(12, seed=1)
    middle, low = mixed(0.25, 2), mixed(0.8, 3)
    seconds = {}
    for name, drafter, plan in (
        ("tree", DraftTree(10, model=low), Fixed(60, 6)),
        ("hierarchy", Hierarchy(DraftTree(10, model=low), middle, least=6, nodes=30, depth=3), Fixed(10)),
    ):
        middle.windows.clear()
        low.windows.clear()
        counters = decode(large, [[0, 1]], drafter=drafter, planner=plan, new_tokens=40)[0].counters
        drafting = 0.1 * len(middle.windows) + 0.02 * len(low.windows)
        for slope in (0.03, 0.0):
            seconds[name, slope] = counters.rounds + slope * counters.drafted + drafting
    assert seconds["hierarchy", 0.03] < 0.85 * seconds["tree", 0.03]
    assert seconds["tree", 0.0] < 0.85 * seconds["hierarchy", 0.0]


class Rider(Sampled):
    name: ClassVar[str] = "rider"
    proposals = frozenset({NodeKind.RIDER})


def test_what_the_middle_model_cannot_serve_is_refused():
    with pytest.raises(Unsupported, match="riders") as caught:
        begin(Hierarchy(Rider(OTHER), SMALL))
    assert "lookup" in caught.value.hint
    chain_only = TableModel.random(V, seed=2)
    chain_only.abilities = Ability.NONE
    begin(Hierarchy(DraftModel(OTHER), chain_only))
    with pytest.raises(Unsupported, match="cannot evaluate trees"):
        begin(Hierarchy(Lookup(matches=2), chain_only))
    for make in (
        lambda: Hierarchy("lookup"),
        lambda: Hierarchy(Lookup(), least=0),
        lambda: Hierarchy(Lookup(), depth=0),
    ):
        with pytest.raises(InvalidRequest) as refused:
            make()
        assert refused.value.hint


def test_its_text_form_nests():
    parsed = method.parse("hierarchy(draft-tree(4,model=zoo/draft),least=4)+fixed(8)")
    assert parsed.draft == Hierarchy(DraftTree(4, model="zoo/draft"), least=4)
    assert method.parse(method.describe(parsed)) == parsed
