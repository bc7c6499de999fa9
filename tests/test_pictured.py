"""Pictures in prompts: rows in the place of tokens, told apart, and exact beside drafts, batches and chance."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from models.families import FAMILIES, VOCABULARY
from models.test_lean import fast
from stretto.engine import Engine
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.network import Network
from stretto.models.pictures import Picture, Pictured, identified, placed, viewed
from stretto.models.table import TableModel
from stretto.steer.contrast import Contrast
from stretto.steer.guide import Guide

IMAGE = 96
PROMPT = [1, 40, 41, IMAGE, IMAGE, IMAGE, IMAGE, 7, 8, 9]
SPAN = slice(3, 7)
LONG: dict[str, Any] = {"max_new_tokens": 24}


@cache
def engine(form: str = "lean") -> Engine:
    module = FAMILIES["llama"]()
    made = Engine(fast(module) if form == "lean" else Network(module))
    made.image_token = IMAGE
    return made


def rows(seed: int = 0, size: int = 4) -> torch.Tensor:
    made = torch.randn(size, 32, generator=torch.Generator().manual_seed(seed))
    return made * engine().model.embed(torch.arange(VOCABULARY)).std()


def pictured(seed: int = 0, prompt: list[int] = PROMPT) -> Pictured:
    return Pictured(prompt, [rows(seed)])


@pytest.mark.parametrize("form", ["lean", "network"])
def test_rows_enter_as_they_do_in_transformers(form: str) -> None:
    module = FAMILIES["llama"]()
    embeds = module.get_input_embeddings()(torch.tensor([PROMPT])).detach().clone()
    embeds[0, SPAN] = rows()
    theirs = module.generate(inputs_embeds=embeds, max_new_tokens=24, do_sample=False, eos_token_id=None)
    ours = engine(form).generate(pictured(), "plain", **LONG)
    assert ours.tokens == theirs[0].tolist()
    assert ours.prompt_tokens == PROMPT
    assert ours.tokens != engine(form).generate(PROMPT, "plain", **LONG).tokens


def test_a_picture_of_a_tokens_own_rows_is_that_token() -> None:
    said = [1, 40, 41, 11, 12, 13, 14, 7, 8, 9]
    own = engine().model.embed(torch.tensor(said[SPAN]))
    seen = engine().generate(Pictured(PROMPT, [own]), "plain", **LONG)
    assert seen.tokens == engine().generate(said, "plain", **LONG).tokens


@pytest.mark.parametrize("method", ["auto", "lookup", "recycle", "plain+contrast(newest=2,beta=2.0,share=0.05)"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_drafts_and_batches_change_nothing(method: str, temperature: float) -> None:
    base = method if "+" in method else "plain"
    prompts = [pictured(0), pictured(1), [1, 40, 41, 5, 6], pictured(0, [IMAGE] * 4 + [3])]
    settings = {**LONG, "temperature": temperature, "seed": 5}
    alone = [engine().generate(prompt, base, **settings).tokens for prompt in prompts]
    together = engine().generate(prompts, method, **settings)
    assert [answer.tokens for answer in together] == alone
    handles = [engine().submit(prompt, method, **settings) for prompt in prompts]
    assert [handle.result().tokens for handle in handles] == alone


def test_what_was_read_before_is_told_apart_by_its_pictures() -> None:
    long = [1, *[IMAGE] * 80, *range(3, 20)]
    seen = [Pictured(long, [rows(seed, 80)]) for seed in (0, 1, 0)]
    fresh = [Engine(engine().model, prefixes=0) for _ in seen]
    for each in fresh:
        each.image_token = IMAGE
    keeping = Engine(engine().model)
    keeping.image_token = IMAGE
    apart = [each.generate(prompt, "plain", **LONG).tokens for each, prompt in zip(fresh, seen, strict=True)]
    before = keeping._prefixes.bytes
    kept = [keeping.generate(seen[0], "plain", **LONG).tokens]
    held = keeping._prefixes.bytes
    kept += [keeping.generate(prompt, "plain", **LONG).tokens for prompt in seen[1:]]
    assert kept == apart and apart[0] != apart[1]
    assert held > before and keeping._prefixes.bytes == 2 * held  # the third found what the first had read


def test_text_is_read_in_pieces_wherever_a_picture_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = engine().generate(pictured(), "plain", **LONG).tokens
    monkeypatch.setattr("stretto.models.reading.CHUNK", 2)
    monkeypatch.setattr("stretto.scheduler.CHUNK", 2)
    assert engine().generate(pictured(), "plain", **LONG).tokens == whole


def test_guidance_without_the_prompt_sees_no_picture() -> None:
    """A companion of the last token alone is the same whatever the picture; of more it sees the rows that are left."""
    steer = Guide(2.0)
    answers = [engine().generate(pictured(seed), "plain", steers=[steer], **LONG).tokens for seed in (0, 1)]
    assert answers[0] != answers[1]
    tokens, pictures = viewed(PROMPT, placed(PROMPT, [Picture(rows())], IMAGE)[1], None, first=5, by=2)
    assert tokens == PROMPT[5:] and pictures[0].start == 2
    assert torch.equal(pictures[0].rows, rows()[2:])
    assert viewed(PROMPT, placed(PROMPT, [Picture(rows())], IMAGE)[1], None, first=7) == (PROMPT[7:], ())


def test_one_image_token_stands_for_a_picture_or_for_a_row() -> None:
    two = [1, IMAGE, 5, IMAGE, 6]
    tokens, pictures = placed(two, [Picture(rows(0, 3)), Picture(rows(1, 2))], IMAGE)
    assert tokens == [1, *[IMAGE] * 3, 5, *[IMAGE] * 2, 6]
    assert [picture.span for picture in pictures] == [range(1, 4), range(5, 7)]
    again, same = placed(tokens, [Picture(rows(0, 3)), Picture(rows(1, 2))], IMAGE)
    assert again == tokens and [picture.span for picture in same] == [range(1, 4), range(5, 7)]
    side = [IMAGE] * 5
    assert [each.span for each in placed(side, [Picture(rows(0, 3)), Picture(rows(1, 2))], IMAGE)[1]] == [
        range(3),
        range(3, 5),
    ]
    numbers = identified(tokens, pictures)
    assert numbers[0] == 1 and len(set(numbers[1:4] + numbers[5:7])) == 5 and max(numbers[1:4]) < 0


@pytest.mark.parametrize(
    ("prompt", "pictures", "said"),
    [
        ([1, IMAGE, IMAGE, 2], [rows(0, 3)], "2 image tokens"),
        ([1, 2, 3], [Picture(rows(0, 2), at=1)], "ends in a picture"),
        ([1, 2, 3], [Picture(rows(0, 2), at=2)], "outside of the prompt"),
        ([1, 2, 3, 4], [Picture(rows(0, 2), at=0), Picture(rows(0, 2), at=1)], "overlap"),
        ([1, IMAGE, 3], [torch.ones(1, 5)], "5 channels"),
        ([1, IMAGE, 3], [torch.full((1, 32), torch.nan)], "not finite"),
        ([1, IMAGE, 3], [torch.ones(32)], "no rows"),
        ([1, *[IMAGE], *[3] * 60], [rows(0, 80)], "positions"),
    ],
)
def test_wrong_pictures_are_refused_before_any_work(prompt: list[int], pictures: list[Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        engine().generate(Pictured(prompt, pictures), "plain", **LONG)
    alone, fine = engine().generate([Pictured(prompt, pictures), [1, 2, 3]], "plain", **LONG)
    assert isinstance(alone.error, InvalidRequest) and fine.error is None


def test_what_takes_no_pictures_says_so() -> None:
    with pytest.raises(Unsupported, match="takes no pictures"):
        engine().generate(pictured(), "a-star", temperature=1.0, **LONG)
    assert engine().generate(pictured(), "beam(1)", **LONG).tokens == engine().generate(pictured(), **LONG).tokens
    blind = Engine(TableModel(97, lambda path: [0.0] * 97))
    with pytest.raises(Unsupported, match="takes no rows"):
        blind.generate(Pictured(PROMPT, [Picture(torch.ones(4, 1), at=3)]), "plain", **LONG)
    with pytest.raises(Unsupported, match="no eyes"):
        engine().generate(pictured(), "plain", steers=[Contrast(engine().model)], **LONG)
