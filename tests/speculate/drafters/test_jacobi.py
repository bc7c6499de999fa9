from __future__ import annotations

from collections import deque

import pytest

from laws.worlds import decode, plainly
from speculate.drafters.by_hand import GREEDY, cyclic, play, row_of
from stretto.errors import InvalidRequest
from stretto.models.contract import Ability
from stretto.models.table import TableModel
from stretto.speculate.contract import Outcome, Room
from stretto.speculate.drafters.jacobi import Jacobi, JacobiSession
from stretto.speculate.planners.fixed import Fixed
from stretto.steer.frequency import Frequency
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature
from stretto.tree import ROOT, Siblings, Tree

SAMPLED = Pipeline([Temperature(1.0)])


def session_of(tokens, pipeline=GREEDY, seed=0, **settings):
    row = row_of(tokens, pipeline, seed)
    return row, JacobiSession(Jacobi(**settings), row)


def jacobi_by_definition(best, text: list[int], block: int, rounds: int) -> list[list[int]]:
    """Slow reference: what each forward commits. `best(tokens)` is the choice after a text."""
    text, beyond_block, commits = text.copy(), [], []
    while len(commits) < rounds:
        guesses = beyond_block[: block - 1]
        guesses += [(guesses or text)[-1]] * (block - 1 - len(guesses))
        while guesses and len(commits) < rounds:
            chosen = [best((*text, *guesses[:length])) for length in range(len(guesses) + 1)]
            right = next((at for at, guess in enumerate(guesses) if guess != chosen[at]), len(guesses))
            text += chosen[: right + 1]
            commits.append(chosen[: right + 1])
            after = chosen[
                right + 1 :
            ]  # of the rejected guesses, shifted; the last speaks of the token after the block
            guesses, beyond_block = after[:-1], after[-1:]
    return commits


def test_rounds_are_those_of_the_definition():
    longest = 0
    for seed in range(6):
        model = TableModel.random(4, seed=seed, sharpness=0.7)
        row, session = session_of([1, 2], block=5, start="repeat")
        commits = [play(model, row, session, Room(99, 99)).committed for _ in range(20)]
        assert commits == jacobi_by_definition(
            lambda text, model=model: max(range(4), key=model.rule(text).__getitem__), [1, 2], block=5, rounds=20
        )
        longest = max(longest, *map(len, commits))
    assert longest > 2


@pytest.mark.parametrize("pool", [0, 4])
@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("start", ["random", "repeat"])
def test_blocks_and_recycling_never_change_the_tokens(blocks, pool, start):
    """Also: after i rounds at least i tokens stand, and they are the right ones."""
    model = TableModel.random(5, seed=1)
    for pipeline, seed in ((GREEDY, 0), (SAMPLED, 3), (Pipeline([Frequency(0.5, 0.1), Temperature(0.8)]), 4)):
        expected = plainly(model, [1, 2, 3], pipeline, seed, 40)
        settings = {"block": 4, "blocks": blocks, "ready": 0.5, "pool": pool, "quorum": 1, "start": start}
        row, session = session_of([1, 2, 3], pipeline, seed, **settings)
        for turn in range(25):
            assert len(row.new_tokens) >= turn
            assert row.new_tokens[:40] == expected[: len(row.new_tokens)]
            play(model, row, session, Room(30, 9))


def test_a_guess_is_the_rows_own_choice():
    """Where the text does not matter, every guess is right at once, though the draws are by chance."""
    model = TableModel(6, lambda path: [0.3, 1.0, 0.5, 0.0, 0.8, 0.2])
    row, session = session_of([1], SAMPLED, seed=5, block=6, start="repeat")
    first = play(model, row, session, Room(99, 99))
    second = play(model, row, session, Room(99, 99))
    assert len(first.committed) < 6
    assert second.path == list(range(len(second.tree)))
    assert len(set(row.new_tokens)) > 1  # not an argmax


def test_a_small_room_shows_the_beginning_and_keeps_the_rest():
    model = cyclic(9, 9)
    row, session = session_of([0], block=9, start="repeat")
    session.propose(Room(9, 9))
    session.guesses[:] = [5, 5, 5, 5, 7, 7, 7, 7]
    outcome = play(model, row, session, Room(3, 9))
    assert (outcome.tree.tokens, outcome.committed) == ([5, 5, 5], [1])
    assert session.guesses == [6, 6, 6, 7, 7, 7, 7]
    outcome = play(model, row, session, Room(9, 2))
    assert (outcome.tree.tokens, outcome.committed) == ([6, 6], [2])
    assert session.guesses == [7, 7, 7, 7, 7, 7]
    row.history.extend([3, 4])
    session.advance(Outcome(Tree(), [], [3, 4]))  # a round in which nothing was drafted
    assert session.guesses == [7, 7, 7, 7]
    assert session.propose(Room(9, 9)).tokens == [7, 7, 7, 7]  # the block still ends at position 8


def test_a_pseudo_block_begins_when_the_newest_is_nearly_settled():
    row, session = session_of([0], block=4, blocks=3, ready=0.75, start="repeat")
    model = cyclic(50, 50)
    assert session.propose(Room(99, 99)).tokens == [0, 0, 0]
    sizes = []
    for _ in range(6):
        sizes.append((len(row.history.tokens), len(play(model, row, session, Room(99, 99)).tree)))
    # The first block spans positions 0 to 3. With 1 and 2 known it is ready, so positions 4 to 7 join, and so on.
    assert sizes[:4] == [(1, 3), (2, 2), (3, 5), (4, 4)]
    assert row.history.tokens == list(range(7))
    one, alone = session_of([0], block=4, blocks=1, ready=0.5, start="repeat")
    assert [len(play(model, one, alone, Room(99, 99)).tree) for _ in range(5)] == [3, 2, 1, 3, 2]


def test_a_pseudo_block_is_settled_by_its_own_unchanged_beginning():
    row, session = session_of([9], block=4, blocks=3, ready=0.75, start="repeat")
    session.propose(Room(99, 99))
    session._ends = [3, 7]  # of a real block and a pseudo block, whose first token has guess number 3
    chain = [1, 2, 3, 4, 5, 6, 7]
    row.history.extend([1])
    session._settle(chain[1:], [0, 0, 4, 5, 0, 0])  # after the new root: 2, 3 | 4, 5, 6, 7
    assert session._ends == [3, 7]
    session._settle(chain[1:], [0, 0, 0, 5, 6, 0])  # its first token is taken as it is; two more are unchanged
    assert session._ends == [3, 7, 11]
    session._settle(chain[1:], [0, 0, 0, 5, 6, 0])
    assert session._ends == [3, 7, 11]  # no more than three


def test_recycled_tails_stand_beside_the_block():
    _, session = session_of([3], block=4, pool=3, quorum=2, start="repeat")
    session.guesses = [2, 2, 2]
    session.tails = deque([[1, 3, 5, 6], [7, 7], [7, 3, 8, 9, 3, 4]], maxlen=3)
    tree = session.propose(Room(99, 99))
    tree.check()
    leaves = {tuple(tree.path_tokens(node)) for node in range(len(tree)) if not tree.children(node)}
    assert leaves == {(2, 2, 2), (8, 9, 3), (5, 6, 2)}  # cut, or lengthened by the block's own
    small = session.propose(Room(4, 99))
    assert (small.tokens, small.depths) == ([2, 8, 5, 2], [1, 1, 1, 2])
    session.tails.popleft()
    assert session.propose(Room(99, 99)).is_chain  # one alone is not enough
    lenient = JacobiSession(Jacobi(block=4, pool=3, quorum=1, start="repeat"), session.row)
    lenient.guesses, lenient.tails = session.guesses.copy(), session.tails
    assert not lenient.propose(Room(99, 99)).is_chain


def test_iteration_goes_on_from_the_chain_that_was_accepted():
    """The best of block and tails is kept, and the rejected rest of it enters the pool."""
    model = cyclic(20, 20)
    row, session = session_of([3], block=5, pool=2, quorum=1, start="repeat")
    session.guesses = [9, 9, 9, 9]
    session.tails = deque([[3, 4, 5, 1]], maxlen=2)
    outcome = play(model, row, session, Room(99, 99))
    assert outcome.committed == [4, 5, 6]
    assert session.guesses == [2, 10]  # after 1 and after the block's own 9
    assert list(session.tails) == [[3, 4, 5, 1], [2, 10]]


def test_what_it_needs():
    assert Jacobi().needs is Ability.NONE and Jacobi().siblings is Siblings.NONE
    assert Jacobi(pool=4).needs is Ability.TREE and Jacobi(pool=4).siblings is Siblings.DISTINCT


def test_random_guesses_are_of_the_prompt():
    row, session = session_of([4, 7, 7], block=30)
    row.history.extend([1, 2, 3])
    tree = session.propose(Room(99, 99))
    assert len(tree) == 29 and set(tree.tokens) == {4, 7}
    assert tree.parents[0] == ROOT


def test_a_fork_is_independent_and_alone_is_as_in_a_batch():
    model = TableModel.random(9, seed=2)
    settings = {"block": 5, "blocks": 2, "pool": 3, "quorum": 1}
    row, session = session_of([1, 2, 3], **settings)
    for _ in range(4):
        play(model, row, session, Room(99, 99))
    copy = session.fork(row_of(row.history.tokens))
    kept = (copy.guesses.copy(), list(copy.tails), copy._ends.copy())
    for _ in range(4):
        play(model, row, session, Room(99, 99))
    assert (copy.guesses, list(copy.tails), copy._ends) == kept
    prompts = [[1, 2, 3], [4], [5, 5]]
    together = decode(model, prompts, drafter=Jacobi(**settings), planner=Fixed(12), new_tokens=[15, 9, 20])
    for prompt, new, both in zip(prompts, (15, 9, 20), together, strict=True):
        alone = decode(model, [prompt], drafter=Jacobi(**settings), planner=Fixed(12), new_tokens=new)[0]
        assert [(s.drafted, s.parents) for s in alone.steps] == [(s.drafted, s.parents) for s in both.steps]


@pytest.mark.parametrize(
    "settings", [{"block": 1}, {"blocks": 0}, {"ready": 0}, {"ready": 1.1}, {"pool": -1}, {"quorum": 0}, {"start": "x"}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(InvalidRequest, match="jacobi"):
        Jacobi(**settings)
