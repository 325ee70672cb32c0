"""The cache of `lyrics-asr data cache-vocals`: the vocals of a frozen separator, computed once for the songs of cuts.

The output folder holds
- audio/ID.flac: the vocals of the recording ID, as inference makes them, mono at the acoustic model's rate, 16 bit.
- cuts under their original names, whose recordings are these files and whose custom field "separator" names the
  separator; cuts of failed songs are left out.
- separator.json: the name and the fingerprint of the separator; a folder has one.
- run.jsonl: the result of every song; finished songs are not separated again.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from lhotse.serialization import load_jsonl

from lyrics_asr.audio import read_header
from lyrics_asr.inference.jobs import Job, can_name_results
from lyrics_asr.models.fingerprint import weights_fingerprint
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.training.data.cut_reader import SEPARATOR
from lyrics_asr.training.data.lhotse_io import make_recording, manifest_files, write_cuts
from lyrics_asr.training.data.object_storage import CutsPath

AUDIO_SUFFIX = ".flac"

_FOLDER = Path("audio")


def find_songs(cuts: Sequence[Path]) -> tuple[Job, ...]:
    """The songs of cuts, as jobs whose results are named by the recordings' ids.

    Raises:
        FileNotFoundError: no such cuts.
        ValueError: not cuts of whole files, two files of cuts with one name, or two songs with one id.
    """
    sources: dict[str, Path] = {}
    for path in cuts:
        if any(path.name == other.name for other in cuts if other is not path):
            raise ValueError(f"{path}: another file of cuts has this name too; cache them in a folder each")
        for cut in read_cuts(path):
            recording_id, source = song_of(path, cut)
            if sources.setdefault(recording_id, source) != source:
                raise ValueError(f"{path}: the recording {recording_id!r} is two files; ids must differ")
    return tuple(Job(source, _FOLDER / recording_id) for recording_id, source in sources.items())


def write_cached_cuts(cuts: Sequence[Path], output: Path) -> int:
    """Write the cuts with their recordings in the cache, and return how many lack one and were left out.

    Raises:
        ValueError: not cuts.
        OutputError: the folder cannot be written.
    """
    separator = json.loads((output / "separator.json").read_text(encoding="utf-8"))
    left_out = 0
    for path in cuts:
        recordings: dict[str, dict[str, Any] | None] = {}

        def lines(path: Path = path, recordings: dict[str, dict[str, Any] | None] = recordings) -> Iterator[str]:
            nonlocal left_out
            for cut in read_cuts(path):
                recording_id, _ = song_of(path, cut)
                if recording_id not in recordings:
                    file = Job(path, _FOLDER / recording_id).target(output, AUDIO_SUFFIX)
                    recordings[recording_id] = (
                        make_recording(recording_id, file, read_header(file)) if file.is_file() else None
                    )
                recording = recordings[recording_id]
                if recording is None:
                    left_out += 1
                    continue
                yield render_separated(cut, recording, separator)

        write_cuts(output / path.name, lines())
    return left_out


def render_separated(
    cut: Mapping[str, Any], recording: Mapping[str, Any], separator: Mapping[str, str], suffix: str = ""
) -> str:
    """A cut as a line of JSON, with its audio replaced by separated vocals in mono.

    Args:
        cut: as Lhotse writes it.
        recording: of the separated vocals.
        separator: its name and fingerprint.
        suffix: of the ids of cut and supervisions.
    """
    supervisions = [
        {**each, "id": f"{each['id']}{suffix}", "recording_id": recording["id"], "channel": 0}
        for each in cut["supervisions"]
    ]
    changes = {"supervisions": supervisions, "recording": recording, "type": "MonoCut", "channel": 0}
    return json.dumps({**cut, **changes, "id": f"{cut['id']}{suffix}", "custom": {SEPARATOR: separator}})


def require_separator(cuts: Sequence[CutsPath], model: LyricsModel) -> None:
    """Make sure that cuts of separated vocals, if there are any, are of the separator of `model`.

    Raises:
        ValueError: they are of another; the message names both.
    """
    for path in cuts:
        for file in manifest_files(path):
            for cut in islice(read_cuts(file), 1):
                made_by = (cut.get("custom") or {}).get(SEPARATOR)
                if made_by is not None:
                    require_same_separator(path, made_by, model)


def require_same_separator(place: CutsPath, made_by: Any, model: LyricsModel) -> None:
    """Refuse vocals of another separator than that of `model`; the message names where they are."""
    fingerprint = made_by.get("fingerprint") if isinstance(made_by, dict) else None
    if fingerprint != weights_fingerprint(model.separator):
        name = made_by.get("name") if isinstance(made_by, dict) else made_by
        raise ValueError(
            f"{place}: holds the vocals of another separator, {name!r}, whose weights are not those of "
            f"{model.separator.name!r}; choose another folder, or cache the vocals of this one"
        )


def read_cuts(path: CutsPath) -> Iterator[dict[str, Any]]:
    """Cuts as Lhotse writes them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not cuts.
    """
    manifest_files(path)
    try:
        yield from load_jsonl(path)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path}: not cuts as Lhotse writes them ({error}); make them again") from error


def song_of(path: CutsPath, cut: Mapping[str, Any]) -> tuple[str, Path]:
    """The id of a cut's recording, which can name a file, and the recording's file.

    Raises:
        ValueError: the cut is not a window of a song in one file.
    """
    try:
        recording_id, (source,) = str(cut["recording"]["id"]), cut["recording"]["sources"]
        if source["type"] != "file" or cut["recording"].get("transforms") or (cut.get("custom") or {}).get(SEPARATOR):
            raise ValueError("its sound is not a song in a file")
        if not can_name_results(Path(recording_id)):
            raise ValueError(f"{recording_id!r} cannot name a file")
        return recording_id, Path(source["source"])
    except (KeyError, TypeError, ValueError) as error:
        name = cut.get("id") if isinstance(cut, dict) else cut
        raise ValueError(f"{path}: cut {name!r}: {error}; give cuts of songs in one file each") from error
