"""The loop seen from outside: holes, guidance, log-probabilities, traces, text, and the command line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diffuse.canvases import answer, engine
from models.masked_checkpoints import MASK, save
from stretto import method, noise
from stretto.cli import main
from stretto.diffuse.blocks.fixed import Fixed
from stretto.diffuse.canvas import Canvas
from stretto.diffuse.guidance import Guidance
from stretto.diffuse.method import Diffuse
from stretto.diffuse.orders.threshold import Threshold
from stretto.diffuse.refresh.dual import DualCache
from stretto.diffuse.refresh.recompute import Recompute
from stretto.diffuse.stops.fill import Fill
from stretto.engine import Engine
from stretto.errors import InvalidRequest, UnknownName
from stretto.models.masked import Masking
from stretto.models.table import ExactJoint, MaskedTable
from stretto.steer.choice import Rule
from stretto.steer.pipeline import Pipeline

TABLE = MaskedTable.random_masked(6, 8, Masking(5), sharpness=2.0)
SETTINGS = {"max_new_tokens": 6, "end_tokens": ()}


# -- the text form --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("threshold", Diffuse(Threshold(), Fixed(), Recompute(), Fill())),
        ("dual-cache+threshold(0.8)+blocks(4)", Diffuse(Threshold(0.8), Fixed(4), DualCache(), Fill())),
        ("fast-dllm", Diffuse(Threshold(), Fixed(32), DualCache(), Fill())),
        ("threshold+cfg(2.0)", Diffuse(Threshold(), Fixed(), Recompute(), Fill(), Guidance(2.0))),
    ],
)
def test_text_form(text: str, expected: Diffuse) -> None:
    parsed = method.parse(text)
    assert parsed == expected
    assert method.parse(method.describe(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("blocks(3)", InvalidRequest, "no order"),
        ("threshold+lookup", InvalidRequest, "continues text"),
        ("threshold+factor", InvalidRequest, "two of a kind, order"),
        ("threshold+cfg(0)", InvalidRequest, "weight 0"),
        ("treshold", UnknownName, "'threshold'"),
    ],
)
def test_mistakes_are_named(text: str, error: type, message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        method.parse(text)
    assert caught.value.hint


# -- holes ----------------------------------------------------------------------------------------------


def test_holes_are_filled_and_what_is_given_stays() -> None:
    prompt = [0, 5, 2, 5, 5, 3]
    found = answer(TABLE, prompt, "llada", **SETTINGS)
    assert found.prompt_tokens == [0] and found.finish == "length"
    assert len(found.tokens) == 5 and [found.tokens[at] for at in (1, 4)] == [2, 3] and 5 not in found.tokens
    assert sorted(p for step in found.steps for p in step.positions) == [1, 3, 4]
    assert found.counters.prompt_tokens == 3 and found.counters.token_forwards == 3 * len(prompt)


def test_holes_follow_the_joint_given_both_sides() -> None:
    joint = torch.zeros(2, 2, 2)
    joint[0, 1, 0] = joint[1, 1, 0] = 0.2
    joint[0, 0, 1] = joint[1, 0, 1] = 0.3
    model = ExactJoint(joint)
    for last, middle in ((0, 1), (1, 0)):
        found = answer(model, [0, 1, 2, last], "llada", end_tokens=())
        assert found.tokens == [middle, last]


def test_a_canvas_may_begin_with_a_hole() -> None:
    """Where a row speaks of the position behind it, the first one speaks of its own as well."""
    assert len(answer(TABLE, [5, 1, 5], "llada", **SETTINGS).tokens) == 3
    shifted = MaskedTable.random_masked(6, 4, Masking(5, shift=True), sharpness=2.0)
    found = answer(shifted, [5, 5, 2, 5], "threshold(0)", **SETTINGS)
    said = [int(np.argmax(shifted.says(at, {0: 5, 1: 5, 2: 2, 3: 5})[:5])) for at in (1, 1, 3)]
    assert [found.tokens[at] for at in (0, 1, 3)] == said and found.counters.rounds == 1


# -- guidance -------------------------------------------------------------------------------------------


def test_guidance_is_its_formula_on_a_second_canvas() -> None:
    """One position: logits of the canvas with and without its prompt, combined by hand."""
    for weight in (0.5, 3.0):
        said = [TABLE.says(2, {0: a, 1: b, 2: 5}) for a, b in ((1, 2), (5, 5))]
        with_prompt, without = (torch.tensor(each) for each in said)
        expected = without + (weight + 1) * (with_prompt - without)
        expected[5] = -torch.inf
        found = answer(TABLE, [1, 2], f"low-confidence+cfg({weight})", max_new_tokens=1, end_tokens=())
        assert found.tokens == [int(expected.argmax())]
        assert found.steps[0].confidence == [pytest.approx(float(expected.softmax(0).max()))]
        assert found.counters.row_forwards == 2 and found.counters.token_forwards == 6


def test_little_guidance_is_none() -> None:
    plain = answer(TABLE, [1, 2], "low-confidence+blocks(3)+dual-cache", **SETTINGS)
    guided = answer(TABLE, [1, 2], "low-confidence+blocks(3)+dual-cache+cfg(1e-9)", **SETTINGS)
    assert guided.tokens == plain.tokens
    assert guided.counters.token_forwards == 2 * plain.counters.token_forwards


def test_an_excluded_token_stays_excluded() -> None:
    guided = Guidance(2.0).guide(torch.tensor([[0.0, -torch.inf, 1.0]]), torch.tensor([[-torch.inf, -torch.inf, 0.0]]))
    assert guided.tolist() == [[-math.inf, -math.inf, 3.0]]


# -- what is reported -------------------------------------------------------------------------------------


def test_log_probabilities_and_the_trace() -> None:
    found = answer(TABLE, [0, 5, 2, 5], "low-confidence", temperature=0.5, log_probabilities=2, end_tokens=())
    raw = {p: c for step in found.steps for p, c in zip(step.positions, step.confidence, strict=True)}
    assert [entry.token for entry in found.log_probabilities] == found.tokens
    first, given, last = found.log_probabilities
    assert (given.raw, given.steered) == (0.0, 0.0)
    assert math.exp(first.raw) == pytest.approx(raw[1]) and math.exp(last.raw) == pytest.approx(raw[3])
    assert first.steered != first.raw and len(first.top_raw) == 2
    record = found.record()
    assert [step["positions"] for step in record["steps"]] == [step.positions for step in found.steps]


def test_samples_differ_and_each_is_what_it_is_alone() -> None:
    both = answer(TABLE, [0, 1], "random-order", samples=4, temperature=1.0, **SETTINGS)
    assert len({tuple(each.tokens) for each in both}) > 1
    assert both[0].tokens == answer(TABLE, [0, 1], "random-order", temperature=1.0, **SETTINGS).tokens


def test_a_bad_prompt_among_others_is_its_own_error() -> None:
    good, bad = answer(TABLE, [[0, 1], [99]], "llada", **SETTINGS)
    assert good.error is None and bad.error is not None


def test_the_canvas_grows_to_its_limit_and_forks() -> None:
    canvas = Canvas(np.array([1, 5]), Masking(5, block=4), 7, Rule(Pipeline([])))
    canvas.grow(5)
    twin = canvas.fork(Rule(Pipeline([]), 1))
    twin.ids[3] = 2
    canvas.grow(99)
    assert (len(canvas), len(twin)) == (7, 5) and canvas.ids[3] == 5
    assert canvas.total == 6 and canvas.prompt == 1 and canvas.ready == 1
    assert [canvas.scope(SimpleNamespace(end=end)) for end in (1, 4, 5)] == [4, 4, 7]


def test_tokens_are_drawn_anew_at_each_step() -> None:
    """An even model: with the first draw kept, every position would have the token that plain decoding draws."""
    even = MaskedTable(40, lambda position, seen: [0.0] * 40, Masking(39))
    keys = [noise.key(7, 0, position) for position in range(1, 9)]
    plain = [max(range(39), key=lambda token: noise.gumbel_one(key, token)) for key in keys]
    settings = {"max_new_tokens": 8, "temperature": 1.0, "seed": 7, "end_tokens": ()}
    anew = answer(even, [0], "threshold", **settings)
    assert anew.tokens[0] == plain[0] and sum(a == b for a, b in zip(anew.tokens, plain, strict=True)) < 4
    assert answer(even, [0], "threshold+blocks(1)", **settings).tokens == plain


# -- with text ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("llada", tmp_path_factory.mktemp("llada"), tokenizer=True)


@pytest.fixture(scope="module")
def writer(folder: Path) -> Engine:
    return engine_of(folder)


def engine_of(folder: Path) -> Engine:
    loaded = Engine.load(str(folder))
    return Engine(loaded.model, loaded.tokenizer, clock=engine(loaded.model).clock)


def test_a_stop_string_ends_a_row_and_is_cut_off(writer: Engine) -> None:
    settings = {"max_new_tokens": 12, "end_tokens": ()}
    whole = writer.generate("w5 w6 w7", "threshold(0.3)+blocks(4)", **settings)
    word = whole.text.split()[5]
    cut = writer.generate("w5 w6 w7", "threshold(0.3)+blocks(4)", stop=word, **settings)
    assert cut.finish == "stop" and whole.text.startswith(cut.text) and word not in cut.text.split()
    assert cut.counters.rounds < whole.counters.rounds
    pieces = list(writer.stream("w5 w6 w7", "threshold(0.3)+blocks(4)", stop=word, **settings))
    assert "".join(piece.text for piece in pieces) == cut.text


def test_holes_in_a_text(writer: Engine) -> None:
    found = writer.generate("w5 [MASK] w7 [MASK] [MASK] w9", "llada")
    words = found.text.split()
    assert len(found.tokens) == 5 and (words[1], words[4]) == ("w7", "w9") and MASK not in found.tokens
    assert found.prompt_tokens == [5]


def test_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace.json"
    given = ["generate", "w5 w6", "--model", str(folder), "--method", "fast-dllm", "--max-new-tokens", "8"]
    assert main([*given, "--end-tokens", "1", "--stats", "--trace", str(trace)]) == 0
    output = capsys.readouterr()
    assert len(output.out.split()) == 8 and "8 tokens" in output.err
    steps = json.loads(trace.read_text())["steps"]
    assert sorted(p for step in steps for p in step["positions"]) == list(range(2, 10))
    assert all(len(step["confidence"]) == len(step["positions"]) for step in steps)
    assert main(["generate", "w5", "--model", str(folder), "--method", "lookup"]) == 2
    assert "fast-dllm" in capsys.readouterr().err
    assert main(["methods", "--family", "diffusion"]) == 0
    assert {"llada", "dream", "fast-dllm", "bd3lm"} <= set(capsys.readouterr().out.split())
