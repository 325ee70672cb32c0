"""Lyrics: text as people write it, its words, their letters in the vocabulary of an acoustic model."""
