"""What generation_config.json asks for: taken where the request wants it, told once where not, refused where wrong."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pytest

from models.families import build
from stretto import cli
from stretto.engine import Engine
from stretto.errors import InvalidRequest, ModelError, NotTaken
from stretto.models.generation_config import asked, end_tokens
from stretto.models.load import load

VOCABULARY, END = 32, 2
PROMPT = [5, 6, 7]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asking")
    build("GPT2", vocab_size=VOCABULARY, max_position_embeddings=64, eos_token_id=END).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def asking(folder, **content):
    (folder / "generation_config.json").write_text(json.dumps(content))
    return Engine.load(str(folder))


@pytest.mark.parametrize(
    ("content", "settings", "foreign"),
    [
        ({}, {}, {}),
        ({"temperature": 0.6, "top_k": 3, "top_p": 0.5}, {}, {}),  # without do_sample it is greedy
        ({"do_sample": True}, {"temperature": 1.0, "top_k": 50}, {}),  # as transformers does
        ({"do_sample": True, "top_k": None}, {"temperature": 1.0, "top_k": 50}, {}),
        ({"do_sample": True, "top_k": 0, "top_p": 1.0}, {"temperature": 1.0}, {}),
        (
            {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.8},
            {"temperature": 0.6, "top_k": 20, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.8},
            {},
        ),
        (
            {"do_sample": True, "top_k": 0, "epsilon_cutoff": 0.01, "eta_cutoff": 0.02},
            {"temperature": 1.0, "epsilon": 0.01, "eta": 0.02},
            {},
        ),
        (
            {"repetition_penalty": 1.1, "no_repeat_ngram_size": 3, "max_new_tokens": 9, "min_new_tokens": 2},
            {"repetition_penalty": 1.1, "no_repeat_ngram": 3, "max_new_tokens": 9, "min_new_tokens": 2},
            {},
        ),
        (
            {"suppress_tokens": [4], "bad_words_ids": [[5], [END], [6, 7]], "stop_strings": ["x"]},
            {"banned_tokens": [4, 5], "stop": ["x"]},
            {"bad_words_ids": [[6, 7]]},
        ),
        ({"num_beams": 4, "guidance_scale": 1.0, "penalty_alpha": 0.6}, {}, {"num_beams": 4, "penalty_alpha": 0.6}),
        ({"max_length": 20}, {}, {}),
        ({"max_length": 30}, {}, {"max_length": 30}),
        ({"max_length": 4096, "transformers_version": "5", "pad_token_id": 0}, {}, {}),  # beyond the positions
    ],
)
def test_what_has_a_counterpart_is_read_by_our_names(content, settings, foreign):
    found = asked(content, positions=64, ends=frozenset([END]))
    assert dict(found.settings) == settings and dict(found.foreign) == foreign


def test_the_checkpoints_settings_are_taken_where_they_are_wanted_and_not_given(folder):
    engine = asking(folder, do_sample=True, temperature=0.7, top_p=0.8, max_new_tokens=7, suppress_tokens=[3])
    own = {"temperature": 0.7, "top_p": 0.8, "top_k": 50, "max_new_tokens": 7, "banned_tokens": [3]}
    taken = engine.generate(PROMPT, "plain", defaults="model", seed=3)
    assert taken.tokens == engine.generate(PROMPT, "plain", seed=3, **own).tokens
    given = engine.generate(PROMPT, "plain", defaults="model", seed=3, max_tokens=4, temp=0)
    assert given.tokens == engine.generate(PROMPT, "plain", **own | {"max_new_tokens": 4, "temperature": 0}).tokens
    assert len(given.tokens) == 4
    pieces = list(engine.stream(PROMPT, "plain", defaults="model", seed=3))
    assert [token for piece in pieces for token in piece.tokens] == taken.tokens


def told(engine, **settings):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        engine.generate(PROMPT, "plain", **{"max_new_tokens": 2} | settings)
    return [str(each.message) for each in caught if issubclass(each.category, NotTaken)]


def test_what_is_not_taken_is_said_once(folder):
    asks = {"do_sample": True, "temperature": 0.7, "num_beams": 2}
    engine = asking(folder, **asks)
    assert told(engine, defaults="stretto") == []  # it was chosen
    (line,) = told(engine, temperature=0.5)
    assert "top_k=50" in line and "num_beams=2" in line and "temperature" not in line and "\n" not in line
    assert told(engine) == []
    (line,) = told(asking(folder, **asks), defaults="model")
    assert "num_beams=2" in line and "top_k" not in line
    assert told(asking(folder, eos_token_id=END, top_p=0.5, use_cache=True)) == []  # nothing that counts


def test_the_command_line_says_it_in_one_line(folder, capsys):
    asking(folder, do_sample=True, top_k=7)
    argv = ["generate", "--model", str(folder), "--ids", "5,6", "--method", "plain", "--max-new-tokens", "2"]
    assert cli.main(argv) == 0
    _, noted = capsys.readouterr()
    assert noted.startswith("stretto: generation_config.json of") and "top_k=7" in noted and noted.count("\n") == 1
    assert cli.main([*argv, "--defaults", "model", "--seed", "1"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "content",
    [
        {"do_sample": True, "temperature": -1},
        {"do_sample": True, "top_p": "much"},
        {"repetition_penalty": 0},
        {"bad_words_ids": 5},
        {"suppress_tokens": [[3]]},
        {"max_new_tokens": True},
    ],
)
def test_what_is_out_of_range_is_told_where_it_is_asked_for(folder, content):
    engine = asking(folder, **content)
    with pytest.raises(ModelError, match="generation_config") as caught:
        engine.generate(PROMPT, defaults="model")
    assert caught.value.hint
    assert len(engine.generate(PROMPT, "plain", max_new_tokens=2, defaults="stretto").tokens) == 2


@pytest.mark.parametrize("text", ["{", "[1]", "null", '"x"'])
def test_a_broken_file_is_told(folder, text):
    (folder / "generation_config.json").write_text(text)
    with pytest.raises(ModelError, match="generation_config"):
        load(folder)


@pytest.mark.parametrize("wrong", [-1, 10**9, "</s>", True, [END, None], [2.5], {"a": 1}])
@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
def test_end_tokens_that_are_none_are_refused(folder, file, wrong):
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(content | {"eos_token_id": wrong}))
    with pytest.raises(ModelError, match=file) as caught:
        load(folder)
    assert caught.value.hint


def test_all_end_tokens_count():
    assert end_tokens([("a", 3), ("b", [4, 3]), ("c", None)], 5) == {3, 4}


def test_defaults_are_one_of_two(folder):
    with pytest.raises(InvalidRequest, match="'stretto', 'model'"):
        asking(folder).generate(PROMPT, defaults="mine")
