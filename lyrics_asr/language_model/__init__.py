"""N-gram language models for the beam search: estimate them, mix them, read them, judge them.

    texts.py        lyrics of any size -> normalised sentences, one at a time; word lists
    build.py        sentences -> .arpa, .arpa.gz or .bin, by KenLM's programs or by our own estimator
    kneser_ney.py   our own estimator
    kenlm_tools.py  KenLM's programs lmplz and build_binary
    mixing.py       several models -> one, weighted to predict a held-out text best
    files.py        what is in ARPA files and KenLM binaries
    info.py         order, size and perplexity of a model

Probabilities in files are log10, as ARPA has them. <s> begins a sentence, </s> ends it, <unk> is any other word.
"""

from lyrics_asr.language_model.build import BuildOptions, MixtureReport, build_language_model, build_mixture
from lyrics_asr.language_model.files import LANGUAGE_MODEL_SUFFIXES, MAX_ORDER, load_kenlm, read_unigrams
from lyrics_asr.language_model.info import LanguageModelInfo, Perplexity, describe_language_model, measure_perplexity

__all__ = [
    "LANGUAGE_MODEL_SUFFIXES",
    "MAX_ORDER",
    "BuildOptions",
    "LanguageModelInfo",
    "MixtureReport",
    "Perplexity",
    "build_language_model",
    "build_mixture",
    "describe_language_model",
    "load_kenlm",
    "measure_perplexity",
    "read_unigrams",
]
