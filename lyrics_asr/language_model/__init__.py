"""N-gram language models for beam search: build, interpolate, read and evaluate.

    texts.py        lyrics files -> normalized sentences; word lists
    build.py        sentences -> .arpa, .arpa.gz or .bin, with KenLM's programs or the built-in estimator
    kneser_ney.py   the built-in estimator
    kenlm_tools.py  KenLM's programs lmplz and build_binary
    mixing.py       linear interpolation of several models, tuned on held-out text
    files.py        ARPA files and KenLM binaries
    info.py         order, size and perplexity of a model

Probabilities in files are base-10 logarithms, as in the ARPA format. <s> starts a sentence, </s> ends it, and <unk>
stands for out-of-vocabulary words.
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
