"""What every order, blocks, refresh and stop must obey, in every combination that declares to fit."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pytest

from diffuse.canvases import answer, engine
from diffuse.filters import filter_file
from laws.stores import even_store, random_store
from models.families import FAMILIES
from models.masked_checkpoints import save
from stretto import catalogue, method
from stretto.diffuse.canvas import Canvas, Delta, Span
from stretto.diffuse.method import Diffuse
from stretto.diffuse.orders.contract import Order, OrderState
from stretto.diffuse.orders.threshold import Threshold, ThresholdState
from stretto.errors import StrettoError, Unsupported
from stretto.laws import filling
from stretto.laws.filling import END, MASK, NEW, PROMPTS, WORLDS, loop_of
from stretto.models.fast import lean_or_none
from stretto.models.load import load
from stretto.models.masked import MaskedModel, Masking
from stretto.models.table import MaskedTable
from stretto.row import Row
from wide import WIDE

KINDS = ("order", "blocks", "refresh", "stop")
SEVERAL = {  # settings worth trying beside the defaults
    "low-confidence": ["low-confidence(steps=4)", "low-confidence(ends_last=true)"],
    "threshold": ["threshold(0.5)"],
    "ranked": ["ranked(by=margin,chance=0.5)", "ranked(by=probability,steps=3)"],
    "remask-loop": ["remask-loop(loops=3,count=2,begin=0.5)"],
    "wide-narrow": ["wide-narrow(wide=0.2,narrow=0.7,fewest=1)"],
    "easy-first": ["easy-first(steps=4,chance=1.0,most=2)"],
    "revise": ["revise(steps=4,begin=0.3,most=1)"],
    "redundancy": ["redundancy(0.6,0.5,0.4,0.3,steps=2,pick=random)"],
    "ascending": ["ascending(growth=1)"],
    "local-leap": ["local-leap(0.6,0.3,radius=1)", "local-leap(0.5,0.4,filled=true)"],
    "confident": ["confident(1.5,by=origin,steps=4)", "confident(0.8,by=margin,tempered=true)"],
    "explore": ["explore(0.5,positions=2,by=margin)", "explore(0.6,branches=3)"],
    "coherent": ["coherent(adaptive=false,by=entropy)", "coherent(3,staged=true,warmup=1)"],
    "look-ahead": ["look-ahead(2)"],
    "blocks": ["blocks(2)"],
    "weld": ["weld(0.5,reach=1,below=1.0)"],
    "sliding": ["sliding(3)"],
    "structured-blocks": ["structured-blocks(2,4,novelty=0.5)"],
    "adaptive-blocks": ["adaptive-blocks(2,size=3,share=0.6)"],
    "ascending-blocks": ["ascending-blocks(2)"],
    "delayed-cache": ["delayed-cache(every=3,warm=1,prompt=true)"],
    "greedy-cache": ["greedy-cache(every=0,width=2)"],
    "prophet": ["prophet(1.5,1.0,0.5)"],
    "cut-at-end": ["cut-at-end(predicted=true)"],
    "early-rejection": ["early-rejection(0.01,doubling=true)"],
    "dual-cache": ["dual-cache(every=2)"],
    "freedave": ["freedave(3,eager=false)", "freedave(2,together=false)"],
    "ssd": ["ssd(3,width=2)", "ssd(2,reuse=false)"],
}
NEEDED = {  # parts that serve with a setting only
    "learned": f"learned({filter_file(8)},0.7)",
    "position-aware": f"position-aware({random_store(5)})",
}
USUAL = ("blocks", "recompute", "fill")  # where none are named


def named(kind: str) -> list[str]:
    """Every registered part of a kind in its text form, with its defaults and with other settings."""
    return [text for first in plainly(kind) for text in (first, *SEVERAL.get(first.split("(")[0], []))]


def plainly(kind: str) -> list[str]:
    """Every registered part of a kind with its defaults."""
    return sorted(NEEDED.get(name, name) for name, part in catalogue.parts().items() if part.kind == kind)


def short(text: str) -> str:
    """The text of a method without the names of temporary folders."""
    return re.sub(r"/[^,)]*", "", text)


def met(others: Sequence[str]) -> set[tuple[str, str]]:
    """The pairs of blocks, refresh and stop that a method brings together."""
    return set(itertools.combinations(others, 2))


Tried = dict[str, dict[str, list[str]]]  # world -> order -> methods


@cache
def matrix() -> Tried:
    """What is tried in each world of each order: it with every other part, and its share of what brings parts together.

    An order meets a part in one of the worlds where they fit, by turns, and in all of them where tests are WIDE.
    """
    orders = named("order")
    tried: Tried = {world: {order: [] for order in orders} for world in WORLDS}
    singles = [[*USUAL[:at], text, *USUAL[at + 1 :]] for at, kind in enumerate(KINDS[1:]) for text in named(kind)]
    for row, order in enumerate(orders):
        for turn, parts in enumerate({tuple(parts): None for parts in singles}, start=row):
            for world in homes(text := "+".join([order, *parts]), turn):
                tried[world][order].append(text)
    bring_together(tried)
    return tried


def homes(text: str, turn: int) -> list[str]:
    """Where a method is tried, of the worlds that it fits."""
    fitting = [world for world in WORLDS if fits(text, WORLDS[world])]
    return fitting if WIDE or not fitting else [fitting[turn % len(fitting)]]


def bring_together(tried: Tried) -> None:
    """Every two of blocks, refresh and stop that fit with any order meet under one; orders and worlds take turns."""
    serving = {part for texts in tried.values() for each in texts.values() for text in each for part in text.split("+")}
    every = list(itertools.product(*([text for text in named(kind) if text in serving] for kind in KINDS[1:])))
    random.Random(1).shuffle(every)
    orders, met_so_far, turn = named("order"), met(USUAL), 0
    for wanted in (3, 2, 1):  # first what brings the most together
        for parts in every:
            if len(met(parts) - met_so_far) < wanted:
                continue
            taking = ("+".join([orders[(turn + each) % len(orders)], *parts]) for each in range(len(orders)))
            text, worlds = next(((text, found) for text in taking if (found := homes(text, turn))), ("", []))
            for world in worlds:
                tried[world][text.split("+")[0]].append(text)
                met_so_far |= met(parts)
            turn += bool(worlds)


@cache
def parsed(text: str) -> Diffuse:
    return method.parse(text)


def fits(text: str, model: MaskedTable) -> bool:
    return filling.fits(parsed(text), model)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("order", named("order"), ids=short)
def test_every_combination_that_fits_is_lawful(order: str, world: str) -> None:
    texts = matrix()[world][order]
    assert texts, "it fits nothing in this world"
    for turn, text in enumerate(texts):
        lawful(text, WORLDS[world], turn)


def lawful(text: str, model: MaskedTable, turn: int) -> None:
    filling.every_step_is_lawful(method.parse(text), model, turn)


@pytest.mark.parametrize("world", ["bidirectional", "shifted block-causal"])
@pytest.mark.parametrize("beside", [*named("adjustment"), "cfg(0.5)"])
def test_what_stands_beside_is_lawful_with_every_order_and_part(beside: str, world: str) -> None:
    """The orders take turns with the other parts."""
    others = [text for kind in KINDS[1:] for text in plainly(kind)]
    for at, order in enumerate(plainly("order")):
        texts = (f"{order}+{others[(at + turn) % len(others)]}+{beside}" for turn in range(len(others)))
        text = next((text for text in texts if fits(text, WORLDS[world])), None)
        assert text is not None, f"{order} fits nothing beside {beside}"
        lawful(text, WORLDS[world], at)


@pytest.mark.parametrize("world", WORLDS)
def test_methods_drawn_from_all_kinds_of_parts_are_lawful(world: str) -> None:
    """One part of each kind, whatever its settings; and a guesser changes none of the steps."""
    model, chance, tried = WORLDS[world], random.Random(world), 0
    beside = ["", *(f"+{each}" for each in (*named("adjustment"), "cfg(0.5)"))]
    settings: dict[str, Any] = {"temperature": 0.8, "seed": 5, "max_new_tokens": NEW, "end_tokens": [END]}
    while tried < 12:
        text = "+".join(chance.choice(named(kind)) for kind in KINDS) + chance.choice(beside)
        ahead = f"{text}+{chance.choice(named('guesser'))}"
        if not fits(text, model):
            continue
        lawful(text, model, tried)
        tried += 1
        if fits(ahead, model):
            pairs = (answer(model, PROMPTS, each, **settings) for each in (text, ahead))
            for one, other in zip(*pairs, strict=True):
                assert one.tokens == other.tokens, ahead
                assert [step.positions for step in one.steps] == [step.positions for step in other.steps], ahead


# -- what declares not to fit ---------------------------------------------------------------------------


@pytest.mark.parametrize("world", WORLDS)
def test_any_parts_fit_or_refuse_with_a_hint(world: str) -> None:
    """All orders × blocks × refresh × stops there are; and what is tried brings together all that may be."""
    model = WORLDS[world]
    every = itertools.product(*map(plainly, KINDS))
    fitting = [parts for parts in every if fits("+".join(parts), model)]
    together = {pair for parts in fitting for pair in itertools.combinations(parts, 2)}
    tried = {
        pair for texts in matrix().values() for each in texts.values() for text in each for pair in met(text.split("+"))
    }
    assert together <= tried
    refused = {"prefix-cache", "dual-cache", "delayed-cache"} if model.masking.block else {"block-cache"}
    assert not refused & {part for parts in fitting for part in parts}
    assert {order for order, *_ in fitting} == set(plainly("order"))


class Untouched(MaskedTable):
    """A model that may not be asked."""

    def evaluate(self, *asked: Any) -> Any:
        raise AssertionError("evaluated")


@pytest.mark.parametrize("world", WORLDS)
def test_what_is_refused_is_refused_before_any_forward(world: str) -> None:
    """Each order with each other part, and each two other parts with some order."""
    model = Untouched(6, WORLDS[world].says, WORLDS[world].masking)
    pairs = itertools.chain.from_iterable(
        itertools.product(*map(plainly, kinds)) for kinds in itertools.combinations(KINDS, 2)
    )
    texts = ["+".join(pair if pair[0] in plainly("order") else ("first-hitting", *pair)) for pair in pairs]
    refused = [text for text in texts if not fits(text, model)]
    for text in refused:
        with pytest.raises(StrettoError) as caught:
            answer(model, PROMPTS[0], text, max_new_tokens=NEW, temperature=0.8)
        assert caught.value.hint, text
    for text in (text for text in texts if text not in refused):
        with pytest.raises(AssertionError, match="evaluated"):
            answer(model, PROMPTS[0], text, max_new_tokens=NEW, temperature=0.8)
    assert 0 < len(refused) < len(texts)


# -- degenerate settings ------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize("rest", ["", "+blocks(2)", "+blocks(3)+dual-cache", "+blocks(3)+prefix-cache"])
@pytest.mark.parametrize(
    "order",
    [
        "threshold(1.1)",
        "factor(0)",
        f"low-confidence(steps={NEW})",
        "entropy-bound(0,by=raw)",
        "runs(1,1)",
        "stable(drift=0)",
        "remask-loop(0)",
        "wide-narrow(1,0)",
        "redundancy(2,2,2,2)",
        "easy-first(0,most=0)",
        "revise(share=0)",
        f"learned({filter_file(8)},1)",
        "local-leap(1.1,1.1)",
        "explore(1.1,positions=0)",
        "coherent(1,1)",
        f"position-aware({even_store(5)},lean=0)",
        "threshold(1.1)+credit(0)",
    ],
    ids=short,
)
def test_orders_at_their_extreme_are_the_baseline_step_for_step(order: str, rest: str, temperature: float) -> None:
    model = WORLDS["bidirectional"]
    settings = {"max_new_tokens": NEW, "end_tokens": (), "temperature": temperature, "seed": 9}
    plain = answer(model, PROMPTS[0], f"low-confidence{rest}", **settings)
    extreme = answer(model, PROMPTS[0], order + rest, **settings)
    assert plain.tokens == extreme.tokens
    assert [s.positions for s in plain.steps] == [s.positions for s in extreme.steps] and len(plain.steps) == NEW


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {name: load(save(name, tmp_path_factory.mktemp(name))).model for name in ("llada", "dream", "sdar")}


TEXTS = [[5, 7, 9, 11, 3], [4, 8]]


@pytest.mark.parametrize("name", ["llada", "dream"])
@pytest.mark.parametrize("cached", ["prefix-cache", "dual-cache"])
def test_a_refresh_at_each_step_is_no_cache_bit_for_bit(networks, name: str, cached: str) -> None:
    settings = {"max_new_tokens": 12, "end_tokens": (), "temperature": 0.7}
    order = "threshold(0.3)+blocks(4)"
    plain = answer(networks[name], TEXTS, order, **settings)
    fresh = answer(networks[name], TEXTS, f"{order}+{cached}(every=1)", **settings)
    stale = answer(networks[name], TEXTS, f"{order}+{cached}", **settings)
    for one, other, kept in zip(plain, fresh, stale, strict=True):
        assert one.tokens == other.tokens
        assert [step.confidence for step in one.steps] == [step.confidence for step in other.steps]
        assert kept.counters.token_forwards < one.counters.token_forwards
    assert [s.confidence for s in plain[0].steps] != [s.confidence for s in stale[0].steps]  # it does approximate


@pytest.mark.parametrize("order", ["threshold(0.2)", "first-hitting", "threshold(0.3)+blocks(2)"])
def test_the_block_cache_is_exact(networks, order: str) -> None:
    settings = {"max_new_tokens": 14, "end_tokens": (), "temperature": 0.7}
    plain = answer(networks["sdar"], TEXTS, order, **settings)
    kept = answer(networks["sdar"], TEXTS, f"{order}+block-cache", **settings)
    for one, other in zip(plain, kept, strict=True):
        assert one.tokens == other.tokens
        for a, b in zip(one.steps, other.steps, strict=True):
            assert a.positions == b.positions
            np.testing.assert_allclose(a.confidence, b.confidence, atol=1e-4)
        assert other.counters.token_forwards < one.counters.token_forwards * 0.6


@pytest.mark.parametrize("text", ["fast-dllm", "llada", "dream"])
def test_a_network_gives_a_row_the_same_tokens_alone_and_in_a_batch(networks, text: str) -> None:
    settings = {"max_new_tokens": 10, "end_tokens": (), "temperature": 0.7}
    for name in ("llada", "dream"):
        both = answer(networks[name], TEXTS, text, **settings)
        assert [each.tokens for each in both] == [answer(networks[name], t, text, **settings).tokens for t in TEXTS]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("refresh", ["recompute", "block-cache"])
@pytest.mark.parametrize("order", ["low-confidence", "first-hitting", "threshold(0)", "ranked"])
def test_blocks_of_one_position_are_plain_decoding(order: str, refresh: str, temperature: float) -> None:
    """A causal model is a block-causal one with blocks of one, each row speaking of the next position."""
    causal = lean_or_none(FAMILIES["llama"]())
    assert causal is not None
    mask = 96
    settings = {"max_new_tokens": 12, "end_tokens": (), "temperature": temperature, "seed": 4}
    plain = answer(causal, TEXTS, "plain", banned_tokens=[mask], **settings)
    filled = answer(MaskedModel(causal, Masking(mask, True, 1)), TEXTS, f"{order}+{refresh}", **settings)
    assert [each.tokens for each in filled] == [each.tokens for each in plain]


def test_another_seed_is_another_text_and_the_same_seed_the_same() -> None:
    model = WORLDS["bidirectional"]
    texts = {seed: [self_of(model, seed) for _ in range(2)] for seed in range(4)}
    assert all(one == two for one, two in texts.values())
    assert len({tuple(one) for one, _ in texts.values()}) > 1


def self_of(model: MaskedTable, seed: int) -> list[int]:
    return answer(model, PROMPTS[0], "random-order", max_new_tokens=NEW, temperature=1.0, seed=seed).tokens


@pytest.mark.parametrize(
    "text",
    [
        "random-order",
        "threshold(0.5)+blocks(3)+dual-cache",
        "ranked(steps=3)+cfg(0.5)",
        "coherent+credit",
        "explore(0.6,branches=2)",
    ],
)
def test_a_fork_goes_on_as_the_row_it_was(text: str) -> None:
    """A copy made between two steps ends as the original does, and neither disturbs the other."""
    model = WORLDS["bidirectional"]
    loop, rows = loop_of(method.parse(text), model, temperature=0.9)
    while loop.rows:
        loop.step()
    again, others = loop_of(method.parse(text), model, temperature=0.9)
    again.step()
    copies = [replace_row(row) for row in others if not row.finish]
    for row, copy in zip([row for row in others if not row.finish], copies, strict=True):
        again.fork(row, copy)
    while again.rows:
        again.step()
    assert [row.new_tokens for row in others] == [row.new_tokens for row in rows]
    unfinished = [row for row in others if len(row.steps) > 1]
    assert [copy.new_tokens for copy in copies] == [row.new_tokens for row in unfinished]


def replace_row(row: Row) -> Row:
    return replace(row, history=row.history.fork(), steps=[], reported=[], book=(replace(row.counters), 0, None))


# -- what the loop enforces ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rogue(Order):
    """Does one forbidden thing."""

    crime: str = "nothing"
    name: ClassVar[str] = "rogue"

    def open(self, canvas: Canvas, context: Any) -> OrderState:
        return RogueState(self.crime)


class RogueState(OrderState):
    def __init__(self, crime: str) -> None:
        self.crime = crime

    def choose(self, canvas: Canvas, prediction: Any, window: Span) -> Delta:
        at = int(prediction.positions[0])
        match self.crime:
            case "idle":
                return Delta()
            case "frozen":
                return Delta({at: 0, 0: 4})
            case "outside":
                return Delta({at: 0, window.end: 0})
            case "mask":
                return Delta({at: MASK})
            case "undeclared":
                return Delta({at: 0}, frozenset([at]))
            case "not computed":
                return Delta({**{at: 0}, window.start: 0, window.end - 1: 0})
        return Delta({at: 0})


class Narrow(RogueState):
    def looks(self, canvas: Canvas, window: Span) -> Any:
        return canvas.masks(window)[:1]


@pytest.mark.parametrize(
    ("crime", "message"),
    [
        ("idle", "gets nowhere"),
        ("frozen", "outside"),
        ("outside", "outside"),
        ("mask", "fills no position"),
        ("undeclared", "does not declare it"),
    ],
)
def test_the_loop_stops_a_lawless_order(crime: str, message: str) -> None:
    parts = method.parse("threshold+blocks(3)")
    with pytest.raises(AssertionError, match=message):
        answer(WORLDS["bidirectional"], PROMPTS[0], replace(parts, order=Rogue(crime)), max_new_tokens=NEW)
    found = answer(WORLDS["bidirectional"], PROMPTS[0], replace(parts, order=Rogue()), max_new_tokens=NEW)
    assert found.tokens == [0] * NEW


def test_what_was_not_computed_is_not_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rogue, "open", lambda self, canvas, context: Narrow(self.crime))
    parts = replace(method.parse("threshold+blocks(3)"), order=Rogue("not computed"))
    with pytest.raises(AssertionError, match="not computed"):
        answer(WORLDS["bidirectional"], PROMPTS[0], parts, max_new_tokens=NEW)


def test_a_given_token_in_the_window_never_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the order may revise what it filled."""
    monkeypatch.setattr(Threshold, "revises", True)
    monkeypatch.setattr(ThresholdState, "looks", lambda self, canvas, window: window.positions)
    monkeypatch.setattr(
        ThresholdState, "choose", lambda self, canvas, prediction, window: Delta({1: 0}, frozenset(), {3: 2})
    )
    with pytest.raises(AssertionError, match="position 3"):
        answer(WORLDS["bidirectional"], PROMPTS[2], "threshold")


def test_an_order_that_remasks_is_handed_out_at_the_end_and_pays_from_its_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two steps forward, one of them taken back at the next."""
    monkeypatch.setattr(Threshold, "revises", True)
    monkeypatch.setattr(ThresholdState, "spare", lambda self, canvas, window: 2)
    real = ThresholdState.choose

    def choose(self, canvas, prediction, window):
        delta = real(self, canvas, prediction, window)
        filled = [int(p) for p in np.flatnonzero(canvas.filled >= 0)]
        return Delta(delta.commit, frozenset(filled[:1])) if canvas.step in (2, 4) else delta

    monkeypatch.setattr(ThresholdState, "choose", choose)
    for refresh in ("recompute", "dual-cache", "prefix-cache(every=1)"):
        stream = engine(WORLDS["bidirectional"]).stream(
            PROMPTS[0], f"threshold(1.1)+{refresh}", max_new_tokens=NEW, end_tokens=()
        )
        sizes = [len(piece.tokens) for piece in stream]
        found = stream.generation
        assert sum(sizes) == NEW and sizes[:-2] == [0] * (len(sizes) - 2)
        assert found.counters.rounds == NEW + 2
        assert sum(len(step.remasked) for step in found.steps) == 2


# -- what fits no canvas --------------------------------------------------------------------------------


def test_steers_that_need_the_text_so_far_are_refused() -> None:
    model = WORLDS["bidirectional"]
    for settings in ({"repetition_penalty": 1.2}, {"no_repeat_ngram": 2}, {"min_new_tokens": 3}):
        with pytest.raises(Unsupported, match="any order") as caught:
            answer(model, PROMPTS[0], "llada", max_new_tokens=NEW, end_tokens=[END], **settings)
        assert caught.value.hint
    settings = {"temperature": 1.0, "top_p": 0.9, "top_k": 4, "logit_bias": {2: 3.0}, "banned_tokens": [0]}
    steered = answer(model, PROMPTS[0], "llada", max_new_tokens=NEW, **settings)
    assert 0 not in steered.tokens and steered.tokens.count(2) > 1


def test_families_do_not_mix() -> None:
    causal = lean_or_none(FAMILIES["llama"]())
    with pytest.raises(Unsupported, match="continues text"):
        answer(causal, TEXTS[0], "llada")
    with pytest.raises(Unsupported, match="fills masks"):
        answer(WORLDS["bidirectional"], PROMPTS[0], "lookup")
