"""Contrastive search against a slow reference that reads whole texts, and what it leaves in the cache."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from models.test_lean import leans
from stretto.engine import Engine
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.contract import Want
from stretto.models.table import TableModel
from stretto.models.window import Window
from stretto.search.contract import Group
from stretto.search.contrastive import Contrasting, Contrastive, likenesses, scores

PROMPT = [5, 9, 2, 31, 5, 9]
SETTINGS: dict[str, Any] = {"max_new_tokens": 12, "end_tokens": ()}


def engine() -> Engine:
    return Engine(leans("llama"), clock=SimulatedClock())


def said(method: str, prompt: list[int] = PROMPT, **more: Any) -> list[int]:
    return engine().generate(prompt, method, **{**SETTINGS, **more}).tokens


def read(text: list[int]) -> tuple[Tensor, Tensor]:
    """Rows of the last layer [n, C], and the logits behind the text [V]."""
    model = leans("llama")
    cache = model.new_cache()
    window = Window.chain([cache.open()], [text], [0], model.device)
    found = model.evaluate(window, cache, Want(hidden=(model.layers,)))
    assert found.logits is not None
    return found.hidden[model.layers][0], found.logits[0, -1].clone()


def slowly(prompt: list[int], top: int, alpha: float, banned: tuple[int, ...] = ()) -> list[int]:
    text = list(prompt)
    for _ in range(SETTINGS["max_new_tokens"]):
        rows, logits = read(text)
        logits[list(banned)] = -torch.inf
        odds, tokens = logits.double().softmax(-1).topk(top)
        worth = []
        for p, token in zip(odds.tolist(), tokens.tolist(), strict=True):
            row = read([*text, token])[0][-1]
            worth.append((1 - alpha) * p - alpha * float(torch.cosine_similarity(rows, row[None]).max()))
        text.append(int(tokens[worth.index(max(worth))]))
    return text[len(prompt) :]


def test_the_published_example() -> None:
    assert torch.allclose(scores(torch.tensor([0.5, 0.4]), torch.tensor([0.9, 0.3]), 0.6), torch.tensor([-0.34, -0.02]))
    rows, candidates = torch.eye(3)[:2], torch.tensor([[0.6, 0.8, 0.0], [0.0, 0.0, 1.0], [-0.6, 0.0, 0.8]])
    assert torch.allclose(likenesses(rows, candidates), torch.tensor([0.8, 0.0, 0.0], dtype=torch.float64))
    assert likenesses(rows[:0], candidates).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("top", "alpha"), [(5, 0.6), (3, 0.95)])
def test_it_takes_what_the_slow_reference_takes(top: int, alpha: float) -> None:
    found = said(f"contrastive({top},{alpha})")
    assert found == slowly(PROMPT, top, alpha) != said("plain")
    banned = (found[2], found[5])
    steered = said(f"contrastive({top},{alpha})", banned_tokens=banned)
    assert steered == slowly(PROMPT, top, alpha, banned) != found


def test_a_prompt_of_one_token_has_no_rows_before_it() -> None:
    assert said("contrastive(4,0.9)", [8]) == slowly([8], 4, 0.9)


@pytest.mark.parametrize("method", ["contrastive(alpha=0)", "contrastive(top=1)"])
def test_where_no_row_counts_it_is_greedy(method: str) -> None:
    assert said(method) == said("plain")


def test_a_batch_an_end_and_a_limit_change_nothing() -> None:
    prompts = [PROMPT, [3, 3, 3, 3], [8]]
    alone = [said("contrastive(5,0.9)", prompt) for prompt in prompts]
    assert [answer.tokens for answer in engine().generate(prompts, "contrastive(5,0.9)", **SETTINGS)] == alone
    end = alone[0][4]
    found = engine().generate(prompts, "contrastive(5,0.9)", max_new_tokens=12, end_tokens=(end,))
    for answer, whole in zip(found, alone, strict=True):
        cut = whole[: whole.index(end) + 1] if end in whole else whole
        assert (answer.tokens, answer.finish) == (cut, "end" if end in whole else "length")
    reported = engine().generate(PROMPT, "contrastive(5,0.9)", **SETTINGS, log_probabilities=0).log_probabilities or []
    assert [each.token for each in reported] == alone[0]
    assert reported[0].raw == pytest.approx(float(read(PROMPT)[1].double().log_softmax(-1)[alone[0][0]]), abs=1e-5)


def test_of_the_candidates_only_the_chosen_one_stays_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    held, take = [], Contrasting._take

    def spied(self: Contrasting, group: Group, *what: Any) -> None:
        row = group.first.cache_row
        held.append([self.branches.cache.position(row, at) for at in range(self.branches.cache.length(row))])
        take(self, group, *what)

    monkeypatch.setattr(Contrasting, "_take", spied)
    assert len(said("contrastive(5,0.9)")) == 12
    assert held == [list(range(len(PROMPT) + at)) for at in range(13)]


def test_what_it_cannot_serve_is_refused() -> None:
    for wrong in ({"top": 0}, {"alpha": -0.1}, {"alpha": 1.1}):
        with pytest.raises(InvalidRequest, match="the best of"):
            Contrastive(**wrong)
    with pytest.raises(Unsupported, match="rows of tokens"):
        Engine(TableModel.random(6, seed=1)).generate([0], "contrastive", **SETTINGS)
    with pytest.raises(Unsupported, match="no chance"):
        said("contrastive", temperature=1.0)
