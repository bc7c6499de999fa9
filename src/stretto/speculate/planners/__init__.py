"""Planners: how much to guess. One file each."""
