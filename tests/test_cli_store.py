"""`stretto store build` on a tiny tokenizer, and what a decode then makes of the store."""

from __future__ import annotations

import json
import shutil

import pytest
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from models.families import build as build_model
from stretto import cli
from stretto.engine import Engine
from stretto.errors import InvalidRequest, Unsupported
from stretto.speculate.datastore import Datastore

LETTERS = [*map(chr, range(33, 127)), "Ġ", "Ċ"]  # ASCII, as byte-level tokenizers write space and newline
END = len(LETTERS)


def save(folder, end="<|end|>"):
    """A tiny checkpoint over letters."""
    build_model("GPT2", vocab_size=END + 1, max_position_embeddings=300, eos_token_id=END).save_pretrained(folder)
    tokenizer = Tokenizer(BPE({letter: at for at, letter in enumerate(LETTERS)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, model_max_length=20).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("model"))


@pytest.fixture
def texts(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.py").write_text("def f(x):\n    return x + 1\n" * 3)
    (folder / "b.md").write_text("some words, and more words")
    (folder / "c.bin").write_bytes(b"\xff\xfe\x00")
    return folder


@pytest.fixture
def run(capsys):
    def call(*argv):
        status = cli.main(list(map(str, argv)))
        return status, *capsys.readouterr()

    return call


def test_a_folder_becomes_a_store(run, model, texts, tmp_path):
    out = tmp_path / "out"
    status, printed, complaints = run("store", "build", texts, "--model", model, "--out", out)
    assert (status, complaints) == (0, "")
    assert printed == f"{out}: 2 documents, 107 tokens (1 skipped, no text)\n"
    store = Datastore.open(out)
    engine = Engine.load(model)
    assert store.about.tokenizer == engine.codec.fingerprint() and store.about.vocabulary == END + 1
    assert store.blanks() == {LETTERS.index("Ġ"), LETTERS.index("Ċ")}
    assert len(store.find(engine.encode("return"))) == 3 and len(store.find(engine.encode("words"))) == 2
    assert [document.name for document in store.documents()] == ["a.py", "b.md"]


def test_only_what_changed_is_tokenised_again(run, model, texts, tmp_path):
    out = tmp_path / "out"
    command = ("store", "build", texts, "--model", model, "--out", out)
    run(*command)
    (texts / "b.md").write_text("other words")
    assert "(1 unchanged, 1 skipped, no text)" in run(*command)[1]
    said = json.loads((out / "store.json").read_text())
    (out / "store.json").write_text(json.dumps(said | {"version": 0}))
    assert "unchanged" not in run(*command)[1] and Datastore.open(out).about.documents == 2
    other = save(tmp_path / "other", end="<|stop|>")
    assert "unchanged" not in run("store", "build", texts, "--model", other, "--out", out)[1]


def test_files_are_chosen_by_patterns(run, model, texts, tmp_path):
    out = tmp_path / "out"
    run(
        "store", "build", texts, "--model", model, "--out", out, "--match", "*.py", "--match", "*.md", "--exclude", "a*"
    )
    assert [document.name for document in Datastore.open(out).documents()] == ["b.md"]


def test_files_of_token_ids(run, model, texts, tmp_path):
    (texts / "ids").mkdir()
    (texts / "ids" / "one").write_text("5 17 3\n5,17,4")
    out = tmp_path / "out"
    assert run("store", "build", texts / "ids", "--model", model, "--ids", "--out", out)[0] == 0
    store = Datastore.open(out)
    assert store.documents()[0].tokens.tolist() == [5, 17, 3, 5, 17, 4]
    run("store", "build", texts / "ids", "--model", model, "--out", out)  # the same file, read as text
    assert len(Datastore.open(out).documents()[0].tokens) == 13


def test_a_decode_drafts_from_it_and_says_the_same(run, model, texts, tmp_path):
    out = tmp_path / "out"
    engine = Engine.load(model)
    plain = engine.generate("return x", "plain", max_new_tokens=40)
    (texts / "answer.txt").write_text("return x" + plain.text + plain.text)
    run("store", "build", texts, "--model", model, "--out", out)
    for parts in (f"store({out})+fixed(6)", f"codeswift(repository={out},path=)+fixed(6)"):
        answer = engine.generate("return x", parts, max_new_tokens=40)
        assert answer.tokens == plain.tokens and answer.counters.accepted > 5


def test_a_model_of_another_tokenizer_refuses_it(run, texts, tmp_path, model):
    other = save(tmp_path / "other", end="<|stop|>")
    out = tmp_path / "out"
    run("store", "build", texts, "--model", other, "--out", out)
    with pytest.raises(Unsupported, match="another tokenizer"):
        Engine.load(model).generate("ab", f"store({out})")
    status, printed, complaint = run("generate", "--model", model, "ab", "--method", f"store({out})")
    assert (status, printed) == (2, "") and complaint.count("\n") == 1 and "(hint: build it again" in complaint


def test_without_a_store_the_catalogues_method_says_how_to_build_one(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidRequest, match=r"there is no datastore in stretto\.store") as caught:
        Engine.load(model).generate("ab", "rest")
    assert "stretto store build" in caught.value.hint


MISTAKES = {
    "no action": ("store", "the following arguments are required: ACTION"),
    "no such action": ("store biuld TEXTS", "invalid choice: 'biuld'"),
    "no folder": ("store build TEXTS/nil --model MODEL --out OUT", "there is no folder"),
    "no text": ("store build TEXTS --model MODEL --match *.nil --out OUT", "no text to build"),
    "something else at the place": ("store build TEXTS --model MODEL --out TEXTS", "is no datastore"),
    "no such model": ("store build TEXTS --model TEXTS/nil --out OUT", "there is no folder"),
    "no tokenizer": ("store build TEXTS --model BARE --out OUT", "has no tokenizer"),
    "no token ids": ("store build TEXTS --model MODEL --ids --out OUT", "cannot be read"),
    "ids outside of the vocabulary": ("store build IDS --model MODEL --ids --out OUT", "outside of the vocabulary"),
    "an unknown option": ("store build TEXTS --modle x", "knows no '--modle'"),
}


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_a_mistake_is_told_in_one_line(run, model, texts, tmp_path, mistake):
    line, told = MISTAKES[mistake]
    shutil.copytree(model, tmp_path / "bare")
    for file in (tmp_path / "bare").glob("*token*"):
        file.unlink()
    (tmp_path / "ids").mkdir()
    (tmp_path / "ids" / "one").write_text("5 9999")
    filled = {
        "MODEL": model,
        "TEXTS": texts,
        "OUT": tmp_path / "out",
        "BARE": tmp_path / "bare",
        "IDS": tmp_path / "ids",
    }
    for name, value in filled.items():
        line = line.replace(name, str(value))
    status, printed, complaint = run(*line.split())
    assert (status, printed) == (2, "")
    assert (
        complaint.startswith("stretto: ")
        and complaint.count("\n") == 1
        and told in complaint
        and "(hint: " in complaint
    )
    assert not (tmp_path / "out").exists() and (texts / "a.py").exists()
