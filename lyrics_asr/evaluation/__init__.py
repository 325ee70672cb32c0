"""Measure a model on songs with a reference: predict, score, compare, report."""
