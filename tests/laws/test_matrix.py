"""The whole matrix: every drafter × every steer × greedy and seeded, five side by side and alone, by two planners.

Rows of one batch differ in prompt, steer, seed and in how they end. What is expected is decoded token by token, once
for all drafters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import pytest
import torch

from laws.test_speculation import V, registered
from laws.worlds import OTHER, LastTwo, random_tree, seen
from stretto import catalogue, method
from stretto.context import Context
from stretto.errors import Unsupported
from stretto.generation import LogProbability
from stretto.laws.inside import looks_inside
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.models.window import Window
from stretto.row import Limits, Row
from stretto.speculate.acceptors.exact import Exact
from stretto.speculate.contract import Drafter, Planner, Room
from stretto.speculate.loop import Speculate
from stretto.speculate.planners.cheapest import Cheapest
from stretto.speculate.planners.fixed import Fixed
from stretto.steer.ban import MinTokens
from stretto.steer.choice import Rule, choose
from stretto.steer.contract import Stage, Steer
from stretto.steer.path import History, Path
from stretto.steer.pipeline import Pipeline
from stretto.steer.report import log_probability, top_log_probabilities
from stretto.steer.temperature import Temperature
from stretto.text import Text
from wide import WIDE

TARGET = LastTwo(V, seed=1)
ANOTHER = LastTwo(V, seed=1)
ANOTHER.table = TARGET.table[:V, 1].expand(V + 1, V, V)  # see `worlds.OTHER`
PROMPTS = [(0, 1, 2), (3,), (2, 2, 1, 0, 3, 1), (1, 0), (0, 1, 2, 0, 1, 3, 0, 1, 2)]
BATCH = len(PROMPTS)
STEERS = {
    name: part
    for name, part in catalogue.parts().items()
    if part.kind == "steer" and not any(map(looks_inside, part.examples()))  # tables have no inside: test_inside.py
}
PLANNERS: dict[str, Planner] = {"fixed": Fixed(5), "cheapest": Cheapest()}
WARMTH = {"greedy": Temperature(0.0), "seeded": Temperature(1.0)}
END = 3


@dataclass(frozen=True)
class Ending:
    """How a row may end before its limit, and the limit."""

    limit: int
    ends: frozenset[int] = frozenset()
    stop: tuple[str, ...] = ()


ENDINGS = [Ending(9), Ending(12, ends=frozenset({END})), Ending(12, stop=("cb", "daa")), Ending(1)]


@dataclass(frozen=True)
class Case:
    """One row of a batch."""

    prompt: tuple[int, ...]
    steers: tuple[Steer, ...]
    seed: int
    ending: Ending
    tops: int | None = None  # likeliest tokens reported beside each; None: nothing is reported

    def row(self, cache_row: int = -1) -> Row:
        """The row at its beginning; tokens are letters, where stop strings are looked for."""
        history, ending = History(self.prompt), self.ending
        stoppers = partial(Text, letters, self.prompt, ending.stop) if ending.stop else None
        rule = Rule(Pipeline(self.steers), self.seed, 0)
        limits = Limits(ending.limit, ending.ends)
        return Row(history, cache_row, rule, limits, stoppers, log_probabilities=self.tops)


def letters(tokens: object) -> str:
    return "".join("abcd"[token] for token in tokens)


Result = tuple[tuple[int, ...], str, tuple[LogProbability, ...]]


@cache
def plain(case: Case) -> Result:
    """The slow reference: no cache, no tree, no loop; the rule of choice token by token, and what is reported."""
    row = case.row()
    while not row.finish:
        logits = torch.tensor([TARGET.rule(tuple(row.history.tokens))], dtype=torch.float64)
        choices = choose(seen([Path(row.history)], logits, row.rule.pipeline, TARGET.rule), [row.rule])
        if case.tops is not None:
            tops = [top_log_probabilities(scores, case.tops)[0] for scores in (logits, choices.steered)]
            both = [log_probability(scores, choices.tokens)[0] for scores in (logits, choices.steered)]
            row.reported.append(LogProbability(choices.tokens[0], *both, *tops))
        row.advance(choices.tokens)
    return result(row)


def result(row: Row) -> Result:
    return tuple(row.new_tokens), row.finish, tuple(row.reported)


def unsteered(case: Case) -> Case:
    """The same row without its steer, greedy where it is greedy."""
    greedy = Pipeline(case.steers).greedy and not isinstance(case.steers[0], Temperature)
    return replace(case, steers=(WARMTH["greedy" if greedy else "seeded"],))


def bites(case: Case) -> bool:
    """Whether the steer changes the answer."""
    return plain(case)[0] != plain(unsteered(case))[0]


def idle_when(warmth: str, steer: Steer) -> bool:
    """The best token is the best at any temperature and under any truncation: a greedy choice leaves these out."""
    return warmth == "greedy" and steer.stage >= Stage.TEMPERATURE and not isinstance(steer, Temperature)


def biting(name: str, warmth: str, turn: int) -> Case:
    """A row on which the steer bites, at the first of its examples and seeds with which it does."""
    active = [example for example in STEERS[name].examples() if not example.idle]
    ending = ENDINGS[turn % (len(ENDINGS) - 1)]
    cases = []
    for seed in range(12):
        for example in active:
            if isinstance(example, Temperature) and example.greedy != (warmth == "greedy"):
                continue
            chosen = (example,) if isinstance(example, Temperature) else (example, WARMTH[warmth])
            ends = example.named_tokens if isinstance(example, MinTokens) else ending.ends
            prompt = PROMPTS[(turn + turn // BATCH + seed) % BATCH]
            cases.append(Case(prompt, chosen, seed, replace(ending, ends=ends)))
    if idle_when(warmth, cases[0].steers[0]):
        return cases[0]
    found = next(filter(bites, cases), None)
    assert found is not None, f"none of {name}'s examples changes a {warmth} answer here: give one that does"
    return found


@cache
def matrix() -> tuple[Case, ...]:
    """Every steer alone, greedy and seeded; no steer and all of them, in every way to end."""
    names = list(STEERS)
    cells = [(name, warmth) for warmth in WARMTH for name in names]
    rows = [biting(name, warmth, turn) for turn, (name, warmth) in enumerate(cells)]
    every = tuple(next(step for step in steer.examples() if not step.idle) for steer in STEERS.values())
    every = tuple(step for step in every if not isinstance(step, Temperature))
    for at, ending in enumerate(ENDINGS):
        for seed, warmth in enumerate(WARMTH.values(), start=at):
            rows.append(Case(PROMPTS[seed % BATCH], (warmth,), seed, ending))
        rows.append(Case(PROMPTS[at], (*every, Temperature(1.3)), at, ending))
    return tuple(replace(case, tops=2) if at % 4 == 3 else case for at, case in enumerate(rows))


def batches(size: int) -> Iterator[list[Case]]:
    """The rows side by side: greedy beside seeded, one steer beside another, long prompts beside short ones."""
    rows = matrix()
    step = -(-len(rows) // size)
    return (list(rows[first::step]) for first in range(step))


def admitted() -> dict[str, Drafter]:
    """The drafters that the exact acceptor admits."""
    return {name: drafter for name, drafter in registered().items() if refusal(drafter) is None}


def refusal(drafter: Drafter) -> Unsupported | None:
    try:
        method.check(Speculate(drafter, Exact(), Fixed()), TARGET)
    except Unsupported as error:
        return error
    return None


def test_the_matrix_is_whole():
    """Every steer bites, greedy where it can and with a seed; every drafter of the catalogue is in or refused."""
    for name, steer in STEERS.items():
        mine = [case for case in matrix() if type(case.steers[0]) is steer and len(case.steers) <= 2]
        biting_warmths = {Pipeline(case.steers).greedy for case in mine if bites(case)}
        assert False in biting_warmths, name
        assert True in biting_warmths or idle_when("greedy", steer.examples()[-1]), name
    assert {plain(case)[1] for case in matrix()} == {"length", "end", "stop"}
    assert any(len(plain(case)[0]) == 1 for case in matrix())
    drafters = {part for part in catalogue.parts().values() if part.kind == "drafter"}
    assert drafters == {type(drafter) for drafter in registered().values()}
    assert {type(drafter) for drafter in admitted().values()} == drafters  # a refused one is a point to think about
    for batch in batches(BATCH):
        assert len(batch) in (BATCH, BATCH - 1)
        assert len({case.prompt for case in batch}) > 1 and len({case.steers for case in batch}) > 1


def cells() -> list[Any]:
    """Every drafter with every row side by side, and with every fourth row alone; the planners take turns.

    Where tests are WIDE, everything with everything.
    """
    return [
        pytest.param(
            size,
            drafter,
            planner,
            slice(None) if WIDE or size > 1 else slice(turn // 2 % 4, None, 4),
            id=f"{size}-{name}-{planned}",
        )
        for turn, (name, drafter) in enumerate(admitted().items())
        for at, size in enumerate((1, BATCH), start=turn)
        for there, (planned, planner) in enumerate(PLANNERS.items())
        if WIDE or at % len(PLANNERS) == there
    ]


@pytest.mark.parametrize(("size", "drafter", "planner", "some"), cells())
def test_every_cell_gives_plain_decoding(size, drafter, planner, some):
    """Tokens, how rows end, and both reported log-probabilities; what parts remember goes on from batch to batch."""
    context = Context(TARGET, SimulatedClock(), lambda name: ANOTHER if name == OTHER else TARGET)
    for cases in list(batches(size))[some]:
        loop = Speculate(drafter, Exact(), planner).loop(context, TARGET.new_cache(rows=size, slots=4))
        rows = [case.row(loop.cache.open()) for case in cases]
        for row in rows:
            loop.add(row)
        while loop.rows:
            loop.step()
        for case, row in zip(cases, rows, strict=True):
            assert result(row) == plain(case), case


def test_the_fast_table_is_the_table():
    """All slots at once give each node the logits that its path has in the table read slot by slot."""
    slow = TableModel(V, TARGET.rule)
    for start in (1, 3):
        trees = [random_tree([seed], Room(9, 4), V, size=12) for seed in range(3)]
        logits = []
        for model in (TARGET, slow):
            held = model.new_cache(rows=3)
            rows = [held.open() for _ in trees]
            lengths = [start, start, 2]
            prompts = [[2, 0, 1][:length] for length in lengths]
            for row, prompt in zip(rows, prompts, strict=True):
                model.evaluate(Window.chain([row], [prompt], [0], model.device), held)
            window = Window.forest(rows, [1, 3, 2], trees, lengths, model.device)
            logits.append(model.evaluate(window, held).logits)
        for row, tree in enumerate(trees):
            assert torch.equal(logits[0][row, : 1 + len(tree)], logits[1][row, : 1 + len(tree)])
