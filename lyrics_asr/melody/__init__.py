"""The melody of separated vocals: pitch, and notes for each syllable."""
