"""`stretto diagnose` and `stretto methods --taxonomy`, as they are called."""

from __future__ import annotations

import json

import pytest

from models.families import build
from stretto import cli
from stretto.generation import Counters, Generation, Step


@pytest.fixture
def run(capsys):
    def call(*arguments):
        status = cli.main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return call


def trace(folder):
    step = Step(
        position=1, committed=[6, 8], sources=["a", ""], drafted=[6], parents=[-1], drafters=["a"], accepted=[0]
    )
    file = folder / "trace.json"
    Generation("", [6, 8], "length", [0], Counters(row_forwards=1), [step]).save_trace(file)
    return file


def test_traces(run, tmp_path):
    file = trace(tmp_path)
    status, printed, _ = run("diagnose", "--trace", file, file)
    assert status == 0 and "tokens per forward (τ)     2.000" in printed and "depth  1" in printed
    record = json.loads(run("diagnose", "--json", "--trace", file)[1])
    assert record["block_efficiency"] == 2.0 and record["acceptance_by_depth"] == [
        {"depth": 1, "tried": 1, "rate": 1.0}
    ]


def test_traces_that_fill_masks_say_how_far_from_left_to_right(run, tmp_path):
    steps = [Step(at, [7], [""], positions=[at], confidence=[0.5]) for at in (1, 3, 2, 4)]
    file = tmp_path / "trace.json"
    Generation("", [7] * 4, "length", [0], Counters(row_forwards=4), steps).save_trace(file)
    status, printed, _ = run("diagnose", "--trace", file)
    assert status == 0 and "among the k leftmost masks 1: 0.75  2: 1.00" in printed
    record = json.loads(run("diagnose", "--json", "--trace", file)[1])
    assert record["ar_ness"]["global"]["1"] == 0.75 and record["ar_ness"]["local"]["2"] == 0.0
    assert "leftmost" not in run("diagnose", "--trace", trace(tmp_path))[1]


def test_layers_of_a_model(run, tmp_path):
    build("Llama", num_key_value_heads=2).save_pretrained(tmp_path / "model")
    text = tmp_path / "text.txt"
    text.write_text(" ".join(str(at * at % 97) for at in range(200)), encoding="utf-8")
    asked = ("diagnose", "--model", tmp_path / "model", "--file", text, "--positions", 80, "--epochs", 1)
    status, printed, _ = run(*asked, "--layers", "0,3")
    assert status == 0 and printed.startswith("layer  surplus")
    assert [line.split()[0] for line in printed.splitlines() if line[:5].strip().isdigit()] == ["0", "3"] * 2
    layers = json.loads(run(*asked, "--json", "--ahead", 2)[1])
    assert [layer["layer"] for layer in layers] == [0, 1, 3] and len(layers[0]["surplus"]["terms"]) == 1


def test_few_log_probabilities_tell_the_others(run, tmp_path, monkeypatch):
    monkeypatch.setattr("stretto.diagnose.inversion.MARGIN", 4)
    build("Llama", num_key_value_heads=2).save_pretrained(tmp_path / "model")
    text = tmp_path / "text.txt"
    text.write_text(" ".join(str(at * at % 97) for at in range(200)), encoding="utf-8")
    asked = ("diagnose", "--inversion", "--model", tmp_path / "model", "--file", text, "--positions")
    found = json.loads(run(*asked, 100, "--json")[1])
    assert found["rank"] == found["channels"] and found["error"] < 1e-3
    status, _, said = run(*asked, 3)
    assert status == 2 and "do not show" in said
    assert "one thing at a time" in run("diagnose", "--inversion", "--parallel", 3)[2]


def test_what_writing_at_once_can_reach(run):
    status, printed, _ = run("diagnose", "--parallel", 5)
    lines = {line.split()[0]: line.split()[1:] for line in printed.splitlines()[2:]}
    assert status == 0 and lines["copy"] == ["5", "1", "0.0000", "right", "1", "1", "1"]
    assert lines["any-order"] == ["5", "120", "3.2597", "wrong", "0.0384", "0.24", "0.8"]
    assert lines["latin-square"][-1] == "0.135" and len(lines["latin-square"]) == 8
    records = json.loads(run("diagnose", "--parallel", 5, "--json")[1])
    assert [record["kind"] for record in records] == list(lines)
    assert records[-1]["accuracy"]["1"] == pytest.approx(0.0384)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parallel", "2"], "a list of 2 words"),
        (["--parallel", "5", "--trace", "absent.json"], "not allowed with"),
        (["--trace", "absent.json"], "absent.json"),
        (["--trace", "torn.json"], "is no JSON"),
        (["--trace", "list.json"], "holds no trace"),
        (["--trace", "empty.json"], "this is no trace"),
        (["--positions", "0"], "--positions >= 50"),
        (["--epochs", "0"], "epochs and batch from 1"),
        (["--layers", "one"], "no list of token ids"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    for name, content in (("torn", "{"), ("list", "[]"), ("empty", "{}")):
        (tmp_path / f"{name}.json").write_text(content, encoding="utf-8")
    status, printed, complaint = run("diagnose", *arguments)
    assert status == 2 and not printed and message in complaint and complaint.count("\n") == 1


def test_the_map_of_the_methods(run):
    status, printed, _ = run("methods", "--taxonomy")
    assert status == 0 and printed.startswith("# A map of the methods") and "| prompt-lookup |" in printed
    assert run("methods", "--taxonomy", "--parts")[0] == 2
    listed = run("methods", "--family", "diagnostics")[1]
    assert "stretto diagnose --trace FILE" in listed and "stretto methods --taxonomy" in listed
