"""Emissions for tests of decoders and aligners: random ones, known paths, and brute force over all paths."""

import itertools
import math
from collections import defaultdict

import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from lyrics_asr.emissions import Emissions
from lyrics_asr.types import FrameGrid, Vocabulary

GRID = FrameGrid(320, 400, 16_000)
TINY = Vocabulary(("|", "A", "<pad>", "B"), 2, 0)
ENGLISH = Vocabulary(("<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"), 0, 4)

_PIECE_TOKENS = ("<pad>", "<unk>", "▁a", "▁b", "a", "b")
_PIECE_TOKENIZER = Tokenizer(models.Unigram([(token, -1.0) for token in _PIECE_TOKENS], unk_id=1))
_PIECE_TOKENIZER.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always")
PIECES = Vocabulary(_PIECE_TOKENS, 0, None, _PIECE_TOKENIZER.to_str())
PHONEMES = Vocabulary(("<pad>", "s", "iː", "t"), 0, None, phoneme_voice="en-us")


def emissions(log_probs, vocabulary=TINY):
    return Emissions(log_probs, vocabulary, GRID, (320 * len(log_probs) + 80) / 16_000)


def random_emissions(frames, seed, vocabulary=TINY):
    noise = torch.randn(frames, len(vocabulary.tokens), generator=torch.Generator().manual_seed(seed))
    return emissions((1.5 * noise).log_softmax(-1), vocabulary)


def path_emissions(path, probability=0.999, vocabulary=ENGLISH):
    """Emissions in which the symbols of `path` ("_" is the blank) have this probability, frame by frame."""
    columns = [vocabulary.blank_id if symbol == "_" else vocabulary.tokens.index(symbol) for symbol in path]
    probs = torch.full((len(path), len(vocabulary.tokens)), (1 - probability) / (len(vocabulary.tokens) - 1))
    probs[torch.arange(len(path)), columns] = probability
    return emissions(probs.log(), vocabulary)


def voice_falls(given, last, limit):
    """The first frame after the last letter in which letters have at most 0.4 %, going frame by frame up to a limit."""
    pauses = [given.vocabulary.blank_id, given.vocabulary.word_delimiter_id]
    end = last + 1
    while end < limit and 1 - sum(math.exp(given.log_probs[end, i]) for i in pauses if i is not None) > 0.004:
        end += 1
    return end


def text_log_probs(given):
    """Log-probability of every text, summed over all the paths that collapse to it."""
    totals = defaultdict(float)
    vocabulary, probs = given.vocabulary, given.log_probs.double().exp()
    for path in itertools.product(range(len(vocabulary.tokens)), repeat=len(probs)):
        collapsed = [column for column, _ in itertools.groupby(path) if column != vocabulary.blank_id]
        text = "".join(vocabulary.tokens[column] for column in collapsed).replace("|", " ").lower()
        totals[" ".join(text.split())] += math.prod(probs[i, column].item() for i, column in enumerate(path))
    return {text: math.log(total) for text, total in totals.items()}
