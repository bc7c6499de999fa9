"""How answers and waiting are shown: short, escaped, in colours only where they are wanted."""

from __future__ import annotations

import copy
import io
import json
import pickle
import re
import sys
from dataclasses import asdict, replace
from html import unescape

import pytest

from stretto import cli
from stretto.cli import arguments, paint
from stretto.diffuse.family import FILLS
from stretto.engine import Engine
from stretto.errors import InvalidRequest
from stretto.generation import Generation, Step
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel

WORDS = ["a", "<b>", " ", "é", "&", "\n"]


def decode(tokens):
    return "".join(WORDS[token] for token in tokens)


def answer(tokens=(0, 1, 3, 4), sources=("", "lookup", "lookup", "<draft>"), decode=decode, **more):
    step = Step(position=2, committed=list(tokens), sources=list(sources))
    given = {
        "text": "".join(WORDS[token] for token in tokens),
        "tokens": list(tokens),
        "finish": "length",
        "prompt_tokens": [0, 0],
    }
    made = Generation(**given | {"steps": [step], "method": "lookup"} | more)
    made.read_by(decode)
    return made


def test_an_answer_is_one_short_line():
    short = repr(answer())
    assert short == "Generation('a<b>é&', 4 tokens, finish='length', method='lookup')"
    long = answer(tokens=(5, 0) * 4000, sources=("",) * 8000)
    assert len(repr(long)) < 250 and "\n" not in repr(long) and "8000 tokens" in repr(long)
    assert repr(answer(error=InvalidRequest("no", hint="so"))) == "Generation(error='no (hint: so)')"


def test_a_notebook_shows_the_text_with_who_guessed_what_and_nothing_unescaped():
    page = answer()._repr_html_()
    body = page[: page.index("<small>")]
    assert unescape(re.sub("<[^>]*>", "", body)) == "a<b>é&"
    assert re.findall(r'title="([^"]*)">([^<]*)<', body) == [("lookup", "&lt;b&gt;é"), ("&lt;draft&gt;", "&amp;")]
    assert "<b>" not in page and "<draft>" not in page and "4 tokens, length, lookup" in page
    assert "<b>" not in answer(error=InvalidRequest("<b>"))._repr_html_()


def test_a_notebook_shows_no_more_than_the_text():
    for cut in (answer(text="a<b"), answer(text="a", decode=None), answer(text="a other")):
        body = cut._repr_html_().partition("<small>")[0]
        assert unescape(re.sub("<[^>]*>", "", body)) == cut.text


def test_an_answer_of_an_engine_shows_itself_and_can_be_kept():
    engine = Engine(TableModel.random(4, 0), clock=SimulatedClock())
    made = engine.generate([1, 2], "lookup+fixed(3)", max_new_tokens=12, seed=5, temperature=1.0)
    assert made.decode is not None and re.sub("<[^>]*>", "", made._repr_html_()).startswith(made.text)
    assert made.seed == made.record()["seed"] == 5
    for kept in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        assert kept == made and kept.decode is None


def test_an_answer_is_plain_data_without_its_tokenizer():
    whole = Engine(TableModel.random(7, seed=1)).generate([1, 2], "lookup", max_new_tokens=6)
    assert json.loads(json.dumps(asdict(whole)))["tokens"] == whole.tokens
    for again in (copy.copy(whole), copy.deepcopy(whole), replace(whole), pickle.loads(pickle.dumps(whole))):
        assert again == whole and again._repr_html_()


@pytest.mark.parametrize("place", ["nowhere/trace.json", "."])
def test_a_trace_that_cannot_be_saved_is_one_typed_error(place, tmp_path):
    with pytest.raises(InvalidRequest) as caught:
        answer().save_trace(tmp_path / place)
    assert caught.value.hint and list(tmp_path.iterdir()) == []


def test_no_seed_is_told_and_gives_the_answer_again():
    engine = Engine(TableModel.random(9, 0), clock=SimulatedClock())
    one, two = (engine.generate([1], "plain", max_new_tokens=30, seed=None, temperature=1.0) for _ in range(2))
    assert one.tokens != two.tokens and one.seed != two.seed
    assert engine.generate([1], "plain", max_new_tokens=30, seed=one.seed, temperature=1.0).tokens == one.tokens
    both = engine.generate([[1], [99]], "plain", seed=None)
    assert both[0].seed == both[1].seed and both[1].error is not None


@pytest.mark.parametrize(("terminal", "variable", "wanted"), [(True, "", True), (True, "1", False), (False, "", False)])
def test_colours_are_for_terminals_without_no_color(monkeypatch, terminal, variable, wanted):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.setenv("NO_COLOR", variable)
    assert paint.in_colours() is wanted


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def generate(monkeypatch, capsys):
    """Runs `stretto generate` with a terminal as standard error: what it wrote there."""

    def call(*argv, terminal=True):
        shown = Terminal() if terminal else io.StringIO()
        monkeypatch.setattr(sys, "stderr", shown)
        assert cli.main(["generate", "--model", "zoo/causal", "--max-new-tokens", "3", *argv]) == 0
        return shown.getvalue(), capsys.readouterr().out

    return call


def test_a_bar_tells_how_many_answers_have_ended(generate, monkeypatch):
    monkeypatch.setattr("stretto.cli.generate.SHOWN_AFTER", 0.0)
    told, printed = generate("a", "b", "c")
    assert "3/3" in told and "answer" in told and "answer/s" not in printed
    assert "/3" not in generate("a", "b", "c", terminal=False)[0]
    assert "\x1b[3" not in generate("a", "--show-draft")[1]
    monkeypatch.setattr("stretto.cli.generate.SHOWN_AFTER", 3600.0)
    assert "/3" not in generate("a", "b", "c")[0]


def test_watching_counts_the_ended():
    engine, seen = Engine(TableModel.random(4, 0), clock=SimulatedClock()), []
    engine.generate([[1], [2, 3]], "plain", samples=2, max_new_tokens=3, watch=seen.append)
    assert seen == [0, 0, 4]


def test_prompts_of_a_file_end_at_newlines_only(tmp_path):
    from stretto.cli import verify

    file = tmp_path / "prompts.txt"
    file.write_text("one\u2028still one\u0085yes\x0cyes\n\ntwo\r\nthree", encoding="utf-8", newline="")
    parser = arguments.Parser(prog="stretto")
    verify.add_arguments(parser)
    given = parser.parse_args(["--file", str(file)])
    assert verify._prompts(given) == ["one\u2028still one\u0085yes\x0cyes", "two", "three"]


def test_the_help_names_the_methods_that_the_code_takes():
    parser = arguments.Parser(prog="stretto")
    arguments.add_method(parser)
    told = parser.format_help()
    assert f"({'auto'};" in told and FILLS[False] in "".join(told.split())
