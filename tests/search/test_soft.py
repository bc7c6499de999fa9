"""Soft thinking: of one token it is ordinary thinking, its noise is the rule's, and its answers are drafted for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from models.test_lean import leans
from stretto.engine import Engine
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.contract import Want
from stretto.models.table import TableModel
from stretto.models.window import RAW, Window
from stretto.search.soft import Soft, Thinking
from stretto.steer.choice import Rule
from stretto.steer.pipeline import Pipeline

PROMPT = [5, 9, 2, 31, 5, 9]
END = 7
SETTINGS: dict[str, Any] = {"max_new_tokens": 8, "end_tokens": ()}
DRAWN = {**SETTINGS, "temperature": 1.0, "seed": 3}


def engine() -> Engine:
    return Engine(leans("llama"), clock=SimulatedClock())


def plainly(prompt: list[int], settings: Any = SETTINGS, **more: Any) -> list[int]:
    return engine().generate(prompt, "plain", **{**settings, **more}).tokens


def softly(settings: Any = SETTINGS, method: str = "", **thought: Any) -> list[int]:
    given = ",".join(f"{name}={value}" for name, value in {"tokens": 5, "end": END, **thought}.items())
    return engine().generate(PROMPT, f"soft({given}){method}", **settings).tokens


def thinking(**settings: Any) -> Thinking:
    found = object.__new__(Thinking)
    found.search = Soft(**settings)
    return found


def test_a_thought_of_single_tokens_is_an_ordinary_one() -> None:
    thought = plainly(PROMPT, max_new_tokens=5)
    assert END not in thought
    expected = plainly([*PROMPT, *thought, END])
    assert softly(top=1, chance="none") == expected != plainly([*PROMPT, END])
    assert softly(top=4, chance="none") != expected  # mixtures are another text
    ended = engine().generate(PROMPT, f"soft(top=1,chance=none,end={thought[2]})", **SETTINGS).tokens
    assert ended == plainly([*PROMPT, *thought[:3]])


def test_with_noise_and_no_spread_it_is_an_ordinary_one_that_is_drawn() -> None:
    thought = plainly(PROMPT, DRAWN, max_new_tokens=5)
    assert END not in thought and thought != plainly(PROMPT, max_new_tokens=5)
    size = leans("llama").vocabulary
    found = softly(DRAWN, top=size, top_p=1, temperature=1, spread=1e-6)
    assert found == plainly([*PROMPT, *thought, END], DRAWN)


@pytest.mark.parametrize("chance", ["gumbel", "dirichlet", "none"])
def test_drafts_batches_and_samples_change_nothing(chance: str) -> None:
    method = f"soft(tokens=4,end={END},chance={chance},top=8,temperature=1.5)"
    prompts = [PROMPT, [3, 3, 3, 3], [8]]
    alone = [engine().generate(prompt, method, **DRAWN).tokens for prompt in prompts]
    for more in ("", "+lookup", "+recycle"):
        found = engine().generate(prompts, method + more, samples=2, **DRAWN)
        assert [answer.tokens for answer in found[::2]] == alone
        assert len({tuple(answer.tokens) for answer in found}) == 6
        assert [answer.counters.branches for answer in found] == [4, 0] * 3


def test_answers_follow_the_mixtures_and_nothing_that_was_read_before() -> None:
    """The slow reference: all of it in one window, the mixtures as rows; again on an engine that knows the prompt."""
    model = leans("llama")
    used, found = engine(), []
    for seed in (1, 2, 1):
        settings = {**SETTINGS, "max_new_tokens": 1, "seed": seed}
        found.append(used.generate(PROMPT, f"soft(tokens=3,end={END},top=6,temperature=2)", **settings).tokens[0])
    for seed, answer in zip((1, 2, 1), found, strict=True):
        mind, rows, recorded = thinking(tokens=3, top=6, temperature=2.0), [], []
        for step in range(4):
            tokens = [*PROMPT, *[RAW] * len(rows), *([END] if step == 3 else [])]
            window = Window.chain([0], [tokens], [0], model.device)
            window.embeds = torch.zeros(1, len(tokens), model.channels)
            for at, row in enumerate(rows):
                window.embeds[0, len(PROMPT) + at] = row
            cache = model.new_cache()
            window.rows = [cache.open()]
            logits = model.evaluate(window, cache, Want()).logits[0, -1]  # type: ignore[index]
            ids, weights = mind.mixed(logits, Rule(Pipeline([]), seed, 0), len(PROMPT) + step)
            recorded.append(int(ids[weights.argmax()]))
            rows.append(weights.float() @ model.embed(ids))
        assert END not in recorded[:3] and answer == int(logits.argmax())


def test_noise_has_the_odds_it_should() -> None:
    logits = torch.tensor([0.5, 0.3, 0.2, 1e-9]).log()
    rule, given = Rule(Pipeline([]), 1, 0), {"temperature": 1.0, "top": 4, "top_p": 1.0}
    mind = thinking(**given)
    first = [int(ids[weights.argmax()]) for ids, weights in (mind.mixed(logits, rule, at) for at in range(1200))]
    assert np.allclose(np.bincount(first, minlength=4) / 1200, [0.5, 0.3, 0.2, 0.0], atol=0.03)
    wide = thinking(**given, spread=1e6).mixed(logits, rule, 3)[1]
    assert torch.allclose(wide, torch.full((4,), 0.25, dtype=torch.float64), atol=1e-4)
    mind = thinking(**{**given, "top": 3}, chance="dirichlet", spread=1.0)
    mean = sum(mind.mixed(logits, rule, at)[1] for at in range(1200)) / 1200
    assert torch.allclose(mean, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), atol=0.03)
    still = thinking(**{**given, "top": 3}, chance="dirichlet", spread=1e6).mixed(logits, rule, 3)[1]
    assert torch.allclose(still, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), atol=0.01)
    assert thinking(temperature=1.0, top_p=0.5, chance="none").mixed(logits, rule, 0)[0].tolist() == [0]
    assert thinking(temperature=1.0, top_p=0.51, chance="none").mixed(logits, rule, 0)[0].tolist() == [0, 1]


def test_what_cannot_be_thought_is_refused() -> None:
    for wrong in ({"tokens": -1}, {"top": 0}, {"top_p": 0.0}, {"temperature": 0.0}, {"spread": 0.0}):
        with pytest.raises(InvalidRequest, match="is none"):
            Soft(**wrong)
    with pytest.raises(Unsupported, match="mixed embeddings"):
        Engine(TableModel.random(6, seed=1)).generate([0], "soft(end=1)", **SETTINGS)
    with pytest.raises(InvalidRequest, match="ends a soft thought"):
        softly(end='""')
    with pytest.raises(InvalidRequest, match="no tokenizer"):
        engine().generate(PROMPT, "soft", **SETTINGS)
