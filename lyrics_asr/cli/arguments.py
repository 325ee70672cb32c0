"""Arguments that the verbs for songs share, and the fields of a request that they become.

Each `add_...` declares arguments; its `..._arguments` returns the fields.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lyrics_asr.console import UsageError
from lyrics_asr.lyrics.languages import AUTO, NAMES, require_language
from lyrics_asr.options import DEFAULT_MODEL

if TYPE_CHECKING:
    from lyrics_asr.inference.jobs import Job


def add_transcript_options(parser: argparse.ArgumentParser, default_format: str, further: str = "") -> None:
    """Where results go and in which formats, of the verbs that write transcripts; `further` is added to the help."""
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FOLDER",
        help="output folder, one file per song and format (default: stdout, for a single song)",
    )
    parser.add_argument(
        "--format",
        metavar="F[,F...]",
        help="json, txt, lrc (line times), lrc-ends, elrc (word times), srt, srt-words, vtt, vtt-words, ass (karaoke), "
        f"ttml, textgrid, ctm, jams, audacity; with a melody, ultrastar and midi{further} "
        f"(default: {default_format} on stdout, json in a folder)",
    )
    add_overwrite(parser)


def transcript_arguments(
    args: argparse.Namespace, jobs: Sequence["Job"], default_format: str, further: Sequence[str] = ()
) -> dict[str, Any]:
    """The fields of `Request` that `add_transcript_options` declared; `further` are more formats.

    Raises:
        UsageError: a format is unknown, or stdout cannot take all results.
    """
    from lyrics_asr.formats import BINARY_FORMATS, FORMATS

    given = args.format or (default_format if args.output is None else "json")
    names = tuple(dict.fromkeys(given.split(",")))
    known = [*FORMATS, *BINARY_FORMATS, *further]
    if unknown := set(names) - set(known):
        raise UsageError(f"unknown format {unknown.pop()!r}; use some of {','.join(known)}")
    if args.output is None and (len(names) > 1 or len(jobs) > 1):
        raise UsageError(f"{len(jobs)} files in {len(names)} formats do not go to stdout; give a folder with --output")
    return {"output": args.output, "formats": names, **overwrite_arguments(args)}


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """`--track` and `--strict`, of the verbs that read songs."""
    parser.add_argument(
        "--track",
        type=int,
        metavar="N",
        help="audio track of each file, counted from 1 (default: the default track)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="fail songs that are damaged, or shorter than their header says (default: a warning)",
    )


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """`--overwrite` and `--force`, of all verbs that resume."""
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="process songs again that an earlier run finished with the same model and options (default: skip them)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="like --overwrite, and replace files that lyrics-asr did not write, or that were changed since (default: "
        "keep them)",
    )


def overwrite_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of `Request` that `add_overwrite` declared."""
    return {"overwrite": args.overwrite or args.force, "force": args.force}


def add_model_options(parser: argparse.ArgumentParser, *, recognition: bool = True, language: str = "en") -> None:
    """Options of model and devices; without `recognition`, of the separator only."""
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME",
        help="embedded or embedded-small (in this package), published (downloaded on first use), a model's folder, or "
        "its name on the Hugging Face hub (default: %(default)s)",
    )
    parser.add_argument(
        "--separator",
        metavar="NAME",
        help="another separator: the name of a Demucs model, or a folder; none for a cappella songs (default: the "
        "model's own)",
    )
    if recognition:
        parser.add_argument(
            "--acoustic",
            metavar="NAME",
            help="another Hugging Face CTC model, by name or folder (default: the model's own)",
        )
        parser.add_argument(
            "--language",
            default=language,
            metavar="CODE",
            help="language of the lyrics, such as fr or fra, which also selects the adapter of a multilingual model; "
            "auto guesses it from the lyrics or, to transcribe, from the voice (with Whisper) or the hot words "
            "(default: %(default)s)",
        )
    parser.add_argument(
        "--device",
        default="auto",
        metavar="NAME[,NAME...]",
        help="cpu, cuda, cuda:1, ...; songs are distributed over several, such as cuda:0,cuda:1; auto is all CUDA "
        "devices, else the CPU (default: %(default)s)",
    )
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="ray: distribute songs over the GPUs of a Ray cluster with a shared file system; RAY_ADDRESS selects the "
        "cluster, otherwise Ray is started locally (default: %(default)s)",
    )
    add_computing_options(parser)
    example = "acoustic.window_seconds=20 or decoding.beam_width=50" if recognition else "separation.overlap=0.25"
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"an option of a stage, such as {example}; repeatable; docs/config.md lists all",
    )


def add_computing_options(parser: argparse.ArgumentParser) -> None:
    """`--precision` and `--runtime`, of all verbs that run a model on songs."""
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="of the networks; auto is bfloat16 where it is faster (default: %(default)s)",
    )
    parser.add_argument(
        "--runtime",
        choices=("torch", "openvino"),
        default="torch",
        help="openvino runs the separator of embedded faster on CPUs with bfloat16; it needs the extra openvino "
        "(default: %(default)s)",
    )


def computing_overrides(args: argparse.Namespace) -> tuple[str, ...]:
    """The overrides of `InferenceOptions` that `add_computing_options` declared."""
    overrides = []
    if args.precision != "auto":
        overrides += [f"separation.precision={args.precision}", f"acoustic.precision={args.precision}"]
    if args.runtime != "torch":
        overrides.append(f"separation.runtime={args.runtime}")
    return tuple(overrides)


def model_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of `ModelRequest` that `add_model_options` declared.

    Raises:
        UsageError: an option of a stage is unknown or out of range, or the language is unknown.
    """
    overrides = (*computing_overrides(args), *args.set)
    if overrides:
        from lyrics_asr.config import load_config
        from lyrics_asr.options import InferenceOptions

        try:
            load_config(InferenceOptions, overrides=list(overrides))
        except ValueError as error:
            raise UsageError(str(error)) from error
    language = getattr(args, "language", "en")
    if language not in (AUTO, *NAMES):
        try:
            require_language(language, or_of_model=True)
        except ValueError as error:
            raise UsageError(str(error)) from error
    if args.engine == "ray" and args.output is None:
        raise UsageError("--engine ray writes to shared storage; give a folder with --output")
    return {
        "model": args.model,
        "separator": args.separator,
        "device": args.device,
        "engine": args.engine,
        "overrides": overrides,
        "track": getattr(args, "track", None),
        "strict": getattr(args, "strict", False),
        "acoustic": getattr(args, "acoustic", None),
        "language": language,
    }
