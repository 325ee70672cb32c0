"""The command line: `lyrics-asr VERB`.

Exit codes: 0 all done, 1 failure, 2 wrong usage, 3 some songs failed, 130 interrupted. Messages go to stderr, results
to stdout or to files. Heavy imports happen in the verbs, so that `--help` answers at once.
"""

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from threading import current_thread, main_thread
from typing import TYPE_CHECKING

from lyrics_asr.console import quiet, say
from lyrics_asr.version import __version__

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    if current_thread() is main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # stopped from outside is cleaned up like Ctrl-C
    try:
        with quiet(debug):
            args = _parser(arguments).parse_args(arguments)
            from lyrics_asr.cli import commands as verbs

            code: int = getattr(verbs, args.run)(args)
            return code
    except SystemExit as error:  # argparse has printed the help or what is wrong
        return error.code if isinstance(error.code, int) else WRONG_USAGE
    except KeyboardInterrupt:
        say("interrupted; files that were complete are kept, the one in progress is not")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of stdout, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _report_error(error)


def _report_error(error: Exception) -> int:
    if isinstance(error, ModuleNotFoundError):
        say(f"error: {error.name} is not installed; install it, or all extras: pip install 'lyrics-asr[dev]'")
        return FAILED
    from lyrics_asr.cli.commands import UsageError
    from lyrics_asr.inference.jobs import LayoutError
    from lyrics_asr.inference.runner import describe

    say(f"error: {describe(error)}")
    return WRONG_USAGE if isinstance(error, UsageError | LayoutError) else FAILED


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lyrics-asr",
        allow_abbrev=False,
        description="Song audio in, timed lyrics out.",
        epilog="lyrics-asr VERB --help tells about one verb. "
        "Exit codes: 0 all done, 1 failure, 2 wrong usage, 3 some songs failed.",
    )
    parser.add_argument("--version", action="version", version=f"lyrics-asr {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    verb = _add_verb(
        verbs,
        "transcribe",
        "write down the lyrics that are heard in songs",
        "transcribe",
        "lyrics-asr transcribe songs/ -o results --format json,lrc",
    )
    verb.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="SONG",
        help="audio or video files, folders of them, or lists (.jsonl, .csv)",
    )
    _add_transcript_options(verb, "txt")
    _add_model_options(verb)
    verb.add_argument(
        "--language-model",
        metavar="FILE",
        help="KenLM model (.arpa, .arpa.gz or .bin) in place of the model's own; none for none",
    )
    verb.add_argument(
        "--hotwords",
        action="append",
        default=[],
        metavar="WORDS",
        help="words that may well be sung: 'Artist, Title'; tags, for the artist and title that the song's file names; "
        "a .txt file, such as lyrics that are nearly right; a folder of them, with song.txt for song.mp3; repeatable",
    )
    verb.add_argument("--greedy", action="store_true", help="no beam search and no language model: faster, less exact")

    verb = _add_verb(
        verbs,
        "align",
        "give lyrics that you have the time of every word",
        "align",
        "lyrics-asr align song.mp3 song.txt > song.lrc",
    )
    verb.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="SONG [LYRICS]",
        help="a song and its lyrics; songs and folders with song.txt beside song.mp3; or lists of both (.jsonl, .csv)",
    )
    _add_transcript_options(verb, "lrc")
    _add_model_options(verb)

    verb = _add_verb(
        verbs,
        "separate",
        "write the vocals of songs as audio",
        "separate",
        "lyrics-asr separate songs/ -o vocals --format flac",
    )
    verb.add_argument("inputs", nargs="+", type=Path, metavar="SONG", help="audio or video files, or folders of them")
    verb.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where the vocals go")
    verb.add_argument(
        "--format",
        choices=("wav", "flac", "mp3", "ogg", "opus", "m4a"),
        default="wav",
        help="of the audio files (default: %(default)s)",
    )
    _add_overwrite(verb)
    _add_model_options(verb, recognition=False)

    verb = _add_verb(
        verbs,
        "render",
        "make other formats of JSON transcripts, with no model",
        "render",
        "lyrics-asr render song.json --format srt > song.srt",
    )
    verb.add_argument("inputs", nargs="+", type=Path, metavar="JSON", help="transcripts, or folders of them")
    _add_transcript_options(verb, "txt")

    _add_models_verb(verbs)
    _add_language_model_verb(verbs)
    _add_data_verb(verbs, argv)
    _add_verb(
        verbs, "doctor", "check this installation: versions, device, codecs, models", "doctor", "lyrics-asr doctor"
    )
    return parser


def _add_models_verb(verbs: "Verbs") -> None:
    models = verbs.add_parser(
        "models",
        help="list, download, find, export and average models",
        description="List, download, find, export, average models.",
    )
    actions = models.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, summary in (
        ("list", "the models that are known by name, and whether they are on this computer"),
        ("download", "fetch a model, to work offline later"),
        ("path", "print the folders that hold a model"),
    ):
        example = f"lyrics-asr models {name}" + ("" if name == "list" else " published")
        action = _add_verb(actions, name, summary, "models", example)
        if name != "list":
            action.add_argument(
                "name",
                nargs="?",
                default="published",
                metavar="MODEL",
                help="published or embedded (default: %(default)s)",
            )
    export = _add_verb(
        actions,
        "export",
        "write the best model of a training run as a folder that --model takes, and others can be given",
        "models",
        "lyrics-asr models export runs/finetune_dali my-lyrics-model",
    )
    export.add_argument("run_folder", type=Path, metavar="RUN", help="a run's output, or the folder of a checkpoint")
    export.add_argument("folder", type=Path, metavar="FOLDER", help="where the model goes")
    export.add_argument("--half", action="store_true", help="store the weights in float16")
    average = _add_verb(
        actions,
        "average",
        "write the weighted mean of several models' weights as a model's folder; all else comes from the first",
        "models",
        "lyrics-asr models average runs/second/model=2 runs/first/model=1 -o averaged",
    )
    average.add_argument(
        "weighted",
        nargs="+",
        metavar="MODEL[=WEIGHT]",
        help="models of one architecture, by name or folder; a weight is a positive number (default: 1)",
    )
    average.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where the model goes")
    average.add_argument(
        "--acoustic-only", action="store_true", help="average the acoustic models and keep the first one's separator"
    )
    average.add_argument("--half", action="store_true", help="store the weights in float16")


def _add_language_model_verb(verbs: "Verbs") -> None:
    parser = verbs.add_parser(
        "lm", help="build, judge and tune language models", description="Build, judge and tune language models."
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = _add_verb(
        actions,
        "build",
        "estimate a language model from lyrics",
        "lm_build",
        "lyrics-asr lm build lyrics/ -o lyrics.arpa --order 4",
    )
    build.add_argument("texts", nargs="+", type=Path, metavar="TEXT", help="lyrics, or folders of .txt files")
    build.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help=".arpa, .arpa.gz, or .bin, which loads at once and which KenLM's build_binary makes",
    )
    build.add_argument(
        "--order", type=int, default=4, metavar="N", help="words in the longest n-grams (default: %(default)s)"
    )
    build.add_argument(
        "--prune",
        nargs="+",
        type=int,
        default=[],
        metavar="N",
        help="leave out n-grams that occur N times or less, a number for each order as for lmplz: 0 0 1 leaves out "
        "trigrams and longer ones that occur once (default: none)",
    )
    words = build.add_mutually_exclusive_group()
    words.add_argument(
        "--vocabulary",
        type=Path,
        metavar="FILE",
        help="know the words in FILE alone, parted by white space, as lmplz's --limit_vocab_file",
    )
    words.add_argument("--max-vocab", type=int, metavar="N", help="know the N most frequent words alone")
    build.add_argument(
        "--held-out",
        nargs="+",
        type=Path,
        metavar="TEXT",
        help="lyrics like those to be recognised: every TEXT before becomes a model of its own, and the output is "
        "their mixture that predicts these best",
    )
    build.add_argument(
        "--estimator",
        choices=("auto", "kenlm", "own"),
        default="auto",
        help="kenlm: lmplz, from PATH or the folder $KENLM_BIN; own: the same model, but everything in memory, about "
        "25 bytes for a byte of text at order 4; auto: lmplz where it is there (default: %(default)s)",
    )
    build.add_argument(
        "--memory", default="1G", metavar="SIZE", help="what lmplz may take, as its -S (default: %(default)s)"
    )
    build.add_argument(
        "--temporary", type=Path, metavar="FOLDER", help="where lmplz sorts, as its -T (default: the output's folder)"
    )
    _add_text_language(build)

    info = _add_verb(
        actions,
        "info",
        "tell the order and size of a language model, and its perplexity on texts",
        "lm_info",
        "lyrics-asr lm info lyrics.arpa --text other_lyrics/",
    )
    info.add_argument("model", type=Path, metavar="LM", help="a .arpa, .arpa.gz or .bin file")
    info.add_argument("--text", nargs="+", type=Path, metavar="TEXT", help="lyrics, or folders of .txt files")
    _add_text_language(info)

    tune = _add_verb(
        actions,
        "tune",
        "search the weights of a model's language model on development songs, and see whether it helps",
        "lm_tune",
        "lyrics-asr lm tune runs/mine/model data/prepared/development/manifest.jsonl",
    )
    tune.add_argument("model", type=Path, metavar="MODEL", help="a model's folder; its decoder.yaml is written anew")
    tune.add_argument("manifest", type=Path, metavar="MANIFEST", help="songs that no part of the model was trained on")
    tune.add_argument("--limit", type=int, metavar="N", help="only the first N songs")
    tune.add_argument("--cache", type=Path, metavar="FOLDER", help="keep emissions here, for the next time")
    tune.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, ... (default: %(default)s)")


def _add_text_language(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--language", default="en", metavar="CODE", help="in which numbers are spelled out (default: %(default)s)"
    )


def _add_data_verb(verbs: "Verbs", argv: Sequence[str]) -> None:
    parser = verbs.add_parser("data", help="make training data", description="Make training data.")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    synth = _add_verb(
        actions,
        "synth",
        "make songs with exact word times from lyrics, a voice synthesiser and a band",
        "data_synth",
        "lyrics-asr data synth data/prepared/training --songs 340 --seed 1 --processes 2",
    )
    dali = _add_verb(
        actions,
        "dali",
        "cut the songs of DALI into training chunks with the times of their words, as Lhotse cuts",
        "data_dali",
        "lyrics-asr data dali DALI_v1.0/ audio/ -o data/prepared/dali --ground-truth gt_v1.0.gz",
    )
    cuts = _add_verb(
        actions,
        "cuts",
        "cut the songs of a manifest into training chunks, as Lhotse cuts with their stems where there are any",
        "data_cuts",
        "lyrics-asr data cuts data/prepared/training/manifest.jsonl -o data/prepared/training_cuts",
    )
    cache = _add_verb(
        actions,
        "cache-vocals",
        "separate the songs of Lhotse cuts once, to train on their vocals with the separator frozen",
        "data_cache_vocals",
        "lyrics-asr data cache-vocals data/prepared/dali/train.jsonl.gz -o data/prepared/dali_vocals",
    )
    if list(argv[:2]) == ["data", "synth"]:  # its imports are slow, and are an extra
        from lyrics_asr.cli import data_synth

        data_synth.add_arguments(synth)
    if list(argv[:2]) == ["data", "dali"]:
        from lyrics_asr.cli import data_dali as dali_command

        dali_command.add_arguments(dali)
    if list(argv[:2]) == ["data", "cuts"]:
        from lyrics_asr.cli import data_cuts as cuts_command

        cuts_command.add_arguments(cuts)
    if list(argv[:2]) == ["data", "cache-vocals"]:
        cache.add_argument("cuts", nargs="+", type=Path, metavar="CUTS", help="files of cuts, such as train.jsonl.gz")
        cache.add_argument(
            "-o", "--output", type=Path, required=True, metavar="FOLDER", help="where the vocals and their cuts go"
        )
        _add_overwrite(cache)
        _add_model_options(cache, recognition=False)


def _add_verb(verbs: "Verbs", name: str, summary: str, run: str, example: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        allow_abbrev=False,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"Example: {example}",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks and what the libraries say")
    parser.set_defaults(run=run)
    return parser


def _add_transcript_options(parser: argparse.ArgumentParser, default_format: str) -> None:
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where the results go, one file for each song and format (default: stdout, for one song)",
    )
    parser.add_argument(
        "--format",
        metavar="F[,F...]",
        help="json, txt, lrc (line times), elrc (word times), srt, vtt "
        f"(default: {default_format} to stdout, json to a folder)",
    )
    _add_overwrite(parser)


def _add_overwrite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="work again on songs that an earlier run finished with the same model and options (default: keep them)",
    )


def _add_model_options(parser: argparse.ArgumentParser, *, recognition: bool = True) -> None:
    parser.add_argument(
        "--model",
        default="published",
        metavar="NAME",
        help="published (downloaded on first use), embedded or embedded-english (in this package), or a model's folder "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--separator",
        metavar="NAME",
        help="another Demucs model: name or folder; none for unaccompanied singing (default: the model's)",
    )
    if recognition:
        parser.add_argument(
            "--acoustic", metavar="NAME", help="another Hugging Face CTC model: name or folder (default: the model's)"
        )
        parser.add_argument(
            "--language",
            default="en",
            metavar="CODE",
            help="of the lyrics, such as en or fr; three letters, such as fra, also pick the adapter of a "
            "multilingual model (default: %(default)s)",
        )
    parser.add_argument(
        "--device",
        default="auto",
        metavar="NAME[,NAME...]",
        help="cpu, cuda, cuda:1, ...; several, such as cuda:0,cuda:1, share the songs; auto is all CUDA devices, or "
        "the CPU where there are none (default: %(default)s)",
    )
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="ray: spread the songs over the GPUs of a Ray cluster, whose machines share the files; RAY_ADDRESS names "
        "the cluster, without it Ray is started here (default: %(default)s)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of a stage, such as acoustic.window_seconds=20 or decoding.beam_width=50; repeatable",
    )
