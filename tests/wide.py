"""How wide the tests go.

Where a law is about several axes at once (a part, another part, a model, a seed), `make test` tries every two of their
values together, and `make test-wide` all of them.
"""

from __future__ import annotations

import os

WIDE = bool(os.environ.get("STRETTO_WIDE"))
