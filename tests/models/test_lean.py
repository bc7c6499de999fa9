"""The fast path gives what the module gives, under the same tests as the network that drives the module."""

from __future__ import annotations

import random
from functools import cache as remember
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

from models import test_network as driven
from models.families import COMMON, FAMILIES, GEMMA, REACH, ROPE, TWO_ROPES, VOCABULARY, build
from models.test_network import CPU, TOKENS, close, eager, feed, networks, references, some_tree, truth
from stretto.models.cache import Cache
from stretto.models.contract import NOTHING, Ability, Evaluation, Want
from stretto.models.fast import lean_or_none
from stretto.models.kernel_choice import Wish
from stretto.models.lean import Lean
from stretto.models.linear import Linear
from stretto.models.window import Window
from stretto.tree import ROOT, slot_of

APPLIES = (
    *("llama", "llama_yarn", "mistral", "qwen2", "qwen3", "phi3", "smollm3", "granite"),
    *("gemma2", "gemma3", "olmo2", "exaone4", "glm4"),
)


def fast(module: PreTrainedModel, **settings: Any) -> Lean:
    reasons: list[str] = []
    lean = lean_or_none(module, reasons.append, **settings)
    assert lean is not None, reasons
    return lean


@remember
def leans(family: str) -> Lean:
    return fast(FAMILIES[family]())


@pytest.fixture(params=APPLIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def network(family: str) -> Lean:
    """The model under test, by the name that the shared tests call it."""
    return leans(family)


@pytest.fixture
def reference(family: str) -> PreTrainedModel:
    return references(family)


test_prompt_hidden_rows_and_read_outs = driven.test_prompt_hidden_rows_and_read_outs
test_chunks_and_single_tokens = driven.test_chunks_and_single_tokens
test_logits_only_where_wanted = driven.test_logits_only_where_wanted
test_attention_of_chosen_heads = driven.test_attention_of_chosen_heads
test_tree_paths_are_chains = driven.test_tree_paths_are_chains
test_riders_bear_raw_rows_and_disturb_nobody = driven.test_riders_bear_raw_rows_and_disturb_nobody
test_unequal_rows_are_as_alone = driven.test_unequal_rows_are_as_alone
test_going_on_after_keep_truncate_and_fork = driven.test_going_on_after_keep_truncate_and_fork
test_rows_that_share_are_as_alone = driven.test_rows_that_share_are_as_alone
test_ranges_of_layers_join = driven.test_ranges_of_layers_join
test_edits_join_the_residual_stream = driven.test_edits_join_the_residual_stream
test_raw_keys_know_no_position = driven.test_raw_keys_know_no_position


def test_a_block_that_sees_itself_both_ways_as_the_driven_module(family: str) -> None:
    results = []
    for model in (leans(family), networks(family)):
        cache = model.new_cache()
        rows = [cache.open(), cache.open()]
        prompts = [TOKENS[:7], TOKENS[3:13]]
        model.evaluate(Window.chain(rows, prompts, [0, 0], CPU), cache, NOTHING)
        window = Window.chain(rows, [TOKENS[20:25], TOKENS[25:30]], [7, 10], CPU)
        window.visible = torch.ones(2, 5, 5, dtype=torch.bool)
        results.append(model.evaluate(window, cache).logits)
    close(*results)


def test_rows_of_unequal_length_hold_no_padding(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that can be put in and taken out, as of each row by itself; products are of the real slots alone."""
    lean, sizes = leans(family), []
    product = Linear.__call__
    monkeypatch.setattr(
        Linear, "__call__", lambda self, x, add=None: (sizes.append(x.shape[0]), product(self, x, add))[1]
    )
    lengths = [1, 5, 3]
    edit, given = torch.randn(3, 5, lean.channels), torch.randn(3, 5, lean.channels)
    want = Want(hidden=(1, 2), readout=(1,), branches=((1, "attention"), (1, "mlp")))

    def seen(rows: list[int]) -> Evaluation:
        cache = lean.new_cache()
        opened = [cache.open() for _ in rows]
        window = Window.chain(opened, [TOKENS[3 * row : 3 * row + lengths[row]] for row in rows], [0] * len(rows), CPU)
        size = window.tokens.shape[1]
        window.edits, window.given = {1: edit[rows, :size].add}, {(0, "mlp"): given[rows, :size]}
        return lean.evaluate(window, cache, want)

    together = seen([0, 1, 2])
    assert set(sizes) == {sum(lengths)}
    for row, length in enumerate(lengths):
        alone = seen([row])
        for part in ("hidden", "readout", "branches"):
            for key, rows in getattr(together, part).items():
                close(rows[row : row + 1, :length], getattr(alone, part)[key])
        assert together.logits is not None and alone.logits is not None
        close(together.logits[row : row + 1, :length], alone.logits)


def test_heads_that_turn_in_part() -> None:
    def module() -> PreTrainedModel:
        return build("Phi3", num_key_value_heads=2, rope_parameters=ROPE | {"partial_rotary_factor": 0.5})

    lean = fast(module())
    cache = lean.new_cache(key_form="raw")
    row = cache.open()
    logits = torch.cat([feed(lean, cache, row, TOKENS[:20]), feed(lean, cache, row, TOKENS[20:])])
    close(logits, truth(module(), TOKENS))


@pytest.mark.parametrize("family", ["mistral", "qwen3"])
def test_random_walks_end_where_a_fresh_start_does(family: str) -> None:
    """Batches of trees, kept paths, truncations and forks in any order leave a cache as if newly filled."""
    lean, reference = leans(family), references(family)
    for seed in range(4):
        chance = random.Random(seed)
        cache = lean.new_cache(slots=2)
        texts = {cache.open(): [chance.randrange(VOCABULARY) for _ in range(chance.randint(0, 3))] for _ in range(3)}
        for row, text in texts.items():
            if text:
                feed(lean, cache, row, text)
        for step in range(6):
            rows = chance.sample(sorted(texts), 2)
            trees = [some_tree(seed + step, chance.randint(2, 6)) for _ in rows]
            roots = [chance.randrange(VOCABULARY) for _ in rows]
            starts = [len(texts[row]) for row in rows]
            lean.evaluate(Window.forest(rows, roots, trees, starts, CPU), cache, NOTHING)
            for row, root, tree, start in zip(rows, roots, trees, starts, strict=True):
                node = chance.randrange(ROOT, len(tree))
                cache.keep(row, start, [start, *(start + slot_of(each) for each in tree.path(node))])
                texts[row] = [*texts[row], root, *tree.path_tokens(node)]
            gone = chance.choice(rows)
            texts[gone] = texts[gone][: chance.randint(0, len(texts[gone]))]
            cache.truncate(gone, len(texts[gone]))
            (copy,) = cache.fork(rows[0])
            texts[copy] = texts.pop(rows[0])
            cache.free(rows[0])
        rows = cache.in_order(list(texts))
        window = Window.chain(rows, [[7]] * len(rows), [len(texts[row]) for row in rows], CPU)
        logits = lean.evaluate(window, cache).logits
        assert logits is not None
        for place, row in enumerate(rows):
            close(logits[place], truth(reference, [*texts[row], 7])[-1:])


@pytest.mark.parametrize("part", [1, 4])
@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3"])
def test_what_no_query_of_a_sliding_layer_sees_is_not_read(
    family: str, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stretto.models.lean.PART", part)
    lean, tree = leans(family), some_tree(3)
    cache = lean.new_cache()
    row = cache.open()
    feed(lean, cache, row, TOKENS[:30])
    unseen = (30 - REACH + 1) // part * part
    with torch.inference_mode():
        for index, layer in enumerate(lean.weights.layers):
            if layer.reach is not None:
                cache.keys(row, index)[:, :unseen] = torch.nan
                cache.values(row, index)[:, :unseen] = torch.nan
    logits = lean.evaluate(Window.forest([row], [TOKENS[30]], [tree], [30], CPU), cache).logits
    assert logits is not None
    for node in range(ROOT, len(tree)):
        text = TOKENS[:31] + tree.path_tokens(node)
        close(logits[0, 0 if node == ROOT else slot_of(node)], truth(references(family), text)[-1])


def test_given_hidden_rows_hold_their_edits_already() -> None:
    lean = leans("llama")
    cache = lean.new_cache()
    found = []
    for edits in ({}, {1: torch.ones(1, 4, lean.channels).add}):
        window = Window.chain([cache.open()], [TOKENS[:4]], [0], CPU)
        window.layers, window.hidden, window.edits = (1, 3), torch.ones(1, 4, lean.channels), edits
        found.append(lean.evaluate(window, cache).logits)
    assert found[0] is not None and found[1] is not None
    assert torch.equal(*found)


def test_what_it_can_do(family: str) -> None:
    lean = leans(family)
    assert lean.abilities == Ability.ALL | Ability.BRANCHES
    assert [layer.reach for layer in lean.weights.layers] == list(networks(family).anatomy.reaches)


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - set(APPLIES)))
def test_it_steps_aside_with_a_reason_and_leaves_the_module_whole(family: str) -> None:
    module = eager(FAMILIES[family]())  # not every release picks what honours soft-capping by itself
    reasons: list[str] = []
    assert lean_or_none(module, reasons.append) is None
    assert len(reasons) == 1 and reasons[0]
    close(truth(module, TOKENS), truth(references(family), TOKENS))


TAMPERED: dict[str, Any] = {
    "a scaled layer": lambda module: module.model.layers[1].register_forward_hook(lambda _, __, out: out * 1.01),
    "a shifted embedding": lambda module: module.model.embed_tokens.register_forward_hook(lambda _, __, out: out + 0.1),
    "a head that is cut off": lambda module: module.lm_head.register_forward_hook(lambda _, __, out: out.clamp(max=1)),
    "other scores": lambda module: setattr(module.model.layers[2].mlp.act_fn, "forward", torch.tanh),
}


@pytest.mark.parametrize("kind", TAMPERED)
def test_the_self_check_refuses_a_tampered_module(kind: str) -> None:
    module = FAMILIES["llama"]()
    TAMPERED[kind](module)
    reasons: list[str] = []
    assert lean_or_none(module, reasons.append) is None
    assert "differ" in reasons[0]
    assert truth(module, TOKENS).shape == (len(TOKENS), VOCABULARY)


def test_the_text_within_a_model_of_pictures() -> None:
    text = transformers.Gemma3TextConfig(**(COMMON | GEMMA | TWO_ROPES))
    sight = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Gemma3Config(
        text_config=text, vision_config=sight | {"image_size": 28, "patch_size": 14}, mm_tokens_per_image=4
    )
    torch.manual_seed(0)
    module = transformers.Gemma3ForConditionalGeneration(config).eval().requires_grad_(False)
    module.config.name_or_path = "a folder"
    expected = truth(module, TOKENS)
    size = sum(weight.numel() for weight in module.get_decoder().parameters())
    lean = fast(module)
    cache = lean.new_cache()
    close(feed(lean, cache, cache.open(), TOKENS), expected)
    assert (lean.name, lean.weights.parameters) == ("a folder", size)


def test_ropes_that_change_with_the_length_are_refused() -> None:
    rope = ROPE | {"rope_type": "dynamic", "factor": 2.0}
    reasons: list[str] = []
    assert lean_or_none(build("Llama", num_key_value_heads=2, rope_parameters=rope), reasons.append) is None
    assert "not settled" in reasons[0]


def test_a_bound_of_scores_that_may_not_be_used_is_refused() -> None:
    """Gemma 3 can name one, which its attention leaves out."""
    reasons: list[str] = []
    assert (
        lean_or_none(build("Gemma3Text", **(GEMMA | TWO_ROPES), attn_logit_softcapping=500.0), reasons.append) is None
    )
    assert "bound of its scores" in reasons[0]


def test_fused_weights_leave_the_module() -> None:
    module = FAMILIES["qwen2"]()
    table = module.get_input_embeddings().weight
    lean = fast(module)
    left = sum(weight.nbytes for weight in module.parameters() if weight.dim() > 1)
    assert left == table.nbytes  # the embedding, which is shared
    assert lean.weights.table.data_ptr() == table.data_ptr()


@pytest.mark.parametrize(
    ("name", "dtype"), [("qwen3", torch.bfloat16), ("qwen3", torch.float16), ("gemma3", torch.bfloat16)]
)
def test_half_precision(name: str, dtype: torch.dtype) -> None:
    module, reference = FAMILIES[name]().to(dtype), FAMILIES[name]().to(dtype)
    lean = fast(module)
    cache = lean.new_cache()
    logits = feed(lean, cache, cache.open(), TOKENS)
    assert (lean.dtype, logits.dtype, cache.keys(0, 0).dtype) == (dtype, torch.float32, dtype)
    torch.testing.assert_close(logits, truth(reference, TOKENS).float(), atol=0.1, rtol=0)


def test_int8_is_near_and_does_not_depend_on_the_window() -> None:
    """Whatever stands beside a token, its logits are the same: its own baseline is exact."""
    lean = fast(FAMILIES["llama"](), wish=Wish(form="int8"))
    reference = truth(references("llama"), TOKENS)

    def together(cache: Cache) -> Tensor:
        return feed(lean, cache, cache.open(), TOKENS)

    def one_by_one(cache: Cache) -> Tensor:
        row = cache.open()
        return torch.cat([feed(lean, cache, row, [token]) for token in TOKENS])

    logits = together(lean.new_cache())
    torch.testing.assert_close(logits, one_by_one(lean.new_cache()), atol=1e-4, rtol=0)
    assert 1e-4 < float((logits - reference).abs().max()) < 0.3


def test_the_cache_can_be_written_outside_inference_mode() -> None:
    lean = leans("llama")
    cache = lean.new_cache(slots=1)
    row = cache.open()
    feed(lean, cache, row, TOKENS[:9])  # grows inside
    cache.keep(row, 3, [4, 6])
    (copy,) = cache.fork(row)
    assert cache.length(copy) == 5
