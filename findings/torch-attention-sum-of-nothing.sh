#!/usr/bin/env bash
# torch 2.13.0 on a CPU: the attention kernel that hands out the logarithm of its sum of weights says 0 for a query
# that sees no key, as if it had seen one of weight 1.
#
# Guess: minus infinity, the logarithm of an empty sum. Then two readings of parts of the keys, put together by these
# sums, are the reading of all of them, also where a part is masked whole for some query.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 numpy==2.4.6 2>/dev/null

"$folder/venv/bin/python" - <<'PYTHON'
import torch

print("torch", torch.__version__)
torch.manual_seed(0)
HEADS, QUERIES, KEYS, SIZE = 2, 3, 8, 16
attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
query, key, value = (torch.randn(1, HEADS, count, SIZE) for count in (QUERIES, KEYS, KEYS))
mask = torch.zeros(1, 1, QUERIES, KEYS)
mask[..., 0, : KEYS // 2] = -torch.inf  # the first query sees none of the first half of the keys


def read(begin: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What the queries read of some keys, [1, H, N, size], and the logarithms of their sums, [1, H, N]."""
    return attend(query, key[:, :, begin:end], value[:, :, begin:end], attn_mask=mask[..., begin:end].contiguous())


def together(sums_of_first: torch.Tensor) -> torch.Tensor:
    """Both halves, each by its share of the weights."""
    share = torch.sigmoid(sums_of_first - second_sums)[..., None]
    return share * first + (1 - share) * second


whole, _ = read(0, KEYS)
first, first_sums = read(0, KEYS // 2)
second, second_sums = read(KEYS // 2, KEYS)
exact = (query.double() @ key[:, :, : KEYS // 2].double().mT / SIZE**0.5 + mask[..., : KEYS // 2]).logsumexp(-1)
print("sums of the first half, first head:", [round(each, 4) for each in first_sums[0, 0].tolist()])
print("by their definition:               ", [round(each, 4) for each in exact[0, 0].tolist()])
errors = (together(first_sums) - whole).abs().amax((0, 1, 3))
mended = (together(first_sums.masked_fill(mask[..., : KEYS // 2].amax(-1) == -torch.inf, -torch.inf)) - whole).abs().max()
print("error of both halves together, by query:", [f"{each:.1e}" for each in errors.tolist()])
print(f"with minus infinity put in its place: {float(mended):.1e}")

assert first_sums[..., 0].eq(0).all() and exact[..., 0].eq(-torch.inf).all()
assert torch.allclose(first_sums[..., 1:].double(), exact[..., 1:], atol=1e-5)
assert errors[0] > 0.05 and errors[1:].max() < 1e-5 and mended < 1e-5
print("As found: the sum of nothing is told as 1, so the reading of the other half is weakened.")
PYTHON
