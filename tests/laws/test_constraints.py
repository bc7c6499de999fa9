"""Laws of constraints, over every registered one: against brute force, and under every drafter and acceptor."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from laws.branching import DRAFTS, Sampler
from laws.test_scheduler import begin, one_round
from laws.test_speculation import drafters
from laws.worlds import decode
from stretto import catalogue
from stretto import method as methods
from stretto.constrain.after import After
from stretto.constrain.choices import Choices
from stretto.constrain.circuit import Circuit
from stretto.constrain.close import Close
from stretto.constrain.contract import Constraint, State
from stretto.constrain.framed import Framed
from stretto.constrain.grammar_files import Gbnf, Lark
from stretto.constrain.held import Held
from stretto.constrain.json_schema import Schema
from stretto.constrain.listed import Listed
from stretto.constrain.loco import Loco
from stretto.constrain.members import PythonMembers
from stretto.constrain.regex import Regex
from stretto.constrain.sentence import Sentence
from stretto.constrain.tokens import Tokens
from stretto.constrain.without import Without
from stretto.context import Context
from stretto.engine import Engine
from stretto.errors import InvalidRequest, NothingAllowed, Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.request import Request
from stretto.row import Limits, Row
from stretto.speculate.contract import Acceptor, Drafter
from stretto.speculate.drafters.forced import Forced
from stretto.speculate.drafters.model import DraftModel
from stretto.speculate.drafters.sampled import Sampled
from stretto.speculate.loop import Speculate
from stretto.speculate.planners.fixed import Fixed
from stretto.steer.allow import Allow
from stretto.steer.ban import Ban
from stretto.steer.choice import Rule, choose
from stretto.steer.constrained import Constrained
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature

Valid = Callable[[Tokens, Sequence[int]], bool]


@dataclass(frozen=True)
class Pairs(Constraint):
    """Written by hand, over token ids: 0 and 1 come in pairs of equal ones, and nothing else comes."""

    name: ClassVar[str] = "pairs"
    most: int = 8  # tokens, even

    def open(self, tokens: Tokens) -> State:
        return PairsState(len(tokens), self.most)


class PairsState(State):
    def __init__(self, vocabulary: int, most: int, taken: Sequence[int] = ()) -> None:
        self.vocabulary, self.most, self.taken = vocabulary, most, list(taken)

    @property
    def complete(self) -> bool:
        return len(self.taken) % 2 == 0

    def allowed(self) -> Any:
        able = np.zeros(self.vocabulary, bool)
        able[[0, 1] if self.complete else [self.taken[-1]]] = len(self.taken) < self.most
        return able

    def advance(self, token: int) -> bool:
        fits = bool(self.allowed()[token])
        self.taken += [token] * fits
        return fits

    def rollback(self, count: int) -> None:
        del self.taken[len(self.taken) - count :]

    def fork(self) -> PairsState:
        return PairsState(self.vocabulary, self.most, self.taken)


def spelled(tokens: Tokens, path: Sequence[int]) -> bytes:
    return b"".join(tokens.pieces[token] or b"" for token in path)


def matches(pattern: str) -> Valid:
    def valid(tokens: Tokens, path: Sequence[int]) -> bool:
        try:
            return re.fullmatch(pattern, spelled(tokens, path).decode()) is not None
        except UnicodeDecodeError:
            return False

    return valid


def among(*texts: str) -> Valid:
    return lambda tokens, path: spelled(tokens, path) in [text.encode() for text in texts]


def behind(boundary: bytes, *texts: bytes) -> Valid:
    """Any text up to the boundary, whose end is the end of a token, and then one of the texts."""

    def valid(tokens: Tokens, path: Sequence[int]) -> bool:
        sizes = (size for size in range(len(path) + 1) if boundary in spelled(tokens, path[:size]))
        first = next(sizes, None)
        ends = first is not None and spelled(tokens, path[:first]).endswith(boundary)
        return ends and spelled(tokens, path[first:]) in texts

    return valid


def paired(most: int) -> Valid:
    return lambda tokens, path: len(path) <= most and path[::2] == path[1::2] and set(path) <= {0, 1}


def never(*texts: str) -> Valid:
    return lambda tokens, path: not any(text.encode() in spelled(tokens, path) for text in texts)


def lists(between: str, most: int, *names: str) -> Valid:
    orders = (order for size in range(1, most + 1) for order in itertools.permutations(names, size))
    return among(*map(between.join, orders))


def every(code: Loco) -> Valid:
    """The strings without long runs, in their order, and of these one in so many."""
    strings = map("".join, itertools.product(code.symbols, repeat=code.length))
    short = [text for text in strings if not any(each * (code.run + 1) in text for each in code.symbols)]
    return among(*short[:: code.code.modulus])


def equal(size: int, *outputs: Callable[[bool, bool], bool]) -> Valid:
    """Circuits of two inputs with so many gates at most, read by hand."""

    def read(text: str, a: bool, b: bool) -> tuple[bool, str]:
        if text[0] in "&!":
            left, rest = read(text[1:], a, b)
            right, rest = read(rest, a, b)
            return (left and right) == (text[0] == "&"), rest
        return {"a": a, "b": b, "A": not a, "B": not b}[text[0]], text[1:]

    def valid(tokens: Tokens, path: Sequence[int]) -> bool:
        text = spelled(tokens, path).decode()
        if sum(map(text.count, "&!")) > size:
            return False
        for a, b in itertools.product((False, True), repeat=2):
            rest = text
            for output in outputs:
                try:
                    found, rest = read(rest, a, b)
                except IndexError:
                    return False
                if found != output(a, b):
                    return False
            if rest:
                return False
        return True

    return valid


OWL = "class Owl:\n    a = 1\n    ab: Owl\n    bb = 2\n\nc = Owl()\n"


def owlish(tokens: Tokens, path: Sequence[int]) -> bool:
    """Behind `c.` and `c.ab.` and so on a, ab or bb."""
    text = spelled(tokens, path).decode()
    behind = (text[match.end() :] for match in re.finditer(r"(?<![\w.)])c\.(?:ab\.)*(?!ab\.)", text))
    return all(re.match(r"(a|ab|bb)(?!\w)", rest) for rest in behind)


CASES: dict[str, tuple[Constraint, Valid]] = {
    **{
        f"regex {pattern}": (Regex(pattern), matches(pattern))
        for pattern in (
            "(ab|c)+é?",
            "a{1,3}b*",
            "[^a]é|ab?",
            "(a|ab)(c|bc|é)",
            "(ab){2}c",
            "a?",
            ".b.",
            "[à-ʀ]a",
            "cx|ab",
        )
    },
    "sentence": (Sentence("expression"), matches("[abc]+")),
    "choices": (Choices(("ab", "abc", "cab", "é", "")), among("ab", "abc", "cab", "é", "")),
    "pairs": (Pairs(most=8), paired(8)),
    "without": (Without(("ab", "é")), never("ab", "é")),
    "listed": (Listed(("a", "ab", "c"), most=2, between="é"), lists("é", 2, "a", "ab", "c")),
    "loco": (Loco(5, run=1, symbols="abc"), every(Loco(5, run=1, symbols="abc"))),
    "circuit": (Circuit(("&ab",), gates=2), equal(2, lambda a, b: a and b)),
    "circuit of two": (Circuit(("!ab", "b")), equal(1, lambda a, b: not (a and b), lambda a, b: b)),
    "members": (PythonMembers(OWL), owlish),
    "after": (After(Choices(("a", "ca", "")), "ab"), behind(b"ab", b"a", b"ca", b"")),
}
PIECES = [b"a", b"b", b"ab", b"c", b"\xc3", b"\xa9", None, b"b\xc3", None]  # the last one is the end token
WORLD = Tokens(PIECES, frozenset({8}))
WORLDS = {  # of those that speak of other letters
    Circuit: Tokens([b"a", b"b", b"A", b"&", b"!", b"&a", None], frozenset({6})),
    PythonMembers: Tokens([b"a", b"b", b"ab", b"c", b".", b".a", b"c.", b"(c", None], frozenset({8})),
}
FEW = Tokens([b"a", b"b", b"ab", None], frozenset({3}))  # for the tables of four tokens
ENDLESS = Tokens([b"a", b"b", b"ab", b"c"])
TARGET = TableModel.random(4, seed=1)
PROMPTS = [[0, 1, 2], [3], [2, 2, 1, 0, 3, 1]]


def cases() -> Any:
    return pytest.mark.parametrize(("constraint", "valid"), CASES.values(), ids=CASES)


def world(constraint: Constraint) -> Tokens:
    return WORLDS.get(type(constraint), WORLD)


def texts(tokens: Tokens, most: int) -> Iterator[tuple[int, ...]]:
    """All sequences of tokens with text."""
    able = [token for token, piece in enumerate(tokens.pieces) if piece]
    for size in range(most + 1):
        yield from itertools.product(able, repeat=size)


@cache
def prefixes(tokens: Tokens, valid: Valid, most: int, ahead: int = 2) -> dict[tuple[int, ...], bool]:
    """The slow reference: all sequences of at most `most` tokens that some `ahead` more make valid; if they are so."""
    complete = {path for path in texts(tokens, most + ahead) if valid(tokens, path)}
    begun = {path[:size] for path in complete for size in range(min(len(path), most) + 1)}
    return {path: path in complete for path in begun}


def walked(state: State, path: Sequence[int]) -> State:
    state = state.fork()
    assert all(state.advance(token) for token in path)
    return state


def seen(state: State) -> tuple[bool, list[bool], list[int]]:
    return state.complete, state.allowed().tolist(), list(state.forced())


def test_every_registered_constraint_has_a_case() -> None:
    registered = {part for part in catalogue.parts().values() if issubclass(part, Constraint)}
    elsewhere = {Schema, Lark, Gbnf, Close, Framed}  # constrain/test_guidance.py, test_close.py, test_tools.py
    assert registered <= elsewhere | {type(constraint) for constraint, _ in CASES.values()}


@cases()
def test_what_is_allowed_is_what_brute_force_finds(constraint: Constraint, valid: Valid) -> None:
    """So every answer is valid, and every valid text is reached, by each way of spelling it."""
    most, tokens = 2, world(constraint)
    begun = prefixes(tokens, valid, most + 1)
    assert begun.get((), False) or len(begun) > 1
    start = constraint.open(tokens)
    for path, complete in begun.items():
        if len(path) <= most:
            state = walked(start, path)
            allowed = [(*path, token) in begun for token in range(len(tokens))]
            assert (state.complete, state.allowed().tolist()) == (complete, allowed), path
            for token, able in enumerate(allowed):
                before = seen(state)
                assert state.advance(token) == able
                state.rollback(int(able))
                assert seen(state) == before


@cases()
def test_taking_back_is_as_if_it_had_never_come_and_copies_go_their_own_ways(
    constraint: Constraint, valid: Valid
) -> None:
    chance, tokens = random.Random(3), world(constraint)
    paths = [path for path in prefixes(tokens, valid, 3) if path]
    start = constraint.open(tokens)
    for path in chance.sample(paths, min(len(paths), 25)):
        kept = chance.randrange(len(path) + 1)
        state, fresh = walked(start, path), walked(constraint.open(tokens), path[:kept])
        twin = state.fork()
        state.rollback(len(path) - kept)
        assert seen(state) == seen(fresh)
        assert seen(twin) == seen(walked(start, path))
        assert all(state.advance(token) for token in path[kept:]) and seen(state) == seen(twin)


@cases()
def test_forced_tokens_are_the_only_way_on(constraint: Constraint, valid: Valid) -> None:
    """What is forced spells the text that every valid one goes on with."""
    tokens = world(constraint)
    begun = prefixes(tokens, valid, 3)
    start = constraint.open(tokens)
    for path in begun:
        ahead = spelled(tokens, walked(start, path).forced())
        here = len(spelled(tokens, path))
        for other, complete in begun.items():
            text = spelled(tokens, other)[here:]
            if other[: len(path)] == path and complete:
                assert text.startswith(ahead)


def test_texts_that_must_follow_are_forced_as_the_tokenizer_spells_them() -> None:
    assert Regex("abab").open(FEW).forced() == [2, 2]
    assert Regex("abab").open(Tokens(FEW.pieces, encode=lambda text: [0, 1, 2])).forced() == [0, 1, 2]
    assert Regex("abab").open(Tokens(FEW.pieces, encode=lambda text: [0, 1, 1])).forced() == [2, 2]
    assert Regex("ab?").open(FEW).forced() == [0]
    held = Held(Regex("ab").open(FEW), FEW.ends, 1)
    assert held.forced([0, 2]) == [3]


def test_no_byte_stands_where_its_character_may_not() -> None:
    """The encoded pattern takes exactly the spellings of the characters in a class, to the last of each length."""
    edges = [0, 0x7F, 0x80, 0x7FF, 0x800, 0xFFF, 0x1000, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x3FFFF, 0x40000, 0x10FFFF]
    whole = Tokens([bytes([byte]) for byte in range(256)])
    chance = random.Random(1)
    for _ in range(30):
        low, high = sorted(chance.choices(edges, k=2))
        inside = f"\\U{low:08x}-\\U{high:08x}"
        for pattern, out in ((f"[{inside}]", False), (f"[^{inside}]", True)):
            if (low, high) == (0, 0x10FFFF) and out:
                with pytest.raises(InvalidRequest, match="matches no text"):
                    Regex(pattern)
                continue
            state = Regex(pattern).open(whole)
            for code in {code + step for code in edges for step in (-1, 0, 1)} - {-1, 0x110000, 0xD800, 0xDFFF}:
                text = chr(code).encode()
                assert reads(state, text) == ((low <= code <= high) != out), (pattern, hex(code))
            assert not reads(state, b"\xed\xa0\x80") and not reads(state, b"\xc0\x80") and not reads(state, b"\xff")


def reads(state: State, text: bytes) -> bool:
    twin = state.fork()
    return all(twin.advance(byte) for byte in text) and twin.complete


# -- on rows ----------------------------------------------------------------------------------------


def brute(tokens: Tokens, valid: Valid, most: int) -> Callable[[tuple[int, ...]], list[bool] | None]:
    """The slow reference of a mask: bool [V], end tokens too; None where the text is over."""
    begun = prefixes(tokens, valid, most)

    def allowed(path: tuple[int, ...]) -> list[bool] | None:
        able = [(*path, token) in begun for token in range(len(tokens))]
        for end in tokens.ends:
            able[end] = begun[path]
        return able if any(able) else None

    return allowed


def slowly(
    model: TableModel, prompt: Sequence[int], tokens: Tokens, allowed: Any, temperature: float, seed: int, most: int
) -> list[int]:
    """Plain decoding by hand: mask, divide by the temperature, add the noise, take the best."""
    history, pipeline = History(prompt), Pipeline([Temperature(temperature)])
    while len(history) - len(prompt) < most:
        able = allowed(tuple(history.tokens[len(prompt) :]))
        if able is None:
            break
        logits = torch.tensor([model.rule(tuple(history.tokens))], dtype=torch.float64)
        logits[0, ~torch.tensor(able)] = -torch.inf
        history.extend(choose(Nodes([Path(history)], logits), [Rule(pipeline, seed, 0)]).tokens)
        if history.tokens[-1] in tokens.ends:
            break
    return history.tokens[len(prompt) :]


SHORT: dict[str, tuple[Constraint, Valid]] = {
    "regex": (Regex("(ab|ba){1,3}"), matches("(ab|ba){1,3}")),
    "choices": (Choices(("aab", "ab", "bbaba")), among("aab", "ab", "bbaba")),
    "pairs": (Pairs(most=4), paired(4)),
}
SPELLINGS = {"an end token": FEW, "no end token": ENDLESS}


@cache
def reference(case: str, spelling: str) -> Callable[[tuple[int, ...]], list[bool] | None]:
    return brute(SPELLINGS[spelling], SHORT[case][1], 6)


def under(constraint: Constraint, tokens: Tokens, temperature: float) -> Pipeline:
    return Pipeline([Constrained(constraint, tokens), Temperature(temperature)])


def text_of(tokens: Tokens, row: Row) -> list[int]:
    """The answer without its end token."""
    return [token for token in row.new_tokens if token not in tokens.ends]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("drafter", {**drafters(), "forced by it": Forced()}.values())
def test_drafting_never_changes_what_is_said_under_a_constraint(drafter: Drafter, spelling: str) -> None:
    """Greedy and with a seed, in a batch: every drafter gives the tokens of the slow reference, ends included."""
    tokens = SPELLINGS[spelling]
    for case, (constraint, valid) in SHORT.items():
        for temperature in (0.0, 1.0):
            expected = [
                slowly(TARGET, prompt, tokens, reference(case, spelling), temperature, 7, 12) for prompt in PROMPTS
            ]
            pipeline = under(constraint, tokens, temperature)
            rows = decode(TARGET, PROMPTS, drafter=drafter, pipeline=pipeline, seed=7, new_tokens=12, ends=tokens.ends)
            assert [row.new_tokens for row in rows] == expected, case
            assert all(row.finish == "end" and valid(tokens, text_of(tokens, row)) for row in rows)


def test_drafts_are_pruned_before_they_are_verified_and_forced_ones_cost_no_forward() -> None:
    text, plain = "abbaabba", Tokens([b"a", b"b", None, None], frozenset({3}))
    pipeline = under(Regex(text), plain, 0.0)
    row = decode(TARGET, [[0]], drafter=Forced(), planner=Fixed(16), pipeline=pipeline, ends=FEW.ends)[0]
    assert spelled(FEW, row.new_tokens) == text.encode() and row.finish == "end"
    assert row.counters.drafted == row.counters.accepted and row.counters.rounds <= 2
    pipeline = under(Regex(text), FEW, 0.0)
    other = decode(TARGET, [[0]], drafter=drafters()["every token"], pipeline=pipeline, ends=FEW.ends)[0]
    assert other.new_tokens[-1] == 3 and spelled(FEW, other.new_tokens) == text.encode()
    begun = prefixes(FEW, matches(text), 8)
    for step in other.steps:
        start = step.position - 1
        for node in range(len(step.drafted)):
            path, at = [step.drafted[node]], step.parents[node]
            while at >= 0:
                path.insert(0, step.drafted[at])
                at = step.parents[at]
            if 3 not in path:
                assert (*other.new_tokens[:start], *path) in begun


@dataclass(frozen=True)
class Blind(Sampler):
    """Draws from the small model as it is, whatever the constraint."""

    def drawn_from(self, prompt: tuple[int, ...], path: tuple[int, ...], pipeline: Pipeline) -> Any:
        return super().drawn_from(prompt, path, Pipeline([Temperature(1.0)]))


PAIRS = {
    "rejection of blind draws": Blind(DRAFTS["sampled chain"], TableModel.random(4, seed=2)),
    "recursive of blind draws": Blind(DRAFTS["distinct tree"], TableModel.random(4, seed=2)),
    "rejection": Sampled(TableModel.random(4, seed=2)),
    "block": Sampled(TableModel.random(4, seed=2)),
    "traversal": catalogue.part("rsd-c")(branches=(2, 1), model=TableModel.random(4, seed=2)),
    "recursive": catalogue.part("rsd-s")(width=2, model=TableModel.random(4, seed=2)),
    "k-seq": catalogue.part("iid")(branches=(2, 1), model=TableModel.random(4, seed=2)),
    "multi": catalogue.part("iid")(branches=(2, 1), model=TableModel.random(4, seed=2)),
    "rejection of points": DraftModel(TableModel.random(4, seed=2)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_acceptors_that_draw_give_the_masked_distribution(name: str) -> None:
    """400 seeds in one batch against the exact joint; with these seeds the outcome is always the same."""
    acceptor: Acceptor = catalogue.part(name.partition(" ")[0])()
    model = TableModel(4, cache(TARGET.rule))
    allowed = reference("choices", "an end token")
    joint = dict(masked_joint(model, (0, 1), (), 1.0, allowed))
    assert abs(sum(joint.values()) - 1) < 1e-9 and all(SHORT["choices"][1](FEW, path[:-1]) for path in joint)
    rows = many(model, acceptor, PAIRS[name], under(SHORT["choices"][0], FEW, 1.0), 400)
    found = Counter(tuple(row.new_tokens) for row in rows)
    assert found.keys() <= joint.keys()
    surprise = sum((found[path] - 400 * p) ** 2 / (400 * p) for path, p in joint.items())
    assert surprise < len(joint) + 4 * math.sqrt(2 * len(joint)), (surprise, len(joint))


def masked_joint(
    model: TableModel, prompt: tuple[int, ...], path: tuple[int, ...], mass: float, allowed: Any
) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every answer with its probability: the model's, masked and normalised at every step."""
    logits = torch.tensor(model.rule((*prompt, *path)), dtype=torch.float64)
    logits[~torch.tensor(allowed(path))] = -torch.inf
    for token, p in enumerate(logits.softmax(-1).tolist()):
        if p and token == 3:
            yield (*path, token), mass * p
        elif p:
            yield from masked_joint(model, prompt, (*path, token), mass * p, allowed)


def many(model: TableModel, acceptor: Acceptor, drafter: Drafter, pipeline: Pipeline, seeds: int) -> list[Row]:
    context = Context(model, SimulatedClock(), lambda name: model)
    loop = Speculate(drafter, acceptor, Fixed(3, depth=2)).loop(context, model.new_cache(rows=seeds, slots=16))
    rows = []
    for seed in range(seeds):
        rows.append(Row(History([0, 1]), loop.cache.open(), Rule(pipeline, seed, 0), Limits(9, FEW.ends)))
        loop.add(rows[-1])
    while loop.rows:
        loop.step()
    return rows


def test_where_a_state_stands_does_not_depend_on_what_was_asked_before() -> None:
    chance = random.Random(5)
    for constraint, valid in CASES.values():
        there_is = world(constraint)
        begun = [*prefixes(there_is, valid, 3)]
        asked = [tuple(chance.choices(range(len(there_is)), k=chance.randrange(4))) for _ in range(20)]
        asked += chance.sample(begun, min(len(begun), 20))
        held, tokens = Held(constraint.open(there_is), there_is.ends, 1), [0]
        committed = chance.choice([path for path in begun if len(path) == max(map(len, begun))])
        for token in ((), *committed):
            tokens += [token] if token != () else []
            for path in chance.sample(asked, 12):
                fresh = Held(constraint.open(there_is), there_is.ends, 1).at(tokens, path)
                there = (held.fork() if chance.random() < 0.3 else held).at(tokens, path)
                assert there.broken == fresh.broken and there.over == fresh.over
                assert (there.allowed is None) == (fresh.allowed is None)
                assert there.allowed is None or (there.allowed == fresh.allowed).all()
                assert held.follows(tokens, path) == (not fresh.broken)


# -- in an engine -----------------------------------------------------------------------------------


def fresh() -> Engine:
    """An engine whose model would rather not end."""
    made = Engine(TableModel(4, lambda path: [*TARGET.rule(path)[:3], -4.0]), clock=SimulatedClock())
    made.end_tokens = frozenset({3})
    return made


def test_rows_that_come_go_and_are_preempted_obey_as_alone() -> None:
    """Two samples each of twelve requests, one row after another losing its cache; the last one is called off."""
    methods = ["plain", "lookup+fixed(4)", "recycle", "forced", "jacobi", "suffix"] * 2
    asked = [
        ([seed % 3, 1], each, {"constraint": Pairs(2 * (seed % 5) + 2), "seed": seed, "temperature": seed % 2})
        for seed, each in enumerate(methods)
    ]
    alone = [fresh().generate([prompt], each, **settings, samples=2) for prompt, each, settings in asked]
    for chance in map(random.Random, range(3)):
        served = fresh()
        groups = [begin(served, prompt, each, {**settings, "samples": 2}) for prompt, each, settings in asked]
        one_round(served)
        off = groups[-1][1]
        served._scheduler.cancel([off])
        preempted = 0
        while served._scheduler._tickets:
            one_round(served)
            running = [ticket for group in groups for ticket in group if ticket.status == "running"]
            if running and chance.random() < 0.6:
                preempted += 1
                served._scheduler.preempt(chance.choice(running))
        assert preempted
        for group, expected in zip(groups, alone, strict=True):
            for ticket, answer in zip(group, expected, strict=True):
                found = ticket.call.answer(ticket)  # type: ignore[attr-defined]
                assert found.error is None and (ticket is off or found.tokens == answer.tokens)
                assert paired(10)(FEW, answer.tokens[:-1]) and answer.tokens[-1] == 3


def test_streams_and_handles_obey() -> None:
    expected = fresh().generate([1], "plain", constraint=Pairs(), temperature=1.0, seed=4).tokens
    stream = fresh().stream([1], "lookup", constraint=Pairs(), temperature=1.0, seed=4)
    assert [token for piece in stream for token in piece.tokens] == expected
    assert fresh().submit([1], "recycle", constraint=Pairs(), temperature=1.0, seed=4).result().tokens == expected


def test_a_row_that_has_nothing_left_fails_alone() -> None:
    """Where settings and constraint meet in no token, or the model excludes all that is allowed."""
    with pytest.raises(NothingAllowed, match="pairs leaves no token at position 2"):
        fresh().generate([1, 1], "plain", constraint=Pairs(), allowed_tokens=[2])
    gone = Engine(TableModel(4, lambda path: [0.0, -math.inf if path[0] == 2 else 9.0, 0.0, 0.0]))
    gone.end_tokens = frozenset({3})
    answers = gone.generate([[0, 0], [2, 0], [1]], "lookup", constraint=Odd(), max_new_tokens=5)
    assert [type(answer.error) for answer in answers] == [type(None), NothingAllowed, type(None)]
    assert answers[0].tokens == [1, 1, 1, 1, 1] and answers[1].tokens == []


@dataclass(frozen=True)
class Odd(Constraint):
    """Token 1, again and again."""

    name: ClassVar[str] = "odd"

    def open(self, tokens: Tokens) -> State:
        return OddState(len(tokens))


class OddState(State):
    complete = False  # type: ignore[assignment]

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary

    def allowed(self) -> Any:
        return np.arange(self.vocabulary) == 1

    def advance(self, token: int) -> bool:
        return token == 1

    def rollback(self, count: int) -> None:
        pass

    def fork(self) -> OddState:
        return self


def test_a_mask_wins_over_bans_and_comes_before_truncation() -> None:
    expected = slowly(TARGET, [0], FEW, reference("choices", "an end token"), 0.0, 0, 9)
    for beside in (Ban({0, 1, 2}), Ban({3})):
        pipeline = Pipeline([beside, *under(Choices(("ab",)), FEW, 0.0).steps])
        assert spelled(FEW, decode(TARGET, [[0]], pipeline=pipeline, ends=FEW.ends)[0].new_tokens) == b"ab"
    top = Pipeline([*under(SHORT["choices"][0], FEW, 1e-3).steps, catalogue.part("top_k")(1)])
    assert decode(TARGET, [[0]], pipeline=top, ends=FEW.ends)[0].new_tokens == expected
    both = Pipeline([Allow({1, 3}), *under(Regex("[ab]{2}"), FEW, 0.0).steps])
    assert decode(TARGET, [[0]], pipeline=both, ends=FEW.ends)[0].new_tokens == [1, 1, 3]


def test_what_cannot_be_kept_is_refused_at_the_door() -> None:
    with pytest.raises(Unsupported, match="no tokenizer"):
        fresh().generate([1], constraint=Regex("a+"))
    for wrong, told in (
        (Regex, "kind"),
        ("top_k(3)", "no constraint"),
        ('regex("(a")', "cannot be read"),
        ("regex", "missing"),
        ("choices", "missing"),
    ):
        with pytest.raises(InvalidRequest, match=told):
            fresh().generate([1], constraint=wrong)
    for method in ("superposed(text=x)", "superposed(text=x)+choices(a)"):
        with pytest.raises(Unsupported, match="keeps an answer valid"):
            fresh().generate([1], method, constraint=None if "choices" in method else Pairs())
    with pytest.raises(InvalidRequest, match="two constraints, choices and pairs"):
        fresh().generate([1], "lookup+choices(a)", constraint=Pairs())


@pytest.mark.parametrize(
    ("text", "constraint"),
    [
        ('regex("(a|b)+,\\(")', Regex(r"(a|b)+,\(")),
        ("regex([a-z]+)", Regex("[a-z]+")),
        ('regex("say ""no"" = (x)")', Regex('say "no" = (x)')),
        ('choices(yes,"no, or (maybe","""","12")', Choices(("yes", "no, or (maybe", '"', "12"))),
        ("choices(a)", Choices(("a",))),
        ("sentence(expression)", Sentence("expression")),
    ],
)
def test_the_text_of_a_constraint_is_read_and_written(text: str, constraint: Constraint) -> None:
    for beside in ("plain", "lookup(5)", "lookup+top_a(0.2)", "threshold+blocks(4)"):
        method = methods.parse(f"{beside}+{text}")
        assert method.constraint == constraint
        assert methods.parse(methods.describe(method)) == method
    assert Request(constraint=text).obeys == methods.parse(text).constraint == constraint
    assert methods.unaided(methods.parse(f"lookup+{text}")) == methods.parse(f"plain+{text}")
