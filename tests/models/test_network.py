"""A module driven layer by layer gives what its own forward gives, in every shape of window and cache."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache as remember
from functools import partial
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

from models.families import FAMILIES, POSITIONS, REACH, ROPE, VOCABULARY, build
from stretto.errors import ModelError, Unsupported
from stretto.models.attention import attend
from stretto.models.cache import Cache
from stretto.models.contract import NOTHING, Ability, Want
from stretto.models.network import Network
from stretto.models.trunk import Sharing
from stretto.models.window import RAW, Window
from stretto.tree import ROOT, NodeKind, Tree, slot_of

CPU = torch.device("cpu")
GENERATOR = random.Random(5)
TOKENS = [GENERATOR.randrange(3, VOCABULARY) for _ in range(40)]
NO_ROTARY = {"gpt2", "opt"}

close = partial(torch.testing.assert_close, atol=2e-5, rtol=0)


@remember
def networks(family: str) -> Network:
    return Network(FAMILIES[family](), family)


@remember
def references(family: str) -> PreTrainedModel:
    """The untouched module, with the attention written in its modelling file."""
    return eager(FAMILIES[family]())


def eager(module: PreTrainedModel) -> PreTrainedModel:
    module.set_attn_implementation("eager")
    return module


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def network(family: str) -> Network:
    return networks(family)


@pytest.fixture
def reference(family: str) -> PreTrainedModel:
    return references(family)


def truth(reference: PreTrainedModel, tokens: list[int], **settings: Any) -> Tensor:
    """The module's own logits after each token: [T, V]."""
    if not settings:
        return said(reference, tuple(tokens))
    with torch.inference_mode():
        return reference(input_ids=torch.tensor([tokens]), use_cache=False, **settings).logits[0]


@remember
def said(reference: PreTrainedModel, tokens: tuple[int, ...]) -> Tensor:
    with torch.inference_mode():
        return reference(input_ids=torch.tensor([tokens]), use_cache=False).logits[0]


def feed(network: Network, cache: Cache, row: int, tokens: list[int]) -> Tensor:
    """Evaluate tokens as a chain after what the row holds: [T, V]."""
    window = Window.chain([row], [tokens], [cache.length(row)], CPU)
    logits = network.evaluate(window, cache).logits
    assert logits is not None
    return logits[0]


def some_tree(seed: int, size: int = 7) -> Tree:
    """A random tree with distinct siblings; never a chain."""
    chance = random.Random(seed)
    tree = Tree()
    for index in range(size):
        parent = ROOT if index < 2 else chance.randrange(ROOT, index)
        tree.add((seed * 7 + index * 11) % VOCABULARY, parent)
    return tree


def test_prompt_hidden_rows_and_read_outs(network: Network, reference: PreTrainedModel) -> None:
    everything = tuple(range(network.layers + 1))
    cache = network.new_cache(slots=4)  # grows
    window = Window.chain([cache.open()], [TOKENS], [0], CPU)
    found = network.evaluate(window, cache, Want(hidden=everything, readout=everything))
    with torch.inference_mode():
        expected = reference(input_ids=torch.tensor([TOKENS]), output_hidden_states=True)
    assert found.logits is not None and found.logits.dtype == torch.float32
    close(found.logits, expected.logits)
    for layer in everything[:-1]:  # transformers' last one is normed
        close(found.hidden[layer], expected.hidden_states[layer])
    close(found.readout[network.layers], expected.logits)
    close(network.read_out(found.hidden[1]), found.readout[1])
    close(network.read_out(found.hidden[1][0, 3]), found.readout[1][0, 3])
    assert (network.vocabulary, network.channels, network.max_positions) == (VOCABULARY, 32, POSITIONS)


@pytest.mark.parametrize("key_form", ["rotated", "raw"])
def test_chunks_and_single_tokens(network: Network, reference: PreTrainedModel, key_form: Any) -> None:
    cache = network.new_cache(slots=4, key_form=key_form)
    row = cache.open()
    sizes = [1, 1, 1, 7, 1, 13, 2]
    ends = [sum(sizes[: count + 1]) for count in range(len(sizes))]
    pieces = [feed(network, cache, row, TOKENS[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
    close(torch.cat(pieces), truth(reference, TOKENS[: ends[-1]]))


def test_logits_only_where_wanted(network: Network, reference: PreTrainedModel) -> None:
    cache = network.new_cache()
    window = Window.chain([cache.open(), cache.open()], [TOKENS[:9], TOKENS[9:16]], [0, 0], CPU)
    slots = torch.tensor([[8, 0, 8], [6, 2, 3]])
    found = network.evaluate(window, cache, Want(logits=slots)).logits
    assert found is not None
    close(found[0], truth(reference, TOKENS[:9])[slots[0]])
    close(found[1], truth(reference, TOKENS[9:16])[slots[1]])
    last = Window.chain([0, 1], [TOKENS[:1], TOKENS[:1]], [9, 7], CPU)
    assert network.evaluate(last, cache, NOTHING).logits is None


def test_attention_of_chosen_heads(network: Network, reference: PreTrainedModel) -> None:
    with torch.inference_mode():
        expected = reference(input_ids=torch.tensor([TOKENS]), output_attentions=True).attentions
    wanted = ((0, 0), (0, 3), (1, 2), (network.layers - 1, 1))
    cache = network.new_cache()
    row = cache.open()
    feed(network, cache, row, TOKENS[:-5])
    window = Window.chain([row], [TOKENS[-5:]], [len(TOKENS) - 5], CPU)
    found = network.evaluate(window, cache, Want(logits=False, attention=wanted)).attention
    assert set(found) == set(wanted)
    for layer, head in wanted:
        close(found[layer, head], expected[layer][:, head, -5:])


def test_tree_paths_are_chains(network: Network, reference: PreTrainedModel) -> None:
    prompt, tree = TOKENS[:8], some_tree(1, 9)
    cache = network.new_cache()
    row = cache.open()
    feed(network, cache, row, prompt[:-1])
    window = Window.forest([row], prompt[-1:], [tree], [len(prompt) - 1], CPU)
    logits = network.evaluate(window, cache).logits
    assert logits is not None
    for node in range(ROOT, len(tree)):
        close(logits[0, slot_of(node)], truth(reference, prompt + tree.path_tokens(node))[-1])


def test_riders_bear_raw_rows_and_disturb_nobody(network: Network, reference: PreTrainedModel) -> None:
    prompt, tree = TOKENS[:6], some_tree(2, 4)
    first = tree.add(RAW, 1, proposal=NodeKind.RIDER, embed=network.embed(torch.tensor(17)))
    second = tree.add(RAW, first, proposal=NodeKind.RIDER, embed=network.embed(torch.tensor(18)))
    cache = network.new_cache()
    row = cache.open()
    feed(network, cache, row, prompt[:-1])
    window = Window.forest([row], prompt[-1:], [tree], [len(prompt) - 1], CPU)
    logits = network.evaluate(window, cache).logits
    assert logits is not None
    for node in range(ROOT, 4):
        close(logits[0, slot_of(node)], truth(reference, prompt + tree.path_tokens(node))[-1])
    behind = prompt + tree.path_tokens(1)
    close(logits[0, slot_of(first)], truth(reference, [*behind, 17])[-1])
    close(logits[0, slot_of(second)], truth(reference, [*behind, 17, 18])[-1])
    cache.keep(row, 5, [5])
    close(feed(network, cache, row, TOKENS[6:9]), truth(reference, TOKENS[:9])[-3:])


@pytest.mark.parametrize("key_form", ["rotated", "raw"])
def test_unequal_rows_are_as_alone(network: Network, reference: PreTrainedModel, key_form: Any) -> None:
    prompts = [TOKENS[:12], TOKENS[12:15], TOKENS[15:24]]
    trees = [some_tree(3, 5), Tree(), Tree.chain(TOKENS[:7])]
    cache = network.new_cache(rows=3, key_form=key_form)
    rows = [cache.open() for _ in prompts]
    network.evaluate(Window.chain(rows, [prompt[:-1] for prompt in prompts], [0, 0, 0], CPU), cache, NOTHING)
    order = [1, 2, 0]  # not that of the blocks
    window = Window.forest(
        [rows[at] for at in order],
        [prompts[at][-1] for at in order],
        [trees[at] for at in order],
        [len(prompts[at]) - 1 for at in order],
        CPU,
    )
    logits = network.evaluate(window, cache).logits
    assert logits is not None
    for place, at in enumerate(order):
        for node in range(ROOT, len(trees[at])):
            expected = truth(reference, prompts[at] + trees[at].path_tokens(node))[-1]
            close(logits[place, slot_of(node)], expected)
    assert [cache.length(row) for row in rows] == [12 + 5, 3, 9 + 7]


@pytest.mark.parametrize("key_form", ["rotated", "raw"])
def test_rows_that_share_are_as_alone(network: Network, reference: PreTrainedModel, key_form: Any) -> None:
    """One stands on a trunk, two on a trunk that stands on it, and one on none; beside each other, then by halves."""
    cache = network.new_cache(key_form=key_form)
    cache.sharing = Sharing(least=2, worth=1)
    first, other = cache.open(), cache.open()
    feed(network, cache, first, TOKENS[:9])
    feed(network, cache, other, TOKENS[30:36])
    (second,) = cache.fork(first)
    feed(network, cache, second, TOKENS[20:24])
    (third,) = cache.fork(second)
    texts = {third: [*TOKENS[:9], *TOKENS[20:24]], other: TOKENS[30:36], first: TOKENS[:9]}
    texts[second] = texts[third].copy()
    assert [cache.shared(row) for row in texts] == [13, 0, 9, 13]
    for at, rows in enumerate([[first, other, third, second], [third, second], [second, first], [third]]):
        trees = [some_tree(3 + at, 5), Tree.chain(TOKENS[:3]), Tree(), some_tree(6, 3)][: len(rows)]
        roots = [10 + at + each for each in range(len(rows))]
        window = Window.forest(rows, roots, trees, [len(texts[row]) for row in rows], CPU)
        logits = network.evaluate(window, cache).logits
        assert logits is not None
        for place, (row, root, tree) in enumerate(zip(rows, roots, trees, strict=True)):
            texts[row].append(root)
            for node in range(ROOT, len(tree)):
                close(logits[place, slot_of(node)], truth(reference, texts[row] + tree.path_tokens(node))[-1])
            start = len(texts[row]) - 1
            path = tree.path(len(tree) - 1) if len(tree) else []
            cache.keep(row, start, [start, *(start + slot_of(node) for node in path)])
            texts[row] += tree.path_tokens(len(tree) - 1) if len(tree) else []


@pytest.mark.parametrize("key_form", ["rotated", "raw"])
def test_going_on_after_keep_truncate_and_fork(network: Network, reference: PreTrainedModel, key_form: Any) -> None:
    prompt, tree = TOKENS[:9], some_tree(4, 8)
    deepest = max(range(len(tree)), key=lambda node: tree.depths[node])
    cache = network.new_cache(key_form=key_form)
    cache.open()
    row = cache.open()
    feed(network, cache, row, prompt[:-1])
    network.evaluate(Window.forest([row], prompt[-1:], [tree], [8], CPU), cache, NOTHING)
    cache.keep(row, 8, [8, *(8 + slot_of(node) for node in tree.path(deepest))])
    text = prompt + tree.path_tokens(deepest)
    (copy,) = cache.fork(row)
    close(feed(network, cache, row, [3, 4]), truth(reference, [*text, 3, 4])[-2:])
    close(feed(network, cache, copy, [5]), truth(reference, [*text, 5])[-1:])
    cache.truncate(row, 5)
    cache.free(0)  # the rows move in the blocks
    close(feed(network, cache, row, [6, 7]), truth(reference, [*text[:5], 6, 7])[-2:])
    close(feed(network, cache, copy, [8]), truth(reference, [*text, 5, 8])[-1:])


def test_ranges_of_layers_join(network: Network, reference: PreTrainedModel) -> None:
    """The shallow layers run ahead token by token; the deep ones catch up in one window."""
    cut, text = 1, TOKENS[:14]
    cache = network.new_cache()
    row = cache.open()
    feed(network, cache, row, text[:6])
    rows = []
    for at in range(6, 14):
        window = Window.chain([row], [text[at : at + 1]], [at], CPU)
        window.layers = (0, cut)
        found = network.evaluate(window, cache, Want(hidden=(cut,)))
        assert found.logits is not None
        close(found.logits, network.read_out(found.hidden[cut]))  # an early exit
        rows.append(found.hidden[cut])
    assert [cache.length(row, layer) for layer in range(network.layers)] == [14] + [6] * (network.layers - 1)
    deep = Window.chain([row], [text[6:]], [6], CPU)
    deep.layers, deep.hidden = (cut, network.layers), torch.cat(rows, dim=1)
    found = network.evaluate(deep, cache, Want(hidden=(cut, network.layers), attention=((cut, 0),)))
    assert found.logits is not None
    close(found.logits[0], truth(reference, text)[6:])
    assert torch.equal(found.hidden[cut], deep.hidden)


@pytest.mark.parametrize("layer", [0, 2])
def test_edits_join_the_residual_stream(network: Network, family: str, layer: int) -> None:
    generator = torch.Generator().manual_seed(layer)
    edit = torch.randn(1, 6, 32, generator=generator) * torch.tensor([0, 0, 1.0, 0, 2.0, 0])[:, None]
    edited = eager(FAMILIES[family]())
    blocks = next(
        part for part in edited.modules() if isinstance(part, torch.nn.ModuleList) and len(part) == network.layers
    )
    if layer == 0:
        blocks[0].register_forward_pre_hook(lambda _, inputs: (inputs[0] + edit, *inputs[1:]))
    else:
        blocks[layer - 1].register_forward_hook(lambda _, inputs, output: output + edit)
    cache = network.new_cache()
    window = Window.chain([cache.open()], [TOKENS[:6]], [0], CPU)
    window.edits = {layer: edit.add}
    found = network.evaluate(window, cache, Want(hidden=(layer,)))
    plain = network.evaluate(Window.chain([cache.open()], [TOKENS[:6]], [0], CPU), cache, Want(hidden=(layer,)))
    assert found.logits is not None
    close(found.logits[0], truth(edited, TOKENS[:6]))
    close(found.hidden[layer], plain.hidden[layer] + edit)


def test_raw_keys_know_no_position(network: Network, family: str) -> None:
    assert Ability.RAW_KEYS in network.abilities
    cache, rotated = network.new_cache(key_form="raw"), network.new_cache()
    for each in (cache, rotated):
        feed(network, each, each.open(), [9] * 6)
    raw_keys, keys = cache.keys(0, 0), rotated.keys(0, 0)  # [H, 6, size]; layer 0 knows only token and position
    if family in NO_ROTARY:
        close(raw_keys, keys)
    else:
        close(raw_keys, raw_keys[:, :1].expand(raw_keys.shape))
        assert (keys[:, 1:] - keys[:, :1]).abs().amax((0, 2)).min() > 0.05


def test_a_block_that_sees_itself_both_ways(network: Network, reference: PreTrainedModel) -> None:
    """A prompt read in order, then a block in which everyone sees everyone, as diffusion needs it."""
    size, block = 12, 5
    visible = torch.ones(size, size, dtype=torch.bool).tril()
    visible[-block:, -block:] = True
    cache = network.new_cache()
    row = cache.open()
    feed(network, cache, row, TOKENS[: size - block])
    window = Window.chain([row], [TOKENS[size - block : size]], [size - block], CPU)
    window.visible = torch.ones(1, block, block, dtype=torch.bool)
    logits = network.evaluate(window, cache).logits
    distance = torch.arange(size)[:, None] - torch.arange(size)
    masks = {
        "full_attention": torch.where(visible, 0.0, -torch.inf)[None, None],
        "sliding_attention": torch.where(visible & (distance < REACH), 0.0, -torch.inf)[None, None],
    }
    kinds = set(getattr(reference.config, "layer_types", None) or ["full_attention"])
    if kinds == {"full_attention"} and network.anatomy.reaches[0] is not None:
        kinds = {"sliding_attention"}
    mask: Any = masks if len(kinds) == 2 else masks[kinds.pop()]
    assert logits is not None
    expected = truth(reference, TOKENS[:size], attention_mask=mask, position_ids=torch.arange(size)[None])
    close(logits[0], expected[-block:])


def test_the_survey_sees_windows_and_rotation() -> None:
    for family in FAMILIES:
        reaches, rotaries = networks(family).anatomy.reaches, networks(family).anatomy.rotaries
        expected: tuple[int | None, ...] = (None, None, None)
        if family in {"mistral", "phi3", "starcoder2"}:
            expected = (REACH, REACH, REACH)
        if family in {"qwen2", "gemma2", "gemma3", "gpt_oss", "exaone4"}:
            expected = (REACH, None, REACH)
        assert reaches == expected, family
        turning = [rotary is not None for rotary in rotaries]
        assert turning == [
            family not in NO_ROTARY,
            family not in NO_ROTARY | {"smollm3", "exaone4"},
            family not in NO_ROTARY,
        ]


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_random_walks_end_where_a_fresh_start_does(family: str) -> None:
    """Chunks, trees, kept paths, truncations and forks in any order leave a cache as if newly filled."""
    network, reference = networks(family), references(family)
    for seed in range(6):
        chance = random.Random(seed)
        cache = network.new_cache(slots=2, key_form=chance.choice(["rotated", "raw"]))
        texts: dict[int, list[int]] = {cache.open(): []}
        for step in range(12):
            row = chance.choice(list(texts))
            text = texts[row]
            move = chance.choice(["chunk", "tree", "truncate", "fork"])
            start = len(text)
            if move == "fork" and len(texts) < 3:
                texts[cache.fork(row)[0]] = text.copy()
            elif move == "truncate":
                texts[row] = text[: chance.randint(0, start)]
                cache.truncate(row, len(texts[row]))
            elif move == "tree":
                tree, root = some_tree(seed + step), chance.randrange(VOCABULARY)
                network.evaluate(Window.forest([row], [root], [tree], [start], CPU), cache, NOTHING)
                node = chance.randrange(ROOT, len(tree))
                cache.keep(row, start, [start, *(start + slot_of(each) for each in tree.path(node))])
                texts[row] = [*text, root, *tree.path_tokens(node)]
            else:
                chunk = [chance.randrange(VOCABULARY) for _ in range(chance.randint(1, 5))]
                feed(network, cache, row, chunk)
                texts[row] = text + chunk
        rows = cache.in_order(list(texts))
        window = Window.chain(rows, [[7]] * len(rows), [len(texts[row]) for row in rows], CPU)
        logits = network.evaluate(window, cache).logits
        assert logits is not None
        for place, row in enumerate(rows):
            close(logits[place], truth(reference, [*texts[row], 7])[-1:])


def test_a_driven_module_still_works_by_itself() -> None:
    module = eager(FAMILIES["gemma3"]())
    network = Network(module)
    torch.testing.assert_close(truth(module, TOKENS), truth(references("gemma3"), TOKENS), atol=0, rtol=0)
    cache = network.new_cache()
    close(feed(network, cache, cache.open(), TOKENS), truth(module, TOKENS))


def test_rotation_that_changes_with_the_longest_row_bounds_the_positions() -> None:
    longrope = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [3.0] * 4, "factor": 4.0}
    make = partial(build, "Phi3", rope_parameters=ROPE | longrope, original_max_position_embeddings=32)
    network, reference = Network(make()), eager(make())
    assert network.max_positions == 32
    cache = network.new_cache(key_form="raw")
    close(feed(network, cache, cache.open(), TOKENS[:32]), truth(reference, TOKENS[:32]))


def test_half_precision() -> None:
    network = Network(eager(FAMILIES["gemma2"]()).to(torch.bfloat16))
    cache = network.new_cache()
    logits = feed(network, cache, cache.open(), TOKENS)
    assert (network.dtype, logits.dtype) == (torch.bfloat16, torch.float32)
    assert cache.keys(0, 0).dtype == torch.bfloat16
    torch.testing.assert_close(logits, truth(network.module, TOKENS).float(), atol=0.1, rtol=0)


def test_queries_read_only_what_the_mask_opens() -> None:
    keys = torch.randn(2, 2, 5, 4)
    mask = torch.eye(3, 5, dtype=torch.bool)[None, None]
    for softcap in (None, 3.0):
        read = attend(torch.randn(2, 4, 3, 4), keys, keys, mask, scale=0.5, softcap=softcap)
        close(read, keys[:, :, :3].repeat_interleave(2, dim=1))


SMALL = {"hidden_size": 32, "vocab_size": VOCABULARY, "num_attention_heads": 4, "num_key_value_heads": 2}
REFUSED: dict[str, tuple[Callable[[], PreTrainedModel], str]] = {
    "encoder": (
        lambda: transformers.T5ForConditionalGeneration(
            transformers.T5Config(vocab_size=VOCABULARY, d_model=16, num_layers=2, d_ff=16, num_heads=2, d_kv=8)
        ),
        "has an encoder",
    ),
    "state space": (
        lambda: transformers.MambaForCausalLM(
            transformers.MambaConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, state_size=4)
        ),
        "position_ids",
    ),
    "slopes instead of positions": (
        lambda: transformers.BloomForCausalLM(
            transformers.BloomConfig(vocab_size=VOCABULARY, hidden_size=16, n_layer=2, n_head=2)
        ),
        "position_ids",
    ),
    "own attention": (
        lambda: transformers.GPTNeoForCausalLM(
            transformers.GPTNeoConfig(
                vocab_size=VOCABULARY, hidden_size=16, num_layers=2, num_heads=2, attention_types=[[["global"], 2]]
            )
        ),
        "GPTNeo",
    ),
    "both ways": (
        lambda: transformers.Gemma3ForCausalLM(
            transformers.Gemma3TextConfig(
                **SMALL, num_hidden_layers=2, intermediate_size=16, head_dim=8, use_bidirectional_attention=True
            )
        ),
        "not yet written",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_driven_is_refused_and_left_alone(kind: str) -> None:
    make, reason = REFUSED[kind]
    module = make().eval()
    with pytest.raises(ModelError, match=reason) as caught:
        Network(module)
    assert caught.value.hint
    assert not any("stretto" in name or name == "forward" for part in module.modules() for name in vars(part))
    if not module.config.is_encoder_decoder:
        assert truth(module, TOKENS[:3]).shape == (3, VOCABULARY)


def test_a_module_that_differs_when_driven_is_refused() -> None:
    """What the survey cannot see: here an MLP that looks at the attention in use."""
    module = FAMILIES["llama"]()
    mlp = module.model.layers[1].mlp
    plain = mlp.forward
    mlp.forward = lambda rows: plain(rows) * (1.01 if module.config._attn_implementation == "stretto" else 1.0)
    with pytest.raises(ModelError, match="differs from its own forward"):
        Network(module)


def test_heads_of_unlike_sizes_and_rows_that_must_be_those_of_tokens() -> None:
    """Gemma 4: layers that see all have larger heads, and each layer looks up the token once more."""
    settings = {"head_dim": 6, "global_head_dim": 8, "hidden_size_per_layer_input": 4, "num_kv_shared_layers": 0}
    types = ["sliding_attention", "full_attention", "full_attention"]
    module = build("Gemma4Text", num_key_value_heads=2, sliding_window=REACH, layer_types=types, **settings)
    network = Network(module)
    assert network.anatomy.shapes == ((2, 6, 6), (2, 8, 8), (2, 8, 8))
    assert Ability.EMBEDS not in network.abilities and Ability.TREE in network.abilities
    cache = network.new_cache(slots=4)
    row, other = cache.open(), cache.open()
    logits = torch.cat([feed(network, cache, row, TOKENS[:11]), feed(network, cache, row, TOKENS[11:])])
    close(logits, truth(module, TOKENS))
    close(feed(network, cache, other, TOKENS[5:20]), truth(module, TOKENS[5:20]))


def test_keys_turned_in_an_unknown_way_stay_rotated(monkeypatch: pytest.MonkeyPatch) -> None:
    module = FAMILIES["llama"]()
    own = transformers.models.llama.modeling_llama.apply_rotary_pos_emb

    def scaled(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        q, k = own(q, k, cos, sin)
        return q, k * (2 + cos[:, None])  # depends on the position, not undone by turning back

    monkeypatch.setattr(transformers.models.llama.modeling_llama, "apply_rotary_pos_emb", scaled)
    network = Network(module)
    assert network.abilities == Ability.ALL & ~Ability.RAW_KEYS
    with pytest.raises(Unsupported, match="rotates"):
        network.new_cache(key_form="raw")
    cache = network.new_cache()
    close(feed(network, cache, cache.open(), TOKENS), truth(module, TOKENS))
