"""Importing this module lets CPUs with instructions for bfloat16 compute in float32, as the others do.

Tests compare results more closely than bfloat16 computes.
"""

from lyrics_asr.models import precision

precision._FAST_INSTRUCTIONS = ()
