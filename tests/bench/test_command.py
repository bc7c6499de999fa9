from __future__ import annotations

import argparse
import gzip
import json
import sys
from pathlib import Path

import pytest

from bench.subjects import draft, target, tokenizer
from stretto.bench.command import add_arguments, run
from stretto.bench.results import Report
from stretto.bench.tasks.replay import SOURCES
from stretto.errors import UnknownName, Unsupported


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A target, its draft, and two replay sources."""
    root = tmp_path_factory.mktemp("bench")
    for name, module in (("target", target()), ("draft", draft())):
        module.save_pretrained(root / name)
        tokenizer().save_pretrained(root / name)
    for source, line in (
        ("gsm8k", {"question": "How many?", "answer": "There are 3 and 4 of them, so 7.\n7"}),
        ("translation", {"en": "A dog runs on the lawn.", "de": "Ein Hund rennt auf dem Rasen."}),
    ):
        file = root / "data" / SOURCES[source][0]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress((json.dumps(line) + "\n").encode()))
    return root


def call(folder: Path, *words: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    common = ["--model", str(folder / "target"), "--draft", str(folder / "draft"), "--data", str(folder / "data")]
    return run(parser.parse_args([*words, *common, "--max-new-tokens", "24"]))


@pytest.mark.parametrize("batch", ["1", "2"])
def test_speed(folder, tmp_path, capsys, batch):
    out = tmp_path / "results" / "tiny"
    words = ["--tasks", "replay", "--repeats", "1", "--batch", batch, "--out", str(out)]
    assert call(folder, *words) == 0
    shown = capsys.readouterr().out
    report = Report.load(out.with_suffix(".json"))
    assert [task.name for task in report.tasks] == ["replay:gsm8k", "replay:translation"]
    assert set(report.skipped) == {"replay:humaneval", "replay:mbpp", "replay:stories", "replay:wikitext"}
    for task in report.tasks:
        assert [lane.name for lane in task.lanes if lane.ours] == ["plain", "lookup", "draft"]
        assert next(lane.name for lane in task.lanes if not lane.ours) == "hf greedy"
        assert task.differing == 0 and task.tokens == 24
        assert task.name in shown
    assert {"command", "date", "commit", "versions", "machine", "settings"} <= report.provenance.keys()
    assert report.provenance["settings"]["forcing_microseconds"]["stretto"] > 0
    assert "skipped replay:mbpp: no file" in shown and "geometric means" in shown


def test_plot(folder, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "tiny"
    assert call(folder, "--tasks", "replay:gsm8k", "--repeats", "2", "--out", str(out)) == 0
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


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


def test_options_are_checked():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--count", "0"])
