"""`python -m stretto.train`."""

from __future__ import annotations

import sys

from stretto.train import main

sys.exit(main())
