from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from stretto.engine import Engine
from stretto.errors import ModelError
from stretto.laws import inside
from stretto.laws.heads import random_head
from stretto.models.heads.files import KINDS, find_head, read_head, write_head
from stretto.models.heads.target import bound
from stretto.speculate.acceptors.exact import Exact
from stretto.speculate.drafters.model import DraftModel
from stretto.speculate.loop import Speculate
from stretto.speculate.planners.fixed import Fixed


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_is_read_as_it_was_written(kind, tmp_path):
    head = random_head(kind)
    write_head(head, tmp_path / "one")
    again = find_head(str(tmp_path / "one"))
    assert type(again) is type(head)
    assert again.name == "one"
    assert again.depth == head.depth
    assert again.tensors.keys() == head.tensors.keys()
    for name, tensor in head.tensors.items():
        assert torch.equal(again.tensors[name], tensor)


def published_medusa(folder, **changed):
    """The layout of that project: heads of one block and a matrix of their own."""
    tensors = {}
    for i in range(2):
        tensors[f"{i}.0.linear.weight"] = torch.randn(8, 8)
        tensors[f"{i}.0.linear.bias"] = torch.randn(8)
        tensors[f"{i}.1.weight"] = torch.randn(20, 8)
    folder.mkdir()
    save_file({**tensors, **changed}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"medusa_num_heads": 2, "medusa_num_layers": 1}))
    return tensors


def test_the_published_layout_of_medusa(tmp_path):
    tensors = published_medusa(tmp_path / "medusa")
    head = read_head(tmp_path / "medusa")
    assert (head.form, head.depth, head.channels, head.taps(5)) == ("medusa", 2, 8, (5,))
    assert torch.equal(head.tensors["1.1.weight"], tensors["1.1.weight"])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"0.0.linear.weight": torch.zeros(8, 9)}, r"\(8, 9\), not \(8, 8\)"),
        ({"1.0.linear.weight": torch.full((8, 8), torch.nan)}, "no number"),
    ],
)
def test_what_does_not_fit_is_refused(changed, said, tmp_path):
    published_medusa(tmp_path / "medusa", **changed)
    with pytest.raises(ModelError, match=said):
        read_head(tmp_path / "medusa")


def test_what_is_missing_is_named(tmp_path):
    head = random_head("hydra")
    write_head(head, tmp_path)
    save_file({name: each for name, each in head.tensors.items() if name != "1.gate"}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"'1\.gate'"):
        read_head(tmp_path)


def test_a_model_is_no_head(tmp_path):
    assert find_head("zoo/draft") is None
    assert find_head(str(tmp_path)) is None
    with pytest.raises(ModelError, match="no head"):
        read_head(tmp_path)


def test_of_common_tokens_alone_the_targets_head_is_kept(tmp_path):
    model, head = inside.engine("fast").model, random_head("eagle")
    head.config["common_tokens"] = [2, 3, 30]
    write_head(head, tmp_path)
    common = read_head(tmp_path).common
    rows = torch.randn(4, 5, inside.CHANNELS, generator=torch.Generator().manual_seed(0))
    said, all_said = bound(model, common).lm_head(rows), bound(model).lm_head(rows)
    torch.testing.assert_close(said[..., common], all_said[..., common], atol=2e-2, rtol=2e-2)  # in float16
    others = [token for token in range(inside.VOCABULARY) if token not in common]
    assert bool((said[..., others] < all_said.min()).all())
    answer = Engine(model).generate([5, 9, 11], Speculate(DraftModel(head), Exact(), Fixed(4)), max_new_tokens=30)
    assert {token for step in answer.steps for token in step.drafted} <= set(common)


@pytest.mark.parametrize("common", [[3, -1], ["a"], 7, [10**6]])
def test_common_tokens_that_cannot_be_are_refused(common):
    head = random_head("eagle")
    head.config["common_tokens"] = common
    method = Speculate(DraftModel(head), Exact(), Fixed(4))
    with pytest.raises(ModelError, match=r"common_tokens|1000000"):
        inside.engine("fast").generate([1, 2], method, max_new_tokens=2)
