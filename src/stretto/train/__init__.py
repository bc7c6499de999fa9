"""Training: one loop (`trainer`), one file per recipe (`zoo`)."""
