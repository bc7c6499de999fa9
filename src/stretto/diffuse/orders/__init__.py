"""One file per part: which positions are filled now."""
