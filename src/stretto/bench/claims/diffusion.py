"""Claims of the systems that fill masks, by kind."""

from __future__ import annotations

from .diffusion_analysis import CLAIMS as ANALYSIS
from .diffusion_blocks import CLAIMS as BLOCKS
from .diffusion_caches import CLAIMS as CACHES
from .diffusion_constraints import CLAIMS as CONSTRAINTS
from .diffusion_lossless import CLAIMS as LOSSLESS
from .diffusion_orders import CLAIMS as ORDERS
from .diffusion_paths import CLAIMS as PATHS
from .diffusion_stops import CLAIMS as STOPS
from .diffusion_trained import CLAIMS as TRAINED

CLAIMS = (*ORDERS, *PATHS, *TRAINED, *BLOCKS, *CACHES, *STOPS, *LOSSLESS, *CONSTRAINTS, *ANALYSIS)
