"""Drafters: who guesses the next tokens. One file each."""
