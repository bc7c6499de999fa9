"""One file per part: which canvases to evaluate beside the present one."""
