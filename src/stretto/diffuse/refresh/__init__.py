"""One file per part: what is computed anew, and what is read from the cache."""
