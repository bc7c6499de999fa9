"""Encoder–decoders: the tokens of transformers' own generate, whoever drafts, searches or stands beside."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from laws.worlds import choice_functions
from models.seq2seq import (
    BINS,
    FRAMES,
    KINDS,
    POSITIONS,
    VOCABULARY,
    SourcedTable,
    engine,
    folder,
    letters,
    source,
    theirs,
)
from stretto.engine import Engine
from stretto.errors import InvalidRequest, ModelError, Unsupported
from stretto.memory.contract import stored
from stretto.models.cache import Cache
from stretto.models.contract import Want
from stretto.models.encoded import Sourced
from stretto.models.encoder_decoder import EncoderDecoder
from stretto.models.generation_config import start_of
from stretto.models.pictures import Pictured
from stretto.models.reading import skip
from stretto.models.table import TableModel
from stretto.models.window import Window
from stretto.tree import Tree

LONG: dict[str, Any] = {"max_new_tokens": 12}
FORMS = ["t5", "bart"]  # one of each order of norms, with biases and with positions


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_transformers(kind: str) -> None:
    prompt = source(kind)
    (expected,) = theirs(kind, prompt, **LONG)
    assert engine(kind).generate(prompt, "plain", **LONG).tokens == expected
    assert engine(kind).generate(prompt, "lookup", **LONG).tokens == expected


@pytest.mark.parametrize("kind", ["t5", "bart", "whisper"])
def test_beams_are_those_of_transformers(kind: str) -> None:
    prompt = source(kind)
    wanted = theirs(kind, prompt, num_beams=3, num_return_sequences=3, length_penalty=1.0, max_new_tokens=8)
    ours = engine(kind).generate(prompt, "beam(3)", samples=3, max_new_tokens=8)
    assert [answer.tokens for answer in ours] == wanted


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("method", ["lookup", "recycle", "auto", "plain+guide(1.5)"])
def test_drafts_and_batches_change_nothing(kind: str, method: str) -> None:
    base = method if "+" in method else "plain"
    prompts = [source(kind, 0), source(kind, 1, 4), Sourced(source(kind, 2, 13), start=[5, 6])]
    for settings in ({**LONG}, {**LONG, "temperature": 1.0, "seed": 5}):
        alone = [engine(kind).generate(prompt, base, **settings).tokens for prompt in prompts]
        together = engine(kind).generate(prompts, method, **settings)
        assert [answer.tokens for answer in together] == alone


def test_texts_are_sources_and_answers_obey_constraints() -> None:
    """The text of an answer is that of its tokens alone; drafts are for what the constraint allows."""
    written = Engine(engine("bart").model, letters())
    said = "abcdefgh"
    plain = written.generate(said, "plain", **LONG)
    assert plain.prompt_tokens[:-1] == written.codec.encode(said) and plain.text == written.decode(plain.tokens) != ""
    obeying = [written.generate(said, each, constraint='regex("[a-f]{9}")', **LONG) for each in ("plain", "lookup")]
    assert set(obeying[0].text) <= set("abcdef") and len(obeying[0].text) == 9
    assert obeying[1].tokens == obeying[0].tokens


def test_lookup_copies_from_the_source() -> None:
    """Of a text that is written down as it was read, one token is the model's own, and all others are drafted."""
    words = [5, 3, 4, 1, 2, 6, 7]
    copying = Engine(SourcedTable(8, lambda source, output: [*source, 0][len(output)]))
    answer = copying.generate(words, "lookup", max_new_tokens=7)
    assert answer.tokens == words
    assert answer.counters.rounds == 2  # the start is nowhere in the source


@pytest.mark.parametrize("method", ["lookup", "recycle", "beam(1)"])
def test_every_table_gives_its_own_answers(method: str) -> None:
    """By enumeration: all ways to choose tokens after every source and output, two sources side by side."""
    for choices in choice_functions(2, 2):
        table = SourcedTable(2, lambda source, output, choices=choices: choices[output] ^ source[0])
        answers = Engine(table).generate([[0, 1, 1], [1, 0]], method, max_new_tokens=2)
        for answer, first in zip(answers, (0, 1), strict=True):
            expected: tuple[int, ...] = ()
            for _ in range(2):
                expected += (choices[expected] ^ first,)
            assert tuple(answer.tokens) == expected


@pytest.mark.parametrize("kind", FORMS)
def test_trees_and_pieces_give_the_logits_of_chains(kind: str) -> None:
    model, prompt = engine(kind).model, source(kind)
    tokens, (held,) = model.reader.read(prompt)
    tree = Tree()
    for token, parent in ((7, -1), (8, -1), (9, 0), (10, 1)):
        tree.add(token, parent)
    cache = model.new_cache()
    row = read(model, cache, tokens[:-1], held)
    window = Window.forest([row], tokens[-1:], [tree], [len(held)], model.device)
    branched = model.evaluate(window, cache, Want(hidden=(1,))).logits[0]
    for path, node in (([7, 9], 3), ([8, 10], 4)):
        other = model.new_cache()
        again = read(model, other, tokens[:-1], held)
        chain = Window.chain([again], [[*tokens[-1:], *path]], [len(held)], model.device)
        torch.testing.assert_close(model.evaluate(chain, other).logits[0, -1], branched[node], atol=1e-4, rtol=1e-4)
    fresh = model.new_cache()
    row = read(model, fresh, tokens[:-1], held)
    window.rows, window.layers = [row], (0, 1)
    lower = model.evaluate(window, fresh, Want(logits=False, hidden=(1,))).hidden[1]
    window.layers, window.hidden = (1, model.layers), lower
    upper = model.evaluate(window, fresh).logits
    torch.testing.assert_close(upper[0], branched, atol=1e-5, rtol=1e-5)


def test_a_source_is_held_once_and_freed_with_its_row() -> None:
    """Keys and values of cross-attention are those of the encoder's rows, shared by forks, counted in bytes."""
    model = engine("bart").model
    tokens, (held,) = model.reader.read(source("bart"))
    cache = model.new_cache()
    row = read(model, cache, tokens, held)
    copies = cache.fork(row, 3)
    fresh = model.form.blocks[1].cross.key(held.rows).view(len(held), model.heads, -1).transpose(0, 1)
    for each in (row, *copies):
        torch.testing.assert_close(cache.keys(each, 1)[:, : len(held)], fresh)
        assert cache.row_positions(each).tolist() == [*range(len(tokens))] and cache.following(each) == len(tokens)
    for each in (row, *copies):
        cache.free(each)
    assert not cache.rows
    assert model.reader.read(source("bart"))[1][0] is held  # encoded once


def test_what_was_read_before_is_told_apart_by_the_whole_source() -> None:
    model = Engine.load(folder("t5")).model
    same = [5, *[7, 8, 9] * 30]
    prompts = [[*same, 4], [*same, 6], [*same, 4]]
    apart = [Engine(model, prefixes=0).generate(prompt, "plain", **LONG).tokens for prompt in prompts]
    keeping = Engine(model)
    kept, held = [], []
    for prompt in prompts:
        kept.append(keeping.generate(prompt, "plain", **LONG).tokens)
        held.append(keeping._prefixes.bytes)
    assert kept == apart
    assert 0 < held[0] < held[1] == held[2]  # the third found what the first had read


def test_penalties_count_no_token_of_the_source() -> None:
    (prompt,) = theirs("mbart", source("mbart"), **LONG)  # what it likes to write, so that it would be held against it
    (expected,) = theirs("mbart", prompt, no_repeat_ngram_size=2, repetition_penalty=1.5, **LONG)
    ours = engine("mbart").generate(prompt, "lookup", no_repeat_ngram=2, repetition_penalty=1.5, **LONG)
    assert ours.tokens == expected


def test_answers_end_with_the_positions_of_the_decoder() -> None:
    answer = engine("bart").generate(source("bart"), "lookup", max_new_tokens=500)
    assert len(answer.tokens) == POSITIONS - 1 and answer.finish == "length"


def test_rows_with_and_without_a_source_stand_side_by_side() -> None:
    """The decoder alone, as guidance asks for it, beside rows that read sources."""
    model = engine("t5").model
    sources = [model.reader.read(source("t5", seed, 3 + 4 * seed)) for seed in range(2)]
    cache = model.new_cache()
    rows = [read(model, cache, tokens, held) for tokens, (held,) in sources] + [cache.open()]
    starts = [cache.following(row) for row in rows]
    together = model.evaluate(Window.chain(rows, [[7, 8]] * 3, starts, model.device), cache).logits
    for at, row in enumerate(rows):
        cache.truncate(row, starts[at])
        alone = model.evaluate(Window.chain([row], [[7, 8]], starts[at : at + 1], model.device), cache).logits
        torch.testing.assert_close(alone[0], together[at], atol=1e-4, rtol=1e-4)


def test_a_start_that_is_forced_or_given_is_no_part_of_the_answer(tmp_path: Path) -> None:
    place = tmp_path / "model"
    shutil.copytree(folder("mbart"), place)
    said = json.loads((place / "generation_config.json").read_text())
    (place / "generation_config.json").write_text(json.dumps(said | {"forced_bos_token_id": 9}))
    forced = Engine.load(place)
    forced.end_tokens = frozenset()
    expected = theirs("mbart", source("mbart"), forced_bos_token_id=9, max_new_tokens=12)[0]
    answer = forced.generate(source("mbart"), "plain", max_new_tokens=11)
    assert [9, *answer.tokens] == expected
    assert answer.prompt_tokens == [*source("mbart"), 2, 9]
    assert engine("mbart").generate(Sourced(source("mbart"), [9]), "plain", max_new_tokens=11).tokens == answer.tokens
    assert not forced.asked.foreign
    assert start_of({"decoder_start_token_id": 3}, {"forced_decoder_ids": [[2, 7], [1, 5]]})[0] == [3, 5, 7]


WRONG: dict[str, tuple[type[Exception], Any, dict[str, Any], str]] = {
    "too long": (InvalidRequest, [5] * (POSITIONS + 1), {}, "48 positions"),
    "no token": (InvalidRequest, [VOCABULARY], {}, "outside of the vocabulary of sources"),
    "features": (InvalidRequest, Sourced(torch.zeros(BINS, FRAMES)), {}, "reads no such source"),
    "a picture": (Unsupported, Pictured([5, 6], [torch.zeros(1, 32)]), {}, "no pictures"),
    "start": (InvalidRequest, Sourced([5], [3] * POSITIONS), {}, "leaves none"),
    "no such start": (InvalidRequest, Sourced([5], [VOCABULARY]), {}, "outside of the vocabulary"),
    "method": (Unsupported, [5, 6], {"method": "a-star", "temperature": 1.0}, "reads no source"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_read_is_refused(case: str) -> None:
    kind, prompt, settings, reason = WRONG[case]
    with pytest.raises(kind, match=reason) as caught:
        engine("bart").generate(prompt, **settings)
    assert caught.value.hint


def test_a_source_is_for_models_with_an_encoder_and_features_for_those_that_hear() -> None:
    with pytest.raises(Unsupported, match="with an encoder"):
        Engine(TableModel(3, lambda path: [0.0] * 3)).generate(Sourced([0]))
    with pytest.raises(InvalidRequest, match="reads no such source"):
        engine("whisper").generate([5, 6])
    with pytest.raises(InvalidRequest, match="hears"):
        engine("whisper").generate(Sourced(torch.zeros(BINS, FRAMES + 1)))
    with pytest.raises(InvalidRequest, match="finite"):
        engine("whisper").generate(Sourced(torch.full((BINS, FRAMES), torch.nan)))


def test_what_is_not_built_for_sources_is_refused() -> None:
    with pytest.raises(Unsupported, match="keeps a source"):
        stored(engine("bart").model, "int8-cache")
    with pytest.raises(Unsupported, match="no fast path"):
        Engine.load(folder("bart"), exact="bits")
    with pytest.raises(Unsupported, match="rotate"):
        engine("bart").model.new_cache(key_form="raw")
    with pytest.raises(ModelError, match="begins with"):
        start_of({}, {"decoder_start_token_id": "x"})


def read(model: EncoderDecoder, cache: Cache, tokens: list[int], held: Any) -> int:
    """A row that has read these tokens, the source first."""
    row = cache.open()
    skip(model, cache, row, tokens, pictures=[held])
    return row
