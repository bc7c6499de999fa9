#!/usr/bin/env bash
# torch 2.13.0 on a CPU: where values are equal, `topk(k)` is no prefix of `topk(n)`, its first index is not `argmax`,
# and bfloat16 logits have equal values in plenty.
#
# Guess: among equal values the lowest index comes first, as `argmax` and a stable sort have it; at the least,
# `topk(20)` begins with what `topk(2)` gives, and `topk(k)[0]` is `argmax`.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 numpy==2.4.6 2>/dev/null

"$folder/venv/bin/python" - <<'PYTHON'
import torch

print("torch", torch.__version__)
torch.set_num_threads(1)
torch.manual_seed(0)
ROWS, VOCABULARY = 64, 49_152
logits = torch.randn(ROWS, VOCABULARY)  # [B, V]


def rates(rows: torch.Tensor, size: int) -> tuple[int, int, int]:
    """Rows where the first is argmax, where the list begins that of 1000, where the set is the stable sort's."""
    chosen = rows.topk(size).indices
    best = rows.argmax(-1)
    longer = rows.topk(1000).indices[:, :size]
    sorted_ = rows.sort(descending=True, stable=True).indices[:, :size]
    same = (chosen.sort(-1).values == sorted_.sort(-1).values).all(-1)
    return int((chosen[:, 0] == best).sum()), int((chosen == longer).all(-1).sum()), int(same.sum())


seen = {}
steps = torch.randint(0, 3, (ROWS, VOCABULARY)).float()  # values 0, 1, 2: equal ones everywhere
for name, rows in (("float32", logits), ("bfloat16", logits.bfloat16()), ("0, 1 or 2", steps)):
    equal = sum(len(row) - len(set(row)) for row in rows.topk(50).values.tolist()) / ROWS
    print(f"{name}: {equal:.1f} of a row's 50 greatest are equal to another")
    for size in (1, 2, 20, 50, 500, 900):
        seen[name, size] = rates(rows, size)
        first, prefix, members = seen[name, size]
        print(
            f"  k = {size:3}: of {ROWS} rows, first is argmax {first:2}, "
            f"begins topk(1000) {prefix:2}, keeps the set of a stable sort {members:2}"
        )

assert all(seen["float32", size] == (ROWS, ROWS, ROWS) for size in (1, 2, 20, 50)), seen  # no two are equal there
assert seen["bfloat16", 1][0] == ROWS and seen["bfloat16", 2][0] < ROWS and seen["bfloat16", 50][1] == 0, seen
assert seen["bfloat16", 50][2] < ROWS, seen
assert seen["0, 1 or 2", 1][0] == ROWS and seen["0, 1 or 2", 900][0] < ROWS // 8, seen
print("As found: which of equal values are kept, and which comes first, depends on k.")
PYTHON
