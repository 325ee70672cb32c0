"""Adversarial objectives: a separator learns from discriminators, which learn from sounds that need not be paired."""
