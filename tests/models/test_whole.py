"""A module that runs whole, from the state that it hands back, gives what its own forward gives over the whole text."""

from __future__ import annotations

import inspect
import random
from collections.abc import Sequence
from functools import cache as remember
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

from models.sweep import VOCABULARY, build
from stretto.engine import Engine
from stretto.errors import ModelError, Unsupported
from stretto.laws.worlds import Guesser
from stretto.models.clock import SimulatedClock
from stretto.models.contract import NOTHING, Want
from stretto.models.hooks import cache_argument
from stretto.models.load import load
from stretto.models.recurrent import Recurrent
from stretto.models.whole import CHUNK, MOST, Whole
from stretto.models.window import Window
from stretto.speculate.acceptors.exact import Exact
from stretto.speculate.contract import Room
from stretto.speculate.loop import Speculate
from stretto.speculate.planners.fixed import Fixed
from stretto.tree import ROOT, Tree

CPU = torch.device("cpu")
# State spaces, the older one read token by token; with attention beside, in each layer or some; convolutions with a
# window of attention; linear attention; ALiBi; heads in one matrix.
FAMILIES = ("Mamba", "Mamba2", "GraniteMoeHybrid", "FalconH1", "Lfm3", "Qwen3Next", "Rwkv", "Bloom", "Falcon")
SINGLE = {"Mamba"}  # forgets its state when several tokens follow it


def module_of(family: str) -> PreTrainedModel:
    """A tiny module whose states weigh enough in its logits to be missed."""
    module = build(family)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for name, weight in module.named_parameters():
            if "A_log" not in name and "time_" not in name and weight.dim() > 1:
                weight.mul_(4.0)
    return module


@remember
def models(family: str) -> Whole:
    return Whole(module_of(family), family)


@remember
def said(family: str, tokens: tuple[int, ...]) -> Tensor:
    """The logits of an untouched module's forward over all of these tokens: [T, V]."""
    with torch.inference_mode():
        return models(family).module(input_ids=torch.tensor([tokens]), use_cache=False).logits[0]


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-4 * float(theirs.abs().max()), rtol=0)


def read(model: Whole, cache: Recurrent, rows: list[int], parts: list[list[int]]) -> list[Tensor]:
    """The logits of each row's part, which may be of unequal lengths."""
    starts = [cache.length(row) for row in rows]
    logits = model.evaluate(Window.chain(rows, parts, starts, CPU), cache).logits
    assert logits is not None
    return [each[: len(part)] for each, part in zip(logits, parts, strict=True)]


@pytest.mark.parametrize("family", [family for family in FAMILIES if hasattr(transformers, f"{family}Config")])
def test_rows_that_grow_go_back_and_fork_are_as_read_at_once(family: str) -> None:
    """Batches of unequal windows, of which a part is kept; what is kept is read once more or has a state."""
    model, chance = models(family), random.Random(family)
    assert model._single == (family in SINGLE)
    cache = model.new_cache()
    texts = {cache.open(): list[int]() for _ in range(2)}
    for step in range(9):
        some = chance.sample(sorted(texts), chance.randint(1, len(texts)))
        parts = [[chance.randrange(3, VOCABULARY) for _ in range(chance.choice((1, 2, 6)))] for _ in some]
        for row, part, ours in zip(some, parts, read(model, cache, some, parts), strict=True):
            before = texts[row]
            close(ours, said(family, (*before, *part))[len(before) :])
            start, kept = len(before), chance.randint(1, len(part))
            cache.keep(row, start, range(start, start + kept))
            texts[row] = [*before, *part[:kept]]
        if step == 4:
            (copy,) = cache.fork(some[0])
            texts[copy] = list(texts[some[0]])
        if step == 6:
            cache.free(some[0])
            del texts[some[0]]
    for row, text in texts.items():
        assert cache.length(row) == len(text)
        (ours,) = read(model, cache, [row], [[5]])
        close(ours, said(family, (*text, 5))[-1:])


@pytest.mark.parametrize("family", ["Jamba", "Zamba2"])
def test_a_state_that_weighs_little_is_missed_all_the_same(family: str) -> None:
    """Of small weights, the logits are right to 1e-4 where it is forgotten."""
    model = Whole(build(family))
    assert model._single == (family == "Jamba")


def test_long_chunks_are_cut_shorter_and_left_as_they_were() -> None:
    module = build("Mamba2", chunk_size=64)
    model, text, seen = Whole(module), tuple(3 + at % 90 for at in range(80)), set()
    mixers = [part for part in module.modules() if hasattr(part, "chunk_size")]
    for mixer in mixers:
        mixer.register_forward_hook(lambda part, *_: seen.add(part.chunk_size))
    cache = model.new_cache()
    row = cache.open()
    with torch.inference_mode():
        theirs = module(input_ids=torch.tensor([text]), use_cache=False).logits[0]
    assert seen == {64}
    ours = [read(model, cache, [row], [list(text[start:end])])[0] for start, end in ((0, 70), (70, 75), (75, 80))]
    close(torch.cat(ours), theirs)
    assert seen == {64, CHUNK, 5}
    assert all(mixer.chunk_size == 64 for mixer in mixers)


def test_a_folder_answers_as_transformers_does(tmp_path: Path) -> None:
    module = module_of("Qwen3Next")
    module.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    engine = Engine(loaded.model, clock=SimulatedClock())
    engine.end_tokens = loaded.end_tokens
    assert isinstance(engine.model, Whole)
    prompt = [5, 6, 7, 8, 5, 6, 7]
    theirs = module.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False)[0, len(prompt) :].tolist()
    assert engine.generate(prompt, "lookup+fixed(4)", max_new_tokens=12).tokens == theirs


def test_what_went_back_often_is_read_on_its_own_before_it_becomes_long() -> None:
    model = models("Mamba2")
    cache = model.new_cache()
    row, text, unread = cache.open(), list[int](), list[int]()
    for step in range(24):
        guesses = [3 + step, 50, 51]
        (ours,) = read(model, cache, [row], [guesses])
        close(ours, said("Mamba2", (*text, *guesses))[len(text) :])
        cache.keep(row, len(text), [len(text)])
        text.append(guesses[0])
        unread.append(len(cache.state(row)[1]))
    assert max(unread) == MOST + 1
    assert unread.count(1) == 2, "from the state behind the tokens that were read on their own, it begins anew"


def test_logits_only_where_wanted_and_what_a_row_takes() -> None:
    model = models("GraniteMoeHybrid")
    cache = model.new_cache()
    rows = [cache.open(), cache.open()]
    window = Window.chain(rows, [[3, 4, 5, 6, 7], [8, 9]], [0, 0], CPU)
    assert model.evaluate(window, cache, NOTHING).logits is None
    window = Window.chain(rows, [[10, 11, 12], [13]], [5, 2], CPU)
    found = model.evaluate(window, cache, Want(logits=torch.tensor([[1, 2], [0, 0]]))).logits
    assert found is not None
    close(found[0], said("GraniteMoeHybrid", (3, 4, 5, 6, 7, 10, 11, 12))[-2:])
    close(found[1, 0], said("GraniteMoeHybrid", (8, 9, 13))[-1])
    assert 0 < cache.bytes() <= 2 * cache.needs(8)


def tree() -> Tree:
    tree = Tree()
    for token in (4, 5):
        tree.add(token, ROOT)
    return tree


@pytest.mark.parametrize(
    ("window", "want"),
    [
        (Window.forest([0], [3], [tree()], [0], CPU), Want()),
        (Window.chain([0], [[3]], [0], CPU), Want(hidden=(1,))),
        (Window.chain([0], [[3]], [7], CPU), Want()),
        (Window.chain([0, 1], [[3], [4]], [0, 7], CPU), Want()),
    ],
    ids=["a tree", "hidden rows", "a gap", "a gap in the second row"],
)
def test_what_needs_the_insides_is_refused(window: Window, want: Want) -> None:
    model = models("Mamba2")
    cache = model.new_cache()
    assert [cache.open(), cache.open()] == [0, 1]
    with pytest.raises(Unsupported, match="runs whole"):
        model.evaluate(window, cache, want)
    assert cache.length(0) == 0
    with pytest.raises(Unsupported, match="shows no keys"):
        model.new_cache(key_form="raw")
    with pytest.raises(Unsupported, match="runs whole"):
        model.read_out(torch.zeros(1, model.channels))


def test_a_state_that_is_kept_elsewhere_or_a_number_that_is_none_is_refused() -> None:
    module = module_of("Mamba2")
    forward, held = module.forward, []

    name = cache_argument(module)

    def forgetful(*args: Any, **arguments: Any) -> Any:
        """Goes on from whatever it was called with last."""
        arguments[name] = held[-1] if arguments.get(name) is not None else None
        output = forward(*args, **arguments)
        held.append(getattr(output, name))
        return output

    forgetful.__signature__ = inspect.signature(forward)  # type: ignore[attr-defined]
    module.forward = forgetful
    with pytest.raises(ModelError, match=r"differs from its own forward by [\d.]+% where a text comes in pieces"):
        Whole(module)
    module.forward = forward
    model = Whole(module)
    row = (cache := model.new_cache()).open()
    with torch.inference_mode():
        module.get_output_embeddings().weight[5] = torch.nan
    with pytest.raises(ModelError, match="from position 0 on its logits are not finite"):
        model.evaluate(Window.chain([row], [[3, 4]], [0], CPU), cache)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(models("GraniteMoeHybrid"), clock=SimulatedClock())


PROMPTS = [[3, 4, 5, 6, 3, 4, 5, 6, 3, 4], [9, 8, 7, 9, 8, 7, 9, 8], [11]]


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.0, "seed": 5}], ids=["greedy", "sampled"])
def test_drafted_tokens_are_those_of_plain_decoding(engine: Engine, settings: dict[str, Any]) -> None:
    """Rows of two samples of three prompts, drafted for by whom is right more or less often, and by `auto`."""
    asked: dict[str, Any] = {"max_new_tokens": 14, "samples": 2, **settings}
    answers = engine.generate(PROMPTS, "plain", **asked)
    assert all(answer.counters.token_forwards == answer.counters.rounds for answer in answers)
    plain = [answer.tokens for answer in answers]
    texts = [
        [*prompt, *tokens] for prompt, tokens in zip([each for each in PROMPTS for _ in range(2)], plain, strict=True)
    ]

    def guess(tokens: Sequence[int], room: Room) -> Tree:
        """What follows, but that one guess in three is wrong."""
        size, known = len(tokens), next(text for text in texts if text[: len(tokens)] == tokens)
        right = known[size : size + room.depth]
        return Tree.chain([token if (size + at) % 3 else token + 1 for at, token in enumerate(right)])

    for method in (Speculate(Guesser(guess), Exact(), Fixed(4)), "lookup+fixed(5)", "auto"):
        answers = engine.generate(PROMPTS, method, **asked)
        assert [answer.tokens for answer in answers] == plain
        if isinstance(method, Speculate):
            counted = [answer.counters for answer in answers]
            assert all(0 < each.accepted < each.drafted for each in counted)
            assert all(each.token_forwards > each.rounds + each.drafted for each in counted), "some were read again"


def test_the_next_turn_is_read_from_where_the_last_one_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole prompts are known again, the longest of them; what is kept is bounded, the state asked for last stays."""
    model, read = models("GraniteMoeHybrid"), list[int]()
    evaluate = model.evaluate

    def counted(window: Window, cache: Recurrent, want: Want = Want()) -> Any:
        read.append(sum(window.lengths))
        return evaluate(window, cache, want)

    monkeypatch.setattr(model, "evaluate", counted)
    first = [3 + at % 90 for at in range(70)]
    second = [*first, 11, 12, 13]
    asked: dict[str, Any] = {"max_new_tokens": 3}

    def ask(engine: Engine, prompt: list[int]) -> tuple[list[int], int]:
        """The answer, and how many tokens of the prompt were read."""
        read.clear()
        return engine.generate(prompt, "plain", **asked).tokens, sum(read) - 3

    fresh = Engine(model, clock=SimulatedClock(), prefixes=0)
    plain = {len(prompt): ask(fresh, prompt) for prompt in (first, second, first[:50])}
    assert plain[73][1] == 72
    engine = Engine(model, clock=SimulatedClock())
    for prompt, expected in ((first, 69), (second, 3), (second, 0), (first, 0), (first[:50], 49), (first[:50], 49)):
        assert ask(engine, prompt) == (plain[len(prompt)][0], expected)
    cache = model.new_cache()
    model.evaluate(Window.chain([cache.open()], [first], [0], CPU), cache)
    for room, expected in ((cache.bytes() // 2, 69), (2 * cache.bytes(), 0)):
        engine = Engine(model, clock=SimulatedClock(), prefixes=room)
        ask(engine, first)
        assert ask(engine, first) == (plain[70][0], expected)


def test_trees_are_refused_at_the_door(engine: Engine) -> None:
    with pytest.raises(Unsupported, match="needs tree"):
        engine.generate([3, 4, 5], "recycle+fixed(16)", max_new_tokens=4)
