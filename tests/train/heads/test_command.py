from __future__ import annotations

import json
from argparse import Namespace

import pytest

from stretto import cli
from stretto.errors import InvalidRequest
from stretto.models.heads import files
from stretto.train.heads import command


def test_every_kind_can_be_trained():
    assert set(command.KINDS) == set(files.KINDS)


def test_a_head_is_trained_and_drafts(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "HELD_OUT", 2)
    asked = ["train", "head", "eagle3", "--out", str(tmp_path), "--prompts", "3", "--most", "6", "--steps", "2"]
    assert cli.main([*asked, "--threads", "1"]) == 0
    card = json.loads((tmp_path / "eagle3" / "training.json").read_text())
    assert card["steps"] == 2 and card["texts"] == 3 and card["tokens_per_round"] >= 1
    assert str(tmp_path / "eagle3") in capsys.readouterr().out
    head = files.read_head(tmp_path / "eagle3")
    assert head.form == "eagle3"
    log = (tmp_path / "eagle3-training" / "checkpoint.pt").stat().st_mtime_ns
    assert cli.main([*asked, "--threads", "1"]) == 0  # all is there: nothing is trained any more
    assert json.loads((tmp_path / "eagle3" / "training.json").read_text())["steps"] == 2
    assert (tmp_path / "eagle3-training" / "checkpoint.pt").stat().st_mtime_ns >= log


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--minutes", "0"], "minutes 0.0 cannot be"),
        (["--depth", "-1"], "depth -1 cannot be"),
        (["--data", "nowhere.txt"], "no file nowhere.txt"),
    ],
)
def test_bad_settings_are_named_before_anything_is_answered(asked, said, tmp_path, capsys):
    assert cli.main(["train", "head", "medusa", "--out", str(tmp_path), *asked]) == 2
    printed = capsys.readouterr().err.strip()
    assert said in printed and len(printed.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_prompts_of_a_file(tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "One."}\nTwo.\n\n{"messages": [{"role": "user", "content": "Three?"}]}\n')
    train, unseen = command.prompts_of(Namespace(data=file, prompts=9, seed=0))
    assert len(train) == 2 and len(unseen) == 1
    assert {repr(each) for each in (*train, *unseen)} == {
        "'One.'",
        "'Two.'",
        repr([{"role": "user", "content": "Three?"}]),
    }
    for text, said in (('{"text": "no"}\n' * 2, "no prompt in"), ("one line\n", "holds 1 prompts"), ("{\n{\n", "JSON")):
        file.write_text(text)
        with pytest.raises(InvalidRequest, match=said):
            command.prompts_of(Namespace(data=file, prompts=9, seed=0))
