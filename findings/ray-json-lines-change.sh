#!/usr/bin/env bash
# Ray Data 2.60.0: `read_json` does not give the lines of a file back. Objects get the keys of their neighbours, texts
# that look like times become times, whole numbers become floats, and unlike kinds in one place fail the whole file.
#
# Guess: each line comes back as `json.loads` reads it, as a row; a batch of requests can be read by it.
set -euo pipefail

folder=$(mktemp -d /tmp/ray.XXXX)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q 'ray[data]==2.60.0' pyarrow==26.0.1 pandas==3.1.1 2>/dev/null

RAY_USAGE_STATS_ENABLED=0 "$folder/venv/bin/python" - "$folder" <<'PYTHON' 2>/dev/null
import json
import sys
from datetime import datetime
from pathlib import Path

import ray

folder = Path(sys.argv[1])
ray.init(address="local", include_dashboard=False, num_cpus=1, log_to_driver=False, _temp_dir=str(folder / "ray"))
ray.data.DataContext.get_current().enable_progress_bars = False
print("ray", ray.__version__)


def back(*lines: dict) -> list[dict]:
    """What is read of a file of these lines."""
    file = folder / "in.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return ray.data.read_json(str(file)).take_all()


schemas = [{"schema": {"properties": {name: {"type": "integer"}}}} for name in ("x", "y")]
for before, after in zip(schemas, back(*schemas)):
    print(json.dumps(before), "->", json.dumps(after))
    assert before != after and set(after["schema"]["properties"]) == {"x", "y"}

(first, second) = back({"seed": 2**53 + 1, "prompt": "2024-01-01T00:00:00"}, {"seed": 0.5, "prompt": "2024-01-02 00:00:00"})
print("seed", 2**53 + 1, "->", first["seed"], "and the prompt", repr(first["prompt"]))
assert first["seed"] == 2**53 and isinstance(first["prompt"], datetime)

try:
    back({"content": "text"}, {"content": [{"type": "text", "text": "text"}]})
    raise SystemExit("a text and a list in one place were read")
except Exception as error:
    print("a text and a list in one place:", type(error).__name__)
print("As found: requests are read as lines, not as a table of what they hold.")
ray.shutdown()
PYTHON
