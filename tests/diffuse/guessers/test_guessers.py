"""FreeDave and SSD: the same steps as without them, in fewer rounds."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from diffuse.canvases import answer, context
from laws.test_diffusion import NEEDED, parsed
from models.masked_checkpoints import save
from stretto import catalogue, method
from stretto.diffuse.canvas import Canvas, Delta
from stretto.diffuse.guessers.contract import GuessedRow, Guesser, GuesserState
from stretto.errors import InvalidRequest, StrettoError, Unsupported
from stretto.generation import Generation
from stretto.models.load import load
from stretto.models.masked import Masking
from stretto.models.table import ExactJoint, MaskedTable, scripted
from stretto.request import Request
from wide import WIDE

MASK, END = 5, 1
GUESSERS = ["freedave(4)", "freedave(2,eager=false)", "freedave(3,together=false)", "ssd(3)", "ssd(3,reuse=false)"]
GUESSERS += ["ssd(3,width=2)", "ssd(3,width=3,reuse=false)"]
PROMPTS = [[0, 2, 3], [4], [2, MASK, MASK, 3, 0, MASK, 4]]
NEW = 7


def named(kind: str) -> list[str]:
    """Every registered part of a kind, with the file that it needs."""
    return sorted(NEEDED.get(name, name) for name, part in catalogue.parts().items() if part.kind == kind)


def stubborn(words: Sequence[int], mask: int, sure: Sequence[float]) -> MaskedTable:
    """A model that says the same of each position whatever stands elsewhere: perfectly predictable."""

    def says(position: int, seen: dict[int, int]) -> list[float]:
        logits = np.full(mask + 1, math.log((1 - sure[position]) / mask))
        logits[words[position]] = math.log(sure[position])
        return list(logits)

    return MaskedTable(mask + 1, says, Masking(mask))


def leaning(seed: int, masking: Masking = Masking(MASK)) -> MaskedTable:
    """A random model that changes its mind now and then."""
    habit = np.random.default_rng(seed).normal(size=(20, 6)) * 2.5
    moods = MaskedTable.random_masked(6, seed, masking, sharpness=0.8)
    return MaskedTable(6, lambda position, seen: list(habit[position] + moods.says(position, seen)), masking)


def steps(found: Generation) -> list[tuple[Any, ...]]:
    """What a trace says of the decode itself: everything but the time."""
    return [(s.positions, s.committed, s.remasked, s.revised, s.confidence) for s in found.steps]


def same(one: Generation, other: Generation, text: str = "") -> None:
    assert one.tokens == other.tokens and one.finish == other.finish, text
    assert repr(steps(one)) == repr(steps(other)), text  # as text: a confidence may be no number


WORLDS = {
    "bidirectional": leaning(3),
    "shifted": leaning(4, Masking(MASK, shift=True)),
    "block-causal": leaning(5, Masking(MASK, block=4)),
    "shifted block-causal": leaning(6, Masking(MASK, shift=True, block=4)),
}


# -- the hand cases of the catalogue ------------------------------------------------------------------


def test_the_worked_example_takes_two_rounds() -> None:
    """Blank predicts a(.9) b(.8) x(.7); after a and b, c. So a, b, c in three calls, or in two rounds."""
    a, b, c, x, mask = range(5)

    def sure(token: int, probability: float) -> list[float]:
        rest = (1 - probability) / 3
        return [rest if each != token else probability for each in range(4)] + [0.0]

    even = [0.25] * 4 + [0.0]
    first = [sure(a, 0.9), sure(b, 0.8), sure(x, 0.7)]
    script = {
        (mask, mask, mask): first,
        (a, mask, mask): [even, sure(b, 0.8), sure(c, 0.7)],
        (a, b, mask): [even, even, sure(c, 0.9)],
        (a, b, x): [even, even, even],
    }
    model = scripted(script, Masking(mask))
    settings = {"max_new_tokens": 3, "end_tokens": ()}
    static = answer(model, [0], "low-confidence", **settings)
    found = answer(model, [0], "low-confidence+freedave(3)", **settings)
    assert static.tokens == [a, b, c] and static.counters.rounds == 3
    same(found, static)
    counters = found.counters
    assert (counters.rounds, counters.row_forwards, counters.drafted, counters.accepted) == (2, 3, 1, 1)
    assert answer(model, [0], "low-confidence+ssd(3)", **settings).counters.rounds == 2


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 8])
def test_a_predictable_model_takes_one_round_and_then_one_a_depth(depth: int) -> None:
    for length in range(1, 9):
        model = stubborn([0] * (length + 1), 4, np.linspace(0.5, 0.9, length + 1).tolist())
        settings = {"max_new_tokens": length, "end_tokens": ()}
        static = answer(model, [0], "low-confidence", **settings)
        for text in (f"freedave({depth})", f"ssd({depth})"):
            found = answer(model, [0], f"low-confidence+{text}", **settings)
            same(found, static)
            assert found.counters.rounds == 1 + math.ceil((length - 1) / depth)


def test_a_round_of_its_own_for_drafting_goes_one_further_in_two_rounds() -> None:
    model = stubborn([0] * 9, 4, np.linspace(0.5, 0.9, 9).tolist())
    settings = {"max_new_tokens": 8, "end_tokens": ()}
    found = answer(model, [0], "low-confidence+ssd(3,reuse=false)", **settings)
    assert found.counters.rounds == 4  # 1, then 3; twice
    assert answer(model, [0], "low-confidence+ssd(3)", **settings).counters.rounds == 4  # 1, 3, 3, 1


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("refresh", ["recompute", "dual-cache", "prefix-cache"])
def test_an_eager_round_goes_on_in_the_next_block(size: int, refresh: str) -> None:
    model = stubborn([0] * 9, 4, np.linspace(0.9, 0.5, 9).tolist())
    settings = {"max_new_tokens": 8, "end_tokens": ()}
    text = f"low-confidence+blocks({size})+{refresh}"
    static = answer(model, [0], text, **settings)
    eager, held = (answer(model, [0], f"{text}+freedave(4,eager={each})", **settings) for each in ("true", "false"))
    same(eager, static)
    same(held, static)
    assert eager.counters.rounds <= held.counters.rounds < static.counters.rounds
    if refresh == "recompute":  # known beyond the block: only the first round and the depth count
        assert eager.counters.rounds == 3 < held.counters.rounds
    else:  # the second step of a block reads what the first one is to compute: nothing is foreseen beyond that
        assert eager.counters.rounds == held.counters.rounds


@pytest.mark.parametrize("text", ["freedave(1)", "ssd(0)", "ssd(1)"])
def test_the_least_setting_is_static_decoding_in_rounds_too(text: str) -> None:
    model, prompts = many_models(4, 6)
    static = answer(model, prompts, "low-confidence", max_new_tokens=6)
    for found, other in zip(answer(model, prompts, f"low-confidence+{text}", max_new_tokens=6), static, strict=True):
        same(found, other)
        assert found.counters.rounds == other.counters.rounds and not found.counters.drafted
        assert found.counters.token_forwards == other.counters.token_forwards


# -- equality -------------------------------------------------------------------------------------------


def many_models(seed: int, size: int) -> tuple[MaskedTable, list[list[int]]]:
    """One leaning model for each of 25 prompts: side by side in a batch, a row is decoded by a model of its own."""
    prompts = [list(each) for each in itertools.product(range(5), repeat=3)][:50:2]
    habits = np.random.default_rng(seed).normal(size=(5, 5, 5, 3 + size, 6)) * 2.5
    moods = MaskedTable.random_masked(6, seed, Masking(MASK), sharpness=0.8)

    def says(position: int, seen: dict[int, int]) -> list[float]:
        return list(habits[seen[0], seen[1], seen[2], position] + moods.says(position, seen))

    return MaskedTable(6, says, Masking(MASK)), prompts


@pytest.mark.parametrize("order", ["low-confidence({})", "ranked(steps={})", "ranked(by=margin,steps={})"])
def test_equal_to_static_decoding_on_a_hundred_models(order: str) -> None:
    """One token a step and two, with blocks and without; the same rounds with either name where there is one block."""
    cases = [(6, "", 3), (3, "", 2), (6, "+blocks(3)", 5), (3, "+blocks(3)", 2)]
    for seed, (steps, blocks, depth) in enumerate(cases):
        model, prompts = many_models(seed, 6)
        settings = {"max_new_tokens": 6, "end_tokens": ()}
        text = order.format(steps) + blocks
        static = answer(model, prompts, text, **settings)
        rounds = []
        for guesser in (f"freedave({depth})", f"ssd({depth})"):
            found = answer(model, prompts, f"{text}+{guesser}", **settings)
            for one, other in zip(found, static, strict=True):
                same(one, other, f"{text}+{guesser}")
                assert one.counters.rounds <= other.counters.rounds
            rounds.append([each.counters.rounds for each in found])
        assert sum(rounds[0]) < sum(each.counters.rounds for each in static)
        assert blocks or rounds[0] == rounds[1]
        assert len({tuple(each.tokens) for each in static}) > 20  # they are many models


def combinations() -> Iterator[list[str]]:
    """Every combination, in an order that mixes them."""
    every = list(itertools.product(*map(named, ("order", "blocks", "refresh", "stop"))))
    random.Random(1).shuffle(every)
    yield from map(list, every)


def fits(text: str, model: MaskedTable, pipeline: Any) -> bool:
    try:
        method.check(parsed(text), model, pipeline)
    except StrettoError as error:
        assert error.hint
        return False
    return True


@pytest.mark.parametrize("world", WORLDS)
def test_equal_with_every_part_that_fits(world: str) -> None:
    """Sampled with a seed, in a batch of unequal prompts: each row's steps are those without a guesser."""
    model, saved, times = WORLDS[world], 0, 2 if WIDE else 1
    tried: Counter[str] = Counter()
    settings: dict[str, Any] = {"temperature": 0.8, "seed": 5, "max_new_tokens": NEW, "end_tokens": [END]}
    pipeline = Request(temperature=0.8).pipeline(frozenset([END]))
    for number, parts in enumerate(combinations()):
        text = "+".join(parts)
        if min(tried[part] for part in parts) >= times or not fits(text, model, pipeline):
            continue
        guesser = GUESSERS[number % len(GUESSERS)]
        if not fits(f"{text}+{guesser}", model, pipeline):
            continue
        static = answer(model, PROMPTS, text, **settings)
        found = answer(model, PROMPTS, f"{text}+{guesser}", **settings)
        for one, other in zip(found, static, strict=True):
            same(one, other, f"{text}+{guesser}")
            assert one.counters.rounds <= other.counters.rounds
            saved += other.counters.rounds - one.counters.rounds
        tried.update(parts)
    assert tried and saved


def test_a_perfect_model_of_a_joint_is_sampled_as_it_is_without() -> None:
    joint = torch.zeros(2, 2, 2, 2)
    joint[0, 0, 0, 0] = joint[1, 1, 1, 1] = joint[0, 1, 0, 1] = 1.0
    model = ExactJoint(joint)
    settings = {"samples": 30, "temperature": 1.0, "max_new_tokens": 4, "end_tokens": ()}
    for order in ("random-order", "low-confidence"):
        static = answer(model, [[0]], order, **settings)
        found = answer(model, [[0]], f"{order}+freedave(4)", **settings)
        for one, other in zip(found, static, strict=True):
            same(one, other)
        assert sum(each.counters.rounds for each in found) < sum(each.counters.rounds for each in static)
        assert len({tuple(each.tokens) for each in found}) == 3


@dataclass(frozen=True, slots=True)
class Liar(Guesser):
    """Foresees nonsense."""

    together: bool = True
    name: ClassVar[str] = "liar"

    def open(self, canvas: Canvas, context: Any) -> GuesserState:
        return LiarState()


class LiarState(GuesserState):
    def next(self, future: GuessedRow) -> Delta | None:
        free = future.canvas.masks(future.window)
        return Delta({int(free[-1]): 4}) if len(free) > 1 and future.steps < 3 else None


def test_a_wrong_guesser_changes_nothing() -> None:
    for rest in ("", "+blocks(3)+dual-cache", "+cfg(0.5)"):
        parts = method.parse(f"low-confidence{rest}")
        static = answer(WORLDS["bidirectional"], PROMPTS, parts, max_new_tokens=NEW, end_tokens=())
        found = answer(
            WORLDS["bidirectional"], PROMPTS, replace(parts, guesser=Liar()), max_new_tokens=NEW, end_tokens=()
        )
        for one, other in zip(found, static, strict=True):
            same(one, other)
        assert sum(each.counters.drafted - each.counters.accepted for each in found) > 0


@dataclass(frozen=True, slots=True)
class Timid(Liar):
    """Foresees one position at a time, where the order fills several."""

    name: ClassVar[str] = "timid"

    def open(self, canvas: Canvas, context: Any) -> GuesserState:
        return TimidState()


class TimidState(GuesserState):
    def next(self, future: GuessedRow) -> Delta | None:
        commit = future.choose().commit
        return Delta(dict([min(commit.items())])) if future.steps < 4 else None


def test_a_canvas_reached_in_fewer_steps_than_foreseen_has_the_draws_of_those_steps() -> None:
    """Once the first position is filled two more are sure, and filled at once; of the rest anything may be drawn."""

    def says(position: int, seen: dict[int, int]) -> list[float]:
        sure = {1: 0.6, 2: 0.5, 3: 0.5}.get(position, 0.2) if seen[1] == MASK else 0.97 if position < 4 else 0.2
        return [math.log(sure), *[math.log((1 - sure) / 4)] * 4, -math.inf]

    model = MaskedTable(6, says, Masking(MASK))
    for seed in range(5):
        settings = {"max_new_tokens": 6, "end_tokens": (), "temperature": 0.1, "seed": seed}
        parts = method.parse("threshold(0.9)")
        static = answer(model, [0], parts, **settings)
        assert [each.positions for each in static.steps[:2]] == [[1], [2, 3]]
        found = answer(model, [0], replace(parts, guesser=Timid()), **settings)
        same(found, static)
        assert found.counters.accepted


def test_guidance_reports_and_streams_go_along() -> None:
    model = WORLDS["bidirectional"]
    settings = {"max_new_tokens": NEW, "end_tokens": (), "temperature": 0.7, "log_probabilities": 2}
    text = "low-confidence+blocks(4)+dual-cache+cfg(0.5)"
    static, found = (answer(model, PROMPTS[0], each, **settings) for each in (text, f"{text}+freedave(3)"))
    same(found, static)
    assert found.log_probabilities == static.log_probabilities


def test_no_row_of_the_cache_is_left_behind() -> None:
    from stretto.row import Limits, Row
    from stretto.steer.choice import Rule
    from stretto.steer.path import History

    model = WORLDS["bidirectional"]
    chosen = method.parse("low-confidence+blocks(3)+dual-cache+freedave(4)")
    loop = chosen.loop(context(model), model.new_cache(1, 4))
    row = Row(History([0, 2]), loop.cache.open(), Rule(Request().pipeline(frozenset()), 0, 0), Limits(NEW))
    loop.add(row)
    while loop.rows:
        loop.step()
        assert len(loop.cache.rows) == len(loop.rows)
        if loop.rows:
            assert row.cache_row in loop.cache.rows


# -- wider trees and the subset rule ------------------------------------------------------------------------


def changing_its_mind() -> MaskedTable:
    """Blank it would fill a, b, c in turn; once a stands it is surest of c."""
    even = [0.25] * 4 + [0.0]

    def sure(token: int, probability: float) -> list[float]:
        return [probability if each == token else (1 - probability) / 3 for each in range(4)] + [0.0]

    a, b, c, mask = 0, 1, 2, 4
    script = {
        (mask, mask, mask): [sure(a, 0.9), sure(b, 0.8), sure(c, 0.7)],
        (a, mask, mask): [even, sure(b, 0.8), sure(c, 0.9)],
        (a, b, mask): [even, even, sure(c, 0.9)],
        (a, mask, c): [even, sure(b, 0.9), even],
    }
    return scripted(script, Masking(mask))


def test_a_wider_tree_also_holds_the_other_ordering() -> None:
    settings = {"max_new_tokens": 3, "end_tokens": ()}
    static = answer(changing_its_mind(), [0], "low-confidence", **settings)
    assert [step.positions for step in static.steps] == [[1], [3], [2]]
    figures = {}
    for width in (1, 2, 3):
        found = answer(changing_its_mind(), [0], f"low-confidence+ssd(3,width={width})", **settings)
        same(found, static)
        figures[width] = (found.counters.rounds, found.counters.row_forwards, found.counters.accepted)
    assert figures == {1: (3, 4, 0), 2: (2, 4, 1), 3: (2, 4, 1)}  # two masks have two orderings


def test_wider_trees_save_rounds_and_cost_rows() -> None:
    rounds: Counter[int] = Counter()
    rows: Counter[int] = Counter()
    for seed in range(10):
        settings = {"max_new_tokens": NEW, "end_tokens": ()}
        static = answer(leaning(seed), [0, 3], "low-confidence+blocks(4)", **settings)
        for width in (1, 2, 3):
            found = answer(leaning(seed), [0, 3], f"low-confidence+blocks(4)+ssd(4,width={width})", **settings)
            same(found, static)
            rounds[width] += found.counters.rounds
            rows[width] += found.counters.row_forwards
    assert rounds[1] > rounds[2] >= rounds[3] and rows[1] < rows[2] < rows[3]


@pytest.mark.parametrize("rest", ["blocks(2)", "adaptive-blocks(2,size=3)"])
def test_other_orderings_end_where_nothing_is_left_for_the_order(rest: str) -> None:
    """Though a stop looks at more than the block, and a block may settle for what the guesses before have filled."""
    model, tried = WORLDS["bidirectional"], 0
    settings: dict[str, Any] = {"temperature": 0.8, "seed": 5, "max_new_tokens": NEW, "end_tokens": ()}
    pipeline = Request(temperature=0.8).pipeline(frozenset())
    for order in [*named("order"), "redundancy(0)", "threshold(0)", "ranked(steps=2)"]:
        text = f"{order}+{rest}+prophet(inf,inf,inf)"
        if fits(f"{text}+ssd(4,width=3)", model, pipeline):
            same(*(answer(model, [0, 2], f"{text}{more}", **settings) for more in ("", "+ssd(4,width=3)")), text)
            tried += 1
    assert tried > 15


def test_the_subset_rule_goes_to_a_canvas_that_holds_a_part_of_a_step() -> None:
    """Blank says a, b, c below the threshold; once a stands b is sure, and x in the place of c; then all is."""
    a, b, c, x, d, mask = range(6)

    def sure(token: int, probability: float) -> list[float]:
        return [probability if each == token else (1 - probability) / 4 for each in range(5)] + [0.0]

    even = [0.2] * 5 + [0.0]
    script = {
        (mask, mask, mask, mask): [sure(a, 0.8), sure(b, 0.7), sure(c, 0.6), sure(x, 0.5)],
        (a, mask, mask, mask): [even, sure(b, 0.95), sure(x, 0.95), sure(x, 0.5)],
        (a, b, mask, mask): [even, even, sure(x, 0.95), sure(d, 0.95)],
        (a, b, c, mask): [even, even, even, sure(x, 0.95)],
        (a, b, x, mask): [even, even, even, sure(d, 0.95)],
    }
    model, settings = scripted(script, Masking(mask)), {"max_new_tokens": 4, "end_tokens": ()}
    exact, subset = (answer(model, [0], f"threshold(0.9)+{text}", **settings) for text in ("freedave(4)", SUBSET))
    assert [step.positions for step in exact.steps] == [[1], [2, 3], [4]] and exact.counters.rounds == 3
    assert [step.positions for step in subset.steps] == [[1], [2], [3, 4]] and subset.counters.rounds == 2
    assert exact.tokens == subset.tokens == [a, b, x, d]


SUBSET = "freedave(4,subset=true)"


@pytest.mark.parametrize("world", WORLDS)
def test_with_one_position_a_step_the_subset_rule_is_exact(world: str) -> None:
    """A part of one position is all of it."""
    settings: dict[str, Any] = {"temperature": 0.8, "seed": 5, "max_new_tokens": NEW, "end_tokens": [END]}
    for order in ("threshold(2)", "factor(0)", "first-hitting", "entropy-bound(0,by=raw)", "local-leap(2,2)"):
        static = answer(WORLDS[world], PROMPTS, order, **settings)
        found = answer(WORLDS[world], PROMPTS, f"{order}+{SUBSET}", **settings)
        for one, other in zip(found, static, strict=True):
            same(one, other, order)


def test_the_subset_rule_leaves_no_step_behind() -> None:
    """Whatever it does to the order's groups: all is filled, alone as in a batch, in no more rounds than masks."""
    settings: dict[str, Any] = {"temperature": 0.8, "seed": 5, "max_new_tokens": NEW, "end_tokens": ()}
    for seed in range(6):
        model = leaning(seed)
        for order in ("threshold(0.6)", "factor(1.5)+blocks(3)+dual-cache", "ascending", "explore(0.6)+look-ahead(2)"):
            both = answer(model, PROMPTS, f"{order}+{SUBSET}", **settings)
            for found, prompt in zip(both, PROMPTS, strict=True):
                assert MASK not in found.tokens and found.counters.rounds <= NEW
                same(found, answer(model, prompt, f"{order}+{SUBSET}", **settings))
    for order in ("low-confidence", "wide-narrow"):
        with pytest.raises(Unsupported, match="subset rule") as caught:
            answer(leaning(0), [0], f"{order}+{SUBSET}", max_new_tokens=NEW)
        assert caught.value.hint


# -- networks ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {name: load(save(name, tmp_path_factory.mktemp(name))).model for name in ("llada", "dream", "sdar")}


@pytest.mark.parametrize("name", ["llada", "dream", "sdar"])
@pytest.mark.parametrize("guesser", ["freedave(4,together=false)", "ssd(3,together=false)"])
def test_one_after_the_other_it_is_equal_bit_for_bit(networks: dict[str, Any], name: str, guesser: str) -> None:
    settings = {"max_new_tokens": 10, "end_tokens": (), "temperature": 0.4, "seed": 2}
    refreshes = ["recompute"] if name == "sdar" else ["recompute", "dual-cache", "prefix-cache(every=3)"]
    for refresh in refreshes:
        text = f"threshold(0.4)+blocks(4)+{refresh}"
        static = answer(networks[name], [5, 7, 9, 11, 3], text, **settings)
        same(answer(networks[name], [5, 7, 9, 11, 3], f"{text}+{guesser}", **settings), static)


@pytest.mark.parametrize("name", ["llada", "dream", "sdar"])
def test_together_it_is_equal_but_for_the_last_digits(networks: dict[str, Any], name: str) -> None:
    settings = {"max_new_tokens": 10, "end_tokens": ()}
    text = "low-confidence+blocks(2)+" + ("block-cache" if name == "sdar" else "dual-cache")
    static = answer(networks[name], [[5, 7, 9], [4]], text, **settings)
    found = answer(networks[name], [[5, 7, 9], [4]], f"{text}+freedave(4)", **settings)
    for one, other in zip(found, static, strict=True):
        assert one.tokens == other.tokens
        for mine, its in zip(one.steps, other.steps, strict=True):
            assert mine.positions == its.positions
            np.testing.assert_allclose(mine.confidence, its.confidence, atol=1e-5, rtol=0)
        assert one.counters.rounds <= other.counters.rounds


# -- the text form ----------------------------------------------------------------------------------------


def test_text_form_and_mistakes() -> None:
    parsed = method.parse("low-confidence+blocks(32)+freedave(4)")
    assert method.parse(method.describe(parsed)) == parsed
    assert method.parse("freedave") == parsed
    assert method.describe(method.parse("ssd(2)+threshold")) == "threshold+ssd(drafts=2)"
    for text in ("freedave(0)", "ssd(-1)", "ssd(width=0)", "ssd+freedave"):
        with pytest.raises(InvalidRequest) as caught:
            method.parse(f"threshold+{text}")
        assert caught.value.hint
    with pytest.raises(InvalidRequest, match="no order"):
        method.parse("freedave(3)")
