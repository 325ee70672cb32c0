"""Run a request on songs, for the command line, Python users, evaluation and the server.

`run.jsonl` in the output folder has a line for each processed song. It includes a hash of everything that the results
depend on, so finished songs are recognized by content, not by name. Interrupted runs resume.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from lyrics_asr.console import BatchProgress, describe, duration
from lyrics_asr.files import append_line, require_writable_folder
from lyrics_asr.formats import suffix_of
from lyrics_asr.inference.jobs import Job, Outcome
from lyrics_asr.inference.requests import ModelRequest, Request
from lyrics_asr.inference.results import check_targets, targets, writable_targets
from lyrics_asr.inference.runner import ResumeLookup, Song, Task, check, work

AnyRequest = TypeVar("AnyRequest", bound=Request)


def run(
    request: AnyRequest,
    jobs: Sequence[Job],
    make_task: Callable[[AnyRequest, BatchProgress, int | None], Task[Any, Any]],
    *,
    progress: BatchProgress | None = None,
    on_result: Callable[[Outcome], None] = lambda outcome: None,
    debug: bool = False,
) -> tuple[Outcome, ...]:
    """Process songs as requested; a failing song does not stop the others.

    Args:
        request: what to do. It and `make_task` must be picklable.
        jobs: jobs in order. All are checked first; the model is loaded only if one is usable.
        make_task: class of a task, such as `tasks.AlignTask`. It is called with the request, a progress display and the
            number of CPU cores (None for all).
        progress: progress display.
        on_result: called with each outcome as it arrives, one at a time, in any thread.
        debug: whether workers show warnings of libraries.

    Returns:
        The outcome of every job.

    Raises:
        LayoutError: results would overwrite an input or each other.
        OutputError: the output folder cannot be written.
        ModelNotFoundError: the model is not on this computer and cannot be downloaded.
        ValueError: unknown device or option.
    """
    progress = progress or BatchProgress()
    output = request.output
    resume: ResumeLookup | None = None
    if output is not None:
        entries = list(_log_entries(output))
        check_targets(jobs, output, request.formats)
        require_writable_folder(output)
        resume = FinishedResults(output, request.formats, {} if request.overwrite else _keys(entries, request.verb))
    outcomes: list[Outcome] = []

    def keep(outcome: Outcome) -> None:
        if not outcome.is_kept:
            progress.finish()
        elif outcome.outputs:
            progress.skip(outcome.audio_seconds)
        if output is not None and outcome.error is None and not outcome.is_kept:
            left = [path for path in targets(outcome.job, request).values() if path not in outcome.outputs]
            outcome = replace(outcome, not_ours=tuple(left))
        if output is not None and not outcome.is_kept:
            append_log(output, request.verb, outcome)
        on_result(outcome)
        outcomes.append(outcome)

    task = make_task(request, progress, None)
    songs = check(_writable(jobs, request, keep), task, keep)
    if songs and isinstance(request, ModelRequest) and (engine := _engine(request, len(songs))) is not None:
        from lyrics_asr.inference.workers import WorkerConfig

        engine(songs, WorkerConfig(make_task, request, resume, debug), progress, keep)
    elif songs:
        work(songs, task, resume=resume, on_result=keep)
    return tuple(outcomes)


def _writable(jobs: Iterable[Job], request: Request, on_result: Callable[[Outcome], None]) -> list[Job]:
    """The jobs of which at least one result may be written; `on_result` gets the outcomes of the others."""
    if request.output is None:
        return list(jobs)
    writable = []
    for job in jobs:
        if writable_targets(job, request):
            writable.append(job)
        else:
            on_result(Outcome(job, (), None, is_kept=True, not_ours=tuple(targets(job, request).values())))
    return writable


def _engine(request: ModelRequest, songs: int) -> Callable[..., None] | None:
    """The engine that runs songs in other processes; None to run them in this process."""
    if request.engine == "ray":
        from lyrics_asr.inference import ray_engine

        return ray_engine.work
    from lyrics_asr.models.devices import find_devices

    devices = find_devices(request.device)[: max(1, songs)]
    if len(devices) == 1:
        return None
    from lyrics_asr.inference import multi_gpu

    return multi_gpu.work


@dataclass(frozen=True)
class FinishedResults:
    """A `runner.ResumeLookup`: finds results whose key is in the log and whose files all exist.

    Args:
        output: folder of the results.
        formats: formats of the results.
        keys: keys of finished songs, by stem.
    """

    output: Path
    formats: tuple[str, ...]
    keys: Mapping[str, Any]

    def __call__(self, song: Song, key: str) -> tuple[Path, ...] | None:
        """The results of a song; None if there are none with this key."""
        if self.keys.get(song.job.stem.as_posix()) != key:
            return None
        results = tuple(song.job.target(self.output, suffix_of(name)) for name in self.formats)
        return results if all(path.is_file() for path in results) else None


def summary(outcomes: Sequence[Outcome], seconds: float, output: Path | None) -> str:
    """The result of a run in one line."""
    failures = sum(outcome.error is not None for outcome in outcomes)
    kept = sum(outcome.is_kept and bool(outcome.outputs) for outcome in outcomes)
    not_ours = sum(len(outcome.not_ours) for outcome in outcomes)
    done = [outcome for outcome in outcomes if outcome.error is None and not outcome.is_kept]
    audio_seconds = math.fsum(outcome.audio_seconds for outcome in done)
    parts = [f"{len(done)} of {len(outcomes)} songs done in {duration(seconds)}"]
    if audio_seconds:
        parts[0] += f", {duration(audio_seconds)} of audio (RTF {seconds / audio_seconds:.3f})"
    if kept:
        parts.append(f"{kept} kept from an earlier run (--overwrite processes them again)")
    if not_ours:
        parts.append(
            f"{not_ours} files kept that were not written by lyrics-asr, or changed since (--force replaces them)"
        )
    if failures:
        log = f"; see {output / 'run.jsonl'}" if output is not None else ""
        parts.append(f"{failures} of {len(outcomes)} songs failed{log}")
    return "; ".join(parts)


def rtf(outcome: Outcome) -> str:
    """The real-time factor of a song: seconds of all its stages per second of audio; empty without audio."""
    seconds = math.fsum(outcome.stages.values())
    return f"RTF {seconds / outcome.audio_seconds:.3f}" if outcome.audio_seconds else ""


def append_log(output: Path, verb: str, outcome: Outcome) -> None:
    """Append an outcome to `run.jsonl`, in one write, so that concurrent runs do not mix their lines."""
    seconds = math.fsum(outcome.stages.values())
    outputs, stages = [], {}
    for result in outcome.outputs:
        outputs.append(result.relative_to(output).as_posix())
    for stage, took_seconds in outcome.stages.items():
        stages[stage] = round(took_seconds, 3)
    entry = {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "verb": verb,
        "source": str(outcome.job.source),
        "stem": outcome.job.stem.as_posix(),
        "status": "done" if outcome.error is None else "failed",
        "outputs": outputs,
        "not_ours": [path.relative_to(output).as_posix() for path in outcome.not_ours],
        "seconds": round(seconds, 3),
        "audio_seconds": round(outcome.audio_seconds, 3),
        "rtf": round(seconds / outcome.audio_seconds, 4) if outcome.audio_seconds else None,
        "stages": stages,
        "error": None if outcome.error is None else describe(outcome.error),
        "key": outcome.key,
    }
    line = json.dumps(entry, ensure_ascii=False)
    append_line(output / "run.jsonl", line.encode("utf-8", "surrogateescape"))


def _log_entries(output: Path) -> Iterator[dict[str, Any]]:
    """The entries of `run.jsonl`, without damaged lines."""
    try:
        lines = (output / "run.jsonl").read_bytes().decode("utf-8", "surrogateescape").split("\n")
    except OSError:
        return
    for line in lines:
        with suppress(ValueError, RecursionError):
            entry = json.loads(line)
            if (
                isinstance(entry, dict)
                and isinstance(entry.get("outputs"), list)
                and isinstance(entry.get("time"), str)
            ):
                yield entry


def _keys(entries: Sequence[Mapping[str, Any]], verb: str) -> dict[str, Any]:
    """The keys of the songs that a verb finished, by stem."""
    latest = {str(entry.get("stem")): entry for entry in entries if entry.get("verb") == verb}
    return {stem: entry.get("key") for stem, entry in latest.items() if entry.get("status") == "done"}
