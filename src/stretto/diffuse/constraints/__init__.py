"""One file per part: what may stand on a canvas."""
