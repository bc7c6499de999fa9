"""One file per part: in which window."""
