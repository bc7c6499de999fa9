"""What a user of a masked-diffusion model sees: a method that suits it, holes in a text, and the picture of a trace."""

from __future__ import annotations

import json
import re
import tracemalloc

import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import stretto
from stretto import cli
from stretto import method as methods
from stretto.diffuse.family import FILLS
from stretto.engine import Engine
from stretto.errors import InvalidRequest, StrettoError, Unsupported
from stretto.models.masked import OWN, Masking
from stretto.models.table import MaskedTable, TableModel

LETTERS = [*map(chr, range(33, 127)), "Ġ", "Ċ"]
END, MASK = len(LETTERS), len(LETTERS) + 1
TEMPLATE = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"


def save(folder, block):
    """A tiny masked-diffusion checkpoint over letters."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=MASK + 1,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=200,
        initializer_range=0.5,
        eos_token_id=END,
    )
    setattr(config, OWN, {"mask_token_id": MASK, "block": block, "shift": True})
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer = Tokenizer(BPE({letter: at for at, letter in enumerate(LETTERS)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", mask_token="<|mask|>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module", params=[None, 8], ids=["whole", "blocks"])
def model(request, tmp_path_factory):
    return save(tmp_path_factory.mktemp("masked"), request.param)


@pytest.fixture(scope="module")
def engine(model):
    return Engine.load(model)


def run(capsys, *words):
    status = cli.main(list(words))
    found = capsys.readouterr()
    return status, found.out, found.err


# -- the method where none is named -------------------------------------------------------------------


def test_each_kind_of_model_has_a_method_that_suits_it() -> None:
    table = [MaskedTable(8, lambda at, seen: [0.0] * 8, Masking(7, block=block)) for block in (None, 4)]
    chosen = {methods.default(each) for each in [TableModel(8, lambda path: [0.0] * 8), *table]}
    assert chosen == {"auto", *FILLS.values()}
    for each in table:
        methods.check(methods.parse(methods.default(each)), each)


def test_no_method_needs_to_be_named(capsys, model, engine) -> None:
    settings = {"max_new_tokens": 20}
    named = engine.generate("ab", methods.default(engine.model), **settings)
    assert engine.generate("ab", **settings).tokens == named.tokens == stretto.generate("ab", model, **settings).tokens
    assert "".join(piece.text for piece in engine.stream("ab", **settings)) == named.text
    status, out, _ = run(capsys, "generate", "--model", model, "ab", "--max-new-tokens", "20")
    assert status == 0 and out == named.text + "\n"


def test_chat_needs_none_either(capsys, model, engine, monkeypatch) -> None:
    lines = iter(["hi", "/method", "/quit"])
    monkeypatch.setattr("builtins.input", lambda prompt="": next(lines))
    status, out, _ = run(capsys, "chat", "--model", model, "--max-new-tokens", "12")
    answer = engine.generate([{"role": "user", "content": "hi"}], max_new_tokens=12).text
    assert (
        status == 0 and out == f"{answer}\n(method {methods.describe(methods.parse(methods.default(engine.model)))})\n"
    )


# -- holes --------------------------------------------------------------------------------------------


def test_holes_are_masks_between_the_tokens_of_the_text(engine) -> None:
    tokens = engine.encode_holes("<|2|>ab<|1|>\n<|12|>")
    a, b, newline = (LETTERS.index(letter) for letter in "abĊ")
    assert tokens == [MASK, MASK, a, b, MASK, newline, *[MASK] * 12]
    for text in ("no hole", "<|0|>", "<|-1|>", "<|x|>"):
        with pytest.raises(InvalidRequest, match="no hole"):
            engine.encode_holes(text)
    with pytest.raises(InvalidRequest, match="positions"):
        engine.infill("a<|500|>")
    with pytest.raises(Unsupported, match="no holes"):
        Engine(TableModel(8, lambda path: [0.0] * 8)).encode_holes("1 <|2|>")


@pytest.mark.parametrize("text", ["ab<|3|>cd<|2|>", "<|4|>ab", "x<|1|>y<|1|>z"])
def test_filling_keeps_what_is_given_and_fills_the_rest(engine, text) -> None:
    found = engine.infill(text)
    whole = engine.decode([*found.prompt_tokens, *found.tokens])
    pattern = "".join(
        f".{{{part}}}" if at % 2 else re.escape(part) for at, part in enumerate(re.split(r"<\|(\d)\|>", text))
    )
    assert re.fullmatch(pattern, whole, re.DOTALL) and found.finish == "length"
    assert END not in found.tokens and MASK not in found.tokens
    assert found.text == engine.decode(found.tokens)


def test_several_texts_and_samples_are_filled_together(engine) -> None:
    texts = ["ab<|3|>cd<|2|>", "efgh<|1|>i"]
    assert [each.tokens for each in engine.infill(texts)] == [engine.infill(each).tokens for each in texts]
    assert len(engine.infill(texts[0], samples=3, temperature=1.0)) == 3
    good, *bad = engine.infill([texts[0], "a<|500|>", "no hole", "a\ud83d<|1|>"])
    assert good.tokens == engine.infill(texts[0]).tokens and len(bad) == 3
    assert all(isinstance(each.error, StrettoError) for each in bad)


@pytest.mark.parametrize("hole", ["<|99999999999|>", "<|200|>", "<|" + "9" * 5000 + "|>", "<|150|> and <|150|>"])
def test_holes_beyond_the_positions_are_refused_before_they_are_made(engine, hole) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest, match="the model 200 positions") as caught:
            engine.infill(f"a {hole} b")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert caught.value.hint


def test_end_tokens_may_be_asked_for(engine) -> None:
    bias = {"logit_bias": {END: 100.0}}
    assert END not in engine.infill("ab<|3|>", **bias).tokens
    assert engine.infill("ab<|3|>", end_tokens=[END], **bias).tokens == [END]


def test_messages_and_ids_have_no_holes(engine) -> None:
    for asked in ([{"role": "user", "content": "a<|2|>"}], [1, 2, 3]):
        with pytest.raises(InvalidRequest, match="chat marks"):
            engine.infill(asked)


def test_the_command_line_prints_the_whole_text(capsys, model, engine) -> None:
    found = engine.infill("ab<|3|>cd")
    status, out, _ = run(capsys, "generate", "--model", model, "--infill", "ab<|3|>cd")
    assert status == 0 and out == "ab" + found.text + "\n"
    status, out, _ = run(capsys, "generate", "--model", model, "--infill", "--json", "ab<|3|>cd")
    assert json.loads(out)["tokens"] == found.tokens
    status, out, _ = run(capsys, "generate", "--model", model, "--infill", "ab<|3|>cd", "e<|1|>")
    assert status == 0 and f"== prompt 1 ==\nab{found.text}\n" in out and "== prompt 2 ==\ne" in out
    status, _, err = run(capsys, "generate", "--model", model, "--infill", "ab")
    assert status == 2 and "<|5|>" in err and err.count("\n") == 1


# -- the picture --------------------------------------------------------------------------------------


def test_the_command_line_draws_the_trace(capsys, model, engine, tmp_path) -> None:
    file = tmp_path / "trace.html"
    options = ("--max-new-tokens", "12", "--picture", str(file))
    assert run(capsys, "generate", "--model", model, "ab", *options)[0] == 0
    steps = engine.generate("ab", max_new_tokens=12).steps
    written = sum(len(step.committed) for step in steps)
    assert written and file.read_text(encoding="utf-8").count('class="written"') == written
    status, _, err = run(capsys, "generate", "--model", model, "ab", "cd", *options)
    assert status == 2 and "one answer" in err
