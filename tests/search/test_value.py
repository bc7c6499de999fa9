"""Heads as scorers: what they say by hand, read in pieces or at once, and what that costs."""

from __future__ import annotations

import pytest
import torch

from stretto.errors import InvalidRequest, ModelError, UnknownName, Unsupported
from stretto.laws.inside import VOCABULARY, engine
from stretto.models.head import Head
from stretto.search.best_of import BestOf
from stretto.search.blockwise import Blockwise
from stretto.search.contract import Search
from stretto.search.loop import UNDRAFTED, Searched
from stretto.search.pg_td import PgTd
from stretto.search.ppo_mcts import PpoMcts
from stretto.search.reading import Readings
from stretto.search.scorer import Draft
from stretto.search.scorers.value import Value
from stretto.search.segmenters import Every
from stretto.search.transfer_q import TransferQ
from stretto.search.vm_mcts import VmMcts
from stretto.speculate.acceptors.exact import Exact
from stretto.speculate.drafters.lookup import Lookup
from stretto.speculate.loop import Speculate
from stretto.speculate.planners.fixed import Fixed

HEAD = Head.random(3, 1, 32, layer=2)
SETTINGS = {"max_new_tokens": 12, "end_tokens": (), "temperature": 1.0, "seed": 4}


def drafts(prompt: tuple[int, ...], *texts: tuple[int, ...]) -> list[Draft]:
    return [Draft(prompt, text) for text in texts]


def test_a_head_by_hand() -> None:
    parts = {"layers": [0, 2], "enter": [[1, 0, 0, 2], [0, -1, 1, 0]], "bias": [0, 1], "leave": [[2, 3]], "level": [1]}
    head = Head(parts)
    rows = {0: torch.tensor([[1.0, 2.0], [0.0, 0.0]]), 2: torch.tensor([[3.0, 4.0], [-9.0, -9.0]])}
    assert head(rows).tolist() == [[2 * 9 + 3 * 2 + 1], [1]] and (head.of, head.outputs) == ((0, 2), 1)


def test_what_texts_share_is_read_once_and_all_is_as_read_alone() -> None:
    model, chance = engine("fast").model, torch.Generator().manual_seed(1)
    prompt = tuple(torch.randint(VOCABULARY, (20,), generator=chance).tolist())
    long = tuple(torch.randint(VOCABULARY, (30,), generator=chance).tolist())
    asked = [drafts(prompt, long[:3], (*long[:3], 7)), drafts(prompt, long, long[:9], ()), drafts((5,), long[:2], ())]
    asked.append(drafts(prompt, long))  # again, as of one that was a beginning and is whole now
    readings = Readings(model, (2,))
    for some in asked:
        found = readings.ends(some)[2]
        for line, draft in zip(found, some, strict=True):
            assert torch.allclose(line, Readings(model, (2,)).ends([draft])[2][0], atol=1e-5)
    # the prompt; three tokens after its last, and four; 27 more; nine; the last; and of another prompt 3 and 1
    assert readings.tokens == 19 + (1 + 3) + (1 + 4) + 27 + 6 + 1 + 3 + 1 + 1


def test_answers_come_by_what_the_head_says_of_them_and_tokens_are_counted() -> None:
    served = engine("fast")
    found = served.generate([[5, 9, 11]], BestOf(4, Value(HEAD)), samples=4, **SETTINGS)
    said = HEAD(Readings(served.model, (2,)).ends(drafts((5, 9, 11), *(tuple(each.tokens) for each in found))))[:, 0]
    assert said.tolist() == sorted(said.tolist(), reverse=True)
    assert found[0].counters.scorer_calls == 4 and found[0].counters.scorer_tokens == 2 + 4 * (1 + 12)
    free = served.generate([5, 9, 11], "best-of(4)", **SETTINGS)
    assert free.counters.scorer_tokens == 0


def test_blocks_read_only_what_is_new() -> None:
    found = engine("fast").generate([5, 9, 11], Blockwise(3, Value(HEAD), Every(4)), **SETTINGS)
    assert found.counters.scorer_tokens == 2 + 3 * (1 + 4) + 3 * 4 + 3 * 4
    other = engine("fast").generate([5, 9, 11], "blockwise(3,segmenter=every(4))", **SETTINGS)
    assert other.tokens != found.tokens


@pytest.mark.parametrize(
    "search",
    [
        Blockwise(3, Value(HEAD), Every(4)),
        VmMcts(3, 2, 3, scorer=Value(HEAD), segmenter=Every(4)),
        PpoMcts(4, 5, 1.0, Value(HEAD)),
        PgTd(3, 6, scorer=Value(HEAD)),
        TransferQ(2, 5.0, 6, Value(HEAD)),
    ],
    ids=lambda search: search.name,
)
def test_drafts_for_what_a_head_judges_change_no_token(search: Search) -> None:
    settings = SETTINGS | {"temperature": float(search.name in ("blockwise", "vm-mcts"))}
    prompts = [[5, 9, 11, 5, 9, 11], [3], [7, 7, 8, 2]]
    plain, *drafted = (
        [answer.tokens for answer in engine("fast").generate(prompts, Searched(search, drafts=drafts), **settings)]
        for drafts in (UNDRAFTED, Speculate(Lookup(), Exact(), Fixed(5)))
    )
    alone = [engine("fast").generate(prompt, search, **settings).tokens for prompt in prompts]
    assert [plain] == drafted and plain == alone


def test_what_does_not_fit_is_refused() -> None:
    served = engine("fast")
    for head, match in (
        (Head.random(3, 1, 16), "channels"),
        (Head.random(3, 1, 32, layer=9), "layer 9"),
        (Head.random(3, VOCABULARY, 32), "judges next tokens"),
    ):
        with pytest.raises(Unsupported, match=match):
            served.generate([5], BestOf(2, Value(head)), **SETTINGS)
    with pytest.raises(InvalidRequest, match="does not fit together"):
        Head({"layers": [0], "enter": [[1, 0]], "bias": [0, 1], "leave": [[2]], "level": [1]})
    with pytest.raises(UnknownName, match="no zoo head"):
        served.generate([5], BestOf(2, Value("zoo/none")), **SETTINGS)
    with pytest.raises(ModelError, match="no file"):
        Head.named("nowhere.safetensors")
