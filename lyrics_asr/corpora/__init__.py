"""Song corpora: readers that return songs with lyrics and reference times, and the manifest that lists them."""
