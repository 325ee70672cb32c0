"""`run.jsonl`: what became of every song, in the folder of the results.

A line for each song that was worked on. Beside what a person wants to know, it has the key of everything that the
results depend on: content and not name alone tells whether a song is finished.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lyrics_asr.console import duration
from lyrics_asr.files import OutputError
from lyrics_asr.inference.jobs import Job
from lyrics_asr.inference.runner import Outcome, describe


@dataclass(frozen=True)
class FinishedResults:
    """A `batch.Kept`: the results with these suffixes, where the log has the key and all exist.

    Args:
        keys: of the songs that were done, by their stems.
    """

    output: Path
    suffixes: tuple[str, ...]
    keys: Mapping[str, Any]

    def __call__(self, job: Job, key: str) -> tuple[Path, ...] | None:
        """The results; None where there are none for this key."""
        if self.keys.get(job.stem.as_posix()) != key:
            return None
        results = tuple(job.target(self.output, suffix) for suffix in self.suffixes)
        return results if all(path.is_file() for path in results) else None


def finished_results(output: Path, verb: str, suffixes: Sequence[str]) -> FinishedResults:
    """The results of earlier runs of a verb, as `run.jsonl` in the folder `output` tells of them."""
    latest = {str(entry.get("stem")): entry for entry in _log_entries(output) if entry.get("verb") == verb}
    keys = {stem: entry.get("key") for stem, entry in latest.items() if entry.get("status") == "done"}
    return FinishedResults(output, tuple(suffixes), keys)


def nothing_finished(job: Job, key: str) -> None:
    """The `batch.Kept` of a run that does everything again."""


def summary(outcomes: Sequence[Outcome], seconds: float, output: Path | None) -> str:
    """What became of a run, in a line."""
    failures = sum(outcome.error is not None for outcome in outcomes)
    kept = sum(outcome.is_kept for outcome in outcomes)
    done = [outcome for outcome in outcomes if outcome.error is None and not outcome.is_kept]
    audio_seconds = math.fsum(outcome.audio_seconds for outcome in done)
    parts = [f"{len(done)} of {len(outcomes)} songs done in {duration(seconds)}"]
    if audio_seconds:
        parts[0] += f", {duration(audio_seconds)} of audio (RTF {seconds / audio_seconds:.3f})"
    if kept:
        parts.append(f"{kept} kept from an earlier run (--overwrite does them again)")
    if failures:
        log = f"; {output / 'run.jsonl'} tells why" if output is not None else ""
        parts.append(f"{failures} of {len(outcomes)} songs failed{log}")
    return "; ".join(parts)


def append_log(output: Path, verb: str, outcome: Outcome) -> None:
    """Add an outcome to `run.jsonl`, in one write, so that runs side by side do not mix their lines."""
    seconds = math.fsum(outcome.stages.values())
    entry = {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "verb": verb,
        "source": str(outcome.job.source),
        "stem": outcome.job.stem.as_posix(),
        "status": "done" if outcome.error is None else "failed",
        "outputs": [path.relative_to(output).as_posix() for path in outcome.outputs],
        "seconds": round(seconds, 3),
        "audio_seconds": round(outcome.audio_seconds, 3),
        "rtf": round(seconds / outcome.audio_seconds, 4) if outcome.audio_seconds else None,
        "stages": {stage: round(each, 3) for stage, each in outcome.stages.items()},
        "error": None if outcome.error is None else describe(outcome.error),
        "key": outcome.key,
    }
    path = output / "run.jsonl"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            torn = size and os.pread(descriptor, 1, size - 1) != b"\n"  # by a run that was killed
            line = ("\n" if torn else "") + json.dumps(entry, ensure_ascii=False) + "\n"
            os.write(descriptor, line.encode("utf-8", "surrogateescape"))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}; check the folder and the disk") from error


def _log_entries(output: Path) -> Iterator[dict[str, Any]]:
    """The outcomes that `run.jsonl` tells of, without lines that are cut off or not ours."""
    try:
        lines = (output / "run.jsonl").read_bytes().decode("utf-8", "surrogateescape").split("\n")
    except OSError:
        return
    for line in lines:
        with suppress(ValueError, RecursionError):
            entry = json.loads(line)
            if isinstance(entry, dict) and _are_names(entry.get("outputs")) and isinstance(entry.get("time"), str):
                yield entry


def _are_names(outputs: Any) -> bool:
    return isinstance(outputs, list) and all(isinstance(name, str) for name in outputs)


def logged_results(output: Path) -> dict[str, float]:
    """The results that `run.jsonl` names, relative to `output`, and when they were written, in seconds since 1970."""
    results: dict[str, float] = {}
    for entry in _log_entries(output):
        with suppress(ValueError):
            results.update(dict.fromkeys(entry["outputs"], datetime.fromisoformat(entry["time"]).timestamp()))
    return results
