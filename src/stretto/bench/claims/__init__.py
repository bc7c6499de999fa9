"""Published claims, tried here: one record each, in a file per family."""
