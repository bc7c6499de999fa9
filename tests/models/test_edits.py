"""Edits: of each row its own, in its order, with what left earlier layers; and sums that no row beside changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from laws.worlds import LastTwo
from stretto.errors import InvalidRequest, ModelError, Unsupported
from stretto.laws.inside import engine
from stretto.models.control_vector import Added, ControlVector, Random, unit
from stretto.models.edits import Edit, changes, dots, require_edits
from stretto.models.gguf.file import read

DIRECTIONS = {1: [1.0, -2.0, 0.5], 3: [0.0, 0.25, 4.0]}


@dataclass(frozen=True, slots=True)
class Times(Edit):
    """Layer 1 by a number; layer 2 plus what left layer 1."""

    by: float
    recalls: ClassVar[bool] = True

    @property
    def layers(self) -> tuple[int, ...]:
        return 1, 2

    def __call__(self, layer: int, rows: Tensor, earlier: Mapping[int, Tensor]) -> Tensor:
        return rows * self.by if layer == 1 else rows + earlier[1]


def test_each_row_has_its_own_edits_in_their_order() -> None:
    plus = Added(ControlVector({1: [1.0, 1.0]}), 1.0, 0, 9)
    of = changes([(Times(2.0), plus), (), (plus, Times(2.0)), (Times(2.0), plus)])
    assert sorted(of) == [1, 2]
    rows = torch.arange(16.0).view(4, 2, 2)
    before = rows.clone()
    first = of[1](rows)
    assert torch.equal(first, torch.stack([2 * rows[0] + 1, rows[1], 2 * (rows[2] + 1), 2 * rows[3] + 1]))
    second = of[2](first)
    assert torch.equal(second, torch.stack([first[0] + 2 * rows[0], first[1], 2 * first[2], first[3] + 2 * rows[3]]))
    assert torch.equal(rows, before)
    half = changes([(plus,), (plus,)])[1](rows[:2].bfloat16())
    assert half.dtype == torch.bfloat16 and torch.equal(half.float(), rows[:2] + 1)


def test_products_are_the_same_bits_whatever_rows_are_beside() -> None:
    generator = torch.Generator().manual_seed(3)
    rows, directions = torch.randn(37, 577, generator=generator), torch.randn(5, 577, generator=generator)
    found = dots(rows, directions)
    torch.testing.assert_close(found, rows.double() @ directions.double().T)
    for at in (0, 11, 36):
        assert torch.equal(dots(rows[at : at + 1], directions)[0], found[at])
        assert torch.equal(dots(rows[at : at + 1], directions[2:3])[0, 0], found[at, 2])


@pytest.mark.parametrize("name", ["v.gguf", "v.safetensors"])
def test_files_give_back_what_was_written(name, tmp_path) -> None:
    vector = ControlVector(DIRECTIONS, made_for="llama")
    vector.write(tmp_path / name)
    again = ControlVector.read(tmp_path / name)
    assert again == vector and hash(again) == hash(vector) and str(again) == str((tmp_path / name).resolve())
    assert again.directions[3].tolist() == DIRECTIONS[3]
    vector = ControlVector({1: [1.0]})
    vector.write(tmp_path / name)  # a file that has changed is read again
    assert ControlVector.read(tmp_path / name).channels == 1 and vector != again


def test_files_and_repeng_count_layers_from_0(tmp_path) -> None:
    vector = ControlVector(DIRECTIONS, made_for="llama")
    vector.write(tmp_path / "v.gguf")
    file = read(tmp_path / "v.gguf")
    assert file.pairs["general.architecture"] == "controlvector"
    assert file.pairs["controlvector.model_hint"] == "llama" and file.pairs["controlvector.layer_count"] == 2
    assert {name: tensor.tolist() for name, tensor in file.tensors.items()} == {
        "direction.0": DIRECTIONS[1],
        "direction.2": DIRECTIONS[3],
    }

    theirs = {0: torch.tensor(DIRECTIONS[1]).numpy(), 2: torch.tensor(DIRECTIONS[3]).numpy()}
    held = SimpleNamespace(model_type="llama", directions=theirs)
    assert ControlVector.of(held) == ControlVector.of(theirs) == vector
    assert ControlVector.of(held).made_for == "llama"


def test_what_is_no_control_vector_is_refused(tmp_path, smollm2) -> None:
    for directions, says in (({}, "has no direction"), ({1: [1.0], 2: [1.0, 2.0]}, "of 1 and 2 channels")):
        with pytest.raises(InvalidRequest, match=says):
            ControlVector(directions)
    for wrong in ([float("nan")], [[1.0]], []):
        with pytest.raises(InvalidRequest, match="has for layer 1 no direction"):
            ControlVector({1: wrong})
    with pytest.raises(InvalidRequest, match="has for layer -1 no direction"):
        ControlVector({-1: [1.0]})
    with pytest.raises(InvalidRequest, match="edits the embedding"):
        ControlVector({0: [1.0]}).write(tmp_path / "v.gguf")
    with pytest.raises(InvalidRequest, match=r"neither .* nor"):
        ControlVector({1: [1.0]}).write(tmp_path / "v.bin")
    with pytest.raises(ModelError, match="there is no file"):
        ControlVector.read(tmp_path / "none.gguf")
    with pytest.raises(ModelError, match="holds no control vector: its architecture is 'llama'"):
        ControlVector.read(smollm2)


def test_a_file_of_other_tensors_is_refused(tmp_path) -> None:
    from safetensors.torch import save_file

    save_file({"weight": torch.ones(3)}, tmp_path / "v.safetensors")
    with pytest.raises(ModelError, match="holds weight, which is no direction"):
        ControlVector.read(tmp_path / "v.safetensors")
    save_file({"direction.1": torch.ones(3, 3)}, tmp_path / "v.safetensors")
    with pytest.raises(ModelError, match="has for layer 2 no direction"):
        ControlVector.read(tmp_path / "v.safetensors")


def test_models_that_lack_what_is_edited_refuse() -> None:
    model = engine("fast").model
    require_edits([Random(1, 1.0, 0, 3)], model)
    with pytest.raises(Unsupported, match=r"layer 4, which .* lacks"):
        require_edits([Random(1, 1.0, 0, 4)], model)
    with pytest.raises(Unsupported, match=r"is of 3 channels, .* has 32"):
        require_edits([Added(ControlVector(DIRECTIONS), 1.0, 0, 9)], model)
    with pytest.raises(Unsupported, match="takes no edits"):
        require_edits([Random(1, 1.0, 0, 0)], LastTwo(5, 1))
    require_edits([], LastTwo(5, 1))


def test_random_directions_are_of_length_1_and_repeat() -> None:
    one, two = unit(3, 1, 50), unit(3, 2, 50)
    assert float(one.norm()) == pytest.approx(1.0) and abs(float(one @ two)) < 0.5
    assert torch.equal(unit(3, 1, 50), one)
