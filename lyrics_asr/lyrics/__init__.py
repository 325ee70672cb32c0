"""Lyrics as text: lines and words as written, their spelling for an acoustic model, their normalized form."""
