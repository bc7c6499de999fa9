"""What tells how good an answer is, one file per scorer."""
