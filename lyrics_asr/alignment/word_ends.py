"""Ends of words at the fall of the voice.

CTC models emit a letter when they have recognized it, and the blank while it is held. So the last letter of a word is
over long before its sound is. But the letters do not vanish altogether until the voice falls: together, they are some
ten times as likely during a held sound as in a pause.
"""

from collections.abc import Sequence

import numpy as np

from lyrics_asr.emissions import Emissions

_MAX_SILENT_PROBABILITY = 0.004
_MAX_HELD_SECONDS = 1.5


def sung_ends(emissions: Emissions, spans: Sequence[tuple[int, int]]) -> list[int]:
    """The frame at which each word ends, for half-open spans of frames from its first to its last letter.

    That is the first frame, from the end of the last letter on, in which all letters together have a probability of at
    most 0.4 %. Words end at most 1.5 s after their last letter, and not after the start of another word or the song.

    Args:
        emissions: emissions of the song.
        spans: words in any order; those of several voices may overlap.
    """
    if not spans:
        return []
    pauses = [emissions.vocabulary.blank_id]
    if emissions.vocabulary.word_delimiter_id is not None:
        pauses.append(emissions.vocabulary.word_delimiter_id)
    pause_probs = emissions.log_probs[:, pauses].exp().sum(dim=1).numpy()
    frames = len(pause_probs)
    silent = np.append(np.flatnonzero(1 - pause_probs <= _MAX_SILENT_PROBABILITY), frames)
    starts, ends = np.array(spans).T
    falls = silent[np.searchsorted(silent, ends)]
    held = ends + round(_MAX_HELD_SECONDS / emissions.grid.frame_seconds)
    others = np.append(np.sort(starts), frames)
    limits = np.minimum(held, others[np.searchsorted(others, ends)])
    return [int(end) for end in np.minimum(falls, limits)]
