"""Checkpoints load, and each way in which one can be broken is one typed error with a hint."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from models.families import FAMILIES, VOCABULARY
from stretto.errors import InvalidRequest, ModelError, StrettoError, UnknownName, Unsupported
from stretto.models import kernel_choice
from stretto.models.contract import Model
from stretto.models.load import load
from stretto.models.network import Network
from stretto.models.numbers import numbers_of
from stretto.models.window import Window

TOKENS = [5, 6, 7, 8, 9]


def save(family: str, folder: Path, shard_size: str = "1GB") -> Path:
    module = FAMILIES[family]()
    module.save_pretrained(folder, max_shard_size=shard_size)
    tokenizer = Tokenizer(models.WordLevel({f"w{number}": number for number in range(VOCABULARY)}, unk_token="w0"))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="w3", chat_template="{{ messages[0]['content'] }}"
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def logits_of(model: Model) -> torch.Tensor:
    cache = model.new_cache()
    logits = model.evaluate(Window.chain([cache.open()], [TOKENS], [0], model.device), cache).logits
    assert logits is not None
    return logits


def truth(folder: Path) -> torch.Tensor:
    module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        return module(input_ids=torch.tensor([TOKENS])).logits


@pytest.mark.parametrize("fast", [True, False])
def test_a_folder_loads(saved: Path, fast: bool, capfd: pytest.CaptureFixture[str]) -> None:
    loaded = load(saved, fast=fast)
    assert capfd.readouterr() == ("", "")
    assert isinstance(loaded.model, Network) != fast
    assert bool(loaded.slow_because) != fast
    torch.testing.assert_close(logits_of(loaded.model), truth(saved), atol=2e-5, rtol=0)
    assert loaded.tokenizer is not None
    assert loaded.tokenizer.apply_chat_template([{"role": "user", "content": "w7"}], tokenize=False) == "w7"
    assert loaded.end_tokens == {2, 3}  # the configuration's and the tokenizer's
    assert loaded.model.vocabulary == VOCABULARY


def test_what_has_no_fast_path_says_why(tmp_path: Path) -> None:
    loaded = load(str(save("gpt2", tmp_path)))
    assert isinstance(loaded.model, Network)
    assert loaded.slow_because
    torch.testing.assert_close(logits_of(loaded.model), truth(tmp_path), atol=2e-5, rtol=0)


def test_shards_load(tmp_path: Path) -> None:
    save("llama", tmp_path, shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    torch.testing.assert_close(logits_of(load(tmp_path).model), truth(tmp_path), atol=2e-5, rtol=0)


def test_dtypes(folder: Path) -> None:
    AutoModelForCausalLM.from_pretrained(folder).to(torch.bfloat16).save_pretrained(folder)
    assert load(folder).model.dtype == torch.float32
    assert load(folder, dtype="bfloat16", fast=False).model.dtype == torch.bfloat16


def test_end_tokens_and_tokenizer(folder: Path) -> None:
    generation = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(generation | {"eos_token_id": [2, 4]}))
    assert load(folder).end_tokens == {2, 3, 4}  # all that are named
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": None}))
    assert load(folder).end_tokens == {3}  # the tokenizer's
    for file in folder.glob("tokenizer*"):
        file.unlink()
    loaded = load(folder)
    assert loaded.tokenizer is None
    assert loaded.end_tokens == frozenset()


def rewrite_config(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return change


def rewrite_weights(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return rewrite


def cut_off(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def lose_a_shard(folder: Path) -> None:
    module = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    module.save_pretrained(folder, max_shard_size="20KB")
    sorted(folder.glob("*.safetensors"))[1].unlink()


def only_pickles(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


LAYER = "model.layers.1.mlp.up_proj.weight"
BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "no config.json"),
    "torn config": (lambda folder: (folder / "config.json").write_text('{"model_type": '), "not readable JSON"),
    "list as config": (lambda folder: (folder / "config.json").write_text("[]"), "no JSON object"),
    "unknown type": (rewrite_config(model_type="llamas"), "'llamas'"),
    "no type": (rewrite_config(model_type=None), "no known model"),
    "own code": (rewrite_config(model_type="mine", auto_map={"AutoConfig": "x.Y"}), "never run"),
    "an encoder": (rewrite_config(model_type="bart", is_encoder_decoder=True), "do not load|lack|hold"),
    "no text": (rewrite_config(model_type="vit"), "does not continue text"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "no model.safetensors"),
    "pickles": (only_pickles, "only pytorch_model.bin"),
    "cut off": (cut_off, "instead of"),
    "empty": (lambda folder: (folder / "model.safetensors").write_bytes(b""), "not a safetensors file"),
    "garbage": (lambda folder: (folder / "model.safetensors").write_bytes(b"\x07" * 999), "not a safetensors file"),
    "no shard": (lose_a_shard, "is missing"),
    "no tensor": (rewrite_weights(lambda weights: weights.pop(LAYER)), f"lack {LAYER}"),
    "more layers": (rewrite_config(num_hidden_layers=4), "lack model.layers.3"),
    "fewer layers": (rewrite_config(num_hidden_layers=2), "hold model.layers.2"),
    "other shape": (rewrite_config(intermediate_size=64), "wrong shape in model.layers.0.mlp"),
    "torn tokenizer": (lambda folder: (folder / "tokenizer.json").write_text("{"), "tokenizer in"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_checkpoint_is_one_typed_error(folder: Path, kind: str) -> None:
    spoil, reason = BROKEN[kind]
    spoil(folder)
    with pytest.raises(ModelError, match=reason) as caught:
        load(folder)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "package"), [(b"\n\x0e\n\x05<unk>\x15\x00\x00", "sentencepiece"), (b"IQ== 0\nIg== 1\n", "tiktoken")]
)
def test_a_tokenizer_in_one_file_says_who_reads_it(folder: Path, content: bytes, package: str) -> None:
    if find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    (folder / "tokenizer.model").write_bytes(content)
    with pytest.raises(
        ModelError, match=f"no tokenizer.json, only tokenizer.model, which is read by {package}"
    ) as caught:
        load(folder)
    assert f"pip install {package}" in caught.value.hint and "tokenizer.json" in caught.value.hint


def test_names_that_lead_nowhere(folder: Path) -> None:
    expected: dict[str | Path, type[StrettoError]] = {
        "/nowhere/at/all": ModelError,
        Path("nowhere"): ModelError,
        "a name with spaces": ModelError,
        str(folder / "config.json"): ModelError,
        "zoo/nothing": UnknownName,
    }
    for name, kind in expected.items():
        with pytest.raises(kind) as caught:
            load(name)
        assert caught.value.hint


def test_settings_that_cannot_be(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for settings in ({"dtype": "float7"}, {"device": "abacus"}, {"device": "cuda:99"}, {"weights": "int3"}):
        with pytest.raises(InvalidRequest):
            load(saved, **settings)  # type: ignore[arg-type]
    with pytest.raises(Unsupported, match="float32 on the CPU"):
        load(saved, weights="int8", dtype="bfloat16")
    with pytest.raises(Unsupported, match="no fast path"):
        load(save("gpt2", tmp_path), weights="int8")
    with pytest.raises(InvalidRequest, match="unknown exactness"):
        load(saved, exact="letters")
    with pytest.raises(Unsupported, match="no exact bits: ") as caught:
        load(save("gpt2", tmp_path), exact="bits")
    assert "exact='tokens'" in caught.value.hint
    with pytest.raises(Unsupported, match="it was not asked for"):
        load(saved, exact="bits", fast=False)
    monkeypatch.setattr("stretto.models.load._device", lambda name: torch.device("cuda"))  # as where there is one
    with pytest.raises(Unsupported, match="exact bits are for the CPU"):
        load(saved, exact="bits")


@pytest.mark.parametrize("exact", ["tokens", "bits"])
def test_two_loads_choose_the_same_kernels_if_that_is_asked_for(
    exact: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def kernels(seed: int, reproducible: bool) -> Mapping[str, str]:
        """What is chosen under a clock that runs by dice, and remembers nothing of earlier loads."""
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"{seed}-{reproducible}"))
        dice = random.Random(seed)
        ticks = itertools.accumulate(iter(dice.random, None))
        for name in ("thread_time", "perf_counter"):
            monkeypatch.setattr(kernel_choice.time, name, lambda: next(ticks))
        return numbers_of(load("zoo/causal", exact=exact, reproducible=reproducible).model).kernels

    settled = kernels(0, True)
    assert settled == kernels(1, True) == kernels(2, True)
    assert list(settled) == ["qkv", "out", "gate_up", "down", "head"] and all(settled.values())
    assert len({str(kernels(seed, False)) for seed in range(4)}) > 1  # else the dice would prove nothing


def test_a_model_says_how_it_computes(saved: Path) -> None:
    driven = numbers_of(load(saved, dtype="bfloat16", fast=False).model)
    assert (driven.dtype, driven.bits, driven.rounded, dict(driven.kernels)) == ("bfloat16", False, "bfloat16", {})
    exact = numbers_of(load(saved, dtype="bfloat16", exact="bits", reproducible=True).model)
    assert (exact.dtype, exact.bits, exact.settled, exact.rounded) == ("bfloat16", True, True, "")
    assert numbers_of(load("zoo/masked", exact="bits").model).bits  # through what is around the network


def test_short_names_of_numbers_are_known(saved: Path) -> None:
    assert load(saved, dtype="bf16").model.dtype is torch.bfloat16
    assert load(saved, dtype="fp32").model.dtype is torch.float32
