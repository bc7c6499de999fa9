"""Masked-diffusion checkpoints are recognised, read under their published names, and see what they should."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.masked_checkpoints import BLOCK, END, KINDS, MASK, VOCABULARY, forward, save
from stretto.diffuse.canvas import Span
from stretto.diffuse.evaluator import CanvasEvaluator
from stretto.diffuse.refresh.contract import Plan
from stretto.diffuse.views import CanvasView
from stretto.engine import Engine
from stretto.errors import ModelError
from stretto.models.clock import SimulatedClock
from stretto.models.contract import masking_of
from stretto.models.load import Loaded, load
from stretto.models.masked import MaskedModel, Masking, recognise

CANVAS = [5, 7, MASK, 9, 11, MASK, MASK, 3, 8, MASK]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Loaded]:
    return {name: load(save(name, tmp_path_factory.mktemp(name))) for name in KINDS}


def evaluator_of(model: MaskedModel) -> CanvasEvaluator:
    return CanvasEvaluator(model, model.masking, model.new_cache())


def read(
    evaluator: CanvasEvaluator, rows: list[int], wanted: list[int], memory=None, window: Span = Span(0, 0)
) -> torch.Tensor:
    view = CanvasView(
        memory or evaluator.open(), np.array(CANVAS), Plan(np.array(rows, np.int64)), window, np.array(wanted)
    )
    return evaluator.evaluate([view])[0]


def expected(name: str, positions: list[int]) -> torch.Tensor:
    """What the reference says of these positions: shifted where the layout is, the mask never proposed."""
    rows = forward(name, CANVAS)
    rows[:, MASK] = -torch.inf
    return rows[[max(0, p - 1) if KINDS[name].shift else p for p in positions]]


@pytest.mark.parametrize("name", KINDS)
def test_a_checkpoint_gives_the_logits_of_its_paper(loaded, name: str) -> None:
    found = loaded[name]
    assert isinstance(found.model, MaskedModel)
    assert found.model.masking == Masking(MASK, KINDS[name].shift, KINDS[name].block)
    assert (found.slow_because == "") is (KINDS[name].experts is None) and found.end_tokens == {END}
    positions = list(range(len(CANVAS)))
    logits = read(evaluator_of(found.model), positions, positions)
    torch.testing.assert_close(logits, expected(name, positions), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["llada", "sdar"])
def test_so_does_the_module_driven_layer_by_layer(tmp_path: Path, name: str) -> None:
    found = load(save(name, tmp_path), fast=False)
    assert found.slow_because
    positions = list(range(len(CANVAS)))
    logits = read(evaluator_of(found.model), positions, positions)
    torch.testing.assert_close(logits, expected(name, positions), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_any_rows_are_computed_again_over_the_others(loaded, name: str) -> None:
    """Rows in any order, with gaps, in two evaluations: what is seen is what is held, at its true position."""
    model = loaded[name].model
    evaluator = evaluator_of(model)
    memory = evaluator.open()
    everything = list(range(len(CANVAS)))
    read(evaluator, everything, [2], memory, Span(4, 8))
    again = [8, 9] if KINDS[name].block else [1, 5, 6, 9]  # a block that later ones have seen is never open again
    wanted = [9] if KINDS[name].block else [5, 9]
    logits = read(evaluator, again, wanted, memory)
    torch.testing.assert_close(logits, expected(name, wanted), atol=2e-4, rtol=1e-4)
    assert sorted(memory.held.tolist()) == everything


@pytest.mark.parametrize("name", ["dream", "fast-dllm-v2"])
def test_a_shifted_model_computes_the_left_neighbour(loaded, name: str) -> None:
    model = loaded[name].model
    evaluator = evaluator_of(model)
    memory = evaluator.open()
    read(evaluator, list(range(8 if KINDS[name].block else 10)), [2], memory)
    view = CanvasView(memory, np.array(CANVAS), Plan(np.array([8, 9])), Span(8, 10), np.array([8]))
    logits, (output,) = evaluator.evaluate([view])
    assert output.computed == 3 and 7 in output.seen.rows
    torch.testing.assert_close(logits, expected(name, [8]), atol=2e-4, rtol=1e-4)


def test_forked_memories_are_several_canvases_in_one_evaluation(loaded) -> None:
    """Sharing what was computed, together they give what each gives by itself."""
    model = loaded["llada"].model
    evaluator = evaluator_of(model)
    memory = evaluator.open()
    read(evaluator, list(range(10)), [2], memory, Span(5, 7))
    canvases = [np.array(CANVAS) for _ in range(3)]
    canvases[1][5], canvases[2][5], canvases[2][6] = 20, 21, 22
    plan, wanted = Plan(np.array([5, 6])), [[5, 6], [6], [6]]
    alone = []
    for ids, want in zip(canvases, wanted, strict=True):
        (twin,) = evaluator.fork(memory)
        alone.append(evaluator.evaluate([CanvasView(twin, ids, plan, Span(5, 7), np.array(want))])[0])
        evaluator.close(twin)
    twins = evaluator.fork(memory, 3)
    views = [
        CanvasView(t, ids, plan, Span(5, 7), np.array(w)) for t, ids, w in zip(twins, canvases, wanted, strict=True)
    ]
    logits, outputs = evaluator.evaluate(views)
    torch.testing.assert_close(logits, torch.cat(alone), atol=1e-4, rtol=1e-4)
    assert [output.start for output in outputs] == [0, 2, 3]
    assert not torch.allclose(logits[1], logits[2], atol=1e-2)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("llada", {"mask_token_id": None}, "names no mask token"),
        ("llada", {"block_type": "sequential"}, "another network"),
        ("llada", {"alibi": True}, "another network"),
        ("llada", {"include_qkv_bias": True}, "include_qkv_bias"),
        ("llada", {"d_model": None}, "LLaDA config"),
        ("llada", {"n_layers": 3}, "lack model.layers.2"),
        ("llada", {"mask_token_id": VOCABULARY}, "outside of the vocabulary"),
        ("dream", {"use_sliding_window": True}, "sliding layers"),
        ("sdar", {"block_size": None}, "names no block size"),
        ("own", {"stretto_diffusion": {"mask": 3}}, "misspelt"),
        ("own", {"stretto_diffusion": {"mask_token_id": 3, "block": 0}}, "names no block size"),
        ("llada-moe", {"qk_layernorm": False}, "another network"),
        ("llada-moe", {"shared_expert_intermediate_size": 12}, "another network"),
        ("llada-moe", {"norm_topk_prob": True}, "another network"),
        ("llada-moe", {"moe_layer_freq": None}, "LLaDA-MoE config"),
        ("llada-moe", {"num_experts": 7}, "wrong shape in model.layers.0.mlp"),
        ("llada-moe", {"stretto_diffusion": None}, "outside of the vocabulary"),
        ("llada2", {"score_function": "softmax"}, "another network"),
        ("llada2", {"use_bias": True}, "another network"),
        ("llada2", {"rope_scaling": {"type": "yarn", "factor": 4.0}}, "another network"),
        ("llada2", {"n_group": None}, "LLaDA 2 config"),
        ("llada2", {"num_shared_experts": 1}, "wrong shape in model.layers.1.mlp.shared_experts"),
        ("llada2", {"num_key_value_heads": 4}, "do not load"),
        ("llada2", {"num_hidden_layers": 3}, "lack model.layers.2"),
        ("llada2", {"first_k_dense_replace": 2}, "lack model.layers.1.mlp.down_proj"),
        ("own", {"model_type": "bd3lm"}, "time of the noise"),
    ],
)
def test_what_cannot_be_driven_is_one_typed_error(tmp_path: Path, name: str, changes: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load(save(name, tmp_path, **changes))
    assert caught.value.hint and "\n" not in str(caught.value)


def test_our_key_completes_a_published_config(tmp_path: Path) -> None:
    folder = save("sdar", tmp_path, block_size=None, mask_token_id=None)
    config = json.loads((folder / "config.json").read_text())
    config["stretto_diffusion"] = {"mask_token_id": MASK, "block": BLOCK}
    (folder / "config.json").write_text(json.dumps(config))
    assert masking_of(load(folder).model) == Masking(MASK, False, BLOCK)


def test_what_the_published_configs_of_llada_2_leave_out() -> None:
    left_out = {"stretto_diffusion": None}
    assert recognise(KINDS["llada2"].config | left_out, "").masking == Masking(156895, False, 32)
    for model_type in ("llada", "lladamoe", "llada_moe"):
        config = KINDS["llada-moe"].config | left_out | {"model_type": model_type}
        assert recognise(config, "").masking == Masking(156895, False, None)


def test_a_converted_checkpoint_is_read_from_shards_with_its_end_tokens(loaded, tmp_path: Path) -> None:
    folder = save("llada2", tmp_path, eos_token_id=None)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    shards = {name: f"model-0000{1 + at % 2}-of-00002.safetensors" for at, name in enumerate(sorted(weights))}
    for shard in set(shards.values()):
        save_file({name: weights[name] for name in weights if shards[name] == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [END, 7]}))
    found = load(folder)
    assert found.end_tokens == {END, 7}
    positions = list(range(len(CANVAS)))
    logits = read(evaluator_of(found.model), positions, positions)
    torch.testing.assert_close(logits, read(evaluator_of(loaded["llada2"].model), positions, positions))


def by_hand(name: str, prompt: list[int], count: int) -> list[int]:
    """One token a step, the surest by the slow forward; block by block where the model sees so far."""
    ids = [*prompt, *[MASK] * count]
    size = KINDS[name].block or len(ids)
    for begin in range(0, len(ids), size):
        while MASK in ids[begin : begin + size]:
            rows = forward(name, ids)
            rows[:, MASK] = -torch.inf
            sure, tokens = rows.softmax(-1).max(-1)
            opened = [at for at in range(begin, min(begin + size, len(ids))) if ids[at] == MASK]
            best = max(opened, key=lambda at: float(sure[at]))
            ids[best] = int(tokens[best])
    return ids[len(prompt) :]


@pytest.mark.parametrize("name", [name for name in KINDS if KINDS[name].experts])
def test_mixtures_of_experts_decode_side_by_side_as_alone_and_as_by_hand(loaded, name: str) -> None:
    engine = Engine(loaded[name].model, clock=SimulatedClock())
    prompts = [[5, 7, 9, 11, 3], [4, 8], [1, 2, 3, 4, 5, 6, 7, 8, 9]]
    stepwise, quick = "low-confidence", "threshold(0.2)+" + ("block-cache" if KINDS[name].block else "dual-cache")
    for method in (stepwise, quick):
        together = engine.generate(prompts, method, max_new_tokens=7, end_tokens=())
        alone = [engine.generate([prompt], method, max_new_tokens=7, end_tokens=())[0] for prompt in prompts]
        assert [each.tokens for each in together] == [each.tokens for each in alone]
        if method == stepwise:
            assert [each.tokens for each in together] == [by_hand(name, prompt, 7) for prompt in prompts]
        else:
            assert sum(each.counters.rounds for each in alone) < 7 * len(prompts)


def test_a_causal_checkpoint_stays_one(tmp_path: Path) -> None:
    folder = save("own", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    del config["stretto_diffusion"]
    (folder / "config.json").write_text(json.dumps(config))
    assert masking_of(load(folder).model) is None
