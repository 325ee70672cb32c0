"""Training chunks: Lhotse cuts, how they are made, read and batched."""
