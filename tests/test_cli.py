"""The command line, in this process: what is printed where, with which status; on a tiny random checkpoint."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields

import pytest
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from models.families import build
from stretto import __version__, catalogue, cli, verify
from stretto.cli import arguments, demo
from stretto.cli.paint import Colours, Margin
from stretto.cli.verify import gym_prompts
from stretto.engine import Engine
from stretto.entry import Entry, Guarantee
from stretto.errors import StrettoError
from stretto.gym import tasks
from stretto.models.checkpoint import find
from stretto.models.study import SIZES
from stretto.request import Request
from stretto.speculate.acceptors.exact import Exact
from stretto.speculate.contract import Verdict
from stretto.speculate.loop import Loop

LETTERS = [*map(chr, range(33, 127)), "Ġ", "Ċ"]  # ASCII, as byte-level tokenizers write space and newline
END = len(LETTERS)
POSITIONS = 700
TEMPLATE = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
ESCAPES = re.compile(r"\x1b\[\d+m")


def save(folder, *, template=True):
    """A tiny checkpoint over letters."""
    module = build("GPT2", vocab_size=END + 1, max_position_embeddings=POSITIONS, eos_token_id=END)
    module.save_pretrained(folder)
    tokenizer = Tokenizer(BPE({letter: at for at, letter in enumerate(LETTERS)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")
    fast.chat_template = TEMPLATE if template else None
    fast.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def untemplated(tmp_path_factory):
    return save(tmp_path_factory.mktemp("untemplated"), template=False)


@pytest.fixture(scope="module")
def engine(model):
    return Engine.load(model)


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs a command: (status, standard output, standard error)."""

    def call(*argv, stdin=""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        status = cli.main(list(map(str, argv)))
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def interrupt_at(monkeypatch):
    """Presses Ctrl-C in the given round of decoding, counted from now."""

    def at(count):
        step, calls = Loop.step, []

        def interrupted(self):
            calls.append(1)
            if len(calls) == count:
                raise KeyboardInterrupt
            return step(self)

        monkeypatch.setattr(Loop, "step", interrupted)

    return at


# -- what is light ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    ["import stretto", "from stretto.cli import main; main([])", "import stretto.cli; stretto.cli.main(['nil'])"],
)
def test_no_model_stack_is_loaded_where_no_model_is(code):
    heavy = "{'torch', 'transformers', 'numpy', 'tqdm'}"
    guarded = f"try:\n    {code}\nexcept SystemExit:\n    pass\nimport sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", guarded], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_names_every_command_and_version_the_version(capsys):
    for argv in ([], ["--help"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(argv)
        assert ended.value.code == 0
        printed = capsys.readouterr().out
        assert all(f"\n    {name} " in printed for name in cli.COMMANDS)
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"stretto {__version__}\n"


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0 and f"usage: stretto {command}" in capsys.readouterr().out


# -- generate -----------------------------------------------------------------------------------------


def test_generate_streams_what_continues_the_text_and_chat_the_answer_to_it(run, model, engine):
    """As `generate` and `chat` of the engine do."""
    status, printed, complaints = run("generate", "--model", model, "ab", "--max-new-tokens", 30)
    answer = engine.generate("ab", max_new_tokens=30)
    assert (status, printed, complaints) == (0, answer.text + "\n", "")
    status, printed, complaints = run("generate", "--model", model, "--chat", "ab", "--max-new-tokens", 30)
    asked = engine.chat("ab", max_new_tokens=30)
    assert (status, printed, complaints) == (0, asked.text + "\n", "") and asked.text != answer.text


def test_a_terminal_is_told_that_text_was_continued(run, model, untemplated, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    common = ("generate", "--max-new-tokens", 3, "--model")
    assert "--chat asks" in run(*common, model, "ab")[2]
    for line in (
        (model, "--chat", "ab"),
        (model, "--system", "be", "ab"),
        (model, "--ids", "1 2"),
        (untemplated, "ab"),
    ):
        assert "--chat" not in run(*common, *line)[2]


def test_system_ids_and_standard_input_give_other_prompts(run, model, engine):
    common = ("generate", "--model", model, "--max-new-tokens", 12)
    raw = engine.generate("ab", max_new_tokens=12)
    assert run(*common, "ab")[1] == raw.text + "\n"
    assert run(*common, "-", stdin="ab\n")[1] == raw.text + "\n"
    assert run(*common, stdin="ab")[1] == raw.text + "\n"
    assert run(*common, "--ids", ",".join(map(str, raw.prompt_tokens)))[1] == raw.text + "\n"
    messages = [{"role": "system", "content": "be"}, {"role": "user", "content": "ab"}]
    asked = engine.generate(messages, max_new_tokens=12).text + "\n"
    assert run(*common, "--system", "be", "ab")[1] == run(*common, "--system", "be", "--chat", "ab")[1] == asked


def test_text_is_continued_where_there_is_no_template(run, untemplated):
    status, printed, _ = run("generate", "--model", untemplated, "ab", "--max-new-tokens", 12)
    assert (status, printed) == (0, Engine.load(untemplated).generate("ab", max_new_tokens=12).text + "\n")


SETTINGS = {
    "max_new_tokens": ("9", 9),
    "min_new_tokens": ("3", 3),
    "temperature": ("0.7", 0.7),
    "top_k": ("5", 5),
    "top_p": ("0.9", 0.9),
    "min_p": ("0.1", 0.1),
    "typical_p": ("0.8", 0.8),
    "epsilon": ("0.01", 0.01),
    "eta": ("0.02", 0.02),
    "repetition_penalty": ("1.2", 1.2),
    "frequency_penalty": ("0.3", 0.3),
    "presence_penalty": ("-0.4", -0.4),
    "no_repeat_ngram": ("3", 3),
    "logit_bias": ("5:1.5,17:-2", {5: 1.5, 17: -2.0}),
    "banned_tokens": ("5,17", [5, 17]),
    "allowed_tokens": ("5 17", [5, 17]),
    "end_tokens": ("7", [7]),
    "stop": ("zz", ["zz"]),
    "seed": ("11", 11),
    "samples": ("2", 2),
    "defaults": ("model", "model"),
    "log_probabilities": ("1", 1),
    "steers": ("top_a(0.2)", ["top_a(0.2)"]),
    "edits": ("random:1:2", ["random:1:2"]),
    "constraint": ('regex("a+")', 'regex("a+")'),
}


@pytest.mark.parametrize("name", [field.name for field in fields(Request) if field.name != "stopping"])
def test_every_setting_of_a_request_is_an_option_with_a_help(name):
    parser = arguments.Parser(prog="stretto")
    arguments.add_settings(parser)
    text, value = SETTINGS[name]
    given = parser.parse_args([f"--{name.replace('_', '-')}={text}"])
    assert arguments.read_settings(given) == {name: value}
    undescribed = {action.dest for action in parser._actions if not action.help}
    assert name not in undescribed - {"banned_tokens"}
    assert arguments.read_settings(parser.parse_args([])) == {}


def test_what_an_answer_must_be_is_said_by_one_option(run, engine):
    parser = arguments.Parser(prog="stretto")
    arguments.add_settings(parser)
    given = parser.parse_args(["--choice", "ab", "--choice", "ba", "--after", "b", "--max-new-tokens", "9"])
    assert arguments.read_settings(given) == {"choices": ["ab", "ba"], "after": "b", "max_new_tokens": 9}
    status, printed, _ = run("generate", "ab", "--choice", "ab", "--choice", "ba")
    assert status == 0 and printed.strip() in ("ab", "ba")
    for wrong in (["--schema", "there-is-none.json"], ["--regex", "a", "--json-object"], ["--grammar", "root ::= ("]):
        status, _, told = run("generate", "ab", *wrong)
        assert status == 2 and len(told.splitlines()) == 1


def test_statistics_trace_and_json_tell_what_the_engine_tells(run, model, engine, tmp_path):
    method = "lookup+fixed(3)"
    common = ("generate", "--model", model, "abab", "--method", method, "--max-new-tokens", 20, "--log-probs", 2)
    answer = engine.generate("abab", method, max_new_tokens=20, log_probabilities=2)
    trace = tmp_path / "trace.json"
    status, printed, told = run(*common, "--stats", "--trace", trace)
    assert status == 0 and printed == answer.text + "\n"
    *lines, counted = told.splitlines()
    size, counters = len(answer.tokens), answer.counters
    assert len(lines) == size > 3 and counted.startswith(f"{size} tokens, ")
    assert f"{counters.rounds} rounds" in counted and f"{counters.accepted} of {counters.drafted}" in counted
    assert all(f"raw {entry.raw:7.3f}" in line for entry, line in zip(answer.log_probabilities, lines, strict=True))
    saved = json.loads(trace.read_text(encoding="utf-8"))
    assert "".join(saved["pieces"]) == answer.text and set(saved["texts"]) >= set(map(str, answer.tokens))
    drawn = tmp_path / "page.html"
    assert run(*common, "--trace", drawn)[0] == 0
    tokens = json.dumps(answer.tokens, separators=(",", ":"))
    assert drawn.read_text(encoding="utf-8").startswith("<!DOCTYPE html>") and tokens in drawn.read_text("utf-8")
    status, printed, _ = run(*common, "--json")
    (line,) = printed.splitlines()
    assert counted.endswith(f"; {answer.guarantee}") and answer.guarantee.startswith("exact tokens")
    for record in (saved, json.loads(line)):
        assert record["guarantee"] == answer.guarantee
        assert record["numbers"] == answer.numbers and answer.numbers["dtype"] == "float32"
        assert (record["text"], record["tokens"], record["error"]) == (answer.text, answer.tokens, None)
        assert len(record["steps"]) == record["counters"]["rounds"] == answer.counters.rounds
        assert [entry["token"] for entry in record["log_probabilities"]] == answer.tokens


@pytest.mark.parametrize("option", ["--trace", "--picture"])
def test_a_failure_leaves_files_as_they_were(run, model, option, tmp_path):
    new, old = tmp_path / "new", tmp_path / "old"
    old.write_text("kept", encoding="utf-8")
    for file in (new, old):
        status, _, told = run("generate", "--model", model, "ab", "--method", "lookup", "--top-p", "-1", option, file)
        assert status == 2 and "top_p" in told
        status, _, told = run("generate", "--model", model, "x" * 4 * POSITIONS, option, file)
        assert status == 2 and "positions" in told
    assert [file.name for file in tmp_path.iterdir()] == ["old"] and old.read_text(encoding="utf-8") == "kept"


def test_drafted_tokens_are_coloured_and_nothing_else_changes(run, model, engine):
    settings = {"max_new_tokens": 60, "allowed_tokens": [64, 65, 66]}  # few words soon repeat
    common = ("generate", "--model", model, "abab", "--method=lookup+fixed(4)", "--max-new-tokens", 60)
    common = (*common, "--allowed-tokens", "64,65,66")
    plain = run(*common)[1]
    assert run(*common, "--show-draft")[1] == plain  # no terminal
    text, legend = run(*common, "--show-draft=always")[1].rsplit("guessed by: ", 1)
    assert ESCAPES.sub("", text) == plain and ESCAPES.sub("", legend) == "lookup, plain: the model itself\n"
    answer = engine.generate("abab", "lookup+fixed(4)", **settings)
    guessed = [token for step in answer.steps for token in step.committed[: len(step.accepted)]]
    shown = "".join(re.findall(r"\x1b\[32m(.*?)\x1b\[0m", text, re.DOTALL))
    assert shown == engine.decode(guessed) and len(guessed) > 5


def test_colours_go_round_and_leave_the_models_own_plain():
    colours = Colours(True)
    painted = [colours.paint("x", f"drafter {at}") for at in range(7)]
    assert len(set(painted)) == 6 and painted[0] == painted[6] and colours.paint("x", "") == "x"
    assert Colours(False).paint("x", "lookup") == "x"


def test_stop_strings_end_tokens_and_colours_agree(run, model, engine):
    answer = engine.generate("abab", max_new_tokens=40)
    stop, end = answer.text[8:10], answer.tokens[12]
    for option in (["--stop", stop], ["--end-tokens", str(end)]):
        common = ("generate", "--model", model, "abab", "--max-new-tokens", 40, *option)
        plain, coloured = run(*common)[1], run(*common, "--show-draft=always")[1]
        assert ESCAPES.sub("", coloured).rsplit("guessed by", 1)[0] == plain
        assert len(plain) < len(answer.text)
    common = ("generate", "--model", model, "abab", "--max-new-tokens", 40, "--stop", answer.text[-1] + "\t")
    for option in ("--stats", "--show-draft=always"):  # the last character might have begun the stop string
        assert ESCAPES.sub("", run(*common, option)[1]).startswith(answer.text + "\n")


def test_prompts_and_samples_are_answered_under_titles(run, model, engine):
    common = ("generate", "--model", model, "ab", "cd", "--max-new-tokens", 9)
    answers = engine.generate(["ab", "cd"], max_new_tokens=9)
    expected = "".join(f"== prompt {at} ==\n{answer.text}\n\n" for at, answer in enumerate(answers, start=1))
    assert run(*common) == (0, expected, "")
    told = run(*common, "--stats", "--method", "plain")[2]
    assert told.startswith("18 tokens") and " 9 rounds, 1.00 tokens per round" in told
    sampled = run(*common, "--samples", 2, "--temperature", 1, "--json")[1].splitlines()
    texts = [json.loads(line)["text"] for line in sampled]
    answers = engine.generate(["ab", "cd"], max_new_tokens=9, samples=2, temperature=1.0)
    assert texts == [answer.text for answer in answers]
    titles = re.findall("^== (.*) ==$", run(*common, "--samples", 2)[1], re.MULTILINE)
    assert titles == [f"prompt {prompt}, sample {sample}" for prompt in (1, 2) for sample in (1, 2)]


def test_a_bad_prompt_among_others_is_named_and_the_others_complete(run, model, engine):
    common = ("generate", "--model", model, "--max-new-tokens", 9)
    status, printed, complaints = run(*common, "ab", "x" * POSITIONS, "cd")
    answers = engine.generate(["ab", "cd"], max_new_tokens=9)
    assert status == 2 and all(answer.text in printed for answer in answers)
    assert complaints.startswith("stretto: prompt 2: the prompt has 700 tokens") and complaints.count("\n") == 1


@pytest.mark.parametrize("options", [[], ["--show-draft=always"], ["--json"]])
def test_an_interrupt_keeps_the_partial_text(run, model, engine, interrupt_at, options):
    whole = engine.generate("ab", "plain", max_new_tokens=30)
    interrupt_at(5)
    status, printed, complaints = run("generate", "--model", model, "ab", "--method", "plain", *options)
    assert status == 130 and complaints == ""
    text = json.loads(printed)["text"] if options == ["--json"] else printed.splitlines()[0]
    assert text == engine.decode(whole.tokens[:4])


def test_an_interrupt_before_the_work_is_quiet(run, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(arguments, "_standard_input", interrupted)
    assert run("generate", "-") == (130, "", "")


def test_a_reader_that_leaves_is_no_error(monkeypatch, capsys):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as left:
        monkeypatch.setattr(sys, "stdout", left)
        assert cli.main(["methods", "--json"]) == 141
        left.write("more")  # nothing breaks afterwards, at exit
    assert capsys.readouterr().err == ""


# -- chat ---------------------------------------------------------------------------------------------


def turns(engine, *texts, method="lookup", system=None):
    """What the engine answers in a conversation."""
    messages = [{"role": "system", "content": system}] if system else []
    answers = []
    for text in texts:
        messages.append({"role": "user", "content": text})
        answers.append(engine.generate(messages, method, max_new_tokens=9).text)
        messages.append({"role": "assistant", "content": answers[-1]})
    return answers


def test_chat_remembers_until_it_is_reset(run, model, engine):
    chat = ("chat", "--model", model, "--max-new-tokens", 9)
    first, second = turns(engine, "ab", "cd")
    assert second != turns(engine, "cd")[0]
    assert run(*chat, stdin="ab\ncd\n") == (0, f"{first}\n{second}\n", "")
    assert run(*chat, stdin="ab\n\n/quit\ncd")[1] == f"{first}\n"
    reset = run(*chat, stdin="ab\n/reset\nab\n")[1]
    assert reset == f"{first}\n(a new conversation)\n{first}\n"
    (told,) = turns(engine, "ab", system="be")
    assert run(*chat, "--system", "be", stdin="ab\n/reset\nab\n")[1] == f"{told}\n(a new conversation)\n{told}\n"


def test_chat_changes_its_method_and_counts(run, model, engine):
    chat = ("chat", "--model", model, "--max-new-tokens", 9)
    status, printed, complaints = run(*chat, stdin="/method\nab\n/method plain\ncd\n/stats\n")
    first, second = turns(engine, "ab", "cd")
    assert printed.startswith(f"(method auto)\n{first}\n(method plain)\n{second}\n(18 tokens, ")
    assert (status, complaints) == (0, "")


def test_chat_goes_on_after_a_mistake(run, model, engine):
    mistakes = f"/method lokup\n/dance\n{'x' * POSITIONS}\nab\n"
    status, printed, complaints = run("chat", "--model", model, "--max-new-tokens", 9, stdin=mistakes)
    assert printed == turns(engine, "ab")[0] + "\n" and status == 2  # nothing of the mistakes is remembered
    told = complaints.splitlines()
    assert len(told) == 3 and "did you mean 'lookup'" in told[0] and "/quit" in told[1] and "positions" in told[2]


def test_an_interrupt_stops_the_answer_and_not_the_chat(run, model, engine, interrupt_at):
    first = engine.generate([{"role": "user", "content": "ab"}], "plain", max_new_tokens=9)
    partial = engine.decode(first.tokens[:4])
    history = [{"role": "user", "content": "ab"}, {"role": "assistant", "content": partial}]
    second = engine.generate([*history, {"role": "user", "content": "cd"}], "plain", max_new_tokens=9)
    interrupt_at(5)
    status, printed, _ = run("chat", "--model", model, "--method=plain", "--max-new-tokens", 9, stdin="ab\ncd\n")
    assert (status, printed) == (0, f"{partial} (stopped)\n{second.text}\n")


def test_chat_tells_its_commands(run, model):
    status, printed, _ = run("chat", "--model", model, stdin="/help\n")
    named = {line.split()[0] for line in printed.splitlines() if line.startswith("/")}
    assert status == 0 and named == {"/help", "/reset", "/stats", "/method", "/quit"}


def test_a_long_chat_forgets_its_oldest_turns_and_says_so_once(run, model, engine):
    chat = ("chat", "--model", model, "--max-new-tokens", 9, "--system", "be")
    lines = [letter * 100 for letter in "abcdefghij"]
    status, printed, complaints = run(*chat, stdin="\n".join(lines))
    assert (status, complaints) == (0, "") and printed.count("oldest turns are forgotten") == 1
    answers = [line for line in printed.splitlines() if not line.startswith("(the conversation")]
    kept, messages = engine.model.max_positions - 9, [{"role": "system", "content": "be"}]
    for line, answer in zip(lines, answers, strict=True):
        messages.append({"role": "user", "content": line})
        while len(engine.codec.encode(messages)) > kept:
            del messages[1:3]
        assert engine.generate(messages, "lookup", max_new_tokens=9).text == answer  # system and question stay
        messages.append({"role": "assistant", "content": answer})
    assert len(messages) < 2 * len(lines) and engine.encode(messages)
    assert "positions" in run(*chat, stdin="a" * POSITIONS)[2]  # nothing is left to forget


def test_words_are_not_broken_at_the_margin(run, model, engine, monkeypatch):
    text = "one twenty-two \x1b[32mthree\x1b[0m four\n\n  five sixteen 日本語のテキスト " + "x" * 25 + " end"
    for pieces in ([text], re.findall(r"\x1b\[\d+m|.", text, re.DOTALL)):
        margin = Margin(11)
        lines = ESCAPES.sub("", "".join(map(margin.feed, pieces)) + margin.finish()).split("\n")
        assert lines[:3] == ["one ", "twenty-two ", "three four"] and lines[3:5] == ["", "  five "]
        columns = [sum(2 if ord(letter) > 0x2FFF else 1 for letter in line) for line in lines]
        assert max(columns) <= 11 and "".join(lines).replace(" ", "") == ESCAPES.sub("", text).translate(
            {32: "", 10: ""}
        )
        assert "sixteen 日" in lines and any(line.startswith("end") or line.endswith(" end") for line in lines)
    monkeypatch.setattr("stretto.cli.chat.on_terminal", lambda: True)
    monkeypatch.setattr("stretto.cli.chat.get_terminal_size", lambda: os.terminal_size((20, 5)))
    printed = run("chat", "--model", model, "--max-new-tokens", 60, stdin="ab\n")[1]
    answer = engine.chat("ab", max_new_tokens=60).text
    assert printed.replace("\n", "").replace(" ", "") == answer.replace("\n", "").replace(" ", "")
    assert max(map(len, printed.split("\n"))) <= 20 < len(answer)


# -- methods ------------------------------------------------------------------------------------------


def test_methods_lists_every_entry_of_the_catalogue(run):
    status, printed, _ = run("methods")
    assert status == 0 and printed.splitlines()[0].split() == list(cli_columns())
    assert {line.split()[0] for line in printed.splitlines()[1:]} == set(catalogue.entries())
    records = json.loads(run("methods", "--json")[1])
    keys = {"name", "number", "family", "parts", "command", "guarantee", "needs", "source", "summary"}
    assert [set(record) for record in records] == [keys] * len(catalogue.entries())
    lookup = next(record for record in records if record["name"] == "prompt-lookup")
    assert lookup["guarantee"] == "exact" and lookup["parts"] == "lookup"


def test_methods_of_a_family(run, monkeypatch):
    beam = Entry("beam", "of-tests", "a source", "beam", Guarantee.APPROXIMATE, number=7, needs=("a", "b"))
    monkeypatch.setitem(catalogue._added.entries, "beam", beam)
    (record,) = json.loads(run("methods", "--json", "--family", "of-tests")[1])
    assert (record["name"], record["number"], record["needs"]) == ("beam", 7, ["a", "b"])
    assert record["guarantee"] == "approximate"
    _, line = run("methods", "--family", "of-tests")[1].splitlines()
    assert line.split() == ["beam", "7", "of-tests", "approximate", "beam", "a,", "b"]


def test_steers_and_constraints_are_families_of_their_own(run):
    for family, some in (("steer", {"contrastive-decoding", "nucleus"}), ("constraint", {"regex-mask"})):
        records = json.loads(run("methods", "--json", "--family", family)[1])
        assert some <= {record["name"] for record in records}
        assert {record["guarantee"] for record in records} == {"exact of its definition"}
    assert "every method" in run("methods", "nucleus")[1]


def cli_columns():
    from stretto.cli.methods import COLUMNS

    return COLUMNS


def test_methods_lists_the_parts_with_their_settings(run):
    printed = run("methods", "--parts")[1]
    assert re.search(r"^    \s+longest = 3 +tokens, ≥ shortest$", printed, re.MULTILINE)
    records = json.loads(run("methods", "--parts", "--json")[1])
    assert {record["name"] for record in records} == set(catalogue.parts())
    assert all(record["summary"] for record in records)


# -- verify -------------------------------------------------------------------------------------------


def test_verify_finds_exact_methods_identical(run, model, tmp_path):
    common = ("verify", "--model", model, "--method", "lookup(matches=2)+fixed(6)", "--max-new-tokens", 20)
    status, printed, _ = run(*common, "ab", "abab", "--temperature", 1)
    assert (status, printed) == (0, "lookup(matches=2)+fixed(6) against plain: identical over 40 tokens of 2 prompts\n")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("ab\n\ncdcd\nef\n", encoding="utf-8")
    assert "60 tokens of 3 prompts" in run(*common, "--chat", "--file", prompts)[1]
    kind = next(iter(tasks()))
    assert "40 tokens of 2 prompts" in run(*common, "--task", kind, "--count", 2)[1]
    assert f"of {len(tasks())} prompts" in run(*common, "--max-new-tokens", 1)[1]


def test_verify_continues_texts_and_asks_the_questions_of_the_gym(
    run, model, untemplated, engine, monkeypatch, tmp_path
):
    asked = []
    compare = verify.compare

    def recorded(engine, prompt, *methods, **settings):
        asked.append(prompt)
        return compare(engine, prompt, *methods, **settings)

    monkeypatch.setattr(verify, "compare", recorded)
    (tmp_path / "prompts.txt").write_text("cd\n", encoding="utf-8")
    (question,) = gym_prompts("copy_edit", 1)
    message = [{"role": "user", "content": question}]
    system = [{"role": "system", "content": "be"}, *arguments.question("ab")]
    for name, options, prompt in (
        (model, ["ab"], "ab"),
        (model, ["--chat", "ab"], arguments.question("ab")),
        (model, ["--system", "be", "ab"], system),
        (model, ["--file", tmp_path / "prompts.txt"], "cd"),
        (model, ["--task", "copy_edit"], message),
        (untemplated, ["--task", "copy_edit"], question),
    ):
        assert run("verify", "--model", name, "--max-new-tokens", 1, *options)[0] == 0
        assert asked.pop() == prompt


def test_verify_shows_the_first_difference(run, model, engine, monkeypatch):
    class Mistaken(Exact):
        name = "mistaken"

        def accept(self, target):
            late = len(target.rows[0].new_tokens) == 5
            return [Verdict([], int(target.steered(0, -1).argsort(descending=True)[1 if late else 0]))]

    monkeypatch.setitem(catalogue._added.parts, "mistaken", Mistaken)
    common = ("verify", "--model", model, "abab", "--method", "lookup+mistaken", "--max-new-tokens", 20)
    status, printed, _ = run(*common)
    where, first, second, gap, verdict = printed.splitlines()
    token = engine.generate("abab", "plain", max_new_tokens=20).tokens[5]
    assert status == 1 and where.startswith("prompt 1: difference after 5 equal tokens, …'abab")
    assert first.startswith("  lookup+mistaken: ") and second.startswith(f"  plain: {token} ")
    assert float(gap.removeprefix("  gap of their scores: ")) > 1e-4
    assert verdict == "lookup+mistaken against plain: 1 different of 1 prompt; 5 tokens identical before"
    monkeypatch.setattr("stretto.verify.TIE", 1e9)
    status, printed, _ = run(*common)
    assert status == 0 and "prompt 1: tie" in printed
    assert printed.endswith("1 tie of 1 prompt; 5 tokens identical before\n")


# -- clock --------------------------------------------------------------------------------------------


def test_clock_prints_what_it_knows_and_measures_where_it_knows_nothing(run, model, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # where nothing is remembered yet
    studied = []

    def study(_, clock, rows):
        studied.append(rows)
        for turn in range(60):  # each study finds a slower machine
            for tokens in SIZES:
                clock.learn([tokens] * rows, len(studied) * (9.0 + tokens * rows) / 1000)
        clock.keep()

    monkeypatch.setattr("stretto.models.study.study", study)
    records = json.loads(run("clock", "--model", model, "--rows", 2, "--json")[1])
    assert [(record["tokens"], record["rows"]) for record in records] == [(size, 2) for size in SIZES]
    seconds = [record["seconds"] for record in records]
    assert seconds == pytest.approx([(9 + 2 * size) / 1000 for size in SIZES], rel=0.2)
    assert [record["windows"] for record in records] == pytest.approx([each / seconds[0] for each in seconds])
    status, printed, _ = run("clock", "--model", model)
    head, _, *lines = printed.splitlines()
    assert status == 0 and head == f"{model} (float32, cpu)"
    shown = [(int(tokens), float(ms)) for tokens, ms, *_ in map(str.split, lines)]
    assert [size for size, _ in shown] == [*SIZES]
    before = len(studied)
    remembered = [float(line.split()[1]) for line in run("clock", "--model", model)[1].splitlines()[2:]]
    assert remembered[: len(SIZES)] == pytest.approx([ms for _, ms in shown], rel=0.05) and len(studied) == before
    again = json.loads(run("clock", "--model", model, "--json", "--fresh")[1])
    assert len(studied) == before + 1
    assert again[0]["seconds"] == pytest.approx(0.010 * len(studied), rel=0.1)


# -- demo ---------------------------------------------------------------------------------------------


def test_demo_says_so_where_the_model_solves_nothing(run, model, monkeypatch):
    monkeypatch.setattr(demo, "KINDS", {"copy_edit": "lookup", "word_problem": "draft"})
    monkeypatch.setattr(demo, "SETTINGS", {"max_new_tokens": 8})
    status, printed, _ = run("demo", "--model", model, "--draft", model)
    assert status == 1 and printed.startswith(f"{model} solves none")


def test_demo_shows_and_measures_what_the_shipped_model_solves(run):
    try:
        find("zoo/causal"), find("zoo/draft")
    except StrettoError as error:
        pytest.skip(str(error))
    status, printed, _ = run("demo")
    assert status == 0 and printed.count("──── ") >= 3 and "\x1b" not in printed
    ratio, same, tokens = re.search(r"([\d.]+) times as fast as plain decoding, (\d+) of (\d+)", printed).groups()
    assert float(ratio) > 0 and same == tokens and int(tokens) > 30
    head, lookup = re.search(r"zoo/eagle (\d+\.\d+) tokens a round, lookup (\d+\.\d+)", printed).groups()
    assert float(head) > 1.3 * float(lookup) >= 1.3
    assert max(map(len, printed.splitlines())) <= 80


def test_an_interrupt_ends_the_demo(run, model, interrupt_at):
    interrupt_at(3)
    assert run("demo", "--model", model, "--draft", model) == (130, "", "")


def test_columns_are_kept_whatever_the_text():
    column, written = demo.Column(), []
    demo.write_now, keep = written.append, demo.write_now
    try:
        column.write("\x1b[32mone two\n\x1b[0m" + "three " * 40 + "x" * 200)
    finally:
        demo.write_now = keep
    lines = ESCAPES.sub("", "".join(written)).split("\n")
    assert {word.strip("x") for line in lines for word in line.split()} == {"one", "two", "three", ""}  # none broken
    assert max(map(len, lines)) <= demo.WIDTH and all(line.startswith(demo.MARGIN) for line in lines)
    assert "".join(lines).replace(" ", "") == "onetwo" + "three" * 40 + "x" * 200


# -- mistakes -----------------------------------------------------------------------------------------

MISTAKES = {  # arguments; MODEL, OTHER (another vocabulary), UNTEMPLATED and FOLDER are filled in -> what is said
    "no command of that name": ("genrate ab", "did you mean 'generate'"),
    "no option of that name": ("generate ab --temprature 1", "did you mean '--temperature'"),
    "an option of nothing known": ("methods --xyzzy", "see stretto methods --help"),
    "no number": ("generate ab --top-k x", "invalid int value: 'x' (hint: see stretto generate --help)"),
    "no list of tokens": ("generate ab --banned-tokens x", "no list of token ids"),
    "no list of biases": ("generate ab --logit-bias 5", "no list of biases"),
    "options that exclude each other": ("generate ab --chat --ids", "not allowed with"),
    "a system message of ids": ("generate 5 --system be --ids", "is of messages"),
    "an option that is gone": ("generate ab --raw", "text is continued as it stands"),
    "a message without template": ("generate --model UNTEMPLATED --chat ab", "no chat template"),
    "empty prompt": ("generate --model MODEL ''", "the prompt is empty"),
    "empty prompt, a message": ("generate --model MODEL --chat ''", "the prompt is empty"),
    "empty standard input": ("generate --model MODEL -", "the prompt is empty"),
    "prompt over the positions": ("generate --model MODEL LONG", "the model 700 positions"),
    "prompt of no ids": ("generate --model MODEL --ids ab", "leave out --ids"),
    "id outside of the vocabulary": ("generate --model MODEL --ids 9999", "outside of the vocabulary"),
    "no such model": ("generate --model FOLDER/nil ab", "there is no folder"),
    "no such zoo model": ("generate --model zoo/nil ab", "zoo"),
    "missing configuration": ("generate --model FOLDER ab", "has no config.json"),
    "corrupt configuration": ("generate --model FOLDER/confused ab", "not readable JSON"),
    "missing weights": ("generate --model FOLDER/weightless ab", "has no model.safetensors"),
    "weights cut off": ("generate --model FOLDER/cut ab", "it was cut off"),
    "corrupt weights": ("generate --model FOLDER/corrupt ab", "not a safetensors file"),
    "unknown architecture": ("generate --model FOLDER/foreign ab", "describes no known model"),
    "unsupported architecture": ("generate --model FOLDER/encoder ab", "does not continue text"),
    "unknown dtype": ("generate --model MODEL --dtype float9 ab", "unknown dtype"),
    "unknown device": ("generate --model MODEL --device abacus ab", "there is no device"),
    "unknown exactness": ("generate --model MODEL --exact letters ab", "choose tokens or bits"),
    "unknown weights": ("generate --model MODEL --weights int9 ab", "choose auto, float32, int8, int4"),
    "unknown method": ("generate --method lokup ab", "did you mean 'lookup'"),
    "empty method": ("generate --method '' ab", "the method is empty"),
    "unknown setting of a part": ("generate --method lookup(longst=2) ab", "did you mean 'longest'"),
    "setting of a part out of range": ("generate --method lookup(longest=0) ab", "1 <= shortest <= longest"),
    "parts that do not fit": ("generate --method lookup+draft ab", "two of a kind, drafter"),
    "no drafter": ("generate --method fixed(3) ab", "has no drafter"),
    "setting out of range": ("generate --temperature -1 ab", "temperature"),
    "no new tokens": ("generate --max-new-tokens 0 ab", "max_new_tokens >= 1"),
    "no samples": ("generate --samples 0 ab", "samples >= 1"),
    "empty stop string": ("generate --stop= ab", "a stop string is empty"),
    "banned token outside of the vocabulary": ("generate --model MODEL --banned-tokens 999 ab", "outside of the vocab"),
    "draft of another vocabulary": ("generate --model MODEL --method draft(model=OTHER) ab", "another vocabulary"),
    "no such draft": ("generate --model MODEL --method draft(model=FOLDER/nil) ab", "there is no folder"),
    "not enough memory": ("generate --model MODEL --samples 99999999 ab", "GiB are free"),
    "system message without template": ("generate --model UNTEMPLATED --system be ab", "no chat template"),
    "trace of several": ("generate --trace FOLDER/trace.json ab cd", "a trace is of one answer"),
    "trace into nowhere": ("generate --trace FOLDER/nil/trace.json ab", "mkdir -p"),
    "chat without template": ("chat --model UNTEMPLATED", "no chat template"),
    "chat of an unknown method": ("chat --method lokup", "did you mean 'lookup'"),
    "unknown family": ("methods --family specluate", "did you mean 'speculate'"),
    "unknown task": ("verify --task nil", "no gym task"),
    "no questions": ("verify --count 0", "count >= 1"),
    "count of given prompts": ("verify ab --count 2", "leave it out"),
    "parts of a family": ("methods --parts --family speculate", "not allowed with"),
    "no such file": ("verify --file FOLDER/nil.txt", "No such file or directory"),
    "file without prompts": ("verify --file FOLDER/empty.txt", "holds no prompt"),
    "file that is no text": ("verify --file FOLDER/cut/model.safetensors", "not UTF-8"),
    "prompts from several places": ("verify ab --task copy_edit", "several places"),
    "against an unknown method": ("verify --against plan", "did you mean 'plain'"),
    "chat with a setting out of range": ("chat --top-p 2", "top_p"),
    "verify with a setting out of range": ("verify --top-p 2", "top_p"),
    "clock of no model": ("clock --model FOLDER/nil", "there is no folder"),
    "demo of no model": ("demo --model FOLDER/nil", "there is no folder"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model):
    """A folder without checkpoint, which holds spoilt ones."""
    outer = tmp_path_factory.mktemp("spoilt")
    (outer / "empty.txt").write_text("\n\n", encoding="utf-8")
    for name in ("confused", "weightless", "cut", "corrupt", "foreign", "encoder"):
        shutil.copytree(model, outer / name)
    (outer / "confused" / "config.json").write_text('{"model_type": ', encoding="utf-8")
    (outer / "foreign" / "config.json").write_text('{"model_type": "abacus"}', encoding="utf-8")
    (outer / "encoder" / "config.json").write_text('{"model_type": "vit"}', encoding="utf-8")
    (outer / "weightless" / "model.safetensors").unlink()
    weights = (outer / "cut" / "model.safetensors").read_bytes()
    (outer / "cut" / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    (outer / "corrupt" / "model.safetensors").write_bytes(b"\xff" * 64)
    return str(outer)


@pytest.fixture(scope="module")
def other(tmp_path_factory, model):
    """A draft model whose tokenizer names its tokens otherwise."""
    target = tmp_path_factory.mktemp("other") / "model"
    shutil.copytree(model, target)
    vocabulary = (target / "tokenizer.json").read_text(encoding="utf-8")
    (target / "tokenizer.json").write_text(vocabulary.replace("<|end|>", "<|stop|>"), encoding="utf-8")
    settings = (target / "tokenizer_config.json").read_text(encoding="utf-8")
    (target / "tokenizer_config.json").write_text(settings.replace("<|end|>", "<|stop|>"), encoding="utf-8")
    return str(target)


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_a_mistake_is_told_in_one_line(run, mistake, model, other, untemplated, folder):
    line, told = MISTAKES[mistake]
    filled = {"MODEL": model, "OTHER": other, "UNTEMPLATED": untemplated, "FOLDER": folder, "LONG": "x" * POSITIONS}
    argv = [re.sub("|".join(filled), lambda name: filled[name[0]], part) for part in shlex.split(line)]
    status, printed, complaint = run(*argv)
    assert status == 2 and printed == ""
    assert complaint.startswith("stretto: ") and complaint.count("\n") == 1 and told in complaint
    assert "(hint: " in complaint or "No such file" in complaint
