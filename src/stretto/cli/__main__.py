"""`python -m stretto.cli`, the same as `stretto`."""

from __future__ import annotations

import sys

from . import main

sys.exit(main())
