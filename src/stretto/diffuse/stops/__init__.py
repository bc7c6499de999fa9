"""One file per part: when a row ends before its canvas is full."""
