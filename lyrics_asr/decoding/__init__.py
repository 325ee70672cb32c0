"""CTC decoding: emissions to timed words by greedy or beam search, and words to lines."""
