"""A thousand drawn bad inputs a run: each is served with a sane answer, or refused by one typed error in one line.

What is drawn follows from a number, STRETTO_FUZZ in the environment (0): another number draws other cases.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import sys
import warnings

import numpy as np
import pytest
import torch

from models.families import build
from stretto import aliases, catalogue, cli, method
from stretto.diffuse.family import KINDS
from stretto.diffuse.method import Diffuse
from stretto.engine import Engine
from stretto.errors import InvalidRequest, StrettoError
from stretto.generation import Generation
from stretto.models.clock import SimulatedClock
from stretto.models.load import load
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable, TableModel
from stretto.request import NEUTRAL
from stretto.speculate.loop import Speculate
from stretto.values import settings_of, shown

SEED = os.environ.get("STRETTO_FUZZ", "0")
V, POSITIONS = 6, 40


class Odd:
    """An object that nothing is known of."""

    def __repr__(self):
        return "an odd\nobject"


NUMBERS = [0, 1, 2, 3, 8, -1, 2**31, 2**63, 10**400, 8.0, 2.5, 0.5, -0.0, 1e9, 1e300, float("nan"), float("inf")]
ARRAYS = [np.int64(3), np.float32(0.5), np.bool_(True), np.array([1, 2]), np.zeros((2, 2), np.int64), torch.tensor(3)]
ARRAYS += [torch.tensor([1, 2]), torch.zeros(2, 2), torch.zeros(2, device="meta"), np.array(["a"]), np.zeros(0)]
TEXTS = ["", "x", "5", "a\0b", "\ud800", "x" * 300, "a\u2028b", "\n", "%s", "../..", "nan", "model"]
OTHERS = [None, True, False, b"x", [], (), {}, set(), [None], [1.5], ["a", 1], {1: "a"}, {"a": 1}, [[1]], range(3)]
OTHERS += [Odd(), Odd, int, object(), len, 1j, slice(1), [Odd()], {5: 0.5}, [1, 2], (3.0, 1), ["a", ""]]
POOL = [*NUMBERS, *ARRAYS, *TEXTS, *OTHERS]


def cases(name, count):
    """So many sources of chance, each with its number."""
    for number in range(count):
        yield number, random.Random(f"{SEED} {name} {number}")


@pytest.fixture(scope="module")
def continuing():
    model = TableModel.random(V, 1)
    model.max_positions = POSITIONS
    return Engine(model, clock=SimulatedClock())


@pytest.fixture(scope="module")
def filling():
    model = MaskedTable.random_masked(V, 3, Masking(V - 1), sharpness=2.5)
    model.max_positions = POSITIONS
    return Engine(model, clock=SimulatedClock())


def attempt(what, call):
    """Its result, or None where it was refused as it should be."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy warns of casts
            return call()
    except StrettoError as error:
        told(error)
        return None
    except RecursionError:
        raise
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error


def told(error):
    line = str(error)
    assert error.hint and error.message and "\n" not in line and len(line) < 1000, repr(line)
    line.encode(errors="strict") if "\ud800" not in line else None


def sane(answers, what):
    """Answers hold tokens of the vocabulary within the positions, or say why not."""
    for answer in answers if isinstance(answers, list) else [answers]:
        assert isinstance(answer, Generation), what
        if answer.error is not None:
            told(answer.error)
            continue
        assert all(type(token) is int and 0 <= token < V for token in answer.tokens), what
        assert len(answer.prompt_tokens) + len(answer.tokens) <= POSITIONS, what
        json.dumps(answer.record())
        assert "\n" not in repr(answer) and answer._repr_html_()


def test_settings(continuing):
    theirs = {*aliases.SAME, *aliases.INSTEAD} - {"prompt"}  # which is an argument, not a setting
    names = [*NEUTRAL, *sorted(theirs), "temprature", "", "x" * 100, "\ud800"]
    served = 0
    for number, chance in cases("settings", 350):
        settings = {"max_new_tokens": 3}
        for name in chance.sample(names if chance.random() < 0.3 else list(NEUTRAL), chance.choice((1, 1, 2))):
            settings[name] = chance.choice(POOL)
        if isinstance(settings.get("samples"), int | float) and settings["samples"] > 100:
            continue  # what does not fit into memory is the engine's to refuse, and tested there
        what = f"case {number}: {[(name, shown(value)) for name, value in settings.items()]}"
        found = attempt(what, lambda settings=settings: continuing.generate([1, 2], "plain", **settings))
        if found is not None:
            served += 1
            sane(found, what)
    assert 10 < served < 300  # neither everything nor nothing is refused


def test_prompts(continuing, filling):
    served = 0
    for number, chance in cases("prompts", 200):
        items = [chance.choice(POOL) for _ in range(chance.choice((1, 1, 2, 3)))]
        prompt = chance.choice((items, items[0], tuple(items), [items, [1, 2]], [[1, 2], items[0]], {"a": items}))
        what = f"case {number}: {shown(prompt)}"
        engine = chance.choice((continuing, filling))
        way = chance.choice((engine.generate, engine.generate, engine.generate, engine.infill, engine.stream))
        found = attempt(what, lambda way=way, prompt=prompt: way(prompt, max_new_tokens=2))
        if found is not None and way == engine.stream:
            found = attempt(what, lambda found=found: [list(found), found.generation][1])
        if found is not None:
            served += 1
            sane(found, what)
    assert 10 < served < 190


HELD = {"graft": "lookup,recycle", "hierarchy": "lookup,NUMBER", "rasd": "lookup,recycle", "fuse": "lookup"}
WORDS = ["0", "1", "2", "5", "-1", "64", "0.5", "1.0", "3.0", "nan", "inf", "-inf", "1e999", "true", "False", "none"]
WORDS += ["two", "lookup", "lookup(2)", "recycle()", "random", "()", "", " ", "=", "a=b", "zoo/nil", "\ud800", "1,2,3"]


def complete(kind, text):
    """A method that holds the part."""
    whole = {"acceptor": "lookup+", "planner": "lookup+"} | dict.fromkeys(KINDS[1:], "threshold+")
    return f"draft({text})" if kind == "layers" else whole.get(kind, "") + text


def decoded(chosen, continuing, filling):
    engine = filling if isinstance(chosen, Diffuse) else continuing
    return engine.generate([[1, 2, 1, 2]], chosen, max_new_tokens=5, end_tokens=())


def test_parts_by_text(continuing, filling):
    parts, served = sorted(catalogue.parts()), 0
    for number, chance in cases("text", 390):
        part = catalogue.part(chance.choice(parts))
        settings = [*settings_of(part), "nil"]
        inside = [HELD[part.name]] if part.name in HELD and chance.random() < 0.7 else []
        for name in chance.sample(settings, min(len(settings), chance.choice((0, 1, 1, 2)))):
            inside.append(chance.choice((f"{name}={chance.choice(WORDS)}", chance.choice(WORDS))))
        text = complete(part.kind, f"{part.name}({','.join(inside)})")
        if chance.random() < 0.1:
            text = chance.choice(
                (text[:-1], text + "+", "+" + text, text * 2, text + "+fixed(2)", text.upper(), f"({text})")
            )
        what = f"case {number}: {text!r}"
        chosen = attempt(what, lambda text=text: method.parse(text))
        if chosen is not None:
            assert method.parse(method.describe(chosen)) == chosen, what
            found = attempt(what, lambda chosen=chosen: decoded(chosen, continuing, filling))
            served += found is not None
            sane(found or [], what)
    assert 60 < served < 340


def test_parts_by_value(continuing, filling):
    parts, served = sorted(catalogue.parts()), 0
    few = [value for value in POOL if not (isinstance(value, int | float) and abs(value) > 1000)]
    for number, chance in cases("value", 240):
        part = catalogue.part(chance.choice(parts))
        settings = list(settings_of(part)) or ["nil"]
        given = {name: chance.choice(few) for name in chance.sample(settings, 1)}
        what = f"case {number}: {part.name} {[(name, shown(value)) for name, value in given.items()]}"
        made = attempt(what, lambda part=part, given=given: part(**given))
        if made is not None and part.kind in ("drafter", "planner", "acceptor"):
            kinds = {
                "drafter": method.parse("lookup").draft,
                "acceptor": method.parse("plain").accept,
                "planner": method.parse("plain").plan,
            }
            kinds[part.kind] = made
            found = attempt(what, lambda kinds=kinds: decoded(Speculate(*kinds.values()), continuing, filling))
            served += found is not None
            sane(found or [], what)
    for wrong in POOL:
        assert attempt(shown(wrong), lambda wrong=wrong: Speculate(wrong, wrong, wrong)) is None
        assert wrong is None or attempt(shown(wrong), lambda wrong=wrong: continuing.generate([1], wrong)) is None
    assert served


def test_options_of_load(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    names = ["name", "dtype", "device", "weights", "torch_dtype", "device_map", "trust_remote_code", "nil"]
    for number, chance in cases("load", 100):
        options = {name: chance.choice(POOL) for name in chance.sample(names[1:], chance.choice((1, 2)))}
        name = chance.choice(["zoo/nil", "zoo/nil", *POOL])
        assert attempt(f"case {number}: {shown(name)} {options}", lambda n=name, o=options: Engine.load(n, **o)) is None


LINE = [
    "generate",
    "chat",
    "methods",
    "verify",
    "clock",
    "serve",
    "-",
    "--",
    "-5",
    "ab",
    "",
    "\ud800",
    "--help=1",
    "-x",
]
LINE += [f"--{name.replace('_', '-')}" for name in (*NEUTRAL, *aliases.SAME, *list(aliases.INSTEAD)[:30], "raw", "ids")]
LINE += ["--method", "--stats", "--trace", "--json", "--system", "--infill", "--file", "--model", "--device", "--rows"]
VALUES = [
    "0",
    "1",
    "-1",
    "x",
    "",
    "nan",
    "1e9",
    "99999999999999999999",
    "5:1",
    "5:x",
    "a,b",
    "\ud800",
    "lookup(",
    "/nil",
]


def test_the_command_lines_arguments(monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for number, chance in cases("line", 200):
        argv = [
            chance.choice(["generate", "generate", "chat", "verify", "methods", "clock", "store", "diagnose", "nil"])
        ]
        for _ in range(chance.choice((1, 2, 3))):
            word = chance.choice(LINE)
            argv.append(word)
            if chance.random() < 0.6:
                argv[-1:] = (
                    [f"{word}={chance.choice(VALUES)}"] if chance.random() < 0.5 else [word, chance.choice(VALUES)]
                )
        if argv[0] in ("generate", "chat", "verify", "clock"):
            argv += ["--model", "/nil/nil"]  # what is right about the rest ends there
        monkeypatch.setattr(sys, "stdin", io.StringIO("ab\n"))
        what = f"case {number}: {argv}"
        try:
            status = attempt(what, lambda argv=argv: cli.main(argv))
        except SystemExit as ended:  # --help
            status = ended.code
        complaint = capsys.readouterr().err
        assert status in (0, 2), what
        if status == 2:
            assert complaint.startswith("stretto: ") and complaint.count("\n") == 1, (what, complaint)


JSON = [None, True, -1, 0, 10**9, 1e400, 2.5, "x", "", [], {}, [1], {"a": 1}, [None], "nan"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    build("GPT2", vocab_size=V, max_position_embeddings=POSITIONS, eos_token_id=2).save_pretrained(folder)
    return folder


def spoil(folder, chance):
    """Break one file in one way; says which."""
    name = chance.choice(["config.json", "generation_config.json", "generation_config.json", "model.safetensors"])
    file = folder / name
    data = file.read_bytes()
    way = chance.choice(["cut", "flip", "empty", "key", "key", "key"])
    if way == "cut":
        file.write_bytes(data[: chance.randrange(len(data))])
    elif way == "empty":
        file.write_bytes(b"")
    elif way == "flip" or name == "model.safetensors":
        at = chance.randrange(min(len(data), 400))  # in the header, of weights
        file.write_bytes(data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :])
    else:
        content = json.loads(data)
        key = chance.choice([*content, "do_sample", "temperature", "top_k", "bad_words_ids", "eos_token_id"])
        content[key] = chance.choice(JSON)
        file.write_text(json.dumps(content))
        return f"{name}: {key} = {content[key]!r}"
    return f"{name}: {way}"


def test_files(checkpoint, tmp_path):
    for number, chance in cases("files", 25):
        folder = tmp_path / str(number)
        shutil.copytree(checkpoint, folder)
        what = f"case {number}: {spoil(folder, chance)}"
        loaded = attempt(what, lambda folder=folder: load(folder))
        if loaded is not None:
            assert all(0 <= end < loaded.model.vocabulary for end in loaded.end_tokens), what
            engine = Engine(loaded.model, clock=SimulatedClock())
            engine.asked = loaded.asked
            attempt(what, lambda engine=engine: engine.generate([1], "plain", max_new_tokens=2, defaults="model"))


@pytest.mark.parametrize("part", ["lookup", "copy", "consensus"])
def test_a_length_beyond_any_text_asks_for_no_memory(part):
    with pytest.raises(InvalidRequest, match="longest <= 256"):
        method.parse(f"{part}(longest=1e9)")


def test_the_cases_differ_and_come_again():
    first, again, other = ([chance.random() for _, chance in cases(name, 3)] for name in ("a", "a", "b"))
    assert first == again != other and len({*first, *other}) == 6
