"""Where exact bits were asked for, a row's results have the same bits in windows of any size, in trees and batches."""

from __future__ import annotations

from functools import cache as remember
from typing import Any

import pytest
import torch
from torch import Tensor

from models.families import FAMILIES, VOCABULARY
from stretto import Engine, Generation
from stretto.models.bitwise import Bitwise
from stretto.models.cache import Cache
from stretto.models.clock import SimulatedClock
from stretto.models.contract import NOTHING, Want
from stretto.models.drawn.network import Drawn
from stretto.models.fast import lean_or_none
from stretto.models.kernel_choice import CODED, Wish
from stretto.models.lean import Lean
from stretto.models.trunk import Sharing
from stretto.models.window import Window
from wide import WIDE

CPU = torch.device("cpu")
APPLIES = (
    *("llama", "llama_yarn", "mistral", "qwen2", "qwen3", "phi3", "smollm3", "granite"),
    *("gemma2", "gemma3", "olmo2"),
)
COUNTS = (1, 2, 3, 4, 5, 8, 16, 33)
CONTEXTS = (1, 30, 90)
FORMS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.float32, "int4": torch.float32}
DRAWN = {"int8 blocks": "int8", "int4 blocks": "int4"}  # where all matrices are whole blocks
WHOLE: dict[str, Any] = {"intermediate_size": 64, "head_dim": 16}
TOKENS = [(37 * at + at * at // 3 + 5) % VOCABULARY for at in range(128)]


@remember
def bitwise(family: str, form: str) -> Lean:
    reasons: list[str] = []
    if form in DRAWN:
        model = lean_or_none(FAMILIES[family](**WHOLE), reasons.append, Wish(form=DRAWN[form]))
        assert isinstance(model, Drawn), reasons
        return model
    module = FAMILIES[family]().to(FORMS[form])
    model = lean_or_none(module, reasons.append, Wish(bits=True, form=form if form in CODED else ""), Bitwise)
    assert isinstance(model, Bitwise), reasons
    return model


def begun(model: Lean, length: int, *, chunk: int = 128, tokens: list[int] = TOKENS, cache: Cache | None = None) -> Any:
    """A cache, and a row of it that holds so many tokens, read in chunks."""
    cache = cache or model.new_cache(4, 160)
    row = cache.open()
    for start in range(0, length, chunk):
        part = tokens[start : min(start + chunk, length)]
        model.evaluate(Window.chain([row], [part], [start], CPU), cache, NOTHING)
    return cache, row


def logits(model: Lean, cache: Cache, window: Window) -> Tensor:
    found = model.evaluate(window, cache).logits
    assert found is not None
    return found


@remember
def one_by_one(family: str, form: str, context: int) -> Tensor:
    """Logits after each of 33 tokens, decoded plainly."""
    model = bitwise(family, form)
    cache, row = begun(model, context)
    windows = [Window.chain([row], [[TOKENS[at]]], [at], CPU) for at in range(context, context + max(COUNTS))]
    return torch.cat([logits(model, cache, window)[0] for window in windows])


FLOATS = [(family, form) for family in APPLIES for form in FORMS]
BLOCKS = [(family, form) for family in APPLIES if family != "granite" for form in DRAWN]  # Granite scales matrices


@pytest.mark.parametrize(("family", "form"), [*FLOATS, *BLOCKS])
def test_chains_trees_and_batches_are_single_steps(family: str, form: str) -> None:
    """Families take turns with the counts, unless tests are WIDE."""
    model, turn = bitwise(family, form), APPLIES.index(family) % 2
    for context in CONTEXTS:
        plain = one_by_one(family, form, context)
        cache, row = begun(model, context, chunk=7)
        _, other = begun(model, 50, tokens=TOKENS[::-1], cache=cache)
        _, short = begun(model, 2, tokens=TOKENS[5:], cache=cache)
        for count in COUNTS if WIDE else COUNTS[turn::2] if context == CONTEXTS[1] else COUNTS[2 + turn :: 5]:
            said = TOKENS[context : context + count]
            chain = logits(model, cache, Window.chain([row], [said], [context], CPU))[0]
            assert torch.equal(chain, plain[:count]), (context, count)
            cache.truncate(row, context)
            # the path itself stands at the even slots after its root, with a sibling before each
            nodes, above, path = [said[0]], [-1], [0]
            for token in said[1:]:
                nodes += [(token + 1) % VOCABULARY, token]
                above += [path[-1], path[-1]]
                path.append(len(nodes) - 1)
            tree = logits(model, cache, Window.branching([row], [nodes], [above], [context], CPU))[0]
            assert torch.equal(tree[path], plain[:count]), (context, count)
            cache.truncate(row, context)
            window = Window.chain([row, other, short], [said, TOKENS[:3], TOKENS[:9]], [context, 50, 2], CPU)
            for _ in range(2):  # nothing of what was taken back is left
                assert torch.equal(logits(model, cache, window)[0, :count], plain[:count]), (context, count)
                for each, length in ((row, context), (other, 50), (short, 2)):
                    cache.truncate(each, length)


@pytest.mark.parametrize(("family", "form"), [*FLOATS[:: len(FORMS)], *BLOCKS[1 :: len(DRAWN)]])
def test_rows_that_share_are_single_steps(family: str, form: str) -> None:
    model, context = bitwise(family, form), 30
    plain = one_by_one(family, form, context)
    cache, row = begun(model, context)
    cache.sharing = Sharing(least=2, worth=1)
    _, other = begun(model, 50, tokens=TOKENS[::-1], cache=cache)
    forks = cache.fork(row, 2)
    window = Window.chain(
        [row, other, *forks], [TOKENS[context : context + 5], [1, 2], [7], [8, 9, 10]], [30, 50, 30, 30], CPU
    )
    assert torch.equal(logits(model, cache, window)[0, :5], plain[:5])
    assert cache.shared(row) == context
    alone = logits(model, cache, Window.chain([row], [TOKENS[context + 5 : context + 8]], [context + 5], CPU))[0]
    assert torch.equal(alone, plain[5:8])


@pytest.mark.parametrize("form", ["float32", "int4 blocks"])
def test_raw_keys_and_chosen_slots_too(form: str) -> None:
    model = bitwise("llama", form)
    plain = one_by_one("llama", form, 30)
    cache = model.new_cache(1, 160, key_form="raw")
    row = cache.open()
    model.evaluate(Window.chain([row], [TOKENS[:30]], [0], CPU), cache, NOTHING)
    raw = logits(model, cache, Window.chain([row], [TOKENS[30:33]], [30], CPU))[0]
    cache.truncate(row, 30)
    singly = [logits(model, cache, Window.chain([row], [[TOKENS[at]]], [at], CPU))[0] for at in range(30, 33)]
    assert torch.equal(raw, torch.cat(singly))
    torch.testing.assert_close(raw, plain[:3], atol=1e-4 if form == "float32" else 0.3, rtol=0)
    cache, row = begun(model, 30)
    want = Want(logits=torch.tensor([[2]]))
    chosen = model.evaluate(Window.chain([row], [TOKENS[30:34]], [30], CPU), cache, want).logits
    assert chosen is not None and torch.equal(chosen[0], plain[2:3])


# -- whole answers ------------------------------------------------------------------------------------

PROMPTS = ["A story of a dog.", "Sort the words: pear, fig, apple, fig, pear, fig", "1 2 3 1 2 3 1 2", "The"]
METHODS = (
    "lookup",
    "auto",
    "recycle",
    "draft(model=zoo/draft)+fixed(5)",
    "draft-tree(model=zoo/draft)+fixed(16,depth=4)",
)
SETTINGS: tuple[dict[str, Any], ...] = ({}, {"temperature": 0.9, "top_p": 0.95, "seed": 3})


def same(first: Generation, second: Generation) -> None:
    assert first.tokens == second.tokens
    assert first.log_probabilities == second.log_probabilities and first.log_probabilities  # bit for bit


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_answers_have_the_bits_of_plain_decoding(dtype: str) -> None:
    engine = Engine.load("zoo/causal", dtype=dtype, exact="bits")
    engine.clock = SimulatedClock()
    for settings in SETTINGS:
        given = {"max_new_tokens": 12, "log_probabilities": 2, "end_tokens": ()} | settings
        plain = [engine.generate(prompt, "plain", **given) for prompt in PROMPTS]
        assert all(answer.guarantee.startswith("exact bits") for answer in plain)
        accepted = 0
        for method in METHODS:
            drafted = engine.generate(PROMPTS[1], method, **given)
            same(drafted, plain[1])
            accepted += drafted.counters.accepted
        assert accepted
        for method in ("plain", "lookup", "draft(model=zoo/draft)+fixed(5)"):
            for together, alone in zip(engine.generate(PROMPTS, method, **given), plain, strict=True):
                same(together, alone)


@pytest.mark.parametrize("form", ["int8", "int4", "int4 blocks"])
def test_few_bits_too(form: str) -> None:
    engine = Engine(bitwise("llama", form))
    prompts = [TOKENS[:20] * 2, TOKENS[3:9], TOKENS[:1]]
    given = {"max_new_tokens": 40, "log_probabilities": 1}
    plain = [engine.generate(prompt, "plain", **given) for prompt in prompts]
    for method in ("lookup+fixed(6)", "recycle", "auto"):
        for together, prompt, alone in zip(engine.generate(prompts, method, **given), prompts, plain, strict=True):
            same(together, alone)
            same(engine.generate(prompt, method, **given), alone)


def test_it_is_the_same_model() -> None:
    for name in ("zoo/causal", "zoo/masked"):
        exact, other = Engine.load(name, exact="bits"), Engine.load(name)
        prompt = exact.encode(PROMPTS[1])
        found = []
        for model in (exact.model, other.model):
            cache = model.new_cache()
            window = Window.chain([cache.open()], [prompt], [0], CPU)
            window.everyone = name == "zoo/masked"
            found.append(model.evaluate(window, cache).logits)
        torch.testing.assert_close(*found, atol=1e-4, rtol=0)
