"""Every kernel is the same product, for all row counts, with and without bias and addend."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stretto.models import kernel_choice
from stretto.models.alike import WIDTHS, Alike, widths_of
from stretto.models.drawn.coded import Call, Coded, gated, normed
from stretto.models.drawn.drawing import Drawing
from stretto.models.drawn.four_bits import relaid
from stretto.models.kernel_choice import Wish, linears, named
from stretto.models.linear import ROWS, Half, Kernel, Linear, Packed, Plain
from stretto.models.quantised import Quantised, rounded
from stretto.models.weights import Norm

COUNTS = sorted({1, 2, 3, 5, 17, 63, 64, 65, 130, *ROWS})
KERNELS: dict[str, Callable[[Tensor, Tensor | None], Kernel]] = {
    "plain": lambda weight, bias: Plain(weight, bias, transposed=False),
    "transposed": lambda weight, bias: Plain(weight, bias, transposed=True),
    "packed": Packed,
    "half": Half,
}


def matrix(outputs: int, inputs: int, seed: int = 0) -> Tensor:
    """A weight that float16 holds exactly."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(outputs, inputs, generator=generator).half().float()


SUPER = {"Q4_K": (144, [0, 2]), "Q6_K": (210, [208])}  # bytes of a block of 256, and where its float16 stand


def blocks(kind: str, outputs: int, inputs: int) -> Quantised:
    """A weight in blocks; gguf writes no K kinds, so these are any bytes but for sane scales."""
    generator = torch.Generator().manual_seed(outputs)
    if kind not in SUPER:
        return rounded(torch.randn(outputs, inputs, generator=generator), kind)
    size, scales = SUPER[kind]
    data = torch.randint(256, (outputs, inputs // 256, size), dtype=torch.uint8, generator=generator)
    for at in scales:
        chosen = (1e-3 * torch.rand(outputs, inputs // 256, 1, generator=generator)).half()
        data[..., at : at + 2] = chosen.view(torch.uint8)
    return Quantised(data.flatten(1), kind, inputs)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("name", KERNELS)
@torch.inference_mode()
def test_a_kernel_is_the_product(name: str, biased: bool) -> None:
    weight = matrix(70, 45)
    bias = torch.randn(70) if biased else None
    kernel = KERNELS[name](weight, bias)
    for rows in COUNTS:
        x, add = torch.randn(rows, 45), torch.randn(rows, 70)
        kept = add.clone()
        torch.testing.assert_close(kernel(x), F.linear(x, weight, bias), atol=3e-5, rtol=0)
        torch.testing.assert_close(kernel(x, add), F.linear(x, weight, bias) + add, atol=3e-5, rtol=0)
        assert torch.equal(add, kept)


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q4_K", "Q5_0", "Q6_K", "Q8_0"])
@torch.inference_mode()
def test_rows_of_blocks_do_not_know_their_neighbours(kind: str) -> None:
    weight, bias = blocks(kind, 64, 768), torch.randn(64)
    kernel = Coded((weight,), bias)
    x = torch.randn(70, 768) * torch.logspace(-3, 3, 70)[:, None]
    together = kernel(x)
    for rows in (1, 2, 3, 4, 5, 8, 16, 33, 64):
        assert torch.equal(kernel(x[:rows]), together[:rows])
        assert torch.equal(kernel(x[-rows:]), together[-rows:])
    exact = F.linear(x, weight.dense())
    error = (together - bias - exact).norm(dim=1) / exact.norm(dim=1)
    assert 0 < float(error.max()) < 0.03  # inputs in eight bits
    add = torch.randn(70, 64)
    torch.testing.assert_close(kernel(x, add), together + add)
    assert torch.equal(kernel(torch.zeros(2, 768)), bias.expand(2, -1))


@torch.inference_mode()
def test_blocks_of_unlike_kinds_stand_one_below_the_other() -> None:
    parts = (blocks("Q8_0", 32, 96), blocks("Q4_1", 64, 96), blocks("Q5_0", 8, 96))
    kernel, x = Coded(parts, None), torch.randn(5, 96)
    assert torch.equal(kernel(x), torch.cat([Coded((part,), None)(x) for part in parts], 1))


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q4_K"])
def test_four_bits_are_laid_anew_with_offsets(kind: str) -> None:
    weight = blocks(kind, 16, 512)
    data, offsets = relaid(weight)
    found, exact = Quantised(data, "Q4_0", 512).dense(), weight.dense()
    if offsets is None:
        assert kind == "Q4_0" and torch.equal(found, exact)
        return
    found = found + offsets.repeat_interleave(32, 1)
    if kind == "Q4_1":
        torch.testing.assert_close(found, exact)
    else:  # its scales are rounded to float16
        torch.testing.assert_close(found, exact, atol=2**-11 * 8 * float(exact.abs().max()), rtol=0)


@torch.inference_mode()
def test_what_stands_around_products_is_done_in_the_same_call() -> None:
    """A norm before, a whole MLP, a sum behind: as in floats but for rounding, and each row by itself."""
    gain = torch.rand(64) + 0.5
    norm = Norm(gain * 64**0.5, torch.tensor((64 * 1e-5) ** 0.5))
    gate_up, down = blocks("Q4_1", 192, 64), blocks("Q8_0", 64, 96)
    rows = 300 * torch.randn(70, 64)  # as large as what the MLP adds
    whole = rows * (rows.square().mean(1, keepdim=True) + 1e-5).rsqrt() * gain
    gate, up = F.linear(whole, gate_up.dense()).chunk(2, dim=1)
    first, last, wide = Coded((gate_up,), None), Coded((down,), torch.ones(64)), 300 * torch.randn(70, 192)

    def mlp(gelu: bool) -> Call:
        def draw(drawing: Drawing) -> int:
            inner = gated(drawing, first.draw(drawing, normed(drawing, norm, drawing.rows_of(64))), 96, gelu=gelu)
            return last.draw(drawing, inner)

        return Call(draw)

    for call, exact, own in (
        (mlp(False), F.linear(F.silu(gate) * up, down.dense()) + 1, 0.0),
        (mlp(True), F.linear(F.gelu(gate, approximate="tanh") * up, down.dense()) + 1, 0.0),
        (lambda x: first(x, wide[: len(x)]), F.linear(rows, gate_up.dense()), wide),
    ):
        found = call(rows)
        assert 0 < float((found - own - exact).norm() / exact.norm()) < 0.03
        for count in (1, 2, 3, 4, 5, 8, 16, 33, 64):
            assert torch.equal(call(rows[:count]), found[:count])


def test_only_weights_that_float16_holds_are_halved() -> None:
    exact = matrix(256, 200)
    stored_as_bfloat16 = (0.02 * torch.randn(256, 200)).bfloat16().float()
    assert kernel_choice._fits_half((exact, None))
    assert kernel_choice._fits_half((stored_as_bfloat16, None))
    assert not kernel_choice._fits_half((torch.randn(256, 200), None))
    assert not kernel_choice._fits_half((exact * 1e6, None))  # beyond the range of float16


@pytest.mark.parametrize("shape", [(40, 24), (300, 200), (1100, 1000)])  # below TINY, below SMALL, above
@pytest.mark.parametrize("halved", [False, True])
@torch.inference_mode()
def test_whatever_is_chosen_is_the_product(shape: tuple[int, int], halved: bool) -> None:
    weights = [matrix(*shape, seed) + (0.0 if halved else 1e-4) for seed in range(2)]
    for product, weight in zip(linears([(weight, None) for weight in weights]), weights, strict=True):
        for rows in COUNTS:
            x = torch.randn(rows, shape[1])
            torch.testing.assert_close(product(x), F.linear(x, weight), atol=5e-4, rtol=0)
        assert all(isinstance(kernel, Plain | Packed | Half) for kernel in product.kernels)
        assert halved or not any(isinstance(kernel, Half) for kernel in product.kernels)
    if weights[0].nbytes > kernel_choice.SMALL:
        assert len(set(map(type, product.kernels))) == 1  # held once only


def test_each_row_count_takes_the_kernel_timed_for_it() -> None:
    class Named:
        def __init__(self, rows: int) -> None:
            self.rows = rows

        def __call__(self, x: Tensor, add: Tensor | None = None) -> Tensor:
            return torch.full((1,), self.rows)

    product = Linear([Named(rows) for rows in ROWS])
    for rows in COUNTS:
        expected = next((count for count in ROWS if count >= rows), ROWS[-1])
        assert product(torch.zeros(rows, 1)) == expected


def test_half_weights_of_other_numbers_stay_plain() -> None:
    (product,) = linears([(matrix(300, 200).bfloat16(), None)])
    assert {type(kernel) for kernel in product.kernels} == {Plain}


# -- alike --------------------------------------------------------------------------------------------


class Uneven:
    """A product of which chosen counts of rows have other bits; beside that, of each row alone."""

    def __init__(self, *odd: int) -> None:
        self.odd = odd
        self.counts: list[int] = []

    def __call__(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        self.counts.append(len(x))
        product = x.sum(1, keepdim=True)
        return product * (1 + 1e-6) if len(x) in self.odd else product


def test_a_kernel_is_held_to_the_counts_at_which_its_rows_are_alike() -> None:
    x = torch.randn(150, 40)
    assert widths_of(Uneven(), 40, x) == list(WIDTHS)
    kernel = Uneven(1, 2, 6, 7)
    widths = widths_of(kernel, 40, x)
    assert widths == [width for width in WIDTHS if width not in (1, 2, 6)]
    alike, whole = Alike(kernel, widths), x.sum(1, keepdim=True)
    for rows in (1, 2, 3, 5, 6, 7, 30, 64, 65, 150):
        kernel.counts.clear()
        assert torch.equal(alike(x[:rows]), whole[:rows])
        assert torch.equal(alike(x[:rows], whole[:rows].clone()), whole[:rows] + whole[:rows])
        assert set(kernel.counts) <= set(widths)


def test_where_the_place_matters_rows_are_multiplied_one_by_one() -> None:
    def placed(x: Tensor) -> Tensor:
        return x.sum(1, keepdim=True) + torch.arange(len(x))[:, None] * 1e-3

    x = torch.randn(70, 40)
    assert widths_of(placed, 40, x) == [1]
    assert torch.equal(Alike(placed, [1])(x), x.sum(1, keepdim=True))


@pytest.mark.parametrize("shape", [(40, 24), (300, 200), (1100, 1000)])
@pytest.mark.parametrize("wish", [Wish(bits=True), Wish(bits=True, settled=True)])
@torch.inference_mode()
def test_alike_products_do_not_know_how_many_rows_there_are(shape: tuple[int, int], wish: Wish) -> None:
    weights = [matrix(*shape, seed) for seed in range(2)]
    for product, weight in zip(linears([(weight, None) for weight in weights], 0, wish), weights, strict=True):
        assert len(set(product.names)) == 1  # one kernel, or the counts would differ
        x, add = torch.randn(130, shape[1]), torch.randn(130, shape[0])
        whole, added = product(x), product(x, add.clone())
        torch.testing.assert_close(whole, F.linear(x, weight), atol=5e-4, rtol=0)
        for rows in range(1, 131):
            assert torch.equal(product(x[:rows]), whole[:rows])
            assert torch.equal(product(x[-rows:], add[-rows:].clone()), added[-rows:])


def test_a_rule_instead_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_choice, "_race", lambda *_: pytest.fail("the clock was asked"))
    for shape, halved, expected in (
        ((300, 200), True, "transposed, half from 2 rows on"),
        ((300, 200), False, "transposed, packed from 2 rows on"),
        ((1100, 1000), True, "half"),
        ((1100, 1000), False, "packed"),
    ):
        (product,) = linears([(matrix(*shape) + (0.0 if halved else 1e-4), None)], 0, Wish(settled=True))
        assert named(product) == expected


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """How often the clock was asked, in an empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    race, times = kernel_choice._race, [0]

    def counted(*given: Any) -> dict[str, float]:
        times[0] += 1
        return race(*given)

    monkeypatch.setattr(kernel_choice, "_race", counted)
    return times


@pytest.mark.parametrize("shape", [(300, 200), (1100, 1000)])
def test_the_clock_is_asked_once_for_each_shape(asked: list[int], shape: tuple[int, int]) -> None:
    series = [(matrix(*shape, seed), None) for seed in range(2)]
    first = [product.names for product in linears(series)]
    assert asked == [len(ROWS)]
    assert [product.names for product in linears(series)] == first
    assert asked == [len(ROWS)]
    for change in ([*series, series[0]], [(matrix(shape[0] + 1, shape[1]), None)] * 2):
        linears(change)
    linears(series, beside=1 << 20)
    assert asked == [4 * len(ROWS)]


@pytest.mark.parametrize(
    "wrong",
    ["", "[]", "{}", '{"choice": 3}', '{"choice": ["plain"]}', '{"choice": [["half"], 1, 2, 3, 4, 5]}', "mixed"],
)
def test_a_file_that_holds_no_choice_is_measured_anew(asked: list[int], tmp_path: Path, wrong: str) -> None:
    """One of several kernels would break the bits, if it were believed where one has to serve all counts."""
    series = [(matrix(300, 200), None)]
    wish = Wish(bits=True)
    linears(series, 0, wish)
    (file,) = (tmp_path / "stretto").iterdir()
    file.write_text(wrong if wrong != "mixed" else json.dumps({"choice": ["plain", *["packed"] * (len(ROWS) - 1)]}))
    (again,) = linears(series, 0, wish)
    assert asked == [2 * len(ROWS)]
    assert len(set(again.names)) == 1 and tuple(json.loads(file.read_text())["choice"]) == again.names


def test_a_rule_reads_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    linears([(matrix(300, 200), None)], 0, Wish(settled=True))
    assert not [*tmp_path.iterdir()]
