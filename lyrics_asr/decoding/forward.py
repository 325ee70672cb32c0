"""The exact probability of a text given the emissions, by the CTC forward algorithm.

Source: Graves et al., 2006, Connectionist Temporal Classification, equations 6 to 8. Unlike there, paths that only
differ in their word delimiters spell the same text: any mix of blanks and delimiters may stand before, between and
after words, with at least one delimiter between two words. Words of pieces and of phonemes follow each other without
delimiters.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lyrics_asr.decoding.lexicon import BLANK_COLUMN, DELIMITER, Symbols


def text_log_prob(log_probs: Float[Tensor, "frames symbols"], symbols: Symbols, words: Sequence[str]) -> float:
    """Natural logarithm of the probability of all paths that spell `words`; minus infinity if no path does.

    Args:
        log_probs: at least one frame.
        symbols: of the columns.
        words: that `symbols` can spell; they may be none.
    """
    scores = log_probs.double().numpy()
    blank, labels = scores[:, BLANK_COLUMN], symbols.labels
    delimiter = scores[:, labels.index(DELIMITER)] if DELIMITER in labels else np.full(len(scores), -np.inf)
    silence = np.logaddexp(blank, delimiter)
    if not words:
        return float(silence.sum())

    # States run from left to right. `enter` and `stay` are the scores of entering a state and of staying in it. `skips`
    # marks states that can be entered past the blank before them: a letter that differs from the one before, and the
    # delimiter after a word.
    enter, stay, skips = [silence], [silence], [False]
    tokens, ranges = symbols.tokenize(words)
    spelled = [tokens[start:end] for start, end in ranges] if symbols.unit == "letters" else [tokens]
    for i, word in enumerate(spelled):
        if i > 0:
            enter += [blank, delimiter]
            stay += [blank, silence]
            skips += [False, True]
        for k, column in enumerate(word):
            if k > 0:
                enter.append(blank)
                stay.append(blank)
                skips.append(False)
            enter.append(scores[:, column])
            stay.append(enter[-1])
            skips.append(k > 0 and column != word[k - 1])
    enter.append(silence)
    stay.append(silence)
    skips.append(False)
    entering, staying = np.stack(enter, axis=1), np.stack(stay, axis=1)
    closed = np.where(skips, 0.0, -np.inf)

    reached = np.full(len(skips), -np.inf)
    reached[:2] = entering[0, :2]
    before, two_before = np.full(len(skips), -np.inf), np.full(len(skips), -np.inf)
    for frame in range(1, len(scores)):
        before[1:], two_before[2:] = reached[:-1], reached[:-2]
        reached = np.logaddexp(reached + staying[frame], np.logaddexp(before, two_before + closed) + entering[frame])
    return float(np.logaddexp(reached[-1], reached[-2]))
