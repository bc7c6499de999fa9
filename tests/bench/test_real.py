from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import math
import os
import sys
from pathlib import Path

import pytest
import torch

from bench.test_page import Reader
from stretto import zoo
from stretto.bench.command import add_arguments, run
from stretto.bench.contestants import Answer, Case
from stretto.bench.harness import Run
from stretto.bench.page import page
from stretto.bench.real.fidelity import TEXT, Sums
from stretto.bench.real.results import Real, summarise
from stretto.bench.real.table import table
from stretto.bench.results import Column
from stretto.bench.rounds import Round
from stretto.errors import InvalidRequest, UnknownName
from stretto.generation import Counters

LENGTH = 12


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Two kinds of questions, three of each."""
    root = tmp_path_factory.mktemp("data")
    lines = [{"question_id": at, "category": "qa", "turns": [f"Sort these numbers: 41 7 {at}"]} for at in range(3)]
    lines += [{"question_id": 9 + at, "category": "rag", "turns": [f"Copy this: red blue {at}"]} for at in range(3)]
    file = root / "bench" / "spec_bench" / "question.jsonl.gz"
    file.parent.mkdir(parents=True)
    file.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    text = root / TEXT
    text.parent.mkdir(parents=True)
    text.write_bytes(gzip.compress(b"The robin is a small bird that is named for its red breast. " * 20))
    return root


def shim(folder: Path, name: str, *words: str) -> Path:
    """What can be called as an interpreter, and is the tests' other engine."""
    file = folder / name
    script = Path(__file__).with_name("other_engine.py")
    file.write_text(f"#!/bin/sh\nexec {sys.executable} {script} {' '.join(words)}\n")
    file.chmod(0o755)
    return file


def call(*words: object) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(["real", *map(str, words), "--max-new-tokens", str(LENGTH), "--threads", "1"]))


def test_everyone_answers_the_same_prompts_in_turn(data, tmp_path, capsys, monkeypatch):
    if "causal" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    out = tmp_path / "real"
    words = ["--model", "zoo/causal", "--data", data, "--tasks", "questions", "retrieval", "gsm8k", "--count", 2]
    words += [
        "--batch",
        2,
        "--methods",
        "lookup",
        "--fidelity",
        48,
        "--llamacpp",
        shim(tmp_path, "python"),
        "--out",
        out,
    ]
    assert call(*words, "--openvino", shim(tmp_path, "broken", "broken")) == 0
    found = Real.load(out.with_suffix(".json"))
    assert Real.is_in(out.with_suffix(".json")) and table(found) in capsys.readouterr().out
    assert "it ended: no such wheel" in found.skipped["OpenVINO"] and "no file" in found.skipped["gsm8k"]
    (each,) = found.columns
    assert each.column == Column(2)
    names = {one.name: one for one in each.contestants}
    assert list(names) == ["plain", "lookup", "hf greedy", "hf lookup", "llama.cpp", "llama.cpp lookup"]
    assert each.best in ("hf greedy", "hf lookup", "llama.cpp", "llama.cpp lookup")
    assert {one.rows for one in names.values()} == {4} and not any(one.differing for one in names.values())
    assert all(one.kinds.keys() == {"mixed"} for one in names.values())
    assert names["plain"].tokens_per_round == 1 <= names["lookup"].tokens_per_round
    assert names[each.best].beside_best.median == names["plain"].beside_plain.median == 1
    assert {"avx2", "asimd"} & set(found.provenance["machine"]["instructions"])
    exact, ours, theirs, there = found.fidelity
    assert (exact.name, exact.kl, exact.top1, exact.positions) == ("float32", 0, 1, 47)
    assert ours.name == "stretto" and abs(ours.kl) < 1e-5 and ours.perplexity == pytest.approx(exact.perplexity, 1e-4)
    assert (theirs.name, there.name) == ("llama.cpp", "stretto, there") and theirs.positions == there.positions < 47
    assert theirs.perplexity == pytest.approx(there.perplexity, 1e-4) != pytest.approx(exact.perplexity, 1e-4)
    if importlib.util.find_spec("matplotlib"):
        assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
        read = Reader(page([("real.json", found)]))
        assert {"batch 2, T=0", "Fidelity", "Left out"} <= set(read.headings)
        assert {"llama.cpp lookup", "mixed"} <= set(read.text)
    assert found.loading.keys() == {"llama.cpp", "llama.cpp lookup"}


def test_what_is_refused(tmp_path):
    with pytest.raises(InvalidRequest, match=r"no prompt to measure .*no file"):
        call("--model", "zoo/causal", "--data", tmp_path, "--tasks", "questions")
    with pytest.raises(UnknownName, match="wondering"):
        call("--model", "zoo/causal", "--tasks", "wondering")
    with pytest.raises(InvalidRequest, match=r"nowhere cannot be run .*--openvino"):
        call("--model", tmp_path, "--openvino", tmp_path / "nowhere")


class Named:
    def __init__(self, name: str, ours: bool) -> None:
        self.name, self.ours = name, ours


LOOP = [1, 2, 3, 4, 5, 6, 7, 8, 9] * 3


def test_figures_are_of_decoding_alone_and_ratios_of_the_same_prompt():
    """Seconds by hand: 10 tokens, the first after one second, the others at a speed of the contestant's own."""
    cases = [[Case([1, 2, 3], [], False, category=kind)] for kind in ("a", "b", "a")]
    texts = [list(range(10)), list(range(20, 30)), LOOP]
    speeds = {"plain": (10, 20, 10), "quick": (30, 20, 40), "peer": (20, 10, 5), "slow": (1, 1, 1)}
    runs = []
    for name, each in speeds.items():
        for group, speed in enumerate(each):
            tokens = [*texts[group][:-1], 99] if (name, group) == ("peer", 1) else texts[group]
            counters = Counters(prompt_seconds=1.0, row_forwards=len(tokens))
            answer = Answer([tokens], counters, lambda: [[Round(1, 0, False, 1, 0.0)]])
            runs.append(Run(name, 0, group, 1.0 + (len(tokens) - 1) / speed, answer))
    found = summarise(Column(), cases, [Named(name, name in ("plain", "quick")) for name in speeds], runs)
    quick, peer = found.contestants[1:3]
    assert found.best == "peer" and quick.speed.median == pytest.approx(30) and quick.first.median == 1000
    assert quick.beside_best.median == pytest.approx(2)  # of 1.5, 2 and 8: medians of ratios, not ratio of medians
    assert quick.beside_best_unlooped.median == pytest.approx(1.75)
    assert quick.beside_plain.median == pytest.approx(3)
    assert quick.kinds == {"a": pytest.approx(4.75), "b": pytest.approx(2)}
    assert (peer.differing, peer.looping, peer.rows, peer.rounds) == (1, 1, 3, 47)
    assert peer.reading.median == 3 and peer.repeated == pytest.approx(1 / 3)


def test_the_token_that_ends_an_answer_makes_no_difference():
    case = [[Case([1], [], False, category="a")]]
    counters = Counters(prompt_seconds=1.0, row_forwards=3)
    rounds = [[Round(1, 0, False, 1, 0.0)]]
    runs = [Run("plain", 0, 0, 2.0, Answer([[5, 6, 7]], counters, lambda: rounds))]
    runs.append(Run("peer", 0, 0, 2.0, Answer([[5, 6]], counters, lambda: rounds)))
    contestants = [Named("plain", True), Named("peer", False)]
    assert not summarise(Column(), case, contestants, runs, {7}).contestants[1].differing
    assert summarise(Column(), case, contestants, runs, {6}).contestants[1].differing


def test_rows_side_by_side_are_measured_by_the_whole_call():
    cases = [[Case([1], [], False, category="a"), Case([1, 2], [], False, category="b")]]
    runs = []
    for name, seconds in (("plain", 4.0), ("peer", 8.0)):
        counters = Counters(prompt_seconds=1.0, row_forwards=12)
        answer = Answer([list(range(10)), [1, 2]], counters, lambda: [[Round(1, 0, False, 1, 0.0)]] * 2)
        runs.append(Run(name, 0, 0, seconds, answer))
    plain, peer = summarise(Column(2), cases, [Named("plain", True), Named("peer", False)], runs).contestants
    assert (plain.speed.median, peer.speed.median, plain.beside_best.median, plain.rows) == (3.0, 1.5, 2.0, 2)


def test_divergence_and_perplexity_by_hand():
    exact = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log()
    found = torch.tensor([[0.25, 0.75], [0.5, 0.5]]).log()
    sums = Sums()
    sums.add(exact, found, torch.tensor([1, 0]))
    got = sums.named("x")
    kl = 0.5 * math.log(2) + 0.5 * math.log(2 / 3) + 0.9 * math.log(1.8) + 0.1 * math.log(0.2)
    assert got.kl == pytest.approx(kl / 2) and got.top1 == 0.5
    assert got.perplexity == pytest.approx((0.75 * 0.5) ** -0.5)
