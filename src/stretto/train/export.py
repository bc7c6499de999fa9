"""Turn finished training runs into the folders that ship: float16 weights, tokenizer, model card."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM

from stretto.errors import ModelError
from stretto.train.measure import measure
from stretto.train.tokenizer import load_tokenizer
from stretto.train.zoo import EARLIER, runs_before

SHIPPED = {"target": "causal", "draft": "draft"}  # name in training, name in the zoo
QUESTIONS, SEED = 100, 2026


def measure_zoo(out: Path) -> dict[str, dict[str, Any]]:
    """Measure both models as they ship (rounded to float16) and write `out/accuracy.json`."""
    found = {}
    for name in SHIPPED:
        folder = _finished(out, name)
        model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float16).float()
        results = measure(model, load_tokenizer(folder), QUESTIONS, SEED)
        found[name] = {kind: asdict(result) for kind, result in results.items()}
    (out / "accuracy.json").write_text(json.dumps(found, indent=1) + "\n")
    return found


def export_zoo(out: Path) -> Path:
    """Write `out/export/causal` and `out/export/draft`; measures first where that has not been done."""
    kept = out / "accuracy.json"
    accuracy = json.loads(kept.read_text()) if kept.exists() else measure_zoo(out)
    for name, shipped in SHIPPED.items():
        source, folder = _finished(out, name), out / "export" / shipped
        model = LlamaForCausalLM.from_pretrained(source, dtype=torch.float16)
        model.save_pretrained(folder)
        load_tokenizer(source).save_pretrained(folder)
        last = json.loads((out / name / "log.jsonl").read_text().splitlines()[-1])
        runs = [*runs_before(out / name), {"steps": last["step"], "minutes": round(last["seconds"] / 60)}]
        (folder / EARLIER).write_text(json.dumps(runs) + "\n")
        (folder / "README.md").write_text(card(name, model, runs, last["loss"], accuracy[name]))
    return out / "export"


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
    how = "next-token prediction" if name == "target" else "distillation from the causal target"
    spent = ", then ".join(f"{run['steps']} steps of 4096 tokens in {run['minutes']} minutes" for run in runs)
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
            f"By {how}: {spent} on two CPU cores, last logged loss {loss:.3f} (weighted mean over the mixture, "
            "nats a token).",
            "",
            "Data, by tokens: about 73 % gym chats (written by `stretto.gym`), 6 % GSM8K training problems (MIT, "
            "calculator marks removed), 13 % source code of the Python standard library (PSF licence), 8 % "
            "public-domain books (Shakespeare, Ulysses). Questions whose prompt hash falls to the test split "
            "never occur in training.",
            "",
            "## Accuracy",
            "",
            f"Greedy answers to {QUESTIONS} held-out questions of each kind (split `test`, seed {SEED}):",
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
