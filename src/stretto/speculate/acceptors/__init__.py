"""Acceptors: which path of a drafted tree is committed. One file each."""
