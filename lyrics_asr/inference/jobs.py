"""The input files of a command, and the paths of their results.

Conventions
- Folders are searched recursively, sorted by name, without hidden files and the output folder. Links to folders are
  followed, except to a folder that they lie in.
- The tree of an input folder is mirrored under the output folder; results of single files are at its top.
- A list of songs is a manifest (.jsonl, see `corpora.manifest`), whose ids name the results, or a .csv with a column
  `audio` and, for their lyrics, `lyrics`: files below the list's folder, whose tree is mirrored.
- `song.mp3` becomes `song.json`. If two songs collide, both keep their suffix: `song.mp3.json` and `song.wav.json`.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lyrics_asr.console import UsageError
from lyrics_asr.corpora.manifest import read_manifest
from lyrics_asr.corpora.parsing import inside, read_csv
from lyrics_asr.files import composed
from lyrics_asr.lyrics.text import Lyrics, parse_corpus_lyrics, read_lyrics

LIST_SUFFIXES = frozenset({".jsonl", ".csv"})
"""Suffixes of lists of songs."""
LYRICS_SUFFIXES = (
    ".txt",
    ".lrc",
    ".srt",
    ".vtt",
    ".ass",
    ".ssa",
    ".ttml",
    ".cho",
    ".chordpro",
    ".crd",
    ".html",
    ".htm",
    ".json",
)
"""Suffixes of the lyrics beside a song; the first one that exists counts."""


class LayoutError(UsageError):
    """The inputs cannot be processed: there are none, or results would overwrite each other or an input."""


@dataclass(frozen=True)
class Job:
    """An input file and the path of its results.

    Args:
        source: the input file.
        stem: path of the results, relative to the output folder and without suffix.
        lyrics: file with the lyrics, if any.
        lyrics_text: lyrics from a manifest, if any.
    """

    source: Path
    stem: Path
    lyrics: Path | None = None
    lyrics_text: str | None = None

    def read_lyrics(self, encoding: str | None = None, expand_repeats: bool = True) -> Lyrics:
        """The lyrics, from their file or from the list that the job came from.

        Args:
            encoding: encoding of the file; None to recognize it.
            expand_repeats: see `parse_lyrics`; a manifest writes everything that is sung.

        Raises:
            FileNotFoundError: no such file.
            ValueError: there are no lyrics in it; the message names the file or the song.
        """
        if self.lyrics is not None:
            if not self.lyrics.exists():
                raise FileNotFoundError(f"{self.lyrics}: no such file; put the lyrics of {self.source.name} there")
            return read_lyrics(self.lyrics, encoding, expand_repeats)
        try:
            return parse_corpus_lyrics(self.lyrics_text or "")
        except ValueError as error:
            raise ValueError(f"{self.stem}: {error}") from error

    def target(self, output: Path, suffix: str) -> Path:
        """The result with this suffix, e.g. ".json"."""
        return output / self.stem.with_name(self.stem.name + suffix)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job: the files it wrote, or the error.

    Args:
        job: the job.
        outputs: files with the results.
        error: the error; None if the job is done.
        key: hash of everything that the results depend on, see `Task.key`; None if it was not computed.
        audio_seconds: duration of the song; 0 if unknown.
        stages: seconds of each stage; stages of different songs overlap.
        is_kept: whether the files are from an earlier run.
        not_ours: files that were kept in place of results, because we did not write them, or they were changed since.
    """

    job: Job
    outputs: tuple[Path, ...]
    error: Exception | None
    key: str | None = None
    audio_seconds: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)
    is_kept: bool = False
    not_ours: tuple[Path, ...] = ()


def find_jobs(inputs: Sequence[Path], suffixes: Collection[str], output: Path | None) -> tuple[Job, ...]:
    """The files among `inputs`, and those with one of `suffixes` in the folders among them.

    Args:
        inputs: files, folders and lists of songs; a file may have any suffix, and may be missing.
        suffixes: in lower case, with the dot.
        output: folder to exclude from the search.

    Raises:
        LayoutError: a folder or list has no such file, or two files would have the same results.
        FileNotFoundError: no such list.
        ValueError: a list is malformed; the message names it.
    """
    found: dict[Path, Path] = {}
    listed: list[Job] = []
    for path in inputs:
        if path.suffix.lower() in LIST_SUFFIXES:
            listed += _listed(path)
        elif path.is_dir():
            files = sorted(each for each in _walk(path, output) if each.suffix.lower() in suffixes)
            below = {path / each: each for each in files}
            if not below:
                raise LayoutError(
                    f"{path}: has no file with a suffix among {' '.join(sorted(suffixes))}; check the folder"
                )
            found.update(below)
        else:
            found[path] = Path(path.name)
    stems: dict[Path, list[Path]] = {}
    for path, relative in found.items():
        stems.setdefault(relative.with_suffix(""), []).append(path)
    jobs = []
    for path, relative in found.items():
        stem = relative.with_suffix("")
        jobs.append(Job(path, stem if len(stems[stem]) == 1 else relative))
    jobs += listed
    taken: dict[Path, Job] = {}
    for job in jobs:
        if job.stem in taken:
            raise LayoutError(
                f"{taken[job.stem].source} and {job.source} would both be written to {job.stem}; "
                "rename one, or use a different output folder for each"
            )
        taken[job.stem] = job
    return tuple(jobs)


def with_lyrics(jobs: Iterable[Job]) -> tuple[Job, ...]:
    """The jobs, each with its lyrics: those of its list, or else the file beside the song with the same name.

    Upper and lower case of suffixes and Unicode's composed and decomposed letters do not matter. Where there is no such
    file, it is song.txt, which does not exist.
    """
    found: dict[Path, dict[str, list[Path]]] = {}
    paired = []
    for job in jobs:
        if job.lyrics is None and not job.lyrics_text:
            folder = job.source.parent
            if folder not in found:
                found[folder] = _lyrics_by_name(folder)
            files = found[folder].get(composed(job.source.stem), [job.source.with_suffix(".txt")])
            job = replace(job, lyrics=min(files, key=lambda path: path.stem != job.source.stem))
        paired.append(job)
    return tuple(paired)


def _lyrics_by_name(folder: Path) -> dict[str, list[Path]]:
    """The lyrics files of each song in a folder: those with the first suffix in `LYRICS_SUFFIXES`."""
    found: dict[str, list[Path]] = {}
    for suffix in LYRICS_SUFFIXES:
        earlier = set(found)
        for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
            path = folder / name
            if path.suffix.lower() == suffix and composed(path.stem) not in earlier:
                found.setdefault(composed(path.stem), []).append(path)
    return found


def left_out(inputs: Sequence[Path], jobs: Iterable[Job], output: Path | None) -> Counter[str]:
    """How many files in the folders among `inputs` are no job, by suffix; without those named after a job's source."""
    stems = {job.source.with_suffix("") for job in jobs}
    others: Counter[str] = Counter()
    for path in inputs:
        if path.is_dir():
            files = (path / each for each in _walk(path, output))
            others.update(each.suffix.lower() or each.name for each in files if each.with_suffix("") not in stems)
    return others


def can_name_results(stem: Path) -> bool:
    """Whether results that are named so lie below their folder."""
    return bool(stem.name) and not stem.is_absolute() and ".." not in stem.parts


def _listed(path: Path) -> tuple[Job, ...]:
    """The songs of a list."""
    if path.suffix.lower() == ".csv":
        folder = path.parent
        jobs = []
        for number, row in enumerate(read_csv(path, ["audio"]), start=2):
            try:
                audio = inside(folder, row["audio"])
                lyrics = inside(folder, row["lyrics"]) if row.get("lyrics") else None
            except ValueError as error:
                raise ValueError(f"{path}, row {number}: {error}") from error
            jobs.append(Job(audio, Path(row["audio"]).with_suffix(""), lyrics))
    else:
        jobs = [Job(song.audio, Path(song.id), lyrics_text=song.lyrics) for song in read_manifest(path)]
    for job in jobs:
        if not can_name_results(job.stem):
            raise LayoutError(f"{path}: {str(job.stem)!r} cannot name a result; give the song another id")
    if not jobs:
        raise LayoutError(f"{path}: lists no songs; check the file")
    return tuple(jobs)


def _walk(folder: Path, output: Path | None) -> Iterator[Path]:
    """Files below `folder`, relative to it."""
    excluded = None if output is None else output.resolve()
    ancestors = {folder: {folder.resolve()}}  # of each folder, itself included, without links
    for parent, folders, files in os.walk(folder, followlinks=True):
        here = Path(parent)
        above = ancestors.pop(here)
        entered = []
        for name in folders:
            real = (here / name).resolve()
            if not name.startswith(".") and real != excluded and real not in above:
                entered.append(name)
                ancestors[here / name] = above | {real}
        folders[:] = entered
        yield from ((here / name).relative_to(folder) for name in files if not name.startswith("."))
