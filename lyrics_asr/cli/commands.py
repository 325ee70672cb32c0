"""The verbs of the command line: parsed arguments in, exit code out.

Whatever loads networks is imported by the verb that needs it, so that the others answer at once.
"""

import argparse
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lyrics_asr import formats
from lyrics_asr.audio import AUDIO_SUFFIXES
from lyrics_asr.config import load_config
from lyrics_asr.console import Counter, progress, say
from lyrics_asr.files import require_writable_folder, write_text
from lyrics_asr.inference import run_log
from lyrics_asr.inference import runner as batch
from lyrics_asr.inference.jobs import LIST_SUFFIXES, Job, check_targets, find_jobs
from lyrics_asr.inference.runner import Kept, Outcome, Song, Task
from lyrics_asr.inference.transcript_files import RenderTask, TranscriptWriter
from lyrics_asr.lyrics.normalization import normalize
from lyrics_asr.options import InferenceOptions

DONE, FAILED, SOME_FAILED = 0, 1, 3


class UsageError(ValueError):
    """The command line asks for things that do not go together."""


def transcribe(args: argparse.Namespace) -> int:
    """Write down what is heard."""
    from lyrics_asr.inference.tasks import TranscribeTask

    if args.greedy and args.hotwords:
        raise UsageError("--hotwords needs the beam search, which --greedy leaves out; give one of them")
    return _write_transcripts(args, _songs(args), "txt", TranscribeTask)


def align(args: argparse.Namespace) -> int:
    """Time given lyrics."""
    from lyrics_asr.inference.tasks import AlignTask

    return _write_transcripts(args, _pairs(args), "lrc", AlignTask)


def separate(args: argparse.Namespace) -> int:
    """Write the vocals as audio."""
    from lyrics_asr.inference.tasks import SeparateTask

    if any(path.is_dir() and path.resolve() == args.output.resolve() for path in args.inputs):
        raise UsageError(
            f"{args.output}: is the input folder, where vocals would pass for songs; choose another --output"
        )
    return _run(args, _songs(args), (f".{args.format}",), SeparateTask)


def render(args: argparse.Namespace) -> int:
    """Make other formats of transcripts."""
    jobs = find_jobs(args.inputs, {".json"}, args.output)
    return _write_transcripts(args, jobs, "txt", lambda *_, writer: RenderTask(writer))


def models(args: argparse.Namespace) -> int:
    """List, download, find, export or average models."""
    from lyrics_asr.models.registry import KNOWN_MODELS, cached_paths, download

    if args.action == "export":
        from lyrics_asr.training.export import export

        export(args.run_folder, args.folder, half=args.half)
        print(args.folder)
        return DONE
    if args.action == "average":
        from lyrics_asr.models.average import average_models

        average = average_models(_weights(args.weighted), acoustic_only=args.acoustic_only)
        average.save(args.output, half=args.half)
        print(args.output)
        return DONE
    if args.action == "list":
        for model in KNOWN_MODELS:
            state = "on this computer" if cached_paths(model.name) else "not downloaded"
            print(f"{model.name:<18}{state:<18}{model.description}")
        return DONE
    paths = download(args.name) if args.action == "download" else cached_paths(args.name)
    if not paths:
        raise FileNotFoundError(
            f"{args.name}: not on this computer; get it with lyrics-asr models download {args.name}"
        )
    print(*paths, sep="\n")
    return DONE


def _weights(arguments: Sequence[str]) -> dict[str, float]:
    """Models with their weights, from arguments such as `folder=2` or `folder`."""
    weights: dict[str, float] = {}
    for argument in arguments:
        name, separator, weight = argument.rpartition("=")
        name = name if separator else argument
        if name in weights:
            raise UsageError(f"{name}: is given twice; give every model once, with its weight")
        try:
            weights[name] = float(weight) if separator else 1.0
        except ValueError as error:
            raise UsageError(f"{argument}: {weight!r} is not a number; give MODEL=WEIGHT, such as {name}=2") from error
    return weights


def doctor(args: argparse.Namespace) -> int:
    """Check the installation; FAILED when something is wrong."""
    from lyrics_asr.cli.doctor import examine

    findings = examine()
    for finding in findings:
        print(f"{'ok ' if finding.ok else 'BAD'}  {finding.subject:<20} {finding.detail}")
    return DONE if all(finding.ok for finding in findings) else FAILED


def lm_build(args: argparse.Namespace) -> int:
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


def lm_info(args: argparse.Namespace) -> int:
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
    for name, value in lines:
        print(f"{name:<15}{value}")
    return DONE


def lm_tune(args: argparse.Namespace) -> int:
    """Search the weights of a model's language model."""
    from lyrics_asr.config import dump_config
    from lyrics_asr.corpora.manifest import read_manifest
    from lyrics_asr.evaluation.decoder_tuning import GRIDS, Trial, tune
    from lyrics_asr.inference import pipeline
    from lyrics_asr.inference.emission_cache import EmissionCache
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
    options = pipeline.options_for(model)
    cache = None if args.cache is None else EmissionCache(args.cache, model, options.separation, options.acoustic)
    emissions = []
    for number, song in enumerate(songs, start=1):
        with progress(f"{number}/{len(songs)} {song.id}") as report:
            emissions.append(pipeline.listen(song.audio, model, options=options, cache=cache, progress=report))
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


def data_synth(args: argparse.Namespace) -> int:
    """Make training songs."""
    from lyrics_asr.cli import data_synth

    return data_synth.run(args)


def data_dali(args: argparse.Namespace) -> int:
    """Make training chunks of DALI."""
    from lyrics_asr.cli import data_dali as dali_command

    try:
        options = dali_command.read_options(args)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return dali_command.run(args, options)


def data_cuts(args: argparse.Namespace) -> int:
    """Make training chunks of a manifest's songs."""
    from lyrics_asr.cli import data_cuts as cuts_command
    from lyrics_asr.training.config import ChunkOptions

    try:
        options = ChunkOptions(args.chunk_seconds, args.pause_seconds)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return cuts_command.run(args, options)


def data_cache_vocals(args: argparse.Namespace) -> int:
    """Separate the songs of cuts once for all."""
    from lyrics_asr.cli.cache_vocals import VocalsTask
    from lyrics_asr.training.data import vocals_cache

    jobs = vocals_cache.find_songs(args.cuts)
    code = _run(args, jobs, [vocals_cache.AUDIO_SUFFIX], VocalsTask)
    if code != FAILED:
        left_out = vocals_cache.write_cached_cuts(args.cuts, args.output)
        say(f"wrote {args.output}" + (f"; {left_out} cuts are left out, whose songs failed" if left_out else ""))
    return code


def _with_interval(share: float | None, low: float | None, high: float | None) -> str:
    if share is None or low is None or high is None:
        return "-" if share is None else f"{share:.1%}"
    return f"{share:.1%} (95 % interval {low:.1%} to {high:.1%})"


def _songs(args: argparse.Namespace) -> tuple[Job, ...]:
    return find_jobs(args.inputs, AUDIO_SUFFIXES, args.output)


def _pairs(args: argparse.Namespace) -> tuple[Job, ...]:
    """The songs, each with its lyrics of a list or the text beside it; or one song and the text named after it."""
    text = args.inputs[-1]
    if text.is_dir() or text.suffix.lower() in AUDIO_SUFFIXES | LIST_SUFFIXES:
        return tuple(
            job if job.lyrics or job.lyrics_text else replace(job, lyrics=job.source.with_suffix(".txt"))
            for job in _songs(args)
        )
    if len(args.inputs) != 2 or args.inputs[0].is_dir():
        raise UsageError(
            f"{text}: give one song and its lyrics, or folders that hold song.mp3 and song.txt side by side"
        )
    return (Job(args.inputs[0], Path(args.inputs[0].stem), text),)


def _write_transcripts(
    args: argparse.Namespace,
    jobs: Sequence[Job],
    default_format: str,
    make_task: Callable[..., Task[Any, Any]],
) -> int:
    given = args.format or (default_format if args.output is None else "json")
    names = tuple(dict.fromkeys(given.split(",")))
    if unknown := [name for name in names if name not in formats.FORMATS]:
        raise UsageError(f"unknown format {unknown[0]!r}; use some of {','.join(formats.FORMATS)}")
    if args.output is None and (len(names) > 1 or len(jobs) > 1):
        raise UsageError(f"{len(jobs)} files in {len(names)} formats do not go to stdout; give a folder with --output")
    make = partial(make_task, writer=TranscriptWriter(args.output, names))
    return _run(args, jobs, [f".{name}" for name in names], make)


def _run(
    args: argparse.Namespace, jobs: Sequence[Job], suffixes: Sequence[str], make_task: Callable[..., Task[Any, Any]]
) -> int:
    try:
        load_config(InferenceOptions, overrides=getattr(args, "set", []))
    except ValueError as error:
        raise UsageError(str(error)) from error
    if args.output is not None:
        check_targets(jobs, args.output, suffixes, run_log.logged_results(args.output))
        require_writable_folder(args.output)
    counter = Counter()

    def report(outcome: Outcome) -> None:
        if outcome.is_kept:
            counter.leave_out(outcome.audio_seconds)
        else:
            counter.finish()
        if outcome.error is not None:
            if args.debug:
                traceback.print_exception(outcome.error)
            say(f"error: {batch.describe(outcome.error)}")
        if args.output is not None and not outcome.is_kept:
            run_log.append_log(args.output, args.verb, outcome)
            for path in outcome.outputs:
                say(f"wrote {path}")

    kept: Kept | None = None
    if args.output is not None:
        finished = run_log.finished_results(args.output, args.verb, suffixes)
        kept = run_log.nothing_finished if args.overwrite else finished
    began = time.monotonic()
    engine = _engine(args, make_task, counter, kept) if "device" in args else None
    outcomes = batch.run(jobs, make_task(args, counter), kept=kept, report=report, engine=engine)
    if len(jobs) > 1:
        say(run_log.summary(outcomes, time.monotonic() - began, args.output))
    failures = sum(outcome.error is not None for outcome in outcomes)
    return DONE if not failures else FAILED if failures == len(jobs) else SOME_FAILED


def _engine(
    args: argparse.Namespace, make_task: Callable[..., Task[Any, Any]], counter: Counter, kept: Kept | None
) -> Callable[[Sequence[Song], Callable[[Outcome], None]], None]:
    """What works on songs with a model: this process, one for each device, or those of a cluster."""
    from lyrics_asr.inference.tasks import devices_of
    from lyrics_asr.inference.workers import Order

    order = Order(make_task, args, kept)
    if args.engine == "ray":
        if args.output is None:
            raise UsageError("--engine ray writes to shared storage; give a folder with --output")
        from lyrics_asr.inference import ray_engine

        return partial(ray_engine.work, order=order, counter=counter)

    def engine(songs: Sequence[Song], report: Callable[[Outcome], None]) -> None:
        from lyrics_asr.inference import multi_gpu as local_engine

        devices = devices_of(args.device, len(songs))
        if len(devices) > 1:
            local_engine.work(songs, order, devices, counter=counter, report=report)
        else:
            batch.work(songs, order.task(devices[0], counter), kept=kept, report=report)

    return engine
