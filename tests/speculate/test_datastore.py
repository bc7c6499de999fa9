from __future__ import annotations

import json
import os
import random
import shutil

import numpy as np
import pytest

from stretto.context import Context
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.speculate import datastore as module
from stretto.speculate.counting import NO_TOKEN
from stretto.speculate.datastore import REACH, Datastore, Document, build, gather, opened, sort_suffixes
from tracing import killed_at, lines_run


def texts(seed, vocabulary=3, count=5, most=40):
    chance = random.Random(seed)
    return [chance.choices(range(vocabulary), k=chance.randrange(1, most)) for _ in range(count)]


def named(documents):
    return [Document(f"{at}.txt", tokens, f"digest {at}") for at, tokens in enumerate(documents)]


def followers(documents, pattern, depth):
    """What follows each occurrence within one document, by trying."""
    found = []
    for document in documents:
        for start in range(len(document) - len(pattern) + 1):
            if document[start : start + len(pattern)] == pattern:
                rest = document[start + len(pattern) : start + len(pattern) + depth]
                found.append(rest + [NO_TOKEN] * (depth - len(rest)))
    return sorted(found)


def longest(documents, text, most, least):
    sizes = [size for size in range(least, min(most, len(text)) + 1) if followers(documents, text[-size:], 1)]
    return max(sizes, default=0)


@pytest.mark.parametrize("seed", range(4))
def test_suffixes_are_sorted_by_their_first_tokens_then_by_place(seed):
    chance = random.Random(seed)
    tokens = chance.choices(range(2 + seed), k=150) + [0] * 200 + [9]  # one run is longer than the reach
    order = sort_suffixes(np.array(tokens), 9)
    expected = sorted(range(len(tokens) - 1), key=lambda at: (tokens[at : at + REACH], at))
    assert order.tolist() == expected


@pytest.mark.parametrize("seed", range(6))
def test_searching_equals_brute_force(seed, tmp_path):
    documents = texts(seed)
    store = build(named(documents), tmp_path / "store")
    chance = random.Random(seed)
    for _ in range(60):
        pattern = chance.choices(range(3), k=chance.randrange(1, 6))
        hits = store.find(pattern)
        rows = store.continuations(hits, 4, 1000)
        expected = followers(documents, pattern, 4)
        assert len(hits) == len(expected)
        assert sorted(rows.tolist()) == expected
        same = [tuple(row[:size]) for size in range(1, 5) for row in rows.tolist()]
        runs = [key for at, key in enumerate(same) if at == 0 or same[at - 1] != key]
        assert len(runs) == len(set(runs))  # equal beginnings stand together
        text = chance.choices(range(4), cum_weights=[5, 10, 15, 16], k=12)
        least = chance.randrange(1, 4)
        found = store.longest(text, 8, least)
        assert found.length == longest(documents, text, 8, least)
        assert not found.length or len(found) == len(followers(documents, text[-found.length :], 1))


def test_a_match_never_reaches_over_the_end_of_a_document(tmp_path):
    store = build(named([[1, 2], [3, 4]]), tmp_path / "store")
    assert len(store.find([2, 3])) == 0
    assert store.continuations(store.find([1]), 3, 9).tolist() == [[2, NO_TOKEN, NO_TOKEN]]
    assert len(store.find([5])) == len(store.find([99])) == len(store.find([-1])) == 0  # 5 is the separator
    assert store.longest([], 4, 2).length == store.longest([1], 4, 2).length == 0


def test_of_many_hits_as_many_at_even_distances_stand_for_all(tmp_path):
    store = build(named([[0, at % 2 + 1] for at in range(100)]), tmp_path / "store")
    rows = store.continuations(store.find([0]), 1, 10)
    assert rows[:, 0].tolist() == [1] * 5 + [2] * 5


def test_a_store_survives_and_is_read_memory_mapped(tmp_path):
    documents = texts(1, vocabulary=70_000)
    built = build(named(documents), tmp_path / "store", tokenizer="mine", vocabulary=70_000, blanks=[7, 5])
    again = Datastore.open(str(tmp_path / "store"))
    assert again.about == built.about and again.about.tokenizer == "mine"
    assert again.about.tokens == sum(map(len, documents)) and again.blanks() == {5, 7}
    for name, array in again.arrays.items():
        assert isinstance(array, np.memmap) and np.array_equal(array, built.arrays[name])
    assert again.arrays["tokens"].dtype == np.uint32
    kept = again.documents()
    assert [(d.name, d.digest, d.tokens.tolist()) for d in kept] == [
        (d.name, d.digest, list(d.tokens)) for d in named(documents)
    ]
    small = build(named([[1, 2]]), tmp_path / "small", vocabulary=65_535)
    assert small.arrays["tokens"].dtype == np.uint16 and small.arrays["tokens"].tolist() == [1, 2, 65_535]


def test_the_content_is_told_apart(tmp_path):
    one = build(named([[1, 2]]), tmp_path / "one", vocabulary=9).about.content
    assert build(named([[1, 2]]), tmp_path / "two", vocabulary=9).about.content == one
    assert build(named([[1, 3]]), tmp_path / "two", vocabulary=9).about.content != one
    assert build(named([[1], [2]]), tmp_path / "two", vocabulary=9).about.content != one


def test_one_in_use_stays_what_it_was_when_it_is_replaced(tmp_path):
    old = build(named([[1, 2, 3]]), tmp_path / "store")
    build(named([[1, 4, 4]]), tmp_path / "store")
    assert old.continuations(old.find([1]), 2, 9).tolist() == [[2, 3]]
    assert [path.name for path in tmp_path.iterdir()] == ["store"]  # nothing lies about


def context(tokenizer=None, vocabulary=10):
    return Context(TableModel.random(vocabulary, 0), SimulatedClock(), lambda name: None, tokenizer=lambda: tokenizer)


def test_a_store_of_another_tokenizer_is_refused(tmp_path):
    path = str(tmp_path / "store")
    build(named([[1, 2]]), path, tokenizer="mine")
    opened(path, context("mine"))
    opened(path, context(None))  # the target has no tokenizer: its ids are taken as they are
    with pytest.raises(Unsupported, match="another tokenizer") as caught:
        opened(path, context("other"))
    assert "--model" in caught.value.hint
    build(named([[1, 2]]), path)
    opened(path, context("other"))  # made of ids, nothing is known of their tokenizer
    with pytest.raises(Unsupported, match="holds token 2, the target has 2"):
        opened(path, context(None, vocabulary=2))


def test_a_store_is_opened_once_until_it_is_rebuilt(tmp_path):
    path = str(tmp_path / "store")
    build(named([[1, 2]]), path)
    here = context()
    first = opened(path, here)
    assert opened(path, here) is first
    build(named([[3, 4]]), path)
    assert len(opened(path, here).find([3])) == 1


def test_what_is_no_store_is_told(tmp_path):
    with pytest.raises(InvalidRequest, match="there is no datastore") as caught:
        Datastore.open(tmp_path)
    assert "stretto store build" in caught.value.hint
    with pytest.raises(InvalidRequest, match="there is no datastore"):
        opened(str(tmp_path / "nil"), context())
    path = tmp_path / "store"
    build(named([[1, 2, 3]]), path)
    said = json.loads((path / "store.json").read_text())
    (path / "store.json").write_text(json.dumps(said | {"version": 99}))
    with pytest.raises(InvalidRequest, match="format 99"):
        Datastore.open(path)
    for broken in (json.dumps(said | {"tokens": 7}), json.dumps({"version": 2}), "{"):
        (path / "store.json").write_text(broken)
        with pytest.raises(InvalidRequest, match="damaged"):
            Datastore.open(path)
    (path / "store.json").write_text(json.dumps(said))
    (path / said["data"] / "order.npy").write_bytes(b"")
    with pytest.raises(InvalidRequest, match="damaged"):
        Datastore.open(path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"vocabulary": "many"},
        {"vocabulary": True},
        {"tokens": -1},
        {"tokenizer": 5},
        {"content": None},
        {"data": "../data-00000000"},
        {"files": {}},
        {"files": {name: [1, 2] for name in module.FILES}},
        {"files": dict.fromkeys(module.FILES, "abc")},
        {"more": 1},
    ],
)
def test_a_store_that_says_nonsense_of_itself_is_damaged(wrong, tmp_path):
    build(named([[1, 2, 3]]), tmp_path)
    said = json.loads((tmp_path / "store.json").read_text())
    (tmp_path / "store.json").write_text(json.dumps(said | wrong))
    with pytest.raises(InvalidRequest, match="damaged") as caught:
        Datastore.open(tmp_path)
    assert caught.value.hint == "build it again"


def test_no_byte_of_a_store_changes_unseen(tmp_path):
    store = build(named(texts(3)), tmp_path)
    for name in module.FILES:
        file = tmp_path / store.about.data / name
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(InvalidRequest, match=f"damaged: {name} has changed"):
            Datastore.open(tmp_path)
        file.write_bytes(content[:-1])
        with pytest.raises(InvalidRequest, match=f"damaged: {name} has"):
            Datastore.open(tmp_path)
        file.unlink()
        with pytest.raises(InvalidRequest, match="damaged"):
            Datastore.open(tmp_path)
        file.write_bytes(content)
    Datastore.open(tmp_path)  # the same bytes at another time
    (tmp_path / store.about.data / "documents.json").write_text("[{}]")  # while it is in use
    with pytest.raises(InvalidRequest, match="damaged"):
        store.documents()


def test_large_files_are_read_through_only_where_they_were_touched(tmp_path, monkeypatch):
    store = build(named(texts(3)), tmp_path)
    monkeypatch.setattr(module, "SMALL", 0)
    read = []
    monkeypatch.setattr(module, "_checksum", lambda file, own=module._checksum: read.append(file.name) or own(file))
    Datastore.open(tmp_path)
    assert read == []
    file = tmp_path / store.about.data / "order.npy"
    os.utime(file)
    Datastore.open(tmp_path)
    assert read == ["order.npy"]
    with file.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"\xff")
    os.utime(file)
    with pytest.raises(InvalidRequest, match=r"order\.npy has changed"):
        Datastore.open(tmp_path)


def test_a_build_may_be_killed_anywhere(tmp_path, monkeypatch):
    """The store is the old one or the new one, and the next build leaves nothing of the killed ones."""
    path, found = tmp_path / "store", set()

    def old():
        build(named([[1, 2, 3]]), path, vocabulary=9)

    monkeypatch.setattr(os, "fsync", lambda handle: None)  # a kill is no power cut: nothing need wait for the disk

    def new():
        build(named([[1, 4, 4]]), path, vocabulary=9)

    for before in (lambda: shutil.rmtree(path), old):
        step = 1
        old()
        before()
        while killed_at(step, new):
            if before is old or (path / "store.json").exists():
                store = Datastore.open(path)
                found.add(tuple(store.continuations(store.find([1]), 2, 9)[0].tolist()))
            old()
            assert sorted(each.name for each in path.iterdir()) == [Datastore.open(path).about.data, "store.json"]
            before()
            step += 3
        assert step > 30
    assert found == {(2, 3), (4, 4)}
    assert [each.name for each in tmp_path.iterdir()] == ["store"]


def test_a_build_that_fails_leaves_the_store(tmp_path):
    path = tmp_path / "store"
    lone = [Document("\ud800", [1, 2], "")]  # a name that no file can hold
    with pytest.raises(UnicodeEncodeError):
        build([*named([[3]]), Document(lone[0].name, [1, 2])], path)
    assert not path.exists()
    build(named([[1, 2, 3]]), path)
    with pytest.raises(UnicodeEncodeError):
        build(lone, path)
    store = Datastore.open(path)
    assert store.about.tokens == 3 and sorted(each.name for each in path.iterdir()) == [store.about.data, "store.json"]


def test_a_store_of_the_earlier_format_is_replaced(tmp_path):
    for name in (*module.FILES, "store.json", "letter.txt"):
        (tmp_path / name).write_text('{"version": 1}')
    with pytest.raises(InvalidRequest, match="format 1"):
        Datastore.open(tmp_path)
    store = build(named([[1, 2, 3]]), tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == [store.about.data, "letter.txt", "store.json"]


def test_what_cannot_be_built_is_told(tmp_path):
    with pytest.raises(InvalidRequest, match="no text"):
        build(named([[], []]), tmp_path / "store")
    with pytest.raises(InvalidRequest, match="token 5 is outside"):
        build(named([[5]]), tmp_path / "store", vocabulary=5)
    with pytest.raises(InvalidRequest, match="token -1 is outside"):
        build(named([[-1, 2]]), tmp_path / "store", vocabulary=5)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    for path in ("mine", "mine/letter.txt"):
        with pytest.raises(InvalidRequest, match="is no datastore"):
            build(named([[5]]), tmp_path / path)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"
    with pytest.raises(InvalidRequest, match="there is no folder"):
        gather(tmp_path / "nil", list)


def test_a_folder_is_read_in_order_and_only_what_changed_is_tokenised_again(tmp_path):
    folder, encoded = tmp_path / "texts", []

    def encode(text):
        encoded.append(text)
        return [ord(letter) for letter in text]

    files = {"b.py": "bb", "a/z.py": "az", "a/n.md": "nn", ".git/x.py": "no", "image.py": b"\xff\x00", "nul.py": "a\0b"}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    found = gather(folder, encode)
    assert [document.name for document in found.documents] == ["a/n.md", "a/z.py", "b.py"]
    assert (found.unchanged, found.skipped) == (0, 2)
    assert [d.name for d in gather(folder, encode, match=["*.py"], exclude=["a/*"]).documents] == ["b.py"]
    build(found.documents, tmp_path / "store")
    (folder / "b.py").write_text("new")
    (folder / "a" / "n.md").unlink()
    encoded.clear()
    again = gather(folder, encode, previous=Datastore.open(tmp_path / "store"))
    assert encoded == ["new"] and again.unchanged == 1
    store = build(again.documents, tmp_path / "store")
    assert bytes(store.arrays["tokens"][:2].tolist()) == b"az" and len(store.find(list(b"new"))) == 1


def test_a_search_costs_the_logarithm_of_the_store(tmp_path):
    chance = random.Random(0)
    lines = []
    for size in (1_000, 30_000):
        store = build(named([chance.choices(range(50), k=size)]), tmp_path / str(size))
        queries = [chance.choices(range(50), k=16) for _ in range(50)]
        lines.append(lines_run(module, lambda store=store, queries=queries: [store.longest(q, 16, 2) for q in queries]))
    assert lines[1] < 4 * lines[0]  # thirty times the text
