#!/usr/bin/env bash
# transformers 5.24.0: an adapter beside a checkpoint's weights is merged in where PEFT is installed, and ignored silently
# where it is not.
#
# Guess: a folder with config.json, model.safetensors, adapter_config.json and adapter_model.safetensors computes the same
# wherever it loads: with the adapter, or an error or a warning that PEFT is missing.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q transformers==5.24.0 torch==2.13.0 accelerate 2>/dev/null

cat > "$folder/logits.py" <<'PYTHON'
import json
import logging
import sys
import warnings
from importlib.util import find_spec

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

place, said = sys.argv[1], []
warnings.showwarning = lambda message, *rest, **more: said.append(str(message))
handler = logging.Handler()
handler.emit = lambda record: said.append(record.getMessage())
logging.getLogger("transformers").addHandler(handler)
logging.getLogger("transformers").propagate = False

torch.manual_seed(0)
shape = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
LlamaForCausalLM(LlamaConfig(**shape, initializer_range=0.15)).save_pretrained(place)
tokens = torch.tensor([[5, 6, 7, 8]])
with torch.no_grad():
    before = AutoModelForCausalLM.from_pretrained(place)(tokens).logits
name = "base_model.model.model.layers.0.self_attn.q_proj"
parts = {f"{name}.lora_A.weight": torch.randn(4, 32), f"{name}.lora_B.weight": torch.randn(32, 4)}
save_file(parts, f"{place}/adapter_model.safetensors")
config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": [name[17:]]}
with open(f"{place}/adapter_config.json", "w") as file:
    json.dump(config | {"base_model_name_or_path": place}, file)
said.clear()
with torch.no_grad():
    after = AutoModelForCausalLM.from_pretrained(place)(tokens).logits
told = [line for line in said if "adapter" in line.lower() or "peft" in line.lower()]
change = float((after - before).abs().max())
installed = find_spec("peft") is not None
print(f"peft {'installed' if installed else 'missing  '}: the adapter changes logits by {change:.3f}; lines about it: {told}")
assert (change > 0.01) is installed, change
assert installed or not told, told
PYTHON
"$folder/venv/bin/python" "$folder/logits.py" "$folder/without" 2>/dev/null
"$folder/venv/bin/pip" install -q peft==0.21.2 2>/dev/null
"$folder/venv/bin/python" "$folder/logits.py" "$folder/with" 2>/dev/null
echo "As found: without PEFT the folder loads as if it had no adapter, and nothing is said."
