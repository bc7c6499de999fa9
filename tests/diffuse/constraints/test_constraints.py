"""Constraints on a canvas: whatever the model wants, the output is a sentence; where it wants one, nothing changes."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from diffuse.canvases import answer, blank, context, predict
from laws.test_diffusion import KINDS, fits, plainly
from stretto import method
from stretto.constrain import emptiness
from stretto.constrain.choices import Choices
from stretto.constrain.completion import HOLE, Gap
from stretto.constrain.contract import Constraint as OfText
from stretto.constrain.contract import State
from stretto.constrain.matcher import Matcher
from stretto.constrain.regex import Regex
from stretto.constrain.tokens import Tokens
from stretto.diffuse.canvas import Canvas, Delta
from stretto.diffuse.constraints.grammar import Grammar
from stretto.diffuse.constraints.lave import Lave
from stretto.errors import InvalidRequest, UnknownName, Unsupported
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable
from stretto.steer.choice import Rule
from stretto.steer.pipeline import Pipeline

MASK, END = 5, 2  # without a tokenizer each token is the digit that it is; the end token is no text
NESTED = "S -> 0 S 1 | 0 1\n"
NEW = 6
WORLDS = {
    "bidirectional": Masking(MASK),
    "shifted": Masking(MASK, shift=True),
    "block-causal": Masking(MASK, block=4),
}


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> str:
    """As many 0 as 1 after them, and 3 anywhere between."""
    path = tmp_path_factory.mktemp("languages") / "nested"
    path.write_text(NESTED + "~ 3+\n")
    return str(path)


@pytest.fixture(scope="module")
def anything(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("languages") / "anything"
    path.write_text("S -> S CHAR | ε\nCHAR ~ [0-9]\n")
    return str(path)


def valid(tokens: list[int]) -> bool:
    """The slow reference: a regular expression and a count."""
    text = "".join(map(str, tokens[: tokens.index(END)] if END in tokens else tokens)).replace("3", "")
    found = re.fullmatch("(0+)(1+)", text)
    return bool(found) and len(found[1]) == len(found[2])


CASES = [(each, world) for each in ("grammar", "lave") for world in WORLDS]
CASES += [(each, "bidirectional") for each in ("grammar(retries=0)", "lave(best=1,drawn=0,retries=1)", "lave(drawn=9)")]


@pytest.mark.parametrize(("constraint", "world"), CASES)
def test_the_output_is_a_sentence(nested: str, constraint: str, world: str) -> None:
    """Whatever a random model says, greedy and sampled, one token a step and several; the model alone gives none."""
    name, _, rest = constraint.partition("(")
    constraint = f"{name}(language={nested}{',' + rest if rest else ')'}"
    orders = ["low-confidence", "low-confidence(steps=2)", "random-order", "threshold(0.3)+blocks(2)"]
    alone = []
    for seed, order in enumerate(orders):
        model = MaskedTable.random_masked(6, seed, WORLDS[world], sharpness=2.0)
        settings = {"max_new_tokens": NEW, "end_tokens": [END], "temperature": float(seed % 2), "seed": seed}
        found = answer(model, [4, 4], f"{order}+end-of-text+{constraint}", **settings)
        assert valid(found.tokens), (order, found.tokens)
        assert found.counters.rounds <= NEW  # where the model is overruled a step still fills something
        alone.append(valid(answer(model, [4, 4], order, **settings).tokens))
    assert not all(alone)


@pytest.mark.parametrize("constraint", ["grammar", "lave"])
def test_a_language_of_everything_changes_nothing(anything: str, constraint: str) -> None:
    for seed, order in enumerate(("low-confidence", "threshold(0.4)", "random-order")):
        model = MaskedTable.random_masked(6, seed, Masking(MASK))
        settings = {"max_new_tokens": NEW, "end_tokens": (), "temperature": 0.8}
        plain = answer(model, [4], order, **settings)
        found = answer(model, [4], f"{order}+{constraint}(language={anything})", **settings)
        assert found.tokens == plain.tokens
        assert [step.positions for step in found.steps] == [step.positions for step in plain.steps]


@pytest.mark.parametrize("retries", [0, 1, 20])
@pytest.mark.parametrize("constraint", ["grammar", "lave"])
def test_bans_and_biases_hold_where_the_order_is_overruled(tmp_path: Path, constraint: str, retries: int) -> None:
    """The model wants 3 everywhere, which is no text here, and 0 rather than 1; a ban of both yields."""
    (tmp_path / "bits").write_text("S -> T T T\nT -> 0 | 1\n")
    model = MaskedTable(6, lambda position, seen: [2.0, 1.0, 0.0, 5.0, 4.0, 0.0], Masking(MASK))
    text = f"low-confidence+{constraint}({tmp_path / 'bits'},retries={retries})"
    settings = {"max_new_tokens": 3, "end_tokens": [END]}
    assert answer(model, [4], text, **settings).tokens == [0, 0, 0]
    for steer in ({"banned_tokens": [0]}, {"logit_bias": {1: 2.0}}, {"allowed_tokens": [1, 2, 3]}):
        assert answer(model, [4], text, **settings, **steer).tokens == [1, 1, 1]
    assert answer(model, [4], text, banned_tokens=[0, 1], **settings).tokens == [0, 0, 0]
    never = MaskedTable(6, lambda position, seen: [-math.inf, -math.inf, 0.0, 5.0, 4.0, 0.0], Masking(MASK))
    assert set(answer(never, [4], text, **settings).tokens) <= {0, 1}


@pytest.mark.parametrize("constraint", ["grammar", "lave"])
def test_a_guesser_composes_with_a_constraint(nested: str, constraint: str) -> None:
    model = MaskedTable.random_masked(6, 1, Masking(MASK))
    settings = {"max_new_tokens": NEW, "end_tokens": [END], "temperature": 0.7}
    text = f"low-confidence+{constraint}(language={nested})"
    static, found = (answer(model, [4], each, **settings) for each in (text, f"{text}+freedave(4)"))
    assert found.tokens == static.tokens
    assert [step.confidence for step in found.steps] == [step.confidence for step in static.steps]
    assert found.counters.rounds <= static.counters.rounds


@pytest.mark.parametrize("world", ["bidirectional", "block-causal"])
@pytest.mark.parametrize("constraint", ["grammar", "lave"])
def test_with_every_order_and_part_that_fits(nested: str, constraint: str, world: str) -> None:
    """The orders take turns with the other parts, some of which take back what they filled; side by side and alone."""
    model, others = MaskedTable.random_masked(6, 4, WORLDS[world]), [*map(plainly, KINDS[1:])]
    everything = [text for kind in others for text in kind]
    settings = {"max_new_tokens": 4, "end_tokens": [END], "temperature": 0.7, "seed": 3}
    tried: set[str] = set()
    for at, order in enumerate(plainly("order")):
        turns = (everything[(at + turn) % len(everything)] for turn in range(len(everything)))
        language = f"{constraint}(language={nested})"
        text = next((text for part in turns if fits(text := f"{order}+{part}+{language}", model)), None)
        assert text is not None, f"{order} fits nothing beside {constraint}"
        tried.add(text.split("+")[1])
        both = answer(model, [[4], [4, 4, 3]], text, **settings)
        for found, prompt in zip(both, ([4], [4, 4, 3]), strict=True):
            assert valid(found.tokens), (text, found.tokens)
            assert answer(model, prompt, text, **settings).tokens == found.tokens, text
    assert len(tried) > 5


@pytest.mark.parametrize("part", [Grammar, Lave])
def test_what_is_only_opened_is_never_refused(nested: str, part: Any) -> None:
    """Even where no filling is found that is read: what was completable stays so."""
    session, canvas = opened(part(nested), 3), blank(4, MASK)
    taken = Delta(remask=frozenset([2]))
    prediction = predict(canvas, [[0.2] * 5] * 4)
    assert session.choose(canvas, prediction, lambda _: taken, lambda _: False)[1:] == (taken, True)


@pytest.mark.parametrize("constraint", ["grammar", "lave"])
def test_holes_between_given_tokens_and_unequal_prompts(nested: str, constraint: str) -> None:
    model = MaskedTable.random_masked(6, 3, Masking(MASK))
    text = f"low-confidence+{constraint}(language={nested})"
    holes = [4, MASK, 0, MASK, MASK, 1, 3]
    (found,) = [answer(model, holes, text, end_tokens=[END])]
    assert valid(found.tokens) and found.tokens[1] == 0 and found.tokens[-2:] == [1, 3]
    settings = {"max_new_tokens": 4, "end_tokens": [END]}
    both = answer(model, [[4], [4, 4, 0]], text, **settings)
    assert [each.tokens for each in both] == [answer(model, p, text, **settings).tokens for p in ([4], [4, 4, 0])]


def test_gaps_of_any_length_can_lead_to_where_nothing_fits(nested: str) -> None:
    """As published: 0 0 0 _ 1 and an end pass, and the one token that is left cannot be placed."""
    canvas = [4, MASK, MASK, MASK, MASK, 1, END]

    def says(position: int, seen: dict[int, int]) -> list[float]:
        return [5.0 - position, 0.0, 0.0, -9.0, 0.0, 0.0]  # 0 everywhere, and from left to right

    model = MaskedTable(6, says, Masking(MASK))
    with pytest.raises(Unsupported, match="no token fits") as caught:
        answer(model, canvas, f"low-confidence+grammar({nested},gap=any)", end_tokens=[END])
    assert "exact" in caught.value.hint
    found = answer(model, canvas, f"low-confidence+grammar({nested})", end_tokens=[END])
    assert valid(found.tokens)


def test_an_end_is_refused_where_no_filling_before_it_is_a_sentence(nested: str) -> None:
    """The published case: 0 0 0 _ 1 and then an end; without the end it is the beginning of a sentence."""
    for canvas, lave, longer in (([0, 0, 0, HOLE, 1, END], False, True), ([0, 0, 0, HOLE, 1, HOLE], True, True)):
        session = opened(Lave(nested, top=5), 6)
        choices = {1 + at: [(token, -1.0) for token in (0, 1)] for at in range(6)}
        assert (session._read(canvas, 1, choices, np.zeros(6)) is not None) == lave
        assert session.completion.can_extend(canvas, Gap.ANY) == longer
    assert opened(Lave(nested), 6)._read([0, END, 1, 1, HOLE, HOLE], 1, {}, np.zeros(6)) is None  # text behind an end


def opened(part: Any, size: int) -> Any:
    canvas = Canvas(np.array([4, *[MASK] * size]), Masking(MASK), size + 1, Rule(Pipeline([])), frozenset([END]))
    return part.open(canvas, context_of_digits())


def context_of_digits() -> Any:
    from dataclasses import replace

    def encode(text: str) -> list[int]:
        raise InvalidRequest("no tokenizer")

    made = context(MaskedTable.random_masked(6, 0, Masking(MASK)))
    return replace(made, encode=encode, decode=lambda tokens: "".join(map(str, tokens)))


def test_every_accepted_step_of_lave_has_a_filling_that_is_read(nested: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By brute force: the holes before the last known token, filled in every way."""
    from stretto.diffuse.constraints.lave import LaveState

    seen: list[list[int]] = []
    admit = LaveState.admit

    def spied(self: Any, canvas: Canvas, prediction: Any, window: Any, choose: Any) -> Any:
        own, delta = admit(self, canvas, prediction, window, choose)
        seen.append(self.text(canvas, delta))
        return own, delta

    monkeypatch.setattr(LaveState, "admit", spied)
    for seed in range(4):
        model = MaskedTable.random_masked(6, seed, Masking(MASK))
        answer(model, [4], f"random-order+lave({nested},best=2,drawn=2)", max_new_tokens=5, end_tokens=[END])
    language = opened(Lave(nested), 5).completion.language
    for text in seen:
        end = text.index(END) if END in text else None
        known = [at for at, token in enumerate(text) if token not in (HOLE, END)]
        part = text[:end] if end is not None else text[: max(known, default=-1) + 1]
        assert end is None or not known or max(known) < end
        ways = itertools.product(range(5), repeat=part.count(HOLE))
        assert any(reads(language, part, way, whole=end is not None) for way in ways), text
    assert len(seen) > 10


def reads(language: Any, part: list[int], way: tuple[int, ...], whole: bool) -> bool:
    left = iter(way)
    matcher = Matcher(language)
    text = "".join(str(next(left) if token == HOLE else token) for token in part)
    return "2" not in text and matcher.push(text) and (matcher.complete or not whole)


def test_refusals_have_hints(nested: str) -> None:
    model = MaskedTable.random_masked(6, 1, Masking(MASK))
    for text, error, message in (
        ("threshold+grammar(jsn)", UnknownName, "jsn"),
        (f"threshold+prophet+grammar({nested})", Unsupported, "by itself"),
        ("threshold+grammar(json,gap=some)", InvalidRequest, "some"),
        ("threshold+grammar(json,retries=-1)", InvalidRequest, "retries"),
        ("threshold+lave(json,best=0)", InvalidRequest, "best=0"),
        (f"threshold+grammar({nested})", InvalidRequest, "no text"),
    ):
        with pytest.raises(error, match=message) as caught:
            answer(model, [4], text, max_new_tokens=1)
        assert caught.value.hint
    chosen = method.parse(f"threshold+grammar({nested})")
    assert method.parse(method.describe(chosen)) == chosen and chosen.constraint == Grammar(nested)


@pytest.mark.parametrize("order", ["low-confidence", "random-order"])
def test_the_work_grows_with_the_length_and_no_faster(nested: str, order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """States that are worked out and characters that are read: counted, over answers of doubled lengths."""
    steps = Counter[str]()
    for owner, name in ((emptiness, "_derived"), (Matcher, "_column")):
        monkeypatch.setattr(owner, name, counting(getattr(owner, name), steps))
    work = []
    for size in (12, 48):
        steps.clear()
        for seed in range(3):
            model = MaskedTable.random_masked(6, seed, Masking(MASK), sharpness=2.0)
            found = answer(model, [4, 4], f"{order}+lave({nested})", max_new_tokens=size, end_tokens=())
            assert valid(found.tokens)
        work.append(steps.total())
    assert work[1] < 7 * work[0], work  # a length four times as large


def counting(function: Callable[..., Any], steps: Counter[str]) -> Callable[..., Any]:
    """The function, counted."""

    def counted(*given: Any) -> Any:
        steps[function.__name__] += 1
        return function(*given)

    return counted


def test_constraints_on_texts_hold_on_canvases() -> None:
    """By value, in the method and in its text; one that is kept token by token is refused."""
    cases = {Regex("0+1?3"): "0+1?3", Choices(("013", "31", "0")): "013|31|0"}
    for seed, (constraint, pattern) in enumerate(cases.items()):
        model = MaskedTable.random_masked(6, seed, Masking(MASK), sharpness=2.0)
        settings = {"max_new_tokens": NEW, "end_tokens": [END], "temperature": float(seed), "seed": seed}
        for order in ("low-confidence", "random-order", "threshold(0.3)+blocks(2)"):
            found = answer(model, [4, 4], f"{order}+end-of-text", constraint=constraint, **settings)
            text = "".join(map(str, found.tokens[: found.tokens.index(END)]))
            assert re.fullmatch(pattern, text), text
            again = answer(model, [4, 4], f"{order}+end-of-text+{method.describe_part(constraint)}", **settings)
            assert again.tokens == found.tokens and again.method == found.method
    with pytest.raises(Unsupported, match="parity is kept token by token"):
        answer(model, [4], "low-confidence", constraint=Parity(), max_new_tokens=3, end_tokens=[END])
    with pytest.raises(InvalidRequest, match="two constraints"):
        answer(model, [4], "low-confidence+grammar(json)", constraint=Regex("0"), max_new_tokens=3)


@dataclass(frozen=True)
class Parity(OfText):
    """Says no language."""

    name: ClassVar[str] = "parity"

    def open(self, tokens: Tokens) -> State:
        raise AssertionError("nobody asks")
