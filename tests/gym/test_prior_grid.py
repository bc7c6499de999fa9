"""PriorGrid: what its world is like, and how answers about it fare."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from stretto import cli
from stretto.errors import InvalidRequest
from stretto.gym import prior_grid as grid
from stretto.models.patch_encoder import PatchEncoder
from stretto.train.prior_grid import train_prior_grid


def test_objects_go_together_as_often_as_is_said():
    for skew, least, most in ((1.0, 0.85, 0.95), (0.0, 0.0, 0.2)):
        chance = random.Random(3)
        scenes = [grid.scene(chance, skew) for _ in range(400)]
        paired = [grid.partner(scene.objects[0]) in scene for scene in scenes]
        assert least <= sum(paired) / len(paired) <= most
        assert all(len(set(scene.cells)) == len(scene.objects) == len(set(scene.objects)) for scene in scenes)


def test_a_picture_shows_its_objects_where_they_stand():
    scene = grid.Scene((0, 19), (0, 63))  # a red square in the first cell, white bars in the last
    pixels = grid.picture(scene)
    assert pixels.shape == (3, 32, 32)
    assert torch.equal(pixels[:, :4, :4], torch.tensor((1.0, 0.1, 0.1))[:, None, None].expand(3, 4, 4))
    assert pixels[:, 28:, 28:].sum() == 3 * 8  # two lines of four
    assert pixels.count_nonzero() == 3 * (16 + 8)
    assert torch.equal(grid.picture(scene, 0.3, 1), grid.picture(scene, 0.3, 1))
    assert not torch.equal(grid.picture(scene, 0.3, 1), grid.picture(scene, 0.3, 2))


@pytest.mark.parametrize("how", ["random", "adversarial"])
def test_questions_are_right_of_their_scene(how: grid.Negatives):
    chance = random.Random(5)
    for _ in range(40):
        scene = grid.scene(chance, 0.3)
        asked = grid.presence(scene, chance, how)
        there = {grid.asked(thing) for thing in scene.objects}
        assert all((question.prompt in there) == (question.answer == "yes") for question in asked)
        lonely = any(grid.partner(thing) not in scene for thing in scene.objects)
        if how == "adversarial" and lonely:
            partners = {grid.asked(grid.partner(thing)) for thing in scene.objects}
            assert partners & {question.prompt for question in asked if question.answer == "no"}


def test_where_one_stands_from_another():
    scene = grid.Scene((0, 1), (0, 9 + 8))  # the second is two rows down and one to the right
    found = {grid.place(scene, random.Random(seed)) for seed in range(8)}
    first, second = "red square", "red cross"
    assert {(each.prompt, each.answer) for each in found} == {
        (f"where is the {first} from the {second} ?", "above"),
        (f"where is the {second} from the {first} ?", "below"),
    }


def test_the_figures_of_answers_by_hand():
    scene = grid.Scene((0,), (0,))
    questions = [grid.Question(scene, "", answer) for answer in ("yes", "yes", "no", "no")]
    found = grid.judged(["yes", "no", "yes", "what"], questions)
    assert (found.accuracy, found.precision, found.recall, found.f1, found.yes) == (0.5, 0.5, 0.5, 0.5, 0.5)
    assert grid.judged(["no"] * 4, questions).f1 == 0.0


def test_the_figures_of_captions_by_hand():
    scenes = [grid.Scene((0, 1), (0, 1)), grid.Scene((2,), (5,))]
    assert grid.caption(scenes[0]).answer == "a red square and a red cross"
    found = grid.inspected(["a red square and a blue ring", "a red ring"], scenes)
    assert (found.invented, found.captions, found.recall) == (1 / 3, 1 / 2, 2 / 3)
    assert grid.inspected(["", ""], scenes) == grid.Mentions(0.0, 0.0, 0.0)


def test_a_step_of_training_by_its_command_leaves_a_checkpoint_with_its_encoder(tmp_path: Path):
    with pytest.raises(InvalidRequest, match="skew"):
        train_prior_grid(tmp_path, 1.0, skew=1.5)
    assert cli.main(["train", "prior-grid", "--out", str(tmp_path), "--steps", "1"]) == 0
    folder = tmp_path / "model"
    encoder = PatchEncoder.load(folder)
    assert encoder(grid.picture(grid.Scene((0,), (0,)))[None]).rows.shape == (1, grid.SIDE**2, 96)
