"""Sources of songs, each turned into a manifest."""
