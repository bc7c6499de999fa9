"""Scores of given texts: against one plain forward per pair, by enumeration, and by their definition."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from models.families import FAMILIES, POSITIONS, VOCABULARY
from stretto import zoo
from stretto.engine import Engine
from stretto.errors import InvalidRequest, OutOfMemory, Unsupported
from stretto.models.around import Around
from stretto.models.cache import Cache
from stretto.models.contract import Evaluation, Want
from stretto.models.fast import lean_or_none
from stretto.models.masked import Masking
from stretto.models.network import Network
from stretto.models.table import MaskedTable, TableModel
from stretto.models.window import Window
from stretto.score import Score

Ids = list[int]


def slow(module: Any, prompt: Ids, tokens: Ids) -> tuple[list[float], list[int]]:
    """The reference: one forward of a transformers module over all of it; log-probabilities and ranks."""
    with torch.no_grad():
        logits = module(torch.tensor([[*prompt, *tokens[:-1]]])).logits[0].double()
    rows = logits[len(prompt) - 1 :].log_softmax(-1)
    found = [float(row[token]) for row, token in zip(rows, tokens, strict=True)]
    return found, [int((row > row[token]).sum()) for row, token in zip(rows, tokens, strict=True)]


def drawn(chance: random.Random, vocabulary: int, least: int, most: int) -> Ids:
    return chance.choices(range(vocabulary), k=chance.randint(least, most))


def assert_is(score: Score, expected: tuple[Sequence[float], Sequence[int]]) -> None:
    assert score.log_probabilities == pytest.approx(expected[0], abs=1e-4)
    assert score.ranks == list(expected[1])
    assert score.total == pytest.approx(sum(expected[0]), abs=1e-3)


class Counted(Around):
    """Counts what is evaluated and how much is handed out."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.tokens = self.evaluations = self.widest = self.rows = 0

    def evaluate(self, window: Window, cache: Cache, want: Want = Want()) -> Evaluation:
        found = super().evaluate(window, cache, want)
        self.tokens += sum(window.lengths)
        self.evaluations += 1
        self.rows = max(self.rows, len(window.rows))
        self.widest = max(self.widest, 0 if found.logits is None else found.logits.numel())
        return found


@pytest.fixture(scope="module")
def zoo_engine() -> Engine:
    if "causal" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    return Engine.load("zoo/causal")


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2", "gpt2", "qwen3_moe"])
@pytest.mark.parametrize("fast", [False, True])
def test_scores_are_those_of_one_forward_each(family: str, fast: bool) -> None:
    """Unequal prompts, several continuations each, whatever the number of rows; sliding windows close on the way."""
    module, chance = FAMILIES[family](), random.Random(family)
    prompts = [drawn(chance, VOCABULARY, 1, 30) for _ in range(5)]
    continuations = [[drawn(chance, VOCABULARY, 1, 9) for _ in range(chance.randint(1, 4))] for _ in prompts]
    model = lean_or_none(FAMILIES[family]()) if fast else Network(FAMILIES[family]())
    if model is None:
        pytest.skip("no fast path")
    engine = Engine(model)
    expected = [[slow(module, p, tokens) for tokens in each] for p, each in zip(prompts, continuations, strict=True)]
    for batch in (1, 3, 64):
        for scores, rights in zip(engine.score(prompts, continuations, batch=batch), expected, strict=True):
            for score, right in zip(scores, rights, strict=True):
                assert_is(score, right)
    for p, each, rights in zip(prompts, continuations, expected, strict=True):  # alone
        for tokens, right in zip(each, rights, strict=True):
            assert_is(engine.score(p, tokens), right)


def test_real_texts_and_what_was_generated(zoo_engine: Engine) -> None:
    module = AutoModelForCausalLM.from_pretrained(zoo.path("causal"), dtype=torch.float32).eval()
    prompt, continuations = "def add(a, b):\n    return ", ["a + b", "a - b\n\ndef f():", "b"]
    for score in zoo_engine.score(prompt, continuations):
        assert_is(score, slow(module, zoo_engine.encode(prompt.rstrip()), score.tokens))
    answer = zoo_engine.generate(prompt.rstrip(), "plain", max_new_tokens=12, log_probabilities=0)
    score = zoo_engine.score(answer.prompt_tokens, answer.tokens)
    assert score.greedy and score.tokens == answer.tokens
    assert answer.log_probabilities is not None
    assert score.log_probabilities == pytest.approx([each.raw for each in answer.log_probabilities], abs=1e-4)
    assert not zoo_engine.score(answer.prompt_tokens, [*answer.tokens[:-1], 5]).greedy


@pytest.mark.parametrize("size", [2, 3])
def test_all_continuations_together_are_certain(size: int) -> None:
    """By enumeration: the probabilities of all texts of one length sum up to one, and each is the product of steps."""
    model = TableModel.random(size, 5, order=5)
    engine = Engine(model)
    every = [list(each) for each in itertools.product(range(size), repeat=4)]
    scores = engine.score([0, 1], every)
    assert sum(math.exp(score.total) for score in scores) == pytest.approx(1, abs=1e-12)
    for tokens, score in zip(every, scores, strict=True):
        rows = [torch.tensor(model.rule((0, 1, *tokens[:at])), dtype=torch.float64).log_softmax(-1) for at in range(4)]
        assert score.log_probabilities == pytest.approx([float(r[t]) for r, t in zip(rows, tokens, strict=True)])
        assert score.greedy == all(int(row.argmax()) == token for row, token in zip(rows, tokens, strict=True))


def test_the_likeliest_beside_each_token() -> None:
    engine = Engine(model := TableModel.random(5, 2))
    score = engine.score([1, 2], [3, 0, 3], top=2)
    for at, found in enumerate(score.top):
        rows = torch.tensor(model.rule((1, 2, *score.tokens[:at]))).log_softmax(-1)
        assert [token for token, _ in found] == rows.topk(2).indices.tolist()
        assert [value for _, value in found] == pytest.approx(rows.topk(2).values.tolist(), abs=1e-6)
        assert (found[0][1] == score.log_probabilities[at]) == (score.ranks[at] == 0)  # to the bit
    assert engine.score([1, 2], [3, 0, 3]).top == [[], [], []]
    with pytest.raises(InvalidRequest, match="top is 6"):
        engine.score([1], [2], top=6)


def test_no_window_is_evaluated_beside_another() -> None:
    """Answers are on their way in one thread, texts are scored in others: a model does one thing at a time."""

    class Narrow(Around):
        def evaluate(self, window: Window, cache: Cache, want: Want = Want()) -> Evaluation:
            assert door.acquire(blocking=False), "two at once"
            time.sleep(0.0002)
            found = super().evaluate(window, cache, want)
            door.release()
            return found

    door, model = Lock(), TableModel.random(5, 2)
    engine, alone = Engine(Narrow(model)), Engine(model)
    texts = [[at % 5, 1, 2, at % 3] for at in range(24)]
    with ThreadPoolExecutor(4) as others:
        answer = engine.submit([1, 2], "plain", max_new_tokens=100, end_tokens=[])
        scores = list(others.map(lambda text: engine.score([3], text), texts))
        assert [score.total for score in scores] == [alone.score([3], text).total for text in texts]
        assert answer.result().tokens == alone.generate([1, 2], "plain", max_new_tokens=100, end_tokens=[]).tokens
        with pytest.raises(InvalidRequest, match="vocabulary"):
            engine.score([3], [7])
        model.__dict__["rule"] = None  # it fails: who asked is told
        with pytest.raises(TypeError):
            engine.score([3], [1, 2])


def test_a_prompt_is_evaluated_once() -> None:
    """Also where the same prompt comes back in other pairs; the first tokens of continuations cost nothing more."""
    model = Counted(TableModel.random(7, 1))
    engine, prompt = Engine(model), [1, 2, 3, 4, 5, 6]
    engine.score(prompt, [[1], [2], [3], [4]])
    assert (model.tokens, model.evaluations) == (6, 1)
    engine.score(prompt, [[1, 2], [2, 3, 4], [3]])
    assert model.tokens == 6 + 6 + 1 + 2
    before = model.tokens
    engine.score([prompt, [3], prompt], [[1, 2], [4, 4], [2, 2, 2]])
    assert model.tokens - before == 6 + 1 + 1 + 1 + 2
    assert model.rows > 1


@pytest.mark.parametrize("size", [1, 2, 5, 8, 30])
@pytest.mark.parametrize("context", [1, 2, 5])
def test_long_texts_are_read_in_windows(size: int, context: int) -> None:
    """Each token once; what it sees is written down here anew: back to the first token of its own window."""
    if context > size:
        pytest.skip("a window holds its context")
    model = TableModel.random(5, 2, order=99)
    engine = Engine(model)
    engine.end_tokens = frozenset({4})
    for length in (1, size, size + 1, 3 * size + 1, 23):
        text = drawn(random.Random(length), 5, length, length)
        given = [4, *text]
        ends = [size + 1]  # of the windows, in `given`; the first predicts as many tokens as it reads
        while ends[-1] < len(given):
            ends.append(ends[-1] + size - context + 1)
        expected = []
        for at in range(1, len(given)):
            end = min(next(end for end in ends if end > at), len(given))
            seen = tuple(given[max(0, end - 1 - size) : at])
            expected.append(float(torch.tensor(model.rule(seen), dtype=torch.float64).log_softmax(-1)[given[at]]))
        score = engine.score_text(text, window=size, context=context, batch=3)
        assert score.tokens == text
        assert score.log_probabilities == pytest.approx(expected)


def test_long_texts_on_a_network(zoo_engine: Engine) -> None:
    module = AutoModelForCausalLM.from_pretrained(zoo.path("causal"), dtype=torch.float32).eval()
    texts = ["one two three " * 20, "a"]
    for text, score in zip(texts, zoo_engine.score_text(texts, window=16), strict=True):
        ids = zoo_engine.codec.encode_piece(text)
        given, expected = [zoo_engine.tokenizer.bos_token_id, *ids], []  # type: ignore[union-attr]
        for at in range(0, len(ids), 16):
            end = min(at + 16, len(ids))
            begin = max(0, end - 16)  # the last one is filled up with what was predicted before
            expected += slow(module, given[begin : at + 1], given[at + 1 : end + 1])[0]
        assert score.tokens == ids and score.log_probabilities == pytest.approx(expected, abs=1e-4)


def test_the_border_is_the_harness_s(zoo_engine: Engine) -> None:
    """The whole is encoded and split behind the prompt; nothing of the text is lost where a token lies across."""
    codec, chance = zoo_engine.codec, random.Random(3)
    words = ["def", " f", "(", "a", "b", ")", ":", "\n", "    ", " ", "re", "turn", "1", "2"]
    across = 0
    for _ in range(300):
        prompt, text = ("".join(chance.choices(words, k=chance.randint(1, 6))) for _ in range(2))
        stem = prompt.rstrip()
        if not stem:
            continue
        score = zoo_engine.score(prompt, text)
        before, whole = codec.encode_piece(stem), codec.encode_piece(prompt + text)
        if whole[: len(before)] == before and len(whole) > len(before):
            assert score.tokens == whole[len(before) :]
        else:
            across += 1
        assert codec.decode([*before, *score.tokens]) == prompt + text
    assert across < 100
    assert zoo_engine.score("x = ", "1").tokens == zoo_engine.score("x =", " 1").tokens


def test_a_prompt_of_messages(zoo_engine: Engine) -> None:
    asked = [{"role": "user", "content": "Sort: b a"}]
    score = zoo_engine.score(asked, "a b")
    assert score == zoo_engine.score(zoo_engine.encode(asked), "a b")
    assert score.tokens == zoo_engine.codec.encode_piece("a b")
    both = zoo_engine.score([asked, "Sort:"], ["a b", [" a", " b"]])
    assert both[0].total == pytest.approx(score.total, abs=1e-4) and len(both[1]) == 2


def test_nothing_before_is_the_token_that_begins_texts(zoo_engine: Engine) -> None:
    start = zoo_engine.tokenizer.bos_token_id  # type: ignore[union-attr]
    one = zoo_engine.score([start], "Once")
    for other in (zoo_engine.score("", "Once"), zoo_engine.score([], "Once"), zoo_engine.score_text("Once")):
        assert other == one
    assert zoo_engine.score("  ", "Once").tokens == zoo_engine.codec.encode_piece("  Once")
    nameless = Engine(TableModel.random(5, 2))
    with pytest.raises(InvalidRequest, match="no token with which a text begins"):
        nameless.score_text([1, 2])
    nameless.end_tokens = frozenset({3})
    assert nameless.score_text([1, 2]).log_probabilities == nameless.score([3], [1, 2]).log_probabilities


def test_a_prompt_too_long_loses_its_beginning() -> None:
    model = TableModel.random(5, 2, order=99)
    model.max_positions = 6
    engine, prompt = Engine(model), [1, 2, 3, 4, 0, 1, 2, 3]
    cut, whole = engine.score(prompt, [[1, 2, 3], [4]])
    assert (cut.unseen, whole.unseen) == (4, 2)
    assert cut.log_probabilities == engine.score([0, 1, 2, 3], [1, 2, 3]).log_probabilities
    assert engine.score(prompt[:4], [1, 2, 3]).unseen == 0
    with pytest.raises(InvalidRequest, match="score_text"):
        engine.score([1], [1] * 7)
    assert engine.score([1], [1] * 6).unseen == 0


@pytest.mark.parametrize(
    ("prompt", "continuations", "settings"),
    [
        ([1], [], {"batch": 0}),
        ([1], [[1]], {"batch": 1.5}),
        ([1], [[]], {}),
        ([1], "", {}),
        ([1], [[9]], {}),
        ([-1], [[1]], {}),
        ([1], [[1.5]], {}),
        ([1], [["a"]], {}),
        ([1], [None], {}),
        ([1], None, {}),
        ([1], 5, {}),
        (None, [[1]], {}),
        ([[1], [2]], [[1]], {}),
        ([[1], [2]], "ab", {}),
        ("text", [[1]], {}),
        ([1], "text", {}),
        ([], [[1]], {}),
    ],
)
def test_mistakes_are_typed(prompt: Any, continuations: Any, settings: dict[str, Any]) -> None:
    model = Counted(TableModel.random(7, 1))
    with pytest.raises(InvalidRequest) as caught:
        Engine(model).score(prompt, continuations, **settings)

    assert caught.value.hint and not model.evaluations


@pytest.mark.parametrize(
    "settings", [{"window": 0}, {"window": 10**9}, {"context": 0}, {"context": "1"}, {"batch": -1}]
)
def test_mistakes_in_windows_are_typed(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        Engine(TableModel.random(7, 1)).score_text([1, 2], **settings)


def test_a_bad_pair_fails_alone() -> None:
    engine = Engine(TableModel.random(7, 1))
    good, bad, other = engine.score([[1], [99], [2]], [[[3, 4]], [[1]], [[5], [6, 7]]])
    assert good[0].total == engine.score([1], [3, 4]).total
    assert isinstance(bad[0].error, InvalidRequest) and bad[0].tokens == []
    assert other[0].total == engine.score([2], [5]).total
    for ask in (lambda: bad[0].total, lambda: bad[0].greedy, lambda: other[1].total):
        with pytest.raises(InvalidRequest):
            ask()
    engine.end_tokens = frozenset({0})
    assert [score.error is None for score in engine.score_text([[1, 2], [], [99], [3]])] == [True, False, False, True]


def test_what_cannot_be_scored() -> None:
    with pytest.raises(Unsupported, match="fills masks"):
        Engine(MaskedTable.random_masked(5, 1, Masking(4))).score([1], [[2]])


def test_memory_is_asked_for_first_and_bounds_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Counted(TableModel.random(7, 1))
    engine, texts = Engine(model), [drawn(random.Random(n), 7, 40, 60) for n in range(12)]
    expected = engine.score([[1]] * 12, texts)
    assert model.rows >= 6
    slot = 16  # bytes: a key and a value
    for free in ("stretto.models.memory.free_bytes", "stretto.score.free_bytes"):
        monkeypatch.setattr(free, lambda device: slot * 60 * 8)
    model.rows = 0
    assert engine.score([[1]] * 12, texts) == expected
    assert model.rows <= 4
    for free in ("stretto.models.memory.free_bytes", "stretto.score.free_bytes"):
        monkeypatch.setattr(free, lambda device: slot * 60)
    model.evaluations = 0
    with pytest.raises(OutOfMemory):
        engine.score([[1], *[[2]] * 12], [[3], *texts])
    assert not model.evaluations


def test_logits_are_held_for_a_bounded_number_of_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the text: only where they are asked for, and so many at a time."""
    model = Counted(TableModel.random(7, 1))
    engine = Engine(model)
    engine.end_tokens = frozenset({0})
    text = drawn(random.Random(1), 7, 300, 300)
    whole = engine.score_text(text)
    prompted = engine.score(text[:-2], text[-2:])
    assert prompted.log_probabilities == pytest.approx(whole.log_probabilities[-2:])
    monkeypatch.setattr("stretto.score.LOGITS", 10 * 7)
    model.widest = 0
    assert engine.score_text([text, text[:50]])[0].log_probabilities == pytest.approx(whole.log_probabilities)
    assert 0 < model.widest <= 10 * 7
    model.widest = 0
    engine.score(text, [[1], [2], [3]])
    assert model.widest == 7  # of a prompt, the last position


def test_a_network_reads_beyond_its_positions_in_windows() -> None:
    module, text = FAMILIES["llama"](), drawn(random.Random(2), VOCABULARY, 300, 300)
    engine = Engine(Network(FAMILIES["llama"]()))
    engine.end_tokens = frozenset({2})
    expected = slow(module, [2], text[:POSITIONS])[0]
    expected += slow(module, text[POSITIONS - 1 : POSITIONS], text[POSITIONS : 2 * POSITIONS])[0]
    expected += slow(module, text[299 - POSITIONS : 2 * POSITIONS], text[2 * POSITIONS :])[0]
    assert engine.score_text(text).log_probabilities == pytest.approx(expected, abs=1e-4)
