"""Synthetic songs with exact word times."""
