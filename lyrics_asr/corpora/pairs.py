"""Pairs of a mix and its instrumental or a cappella in a catalogue, by artist, title and length.

The search follows Humphrey, Montecchio, Bittner, Jansson and Jehan 2017, "Mining labeled data from web-scale
collections for vocal activity detection in music", section 3, and Jansson et al. 2017, "Singing voice separation with
deep U-Net convolutional networks", section 4: the same artist, "instrumental" in one title and not in the other, titles
that agree otherwise, and nearly the same length.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rapidfuzz.fuzz import ratio

from lyrics_asr.corpora.catalogs import Track
from lyrics_asr.corpora.titles import Kind, Title, artist_key, parse_title

_MAX_DIFFERENCE_SECONDS = 1.0
_MIN_TITLE_RATIO = 90.0  # in percent; a wrong letter in ten

UNREADABLE = "with audio that cannot be read"
UNNAMED = "without artist or title"
NO_ARTIST = "without a mix by the artist"
NO_TITLE = "without a mix of the title"
NO_VERSION = "without a mix of the same version"
NO_LENGTH = "without a mix of the length"
TAKEN = "whose mix has a closer partner"


@dataclass(frozen=True)
class TrackPair:
    """A mix, and the instrumental or a cappella that goes with it."""

    mix: Track
    stem: Track
    kind: Kind


@dataclass(frozen=True)
class PairSearch:
    """The pairs of a catalogue.

    Args:
        pairs: in the order of their stems' paths.
        stems: how many instrumentals and a cappellas the catalogue has.
        dropped_tracks: the reason for each track that cannot be compared, by its path.
        dropped_stems: the reason for each instrumental or a cappella without a mix, by its path.
    """

    pairs: tuple[TrackPair, ...]
    stems: int
    dropped_tracks: Mapping[str, str]
    dropped_stems: Mapping[str, str]


@dataclass(frozen=True)
class _Entry:
    track: Track
    title: Title
    duration_seconds: float


@dataclass(frozen=True)
class _Candidate:
    """A possible pair; the smallest `distance` is the best one."""

    mix: _Entry
    stem: _Entry

    @property
    def distance(self) -> tuple[float, bool, float, str]:
        same_album = self.mix.track.album == self.stem.track.album
        apart_seconds = abs(self.mix.duration_seconds - self.stem.duration_seconds)
        likeness = ratio(self.mix.title.song, self.stem.title.song)
        return (-likeness, not same_album, round(apart_seconds, 3), str(self.mix.track.path))


def find_pairs(tracks: Iterable[Track]) -> PairSearch:
    """Find the mix of every instrumental and a cappella; a mix has at most one of each.

    A pair has the same artist and the same version (see `titles`), song titles that are alike to 90 %, and lengths that
    differ by at most a second.
    """
    dropped_tracks, dropped_stems = {}, {}
    mixes: defaultdict[str, list[_Entry]] = defaultdict(list)
    stems: list[tuple[str, _Entry]] = []
    for track in tracks:
        artist, title = artist_key(track.artist), parse_title(track.title, track.album)
        if track.duration_seconds is None:
            dropped_tracks[str(track.path)] = UNREADABLE
        elif not artist or not title.song:
            dropped_tracks[str(track.path)] = UNNAMED
        elif title.kind == "mix":
            mixes[artist].append(_Entry(track, title, track.duration_seconds))
        else:
            stems.append((artist, _Entry(track, title, track.duration_seconds)))
    for entries in mixes.values():
        entries.sort(key=lambda entry: entry.duration_seconds)
    best: dict[tuple[str, Kind], _Candidate] = {}
    for artist, stem in stems:
        found = _best_mix(stem, mixes.get(artist, ()))
        if isinstance(found, str):
            dropped_stems[str(stem.track.path)] = found
            continue
        key = (str(found.mix.track.path), stem.title.kind)
        taken = best.get(key)
        if taken is not None:
            found, loser = sorted((found, taken), key=lambda each: (each.distance, str(each.stem.track.path)))
            dropped_stems[str(loser.stem.track.path)] = TAKEN
        best[key] = found
    pairs = [TrackPair(each.mix.track, each.stem.track, each.stem.title.kind) for each in best.values()]
    pairs.sort(key=lambda pair: str(pair.stem.path))
    return PairSearch(tuple(pairs), len(stems), dropped_tracks, dropped_stems)


def _best_mix(stem: _Entry, mixes: Sequence[_Entry]) -> _Candidate | str:
    """The best of an artist's mixes, which are in the order of their lengths; or why there is none."""
    if not mixes:
        return NO_ARTIST
    first = bisect_left(mixes, stem.duration_seconds - _MAX_DIFFERENCE_SECONDS, key=_seconds)
    last = bisect_right(mixes, stem.duration_seconds + _MAX_DIFFERENCE_SECONDS, key=_seconds)
    candidates = [
        _Candidate(mix, stem) for mix in mixes[first:last] if _same_song(mix, stem) and _same_version(mix, stem)
    ]
    if candidates:
        return min(candidates, key=lambda each: each.distance)
    same_song = [mix for mix in mixes if _same_song(mix, stem)]
    if not same_song:
        return NO_TITLE
    return NO_LENGTH if any(_same_version(mix, stem) for mix in same_song) else NO_VERSION


def _seconds(entry: _Entry) -> float:
    return entry.duration_seconds


def _same_song(mix: _Entry, stem: _Entry) -> bool:
    return ratio(mix.title.song, stem.title.song, score_cutoff=_MIN_TITLE_RATIO) > 0


def _same_version(mix: _Entry, stem: _Entry) -> bool:
    return mix.title.version == stem.title.version
