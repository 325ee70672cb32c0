"""A made catalogue in which the pairs are known: songs with instrumentals and a cappellas, and confusions.

Titles are written as shops and collections write them. Confusions are live versions, remixes with instrumentals of
their own, other edits, covers and karaoke productions by other artists, parts 1 and 2, songs by the same artist with
nearly the same title, and instrumentals whose mix is missing. Some are of the same length as what they are not.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lyrics_asr.corpora.catalogs import Track

# fmt: off
_SYLLABLES = [
    "ba", "be", "bi", "bo", "da", "de", "di", "fa", "fe", "go", "ka", "ke", "la", "le", "li", "lo", "ma", "me", "mi",
    "mo", "na", "ne", "no", "pa", "ra", "re", "ri", "ro", "sa", "se", "so", "ta", "te", "to", "va", "vi",
]
_WORDS = [
    "love", "night", "blue", "heart", "fire", "rain", "road", "summer", "river", "dance", "dream", "time", "home",
    "moon", "light", "girl", "city", "sky", "gold", "wild",
]
# fmt: on
_INSTRUMENTAL = [
    "{} (Instrumental)",
    "{} [Instrumental]",
    "{} - Instrumental",
    "{} (Instrumental Version)",
    "{} (Karaoke Version)",
    "{} (Backing Track)",
    "{} (Off Vocal)",
    "{} (Inst.)",
    "{} - Instrumental Mix",
    "{} Instrumental",
    "{} (Minus One)",
    "{} (Versión Instrumental)",
    "{} (Version instrumentale)",
    "{} (Strumentale)",
    "{} (カラオケ)",
    "{} (минусовка)",
    "{} (Instrumental) [2009 Remaster]",
    "{} (No Vocals)",
    "{} (MR)",
    "{} (feat. Guest) [Instrumental]",
]  # fmt: skip
_A_CAPPELLA = ["{} (A Cappella)", "{} (Acapella)", "{} [Acappella]", "{} - Acapella Version", "{} (Vocals Only)"]
_MIX = ["{}"] * 6 + ["{} (feat. Guest)", "{} - 2011 Remaster", "{} (Album Version)", "{} (Original Mix)"]


@dataclass(frozen=True)
class MadeCatalog:
    """Tracks in random order, and the paths of the mix and the stem of every true pair."""

    tracks: tuple[Track, ...]
    pairs: frozenset[tuple[Path, Path]]


def make_catalog(songs: int, seed: int) -> MadeCatalog:
    rng = np.random.default_rng(seed)
    tracks: list[Track] = []
    pairs: set[tuple[Path, Path]] = set()

    def choose(options):
        return options[rng.integers(len(options))]

    def name():
        own = "".join(choose(_SYLLABLES) for _ in range(rng.integers(2, 5)))
        return " ".join(rng.permutation([choose(_WORDS), own, *([choose(_WORDS)] * (rng.random() < 0.4))])).title()

    def misspelled(text):
        if rng.random() < 0.05 and len(text) > 10:
            at = int(rng.integers(1, len(text) - 1))
            text = text[:at] + text[at + 1 :]
        return text.upper() if rng.random() < 0.05 else text.replace("e", "é", 1) if rng.random() < 0.05 else text

    def add(artist, title, seconds):
        track = Track(Path(f"{len(tracks):06}.mp3"), artist, title, round(float(seconds), 3))
        tracks.append(track)
        return track.path

    artists = [f"{'The ' * (rng.random() < 0.2)}{name()}" for _ in range(songs // 10)]
    for _ in range(songs):
        artist, title, seconds = choose(artists), name(), rng.uniform(120, 330)
        variant = (
            artist.removeprefix("The ") if rng.random() < 0.3 else artist.upper() if rng.random() < 0.1 else artist
        )
        mix = add(artist, choose(_MIX).format(title), seconds)

        def stem_seconds(seconds=seconds):
            return seconds + (rng.normal(0, 0.25) if rng.random() < 0.97 else rng.uniform(1.5, 10))

        if rng.random() < 0.6:
            pairs.add((mix, add(variant, choose(_INSTRUMENTAL).format(misspelled(title)), stem_seconds())))
        if rng.random() < 0.15:
            pairs.add((mix, add(variant, choose(_A_CAPPELLA).format(misspelled(title)), stem_seconds())))
        if rng.random() < 0.25:
            add(artist, f"{title} (Live{choose(['', ' at the Arena', ' 2004'])})", seconds + rng.normal(0, 8))
        if rng.random() < 0.05:
            add(artist, f"{title} (Live) [Instrumental]", seconds + rng.normal(0, 0.5))
        if rng.random() < 0.2:
            remixer, length = name(), seconds + rng.normal(0, 20)
            remix = add(artist, f"{title} ({remixer} Remix)", length)
            if rng.random() < 0.4:
                pairs.add((remix, add(artist, f"{title} ({remixer} Remix) [Instrumental]", length)))
            if rng.random() < 0.2:  # another remix, of which there is the instrumental only
                add(artist, f"{title} ({name()} Remix Instrumental)", length)
        if rng.random() < 0.2:
            add(
                artist,
                f"{title} ({choose(['Radio Edit', 'Edit', 'Extended Mix', 'Demo', 'Acoustic'])})",
                seconds + rng.normal(0, 5),
            )
        if rng.random() < 0.2:
            add(choose(artists), title, seconds + rng.normal(0, 3))
        if rng.random() < 0.2:
            add(
                "Starlight Karaoke", f"{title} (Originally Performed by {artist}) [Karaoke]", seconds + rng.normal(0, 1)
            )
        if rng.random() < 0.05:
            add(artist, f"{title}, Pt. 2", seconds + rng.normal(0, 1))
        if rng.random() < 0.05:  # another song of nearly the same title, as an instrumental only
            add(artist, f"{title} {choose(_WORDS).title()} (Instrumental)", seconds + rng.normal(0, 1))
        if rng.random() < 0.01:  # and of the title with another letter
            add(artist, f"{title[:-1]}u (Instrumental)", seconds + rng.normal(0, 1))
        if rng.random() < 0.01:  # an edit's instrumental that does not say so
            add(artist, f"{title} (Instrumental)", seconds + rng.normal(0, 3))
        if rng.random() < 0.1:
            add(artist, f"{name()} (Instrumental)", rng.uniform(120, 330))
    return MadeCatalog(tuple(tracks[i] for i in rng.permutation(len(tracks))), frozenset(pairs))
