"""The verbs for songs: transcribe, align, separate, render.

Arguments become a frozen request here; nothing below knows the command line. Networks are imported by the verb that
needs them.
"""

import argparse
import contextlib
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lyrics_asr.cli.arguments import (
    add_model_options,
    add_overwrite,
    add_reading_options,
    add_transcript_options,
    model_arguments,
    overwrite_arguments,
    transcript_arguments,
)
from lyrics_asr.console import (
    DONE,
    FAILED,
    SOME_FAILED,
    BatchProgress,
    UsageError,
    describe,
    duration,
    log_file,
    log_traceback,
    say,
)
from lyrics_asr.lyrics.languages import AUTO

if TYPE_CHECKING:
    from lyrics_asr.cli.main import VerbParser
    from lyrics_asr.inference.jobs import Job, Outcome
    from lyrics_asr.inference.requests import Request
    from lyrics_asr.inference.runner import Task


def declare_transcribe(parser: "VerbParser") -> None:
    """Arguments of `lyrics-asr transcribe`."""
    parser.runs(transcribe, "lyrics-asr transcribe songs/ -o results --format json,lrc")
    parser.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="SONG",
        help="audio or video files, folders of them, or lists (.jsonl, .csv)",
    )
    add_transcript_options(parser, "txt")
    add_reading_options(parser)
    add_model_options(parser, language=AUTO)
    parser.add_argument(
        "--language-model",
        metavar="FILE",
        help="KenLM model (.arpa, .arpa.gz or .bin) to use instead of the model's own; none for no language model",
    )
    parser.add_argument(
        "--hotwords",
        action="append",
        default=[],
        metavar="WORDS",
        help="words to expect: 'Artist, Title'; tags, for artist and title from the file's tags; a .txt file, such as "
        "approximate lyrics; or a folder with song.txt for song.mp3; repeatable",
    )
    parser.add_argument(
        "--greedy", action="store_true", help="greedy search without language model: faster, less accurate"
    )
    parser.add_argument(
        "--transcriber",
        metavar="NAME",
        help="Whisper checkpoint for the words instead of the model's own: a folder or a name such as "
        "openai/whisper-large-v3; none for the beam search",
    )


def transcribe(args: argparse.Namespace) -> int:
    """Transcribe songs."""
    from lyrics_asr.inference.requests import TranscribeRequest
    from lyrics_asr.inference.transcribe import TranscribeTask

    if args.greedy and args.hotwords:
        raise UsageError("--hotwords needs the beam search; drop --hotwords or --greedy")
    if args.greedy and args.transcriber is not None:
        raise UsageError("--transcriber finds the words by itself; drop --greedy or --transcriber")
    jobs = _songs(args)
    request = TranscribeRequest(
        **transcript_arguments(args, jobs, "txt"),
        **model_arguments(args),
        language_model=args.language_model,
        greedy=args.greedy,
        hot_words=tuple(args.hotwords),
        transcriber=args.transcriber,
    )
    return run_songs(args, request, jobs, TranscribeTask)


def declare_align(parser: "VerbParser") -> None:
    """Arguments of `lyrics-asr align`."""
    parser.runs(align, "lyrics-asr align song.mp3 song.txt > song.lrc")
    parser.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="SONG [LYRICS]",
        help="a song and its lyrics; songs or folders with song.txt, or else song.lrc, .srt, .json, ..., next to "
        "song.mp3; or lists of both (.jsonl, .csv). Lyrics are text, LRC, subtitles, JSON, chord sheets or HTML, "
        "recognized by content",
    )
    parser.add_argument(
        "--encoding", metavar="NAME", help="encoding of the lyrics files, such as windows-1251 (default: recognized)"
    )
    parser.add_argument(
        "--expand-repeats",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="a heading without lines, such as [Chorus], stands for the lines that it had before (default: yes)",
    )
    add_transcript_options(parser, "lrc")
    add_reading_options(parser)
    add_model_options(parser)
    parser.add_argument(
        "--melody",
        action="store_true",
        help="also find the notes of each syllable, for json, ultrastar and midi (default: only for the last two)",
    )
    parser.add_argument(
        "--use-times",
        action="store_true",
        help="look for each line near the time that its lyrics file gives: LRC, subtitles or JSON (default: ignore "
        "these times)",
    )
    parser.add_argument(
        "--keep-all",
        action="store_true",
        help="give every line a time, once and in the order of the lyrics (default: leave out lines that are not sung, "
        "and find lines that are sung again)",
    )


def align(args: argparse.Namespace) -> int:
    """Align given lyrics."""
    from lyrics_asr.formats import MELODY_FORMATS
    from lyrics_asr.inference.melody import MelodyTask
    from lyrics_asr.inference.requests import AlignRequest
    from lyrics_asr.inference.tasks import AlignTask

    jobs = _pairs(args)
    arguments = transcript_arguments(args, jobs, "lrc")
    melody = args.melody or not MELODY_FORMATS.isdisjoint(arguments["formats"])
    request = AlignRequest(
        **arguments,
        **model_arguments(args),
        encoding=args.encoding,
        expand_repeats=args.expand_repeats,
        keep_all=args.keep_all,
        use_times=args.use_times,
        melody=melody,
    )
    return run_songs(args, request, jobs, MelodyTask if melody else AlignTask)


def declare_separate(parser: "VerbParser") -> None:
    """Arguments of `lyrics-asr separate`."""
    parser.runs(separate, "lyrics-asr separate songs/ -o vocals --format flac")
    parser.add_argument("inputs", nargs="+", type=Path, metavar="SONG", help="audio or video files, or folders of them")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="output folder")
    parser.add_argument(
        "--format",
        choices=("wav", "flac", "mp3", "ogg", "opus", "m4a"),
        default="wav",
        help="format of the audio files (default: %(default)s)",
    )
    add_overwrite(parser)
    add_reading_options(parser)
    add_model_options(parser, recognition=False)


def separate(args: argparse.Namespace) -> int:
    """Write the vocals as audio."""
    from lyrics_asr.inference.requests import SeparateRequest
    from lyrics_asr.inference.tasks import SeparateTask

    if any(path.is_dir() and path.resolve() == args.output.resolve() for path in args.inputs):
        raise UsageError(
            f"{args.output}: is the input folder, where vocals would pass for songs; choose another --output"
        )
    request = SeparateRequest(
        output=args.output, formats=(args.format,), **overwrite_arguments(args), **model_arguments(args)
    )
    return run_songs(args, request, _songs(args), SeparateTask)


def declare_render(parser: "VerbParser") -> None:
    """Arguments of `lyrics-asr render`."""
    parser.runs(render, "lyrics-asr render song.json --format srt > song.srt")
    parser.add_argument("inputs", nargs="+", type=Path, metavar="JSON", help="transcripts, or folders of them")
    add_transcript_options(parser, "txt", "; html, a page to sing along")
    parser.add_argument(
        "--vocals",
        type=Path,
        metavar="FOLDER",
        help="for html: what lyrics-asr separate wrote (default: vocals and accompaniment beside the transcript, as in "
        "the server's zip)",
    )


def render(args: argparse.Namespace) -> int:
    """Convert transcripts to other formats."""
    from lyrics_asr.inference.jobs import find_jobs
    from lyrics_asr.inference.render import RenderTask
    from lyrics_asr.inference.requests import RenderRequest

    jobs = find_jobs(args.inputs, {".json"}, args.output)
    request = RenderRequest(**transcript_arguments(args, jobs, "txt", ("html",)), vocals=args.vocals)
    if "html" in request.formats:
        from lyrics_asr.server.share_task import ShareTask

        return run_songs(args, request, jobs, ShareTask)
    if args.vocals is not None:
        raise UsageError("--vocals is for --format html; drop it, or add html to the formats")
    return run_songs(args, request, jobs, RenderTask)


def run_songs(
    args: argparse.Namespace,
    request: "Request",
    jobs: Sequence["Job"],
    make_task: "Callable[..., Task[Any, Any]]",
) -> int:
    """Process songs, report the outcome of each, and return the exit code."""
    from lyrics_asr.inference.run import rtf, run, summary

    output, progress = request.output, BatchProgress()
    failed: list[Job] = []
    done = 0

    def on_result(outcome: "Outcome") -> None:
        nonlocal done
        done += 1
        position = f"{done}/{len(jobs)} " if len(jobs) > 1 else ""
        if outcome.error is not None:
            failed.append(outcome.job)
            log_traceback(outcome.error)
            if args.debug:
                traceback.print_exception(outcome.error)
            say(f"{position}error: {describe(outcome.error)}")
        elif outcome.outputs and not outcome.is_kept:
            if position:
                left = f"{duration(progress.left_seconds)} left" if done < len(jobs) else ""
                details = ", ".join(filter(None, [rtf(outcome), left]))
                say(f"{position}wrote {_listed(outcome.outputs)}" + (f" ({details})" if details else ""))
            else:
                for path in outcome.outputs:
                    say(f"wrote {path}")
        for path in outcome.not_ours:
            say(f"kept {path}: not written by lyrics-asr, or changed since; --force replaces it")

    began = time.monotonic()
    with contextlib.nullcontext() if output is None else log_file(output / "run.log"):
        outcomes = run(request, jobs, make_task, progress=progress, on_result=on_result, debug=args.debug)
    if len(jobs) > 1:
        say(summary(outcomes, time.monotonic() - began, output) + getattr(args, "left_out", ""))
    return DONE if not failed else FAILED if len(failed) == len(jobs) else SOME_FAILED


def _listed(paths: Sequence[Path]) -> str:
    """The results of a song in one line: `results/song.json, .lrc`."""
    first, *others = paths
    return ", ".join([str(first), *(path.suffix for path in others)])


def _songs(args: argparse.Namespace) -> tuple["Job", ...]:
    """The songs; files of the input folders that are none go to `args.left_out`, for the summary."""
    from lyrics_asr.audio import AUDIO_SUFFIXES
    from lyrics_asr.inference.jobs import find_jobs, left_out

    jobs = find_jobs(args.inputs, AUDIO_SUFFIXES, args.output)
    args.left_out = ""
    if others := left_out(args.inputs, jobs, args.output):
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))
        files = "file" if others.total() == 1 else "files"
        args.left_out = f"; left out {others.total()} other {files} ({kinds}{', ...' * (len(others) > 5)})"
    return jobs


def _pairs(args: argparse.Namespace) -> tuple["Job", ...]:
    """The songs, each with its lyrics of a list or the text beside it; or one song and the text named after it."""
    from lyrics_asr.audio import AUDIO_SUFFIXES
    from lyrics_asr.inference.jobs import LIST_SUFFIXES, Job, with_lyrics

    text = args.inputs[-1]
    if text.is_dir() or text.suffix.lower() in AUDIO_SUFFIXES | LIST_SUFFIXES:
        return with_lyrics(_songs(args))
    if len(args.inputs) != 2 or args.inputs[0].is_dir():
        raise UsageError(
            f"{text}: give one song and its lyrics, or folders that hold song.mp3 and song.txt side by side"
        )
    return (Job(args.inputs[0], Path(args.inputs[0].stem), text),)
