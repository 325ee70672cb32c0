"""`lyrics-asr lm`: build, inspect and tune language models."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lyrics_asr.console import DONE, UsageError, progress, say

if TYPE_CHECKING:
    from lyrics_asr.cli.main import VerbParser


def declare_lm(parser: "VerbParser") -> None:
    """Actions of `lyrics-asr lm`."""
    parser.add_verbs(
        "action",
        [
            ("build", "estimate a language model from lyrics", _declare_build),
            ("info", "tell the order and size of a language model, and its perplexity on texts", _declare_info),
            (
                "tune",
                "search a model's decoding weights on development songs, and see whether its language model helps",
                _declare_tune,
            ),
        ],
    )


def _declare_build(parser: "VerbParser") -> None:
    parser.runs(_build, "lyrics-asr lm build lyrics/ -o lyrics.arpa --order 4")
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXT", help="lyrics, or folders of .txt files")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help=".arpa, .arpa.gz or .bin file; .bin loads fast and needs KenLM's build_binary",
    )
    parser.add_argument(
        "--order", type=int, default=4, metavar="N", help="length of the longest n-grams (default: %(default)s)"
    )
    parser.add_argument(
        "--prune",
        nargs="+",
        type=int,
        default=[],
        metavar="N",
        help="prune n-grams that occur at most N times, one threshold per order as in lmplz: 0 0 1 prunes n-grams of "
        "order 3 and higher that occur once (default: no pruning)",
    )
    words = parser.add_mutually_exclusive_group()
    words.add_argument(
        "--vocabulary",
        type=Path,
        metavar="FILE",
        help="limit the vocabulary to the words in FILE, separated by white space, as in lmplz's --limit_vocab_file",
    )
    words.add_argument("--max-vocab", type=int, metavar="N", help="limit the vocabulary to the N most frequent words")
    parser.add_argument(
        "--held-out",
        nargs="+",
        type=Path,
        metavar="TEXT",
        help="lyrics of the target domain: build one model per TEXT, and interpolate them with weights tuned on these "
        "lyrics",
    )
    parser.add_argument(
        "--estimator",
        choices=("auto", "kenlm", "own"),
        default="auto",
        help="kenlm: lmplz, from PATH or the folder $KENLM_BIN; own: the same model in memory, about 25 bytes "
        "per byte of text at order 4; auto: lmplz if installed (default: %(default)s)",
    )
    parser.add_argument(
        "--memory", default="1G", metavar="SIZE", help="memory for lmplz, as in its -S (default: %(default)s)"
    )
    parser.add_argument(
        "--temporary",
        type=Path,
        metavar="FOLDER",
        help="where lmplz sorts, as in its -T (default: the output's folder)",
    )
    _add_text_language(parser)


def _build(args: argparse.Namespace) -> int:
    """Estimate a language model from lyrics."""
    from lyrics_asr.language_model import BuildOptions, build_language_model, build_mixture
    from lyrics_asr.language_model.texts import Sentences, most_frequent_words, read_vocabulary

    texts = [Sentences.of([given], args.language) for given in args.texts]
    together = Sentences.of(args.texts, args.language)
    if args.held_out and len(texts) < 2:
        raise UsageError("--held-out weights several texts against each other; give two or more, or leave it out")
    vocabulary = None if args.vocabulary is None else read_vocabulary(args.vocabulary)
    if args.max_vocab is not None:
        vocabulary = most_frequent_words(together, args.max_vocab)
    options = BuildOptions(tuple(args.prune), vocabulary, args.estimator, args.memory, args.temporary)
    if args.held_out:
        held_out = Sentences.of(args.held_out, args.language)
        report = build_mixture(texts, held_out, args.order, args.output, options)
        for given, weight in zip(args.texts, report.weights, strict=True):
            say(f"{given}: weight {weight:.4f}")
        say(f"{args.output}: perplexity {report.held_out_perplexity:.2f} on the known words of the held-out text")
    else:
        build_language_model(together, args.order, args.output, options)
    say(f"{args.output}: built from {len(together.files)} texts")
    return DONE


def _declare_info(parser: "VerbParser") -> None:
    parser.runs(_info, "lyrics-asr lm info lyrics.arpa --text other_lyrics/")
    parser.add_argument("model", type=Path, metavar="LM", help="a .arpa, .arpa.gz or .bin file")
    parser.add_argument("--text", nargs="+", type=Path, metavar="TEXT", help="lyrics, or folders of .txt files")
    parser.add_argument(
        "--model", dest="acoustic", metavar="MODEL", help="also count the words that this model's letters can spell"
    )
    _add_text_language(parser)


def _info(args: argparse.Namespace) -> int:
    """Tell what a language model is, and how well it predicts texts."""
    from lyrics_asr.language_model import describe_language_model, load_kenlm, measure_perplexity
    from lyrics_asr.language_model.texts import Sentences

    info = describe_language_model(args.model)
    model = load_kenlm(args.model)
    lines = [("kind", info.kind), ("size", f"{info.size_bytes} bytes"), ("order", str(info.order))]
    lines += [(f"{n}-grams", str(count)) for n, count in enumerate(info.counts, 1)]
    if args.text:
        fit = measure_perplexity(model, Sentences.of(args.text, args.language))
        lines += [
            ("text", f"{fit.sentences} lines, {fit.tokens - fit.sentences} words"),
            ("unknown words", f"{fit.oov_words} ({fit.oov_rate:.2%})"),
            ("perplexity", f"{fit.with_oov:.2f} with unknown words, {fit.without_oov:.2f} without"),
        ]
    if args.acoustic:
        lines.append(("spelled words", _spelled_words(args.model, args.acoustic)))
    for name, value in lines:
        print(f"{name:<15}{value}")
    return DONE


def _spelled_words(path: Path, model_name: str) -> str:
    """How many words of a language model the letters of a model can spell."""
    from lyrics_asr.decoding.lexicon import Symbols, WordLanguageModel
    from lyrics_asr.models.registry import load_model
    from lyrics_asr.options import DecodingOptions

    lexicon = WordLanguageModel(path, DecodingOptions()).lexicon
    symbols = Symbols.of(load_model(model_name, device="cpu").acoustic.vocabulary)
    spelled = sum(symbols.spell(word) is not None for word in lexicon)
    return f"{spelled} of {len(lexicon)} ({spelled / len(lexicon):.2%}) with the letters of {model_name}"


def _declare_tune(parser: "VerbParser") -> None:
    parser.runs(_tune, "lyrics-asr lm tune runs/mine/model data/prepared/development/manifest.jsonl")
    parser.add_argument("model", type=Path, metavar="MODEL", help="folder of a model; its decoder.yaml is replaced")
    parser.add_argument(
        "manifest", type=Path, metavar="MANIFEST", help="songs that are not in any training data of the model"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N songs")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="cache emissions in this folder")
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, ... (default: %(default)s)")


def _tune(args: argparse.Namespace) -> int:
    """Search the weights of a model's language model."""
    from lyrics_asr.config import dump_config
    from lyrics_asr.corpora.manifest import read_manifest
    from lyrics_asr.evaluation.decoder_tuning import GRIDS, Trial, tune
    from lyrics_asr.files import require_writable_folder, write_text
    from lyrics_asr.inference import pipeline
    from lyrics_asr.inference.emission_cache import EmissionCache
    from lyrics_asr.inference.stages import options_for
    from lyrics_asr.lyrics.normalization import normalize
    from lyrics_asr.models.registry import load_model

    if not (args.model / "model.json").is_file():
        raise UsageError(f"{args.model}: no model's folder; make one with `load_model(NAME).save(FOLDER)` in Python")
    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit is {args.limit}; it must be at least 1")
    songs = read_manifest(args.manifest)[: args.limit]
    require_writable_folder(args.model)
    model = load_model(str(args.model), device=args.device)
    if model.language_model_path is None:
        raise UsageError(
            f"{args.model}: has no language model; load_model(..., language_model=FILE).save(FOLDER) adds one"
        )
    options = options_for(model)
    cache = None
    if args.cache is not None:
        fingerprint = model.fingerprint(options.separation, options.acoustic)
        cache = EmissionCache(args.cache, model, fingerprint)
    emissions = []
    for number, song in enumerate(songs, start=1):
        with progress(f"{number}/{len(songs)} {song.id}") as report:
            emissions.append(pipeline.emissions_of(song.audio, model, options=options, cache=cache, progress=report))
    references = [normalize(song.lyrics, song.language) for song in songs]

    def tell(trial: Trial) -> None:
        names = dict.fromkeys(name for name, _ in GRIDS)
        say(f"WER {trial.wer:.1%}: " + ", ".join(f"{name} {getattr(trial.options, name):g}" for name in names))

    tuning = tune(emissions, references, model.language_model_path, model.decoding, tell)
    write_text(args.model / "decoder.yaml", dump_config(tuning.options))
    for name, each in (("without", tuning.without_model), ("with", tuning.with_model)):
        print(f"WER {name:<7} language model: {_with_interval(each.value, each.low, each.high)}")
    if tuning.gain is not None:
        print(f"difference: {_with_interval(tuning.gain.difference, tuning.gain.low, tuning.gain.high)}")
    verdict = "helps" if tuning.helps else "does not help beyond chance: its weight is 0"
    print(f"over {len(songs)} songs the language model {verdict}; {args.model / 'decoder.yaml'} is written")
    return DONE


def _with_interval(share: float | None, low: float | None, high: float | None) -> str:
    if share is None or low is None or high is None:
        return "-" if share is None else f"{share:.1%}"
    return f"{share:.1%} (95 % interval {low:.1%} to {high:.1%})"


def _add_text_language(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--language",
        default="en",
        metavar="CODE",
        help="language in which numbers are spelled out (default: %(default)s)",
    )
