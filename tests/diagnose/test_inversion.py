"""Log-probabilities lie in as many directions as a model has channels, and few of them tell all others."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stretto.diagnose import inversion
from stretto.diagnose.inversion import chosen, rank, ratios, readable, restored, table
from stretto.errors import InvalidRequest
from stretto.laws.inside import CHANNELS, VOCABULARY, engine


def logits(count: int, seed: int) -> Tensor:
    """Of 50 tokens, by rows of 8 channels."""
    head = torch.randn(8, 50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) @ head


def test_the_ranks_of_the_catalogue() -> None:
    raw = logits(40, 2)
    said = raw.log_softmax(-1)
    assert [rank(each) for each in (raw, said, ratios(said))] == [8, 9, 8]
    assert rank(ratios((raw / 0.7).log_softmax(-1))) == 8  # a temperature is a factor
    penalised = torch.where(raw > 0, raw / 1.3, raw * 1.3)
    assert rank(ratios(penalised.log_softmax(-1))) > 30  # a penalty is none


def test_a_few_tell_all_others_at_new_places() -> None:
    taught, tried = logits(20, 2).log_softmax(-1), logits(10, 3).log_softmax(-1)
    for count, close in ((9, True), (15, True), (8, False)):
        tokens = chosen(50, count)
        found = restored(tried[:, tokens], taught, tokens)
        assert (float((found - tried).abs().max()) < 1e-5) == close
    assert chosen(50, 9) == chosen(50, 9) != chosen(50, 9, seed=1)


def test_what_a_mask_took_away_has_no_ratio() -> None:
    said = logits(3, 2)
    said[1, 4] = -torch.inf
    with pytest.raises(InvalidRequest, match="no ratio"):
        ratios(said.log_softmax(-1))
    assert ratios(said.log_softmax(-1), [0, 1, 2]).shape == (3, 2)


def test_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inversion, "MARGIN", 4)
    draw = torch.Generator().manual_seed(5)
    texts = torch.randint(VOCABULARY, (10, 20), generator=draw).tolist()
    found = readable(engine("fast").model, texts, 100)
    assert (found.channels, found.rank, found.kept, found.positions) == (CHANNELS, CHANNELS, CHANNELS + 5, 100)
    assert found.error < 1e-4 and "tell all others     37" in table(found)
    with pytest.raises(InvalidRequest, match="do not show"):
        readable(engine("fast").model, texts, 71)
