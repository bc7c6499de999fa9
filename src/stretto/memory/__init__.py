"""In what form a cache keeps the keys and values of what was read: stores, one file each."""
