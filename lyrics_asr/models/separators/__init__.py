"""Vocal separators: mixture in, vocals out."""
