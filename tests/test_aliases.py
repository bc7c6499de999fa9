"""Names that people bring: each same name is one of ours, each other has an answer, and none is both."""

from __future__ import annotations

import inspect
import re

import pytest

from stretto import aliases, cli, method
from stretto.engine import Engine
from stretto.errors import InvalidRequest, StrettoError, closest
from stretto.models.checkpoint import find
from stretto.request import NEUTRAL, Request

# of load, of the command line, and what names a constraint
OPTIONS = {"dtype", "device", "weights", "model", "system", *aliases.FORMS}


def test_the_table_names_what_there_is():
    assert set(aliases.SAME.values()) <= set(NEUTRAL) | OPTIONS
    assert not set(aliases.SAME) & (set(NEUTRAL) | OPTIONS | set(aliases.INSTEAD))
    assert not set(aliases.INSTEAD) & (set(NEUTRAL) | OPTIONS)
    assert not set(aliases.COMMANDS) & set(cli.COMMANDS)
    for hint in [*aliases.INSTEAD.values(), *aliases.COMMANDS.values(), *aliases.FILES.values()]:
        assert "\n" not in hint and len(hint) < 110
        for command in re.findall(r"stretto ([a-z]+)", hint):
            assert command in cli.COMMANDS or command == "trains"
        for text in re.findall(r"method='([^']*)'", hint):
            method.parse(text.replace("N", "3"))
        for setting in re.findall(r"use ([a-z_]+)=", hint):
            assert setting in set(NEUTRAL) | OPTIONS


@pytest.mark.parametrize(("theirs", "mine"), [each for each in aliases.SAME.items() if each[1] in NEUTRAL])
def test_a_name_that_means_the_same_is_taken(theirs, mine):
    value = {
        "steers": ["top_k(3)"],
        "edits": ["random:1:2"],
        "stopping": [max],
        "stop": "x",
        "banned_tokens": [1],
        "allowed_tokens": [1],
        "end_tokens": [1],
        "eta": 0.5,
        "epsilon": 0.5,
    }
    given = value.get(mine, 1)
    assert Request.of({theirs: given}) == Request.of({mine: given})
    with pytest.raises(InvalidRequest, match=f"{theirs} and {mine} are the same setting"):
        Request.of({theirs: given, mine: given})


@pytest.mark.parametrize("theirs", aliases.INSTEAD)
def test_any_other_is_answered(theirs):
    with pytest.raises(InvalidRequest, match=f"there is no setting '{theirs}'") as caught:
        Request.of({theirs: 1})
    assert caught.value.hint == aliases.INSTEAD[theirs]


def test_advice_names_what_there_is(capsys):
    """No option that is gone, no command that is not; what only chats take is not said to be missing."""
    for told in {*aliases.COMMANDS.values(), *aliases.INSTEAD.values(), *aliases.SHORT.values()}:
        for command, rest in re.findall(r"stretto ([a-z]+)((?: --[a-z-]+)*)", told):
            with pytest.raises(SystemExit):
                cli.main([command, "--help"])
            options = capsys.readouterr().out
            assert all(option in options for option in rest.split()), told
    chats = set(inspect.signature(Engine.chat).parameters) - {"self", "method", "settings", *aliases.FORMS}
    for name in chats | {"chat_template", "chat_template_kwargs"}:
        with pytest.raises(InvalidRequest) as caught:
            Request.of({name: None})
        assert "engine.chat" in caught.value.hint, name


def test_names_that_are_only_a_little_alike_are_not_meant():
    assert "did you mean" not in closest("serve", ["store", "verify", "generate"])
    assert "did you mean" not in closest("--temp", ["--system", "--method"])
    assert closest("--tempreature", ["--temperature", "--top-p"]) == "did you mean '--temperature'?"


COMPLAINTS = {
    "server": "stretto serve answers",
    "run": "stretto generate answers",
    "quantize": "--weights int8",
    "generate ab --num-beams 4": "method='beam(N)'",
    "generate ab --file x": "stretto generate - < FILE",
    "generate ab --min-length 3": "min_new_tokens",
    "generate ab -m x": "use --model",
    "generate ab --max-tokens 3 --max-new-tokens=4": "--max-tokens and --max-new-tokens are the same option",
    "generate ab --n-predict 0": "max_new_tokens >= 1",
    "generate ab --temp -1": "temperature",
    "--model x generate ab": "name the command first",
    "generate ab --model x.gguf": "x.gguf is no file",
    "generate ab --model a/b.safetensors": "name the folder in which it stands",
    "generate ab --model x.onnx": "ONNX is not read",
    "generate ab --model x.pt": "pickled weights",
}


@pytest.mark.parametrize("line", COMPLAINTS)
def test_the_command_line_knows_them_too(line, capsys):
    assert cli.main(line.split()) == 2
    told = capsys.readouterr().err
    assert COMPLAINTS[line] in told and told.count("\n") == 1


def test_what_stands_behind_two_dashes_is_no_option():
    known = ["--max-new-tokens"]
    assert cli.translated(["--max-tokens=3", "--", "--max-tokens"], known) == [
        "--max-new-tokens=3",
        "--",
        "--max-tokens",
    ]


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "~nobody-of-that-name/x", "a/b/c", "zoo/nil", "model.gguf", None])
def test_a_name_that_leads_nowhere_is_one_typed_error(name):
    with pytest.raises(StrettoError) as caught:
        Engine.load(name)
    assert caught.value.hint
    if name is not None:
        with pytest.raises(StrettoError):
            find(name)
