"""Forced alignment: when each word and line of given lyrics is sung."""
