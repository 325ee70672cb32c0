"""Given lyrics placed on the frames of a song."""
