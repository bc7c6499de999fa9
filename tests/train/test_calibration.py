"""`stretto train filter` and `stretto train branches` as they are called, on a tiny untrained checkpoint."""

from __future__ import annotations

from argparse import Namespace

import pytest

from stretto import cli, gym
from stretto.diffuse.branch_schedule import Schedule
from stretto.diffuse.filter import Filter
from stretto.engine import Engine
from stretto.train.calibration import asked
from test_infill import save

SMALL = ("--new-tokens", "8", "--count", "3")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("masked"), None)


@pytest.fixture
def run(capsys):
    def call(*arguments):
        status = cli.main(["train", *map(str, arguments)])
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def prompts(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("add 1 and 2\n\nwhich is it\nno more\nnever asked\n", encoding="utf-8")
    return file


def method_of(printed):
    """The method that the command tells one to use."""
    return printed.splitlines()[-1].split("'")[1]


def test_a_filter_is_made_and_works_with_the_method_it_names(run, model, prompts, tmp_path):
    out = tmp_path / "judge.npz"
    more = ("--method", "low-confidence+blocks(4)", "--width", 4, "--epochs", 20)
    status, printed, _ = run("filter", "--model", model, "--prompts", prompts, "--out", out, *SMALL, *more)
    assert status == 0 and "24 of the method" in printed  # three answers of eight positions, one a step
    assert Filter.load(out).width == 4
    assert method_of(printed) == f"learned({out})+blocks(size=4)"
    found = Engine.load(model).generate("add 1 and 2", method_of(printed), max_new_tokens=8, end_tokens=())
    assert len(found.tokens) == 8


def test_a_schedule_is_made_and_works_with_the_method_it_names(run, model, prompts, tmp_path):
    out = tmp_path / "when.json"
    status, printed, _ = run("branches", "--model", model, "--prompts", prompts, "--out", out, *SMALL, "--updates", 2)
    schedule = Schedule.read(out)
    assert status == 0 and schedule.steps == 3
    assert set(schedule.updates) == {(layer, part) for layer in range(2) for part in ("attention", "mlp")}
    made = sum(len(steps) for steps in schedule.updates.values())
    assert f"{made} of 12 attentions and MLPs" in printed
    assert method_of(printed) == f"ascending+branch-cache({out})"
    found = Engine.load(model).generate("add 1 and 2", method_of(printed), max_new_tokens=8, end_tokens=())
    assert len(found.steps) == 3


def test_without_a_file_the_gym_asks_what_is_for_training(model):
    engine = Engine.load(model)
    chats = asked(Namespace(prompts=None, count=len(gym.tasks()) + 1), engine)
    assert len(chats) == len({chat[0]["content"] for chat in chats}) == len(gym.tasks()) + 1
    for chat, kind in zip(chats, gym.tasks(), strict=False):
        assert gym.split_of(gym.Question(kind, chat[0]["content"], "")) == "train"


@pytest.mark.parametrize("recipe", ["filter", "branches"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "lookup"), "fills no masks"),
        (("--count", 0), "0 answers"),
        (("--out", "absent/folder/it"), "no folder"),
        (("--prompts", "absent.txt"), "absent.txt"),
        (("--model", "zoo/causal"), "continues text"),
        (("--colour", "red"), "knows no '--colour'"),
    ],
)
def test_mistakes_are_named(run, model, recipe, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = arguments if "--model" in arguments else ("--model", model, *arguments)
    status, _, complaint = run(recipe, *given)
    assert status == 2 and message in complaint and len(complaint.splitlines()) == 1


def test_recipes_have_their_own_mistakes(run, model, prompts, tmp_path):
    status, _, complaint = run("branches", "--model", model, "--updates", 0, "--out", tmp_path / "it")
    assert status == 2 and "0 updates" in complaint
    late = ("--method", "threshold(0.2)", "--prompts", prompts, "--out", tmp_path / "it")
    status, _, complaint = run("branches", "--model", model, *SMALL, *late)
    assert status == 2 and "fixed number of steps" in complaint
    assert not (tmp_path / "it").exists()
    assert run("filtre", "--model", model)[0] == 2
