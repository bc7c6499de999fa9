from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.subjects import draft, target, tokenizer
from stretto.bench.command import METHODS, add_arguments, run
from stretto.bench.results import Column, Report
from stretto.bench.tasks.replay import SOURCES
from stretto.errors import InvalidRequest, UnknownName, Unsupported

LENGTH = 12  # tokens of every answer: all references are longer


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A target, its draft, and two replay sources."""
    root = tmp_path_factory.mktemp("bench")
    for name, module in (("target", target()), ("draft", draft())):
        module.save_pretrained(root / name)
        tokenizer().save_pretrained(root / name)
    for source, *lines in (
        (
            "gsm8k",
            {"question": "How many?", "answer": "There are 3 and 4 of them, so 7.\n7"},
            {"question": "How much is it?", "answer": "It is 5 and 6, so 11."},
        ),
        ("translation", {"en": "A dog runs on the lawn.", "de": "Ein Hund rennt auf dem Rasen."}),
    ):
        file = root / "data" / SOURCES[source].files[0]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    return root


def call(folder: Path, *words: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    common = ["--model", str(folder / "target"), "--draft", str(folder / "draft"), "--data", str(folder / "data")]
    return run(parser.parse_args([*common, *words, "--max-new-tokens", str(LENGTH)]))


def test_speed(folder, tmp_path, capsys):
    """Everyone on everything there is, and the result in a file."""
    out = tmp_path / "results" / "tiny"
    assert call(folder, "--tasks", "replay", "--repeats", "1", "--count", "1", "--out", str(out)) == 0
    shown = capsys.readouterr().out
    report = Report.load(out.with_suffix(".json"))
    assert [task.name for task in report.tasks] == ["replay:gsm8k", "replay:translation"]
    assert set(report.skipped) == {f"replay:{name}" for name in SOURCES} - {"replay:gsm8k", "replay:translation"}
    for task in report.tasks:
        assert [contestant.name for contestant in task.contestants if contestant.ours] == list(METHODS)
        assert next(contestant.name for contestant in task.contestants if not contestant.ours) == "hf greedy"
        assert task.differing == 0 and task.tokens == LENGTH
        assert all(contestant.profile.pace and contestant.profile.rounds <= LENGTH for contestant in task.contestants)
        assert task.name in shown
    assert {"command", "date", "commit", "versions", "machine", "settings"} <= report.provenance.keys()
    assert report.provenance["settings"]["forcing_microseconds"]["stretto"] > 0
    assert report.provenance["settings"]["batch"] == 1
    assert [size for size, _ in report.clock][:3] == [1, 2, 4]
    assert "skipped replay:mbpp: no file" in shown and "geometric means" in shown


def test_columns_and_the_page(folder, tmp_path, capsys):
    out = tmp_path / "tiny"
    words = ["--tasks", "replay:gsm8k", "--repeats", "1", "--count", "1", "--methods", "plain", "lookup", "--draft", ""]
    assert call(folder, *words, "--batch", "1", "2", "--temperature", "0", "1", "--out", str(out)) == 0
    assert "==== batch 2, T=1 ====" in capsys.readouterr().out
    report = Report.load(out.with_suffix(".json"))
    assert report.columns == [Column(1, 0.0), Column(2, 0.0), Column(1, 1.0), Column(2, 1.0)]
    assert report.provenance["settings"]["batch"] == [1, 2]
    for task in report.tasks:
        size = task.column.batch
        assert (task.cases, task.tokens, task.differing) == (size, LENGTH * size, 0)
        assert all(bool(contestant.profile.pace) == (task.column == Column()) for contestant in task.contestants)
    assert {mean.column for mean in report.means} == set(report.columns)
    if importlib.util.find_spec("matplotlib"):
        assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
        assert call(folder, "report", str(out.with_suffix(".json"))) == 0
        assert capsys.readouterr().out.strip() == str(out.with_suffix(".html"))
        assert "gsm8k" in out.with_suffix(".html").read_text(encoding="utf-8")


def test_answers_in_spec_benchs_form(folder, tmp_path):
    lines = [{"question_id": 90 + at, "category": "qa", "turns": [f"Why {at}?", "And?"]} for at in range(3)]
    file = folder / "data" / "spec_bench" / "question.jsonl"
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(map(json.dumps, lines)))
    words = ["--tasks", "spec:qa", "--repeats", "1", "--methods", "plain", "lookup", "--no-baselines"]
    assert call(folder, *words, "--temperature", "1", "--answers", str(tmp_path), "--count", "1") == 0
    names = {found.name for found in tmp_path.iterdir()}
    assert names == {f"target-{name}-float32-temp-1.jsonl" for name in ("plain", "lookup")}
    answered = {name: json.loads((tmp_path / name).read_text()) for name in names}
    plain, lookup = (answered[f"target-{name}-float32-temp-1.jsonl"]["choices"][0] for name in ("plain", "lookup"))
    assert plain["turns"] == lookup["turns"] and len(plain["turns"]) == 2
    assert plain["accept_lengths"] == [1] * sum(plain["new_tokens"])
    assert sum(lookup["accept_lengths"]) == sum(lookup["new_tokens"]) == sum(plain["new_tokens"])
    with pytest.raises(InvalidRequest, match="single rows"):
        call(folder, *words, "--batch", "2", "--answers", str(tmp_path))


@pytest.mark.parametrize("what", ["speed", "canvas", "quality", "shape", "claims"])
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--tasks", "replay:gsm9k"], "replay:gsm9k"),
        (["--methods", "plane"], "plane"),
        (["--out", "FOLDER/full"], "is a folder"),
        (["--out", "FOLDER/text.txt/result"], "text.txt"),
    ],
)
def test_what_can_be_told_is_told_before_a_model_is_loaded(what, words, told, tmp_path):
    (tmp_path / "full.json").mkdir()
    (tmp_path / "text.txt").write_text("a file")
    words = [word.replace("FOLDER", str(tmp_path)) for word in words]
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises((UnknownName, InvalidRequest, OSError), match=told):
        run(parser.parse_args([what, *words, "--model", str(tmp_path / "no model"), "--no-baselines"]))


def test_a_misspelt_task_is_told_before_torch_is_loaded():
    script = "import sys; from stretto.cli import main; print(main(['bench', '--tasks', 'gyn', '--out', 'x']))"
    script += "; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"] and "gyn" in done.stderr


def test_plot_without_matplotlib_is_said_before_the_work(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(Unsupported, match="pip install"):
        call(folder, "--tasks", "replay", "--out", str(tmp_path / "x"))
    assert not (tmp_path / "x.json").exists()


def test_without_baselines_and_draft(folder, capsys):
    assert call(folder, "--tasks", "replay:gsm8k", "--repeats", "1", "--no-baselines", "--methods", "plain") == 0
    assert "hf" not in capsys.readouterr().out.replace("x hf best", "")


def test_nothing_to_measure(folder, capsys):
    assert call(folder, "--tasks", "replay:mbpp") == 1
    assert "skipped replay:mbpp" in capsys.readouterr().out


def test_unknown_names(folder):
    with pytest.raises(UnknownName, match="replay:mbpp"):
        call(folder, "--tasks", "replay:mbp")
    with pytest.raises(UnknownName, match="lookup"):
        call(folder, "--tasks", "replay:gsm8k", "--methods", "lookpu")


@pytest.mark.parametrize("words", ["--count 0", "--batch 1 0", "--temperature -1", "--temperature nan", "slow"])
def test_options_are_checked(words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(words.split())


def test_files_are_for_the_report_alone(folder):
    with pytest.raises(InvalidRequest, match="takes no file"):
        call(folder, "speed", "x.json")
    with pytest.raises(InvalidRequest, match="no result to show"):
        call(folder, "report")


def test_help_names_a_command_for_each_thing(capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    shown = capsys.readouterr().out
    for words in ("stretto bench report results/zoo.json", "--batch 1 4 16 --temperature 0 1", "--answers answers"):
        assert words in shown
