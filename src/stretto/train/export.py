"""Turn finished training runs into the folders that ship: float16 weights, tokenizer, model card."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import LlamaForCausalLM

from stretto.engine import Engine
from stretto.errors import ModelError
from stretto.files import replacing_files, write_text
from stretto.models.masked import OWN
from stretto.train.masked import TEXT_WEIGHT
from stretto.train.measure import BASELINES, Accuracy, measure, measure_masked
from stretto.train.tokenizer import load_tokenizer
from stretto.train.zoo import EARLIER, runs_before

SHIPPED = {"target": "causal", "draft": "draft", "masked": "masked", "block": "block"}  # in training -> in the zoo
HOW = {
    "target": "next-token prediction",
    "draft": "distillation from the causal target",
    "masked": "masked diffusion, from the causal target's weights",
    "block": "block diffusion, from the causal target's weights",
}
QUESTIONS, SEED = 100, 2026
MASKED_QUESTIONS = 40  # of a masked twin, which computes every position at every step


def measure_zoo(out: Path) -> dict[str, dict[str, Any]]:
    """Measure all that is finished as it ships (rounded to float16) and write `out/accuracy.json`."""
    return _measured(out, {})


def _measured(out: Path, known: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What is known, and the accuracy of finished models of which nothing is."""
    for name in _all_finished(out):
        if name not in known:
            results = _accuracy(_finished(out, name))
            known[name] = {kind: asdict(result) for kind, result in results.items()}
            write_text(out / "accuracy.json", json.dumps(known, indent=1) + "\n")
    return known


def _accuracy(source: Path) -> dict[str, Accuracy]:
    model, tokenizer = LlamaForCausalLM.from_pretrained(source, dtype=torch.float16), load_tokenizer(source)
    if not hasattr(model.config, OWN):
        return measure(model.float(), tokenizer, QUESTIONS, SEED)
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return measure_masked(Engine.load(folder), MASKED_QUESTIONS, SEED)


def export_zoo(out: Path) -> Path:
    """Write `out/export/NAME` for each finished model; measures first what has not been measured."""
    names, kept = _all_finished(out), out / "accuracy.json"
    accuracy = _measured(out, json.loads(kept.read_text()) if kept.exists() else {})
    for name in names:
        source, folder = _finished(out, name), out / "export" / SHIPPED[name]
        model = LlamaForCausalLM.from_pretrained(source, dtype=torch.float16)
        last = json.loads((out / name / "log.jsonl").read_text().splitlines()[-1])
        runs = [*runs_before(out / name), {"steps": last["step"], "minutes": round(last["seconds"] / 60)}]
        with replacing_files(folder) as fresh:
            model.save_pretrained(fresh)
            load_tokenizer(source).save_pretrained(fresh)
            write_text(fresh / EARLIER, json.dumps(runs) + "\n")
            write_text(fresh / "README.md", card(name, model, runs, last["loss"], accuracy[name]))
    return out / "export"


def _all_finished(out: Path) -> list[str]:
    names = [name for name in SHIPPED if (out / name / "model").exists()]
    if not names:
        _finished(out, "target")
    return names


def _finished(out: Path, name: str) -> Path:
    folder = out / name / "model"
    if not folder.exists():
        raise ModelError(f"{folder} is missing", hint=f"run `stretto train zoo {name} --out {out}` first")
    return folder


def card(
    name: str,
    model: LlamaForCausalLM,
    runs: list[dict[str, Any]],
    loss: float,
    accuracy: dict[str, dict[str, Any]],
) -> str:
    """The model card: what it is, what it learned from, and how well it does."""
    config, size = model.config, sum(parameter.numel() for parameter in model.parameters())
    masking = getattr(config, OWN, None)
    spent = ", then ".join(f"{run['steps']} steps of 4096 tokens in {run['minutes']} minutes" for run in runs)
    asked = max((one["asked"] for one in accuracy.values()), default=0)  # of each kind
    rows = [
        f"| {kind} | {100 * one['right'] / one['asked']:.0f} % | {one['answer_tokens']:.0f} |"
        for kind, one in accuracy.items()
    ]
    return "\n".join(
        [
            "---",
            "license: apache-2.0",
            "---",
            f"# stretto zoo: {SHIPPED[name]}",
            "",
            f"A Llama of {size:,} parameters ({config.num_hidden_layers} layers of {config.hidden_size}, "
            f"{config.num_attention_heads} heads over {config.num_key_value_heads} key heads, "
            f"{config.vocab_size} tokens, {config.max_position_embeddings} positions), float16, "
            "trained from scratch by `stretto train zoo` for "
            "stretto's own tests, demonstrations and benchmarks. It knows the gym's tasks and nothing of the world.",
            "",
            "## Training",
            "",
            f"By {HOW[name]}: {spent} on two CPU cores, last logged loss {loss:.3f} (weighted mean over the mixture, "
            f"nats a token{'; an upper bound' if masking else ''}).",
            *(_masking(masking) if masking else []),
            "",
            "Data, by tokens: about 73 % gym chats (written by `stretto.gym`), 6 % GSM8K training problems (MIT, "
            "calculator marks removed), 13 % source code of the Python standard library (PSF licence), 8 % "
            "public-domain books (Shakespeare, Ulysses). Questions whose prompt hash falls to the test split "
            "never occur in training."
            + (f" In the last run code and books weighed {TEXT_WEIGHT:g} of the rest." if masking else ""),
            "",
            "## Accuracy",
            "",
            f"Greedy answers to {asked} held-out questions of each kind (split `test`, seed {SEED})"
            + (f", one token a step (`{BASELINES[masking['block'] is not None]}`):" if masking else ":"),
            "",
            "| kind | right | answer tokens |",
            "|---|---:|---:|",
            *rows,
            "",
            "## Licence",
            "",
            "Apache-2.0.",
            "",
        ]
    )


def _masking(masking: dict[str, Any]) -> list[str]:
    """Of a masked twin: what it sees, and which row speaks of a position."""
    sees = f"its block of {masking['block']} and all before" if masking["block"] else "its whole canvas"
    return [
        "",
        f"Token {masking['mask_token_id']} is the mask. A position sees {sees}; the row before it speaks of it. "
        "Answers are followed by end tokens up to the end of their canvas.",
    ]
