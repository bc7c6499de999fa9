"""Causal families of transformers at large: each is served as its own forward has it, or refused with a reason."""

from __future__ import annotations

import re
from typing import Any

import pytest

from models.sweep import DRIVEN, FAST, PAGE, REFUSED, WHOLE, build, line, outcome

FAMILIES = (
    *("Apertus", "Arcee", "BioGpt", "Cohere2", "DeepseekV2", "DeepseekV3", "Ernie4_5", "Exaone4"),
    *("Gemma", "Glm4", "GPTBigCode", "Helium", "HunYuanDenseV1", "Llama4Text", "Ministral3", "MiniCPM3"),
    *("Afmoe", "GptOss", "GraniteSWA", "MiMoV2Flash", "Nemotron", "Olmo"),
    *("Olmo3", "Persimmon", "Qwen2Moe", "SeedOss", "StableLm", "Youtu"),
)
RUN_WHOLE: dict[str, tuple[str, dict[str, Any], str]] = {  # family, settings, what names why not layer by layer
    "Falcon": ("Falcon", {}, "attention of its own"),
    "Falcon, new": ("Falcon", {"new_decoder_architecture": True}, "attention of its own"),
    "Falcon, ALiBi": ("Falcon", {"alibi": True}, "attention of its own"),
    "GPT-Neo": ("GPTNeo", {}, "attention of its own"),
    "XGLM": ("XGLM", {}, "attention of its own"),
    "Doge": ("Doge", {}, "mask that its layers compute"),
    "Falcon-H1": ("FalconH1", {}, "state-space"),
    "Jamba": ("Jamba", {}, "state-space"),
    "LFM2": ("Lfm2", {}, "short convolutions"),
    "Qwen3-Next": ("Qwen3Next", {}, "linear attention"),
    "BART": ("Bart", {}, "position_ids"),
    "Bloom": ("Bloom", {}, "position_ids"),
    "Mamba": ("Mamba", {}, "state-space"),
    "Zamba": ("Zamba", {}, "state-space"),
    "Gemma 3n": ("Gemma3nText", {}, "4 dimensions"),
    "RWKV": ("Rwkv", {}, "position_ids"),
    "DeepSeek V3.2": ("DeepseekV32", {}, "indexer"),
}
UNSERVED: dict[str, str] = {  # family, what the reason names
    "Roberta": "cache; run whole, it differs from its own forward",
    "OpenAIGPT": "hands back no state",
    "RecurrentGemma": "hands back no state",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_served_as_its_own_forward_has_it(family: str) -> None:
    assert outcome(build(family))[0] in (FAST, DRIVEN)


@pytest.mark.parametrize("name", RUN_WHOLE)
def test_run_whole_as_its_own_forward_has_it(name: str) -> None:
    family, settings, reason = RUN_WHOLE[name]
    how, told = outcome(build(family, **settings))
    assert how == WHOLE
    assert re.search(reason, told), told


@pytest.mark.parametrize("family", UNSERVED)
def test_refused_by_what_the_model_has(family: str) -> None:
    how, told = outcome(build(family))
    assert how == REFUSED
    assert UNSERVED[family] in told
    assert "\n" not in told
    assert not re.search(r"(size of )?tensor|dimension|object has|Error|VisitedCache", told), "an internal error"


@pytest.mark.parametrize("family", ["CodeGen", "GPTJ"])
def test_what_newer_releases_have_rewritten_is_served_or_refused(family: str) -> None:
    how, told = outcome(build(family))
    assert how == DRIVEN or (how == WHOLE and "attention of its own" in told)


@pytest.mark.parametrize("family", ["Bloom", "Gemma3Text", "GPT2", "Llama", "Mixtral", "Olmo2", "Qwen3Next"])
def test_the_table_in_the_docs_is_not_stale(family: str) -> None:
    assert line(family) in PAGE.read_text(encoding="utf-8").splitlines(), "run make families"
