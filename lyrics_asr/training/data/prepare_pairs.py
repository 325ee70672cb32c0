"""Pairs of a mix and its instrumental or a cappella to training data: searched, checked and written as Lhotse cuts.

The output folder holds
- stems/ID/vocals.flac and accompaniment.flac: as long as the mix, see `pair_stems`.
- cuts.jsonl.gz: a `lhotse.CutSet`, as `prepare_manifest` writes them. A cut is a window of the mix, with its stems as
  the custom recordings "vocals" and "accompaniment". Its supervision has no text: the words are unknown.
- report.json: `PairReport`.
- tags.jsonl and checks.jsonl: what was read and checked, so that interrupted runs resume.
"""

import contextlib
import hashlib
import json
import logging
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from lyrics_asr.audio import AudioError, read_header, write_audio
from lyrics_asr.audio.fingerprint import require_chromaprint
from lyrics_asr.console import steps
from lyrics_asr.corpora.catalogs import read_catalog
from lyrics_asr.corpora.pairs import UNREADABLE, TrackPair, find_pairs
from lyrics_asr.files import append_line, require_writable_folder, write_text
from lyrics_asr.training.data.cut_reader import STEMS
from lyrics_asr.training.data.lhotse_io import make_recording, render_wordless_cut, write_cuts
from lyrics_asr.training.data.options import ChunkOptions
from lyrics_asr.training.data.pair_stems import make_stems
from lyrics_asr.training.data.segmentation import silent_chunks
from lyrics_asr.version import RESULTS_VERSION

_CUTS_FILE = "cuts.jsonl.gz"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckedPair:
    """A pair, and what became of it.

    Args:
        id: of its files and cuts.
        mix: path of the mix.
        stem: path of the instrumental or a cappella.
        kind: which of the two it is.
        dropped: why the pair is dropped; None if it is used.
        target: "subtracted" or "max rule", see `pair_stems`.
        start_seconds: of the part that both have.
        end_seconds: of the part that both have.
        measures: of the checks, see `pair_stems.PairMeasures`.
    """

    id: str
    mix: str
    stem: str
    kind: str
    dropped: str | None = None
    target: str | None = None
    start_seconds: float = 0.0
    end_seconds: float = 0.0
    measures: Mapping[str, float] | None = None


@dataclass(frozen=True)
class PairReport:
    """What became of a catalogue.

    Args:
        tracks: how many it lists.
        dropped_tracks: the reason for each that cannot be compared, by its path.
        stems: how many instrumentals and a cappellas there are.
        dropped_stems: the reason for each that has no mix, by its path.
        pairs: those that were checked by sound.
        cuts: how many there are.
        seconds: of all cuts.
    """

    tracks: int
    dropped_tracks: Mapping[str, str]
    stems: int
    dropped_stems: Mapping[str, str]
    pairs: Sequence[CheckedPair]
    cuts: int
    seconds: float


def prepare_pairs(source: Path, output: Path, options: ChunkOptions, *, processes: int = 1) -> PairReport:
    """Search a folder or catalogue for pairs, and write their stems and cuts.

    Args:
        source: see `corpora.catalogs`.
        output: folder of the results; an earlier run on the same files is continued.
        options: the longest cut.
        processes: how many check pairs.

    Raises:
        FileNotFoundError, ValueError: see `read_catalog`.
        ModuleNotFoundError, OSError: fingerprints cannot be computed.
        OutputError: the output cannot be written.
    """
    require_chromaprint()
    require_writable_folder(output)
    tracks = read_catalog(source, output / "tags.jsonl")
    search = find_pairs(tracks)
    checked = []
    _logger.info("%d of %d instrumentals and a cappellas have a mix", len(search.pairs), search.stems)
    with steps("pairs", 0, len(search.pairs)) as show:
        for pair in _check(search.pairs, output, processes):
            checked.append(pair)
            show(len(checked))
    lines: list[str] = []
    seconds = 0.0
    for pair in checked:
        if pair.dropped is None:
            cuts = _cuts(pair, output, options)
            lines += cuts
            seconds += pair.end_seconds - pair.start_seconds
    report = PairReport(
        len(tracks), search.dropped_tracks, search.stems, search.dropped_stems, checked, len(lines), seconds
    )
    write_text(output / "report.json", json.dumps(asdict(report), indent=1) + "\n")
    write_cuts(output / _CUTS_FILE, lines)
    return report


def _check(pairs: Sequence[TrackPair], output: Path, processes: int) -> Iterator[CheckedPair]:
    """The pairs after their checks, those of earlier runs included; every result is kept at once."""
    log = output / "checks.jsonl"
    known = _read_checks(log)
    ids = [_id(pair) for pair in pairs]
    missing = [pair for pair, pair_id in zip(pairs, ids, strict=True) if pair_id not in known]
    with contextlib.ExitStack() as stack:
        fresh: Iterator[CheckedPair] = map(partial(check_pair, output), missing)
        if processes > 1:
            # spawn: a forked child of a process whose OpenMP threads are running hangs at its first parallel region.
            context = multiprocessing.get_context("spawn")
            pool = stack.enter_context(ProcessPoolExecutor(processes, mp_context=context))
            fresh = pool.map(partial(check_pair, output), missing)
        for pair_id in ids:
            if pair_id in known:
                yield known[pair_id]
                continue
            checked = next(fresh)
            append_line(log, json.dumps(asdict(checked)).encode())
            yield checked


def check_pair(output: Path, pair: TrackPair) -> CheckedPair:
    """Check a pair, and write its stems if it passes; one that cannot be read is dropped.

    Raises:
        OutputError: the stems cannot be written.
    """
    checked = CheckedPair(_id(pair), str(pair.mix.path), str(pair.stem.path), pair.kind)
    try:
        stems = make_stems(pair)
    except (AudioError, OSError) as error:
        _logger.warning("%s", error)
        return replace(checked, dropped=UNREADABLE)
    if isinstance(stems, str):
        return replace(checked, dropped=stems)
    folder = output / "stems" / checked.id
    write_audio(folder / "vocals.flac", stems.vocals)
    write_audio(folder / "accompaniment.flac", stems.accompaniment)
    return replace(
        checked,
        target=stems.target,
        start_seconds=stems.start_seconds,
        end_seconds=stems.end_seconds,
        measures=asdict(stems.measures),
    )


def _read_checks(log: Path) -> dict[str, CheckedPair]:
    """The pairs that an earlier run checked, and whose stems are there, by their ids."""
    known = {}
    for line in log.read_text(encoding="utf-8").split("\n") if log.exists() else ():
        try:
            pair = CheckedPair(**json.loads(line))
        except (ValueError, TypeError):  # a line that an interrupted run left incomplete
            continue
        if pair.dropped is not None or (log.parent / "stems" / pair.id / "accompaniment.flac").exists():
            known[pair.id] = pair
    return known


def _id(pair: TrackPair) -> str:
    """The id of a pair; it changes when one of the files or the checks do."""
    stamps: list[Any] = [RESULTS_VERSION]
    for path in (pair.mix.path, pair.stem.path):
        status = path.stat() if path.exists() else None
        stamps += [str(path.resolve()), status and status.st_size, status and status.st_mtime_ns]
    return hashlib.sha256(json.dumps(stamps).encode()).hexdigest()[:16]


def _cuts(pair: CheckedPair, output: Path, options: ChunkOptions) -> list[str]:
    recording = make_recording(pair.id, Path(pair.mix), read_header(Path(pair.mix)))
    stems = {}
    for name in STEMS:
        path = output / "stems" / pair.id / f"{name}.flac"
        stems[name] = make_recording(f"{pair.id}-{name}", path, read_header(path))
    end_seconds = min(pair.end_seconds, recording["duration"])
    windows = silent_chunks((), end_seconds - pair.start_seconds, options)
    return [
        render_wordless_cut(
            recording,
            number,
            pair.start_seconds + window.start_seconds,
            window.end_seconds - window.start_seconds,
            stems,
        )
        for number, window in enumerate(windows)
    ]
