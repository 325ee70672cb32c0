"""Beam search for CTC emissions: two back ends that take the same options and give the same hypotheses."""
