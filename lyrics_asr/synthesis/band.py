"""The band of a synthetic song: drums, bass, chords, arpeggios, voice-like leads, choirs and noise effects.

The band plays the sections of an `arrangement` in one of the `styles`, with `instruments` and `drums`. All randomness
comes from the generator argument, so the same seed gives the same music.

Conventions: signals are float32 arrays at `SAMPLE_RATE_HZ`; a player's track is mono, the mix is stereo `[2, samples]`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, sosfilt

from lyrics_asr.synthesis import drums, instruments, production, styles
from lyrics_asr.synthesis.arrangement import Music, Section
from lyrics_asr.synthesis.instruments import Instrument, Samples

SAMPLE_RATE_HZ = instruments.SAMPLE_RATE_HZ
_CRASH_SHARE = 0.6  # of sections that start with a crash cymbal
_FILL_PIECES = ("snare", "tom", "low_tom", "snare")


@dataclass(frozen=True)
class Bar:
    """A bar of the song, as all players see it.

    Args:
        start_samples: start of the bar.
        chord: triad in MIDI notes, from the octave below middle C.
        section: the section that contains the bar.
        number: index of the bar in its section.
    """

    start_samples: int
    chord: tuple[int, int, int]
    section: Section
    number: int

    @property
    def is_last(self) -> bool:
        """Whether this is the last bar of its section."""
        return self.number == self.section.bars - 1


def play(music: Music, sections: Sequence[Section], total_samples: int, rng: np.random.Generator) -> Samples:
    """Play the sections in the style of `music`; the result has `total_samples` and peaks at 0.5."""
    style = styles.STYLES[music.style]
    band = _Band(music, _bars(music, sections), total_samples, rng)
    players = [name for name, chance in style.players.items() if rng.random() < chance]
    if not players:
        players = [max(style.players, key=lambda name: style.players[name])]
    mix = np.zeros((2, total_samples), dtype=np.float32)
    send = np.zeros(total_samples, dtype=np.float32)
    for name in players:
        track = _PLAYERS[name](band)
        _mix_in(track, mix, send, band, rng.uniform(-10, 0), rng.uniform(-0.8, 0.8))
    if style.kits:
        kick = _drums(band, mix, send, drums.draw_kit(str(rng.choice(style.kits)), rng))
        if style.groove in ("electronic", "disco", "pop") and rng.random() < 0.4:
            mix *= production.ducking(kick, rng.uniform(2, 9))
            mix += kick
        else:
            mix += kick
    if style.bass:
        _mix_in(_bass(band), mix, send, band, rng.uniform(-5, 3), 0.0)
    if rng.random() < style.effects:
        mix += _noises(band)
    mix = production.reverberate(mix, send, production.draw_room(rng), rng.uniform(0.03, 0.3))
    return mix * np.float32(0.5 / max(float(np.abs(mix).max()), 1e-9))


@dataclass(frozen=True, eq=False)
class _Band:
    music: Music
    bars: list[Bar]
    total_samples: int
    rng: np.random.Generator

    def silence(self) -> Samples:
        return np.zeros(self.total_samples, dtype=np.float32)

    def playing(self, least: float, most: float) -> list[Bar]:
        """The bars in which a player plays: those of sections above a random energy in `least`..`most`."""
        threshold = self.rng.uniform(least, most)
        return [bar for bar in self.bars if bar.section.energy >= threshold] or self.bars

    def step(self, bar: Bar, step: int) -> int:
        """Start of a step in samples, with swing and a small random deviation."""
        return bar.start_samples + round(self.music.step_seconds(step) * SAMPLE_RATE_HZ + self.rng.normal(0, 150))

    def samples(self, steps: int | float) -> int:
        return max(1, round(steps * self.music.bar_seconds / self.music.steps_per_bar * SAMPLE_RATE_HZ))

    def pattern(self, by_name: dict[str, tuple[str, ...]], names: Sequence[str], threes: Sequence[str]) -> list[str]:
        """Draw two patterns: one for quiet sections, one for loud sections."""
        if self.music.steps_per_bar == styles.STEPS_OF_FOUR:
            return [str(p) for p in self.rng.choice(by_name[str(self.rng.choice(names))], 2)]
        return [str(p) for p in self.rng.choice(threes, 2)]


def _bars(music: Music, sections: Sequence[Section]) -> list[Bar]:
    bars = []
    for section in sections:
        for number in range(section.bars):
            start = round((section.first_bar + number) * music.bar_seconds * SAMPLE_RATE_HZ)
            degree = section.progression[number % len(section.progression)]
            low, middle, high = (music.degree_midi(degree + step) for step in (0, 2, 4))
            bars.append(Bar(start, (low, middle, high), section, number))
    return bars


def _mix_in(track: Samples, mix: Samples, send: Samples, band: _Band, level_db: float, pan: float) -> None:
    """Add a player's track to the mix, with equalizer, level, dynamics by section, panning and reverb send."""
    rng = band.rng
    rms = float(np.sqrt(np.mean(np.square(track[track != 0])))) if track.any() else 0.0
    if rms == 0:
        return
    track = production.equalize(track, production.draw_equalizer(rng))
    gain = np.float32(0.1 / rms * 10 ** (level_db / 20))
    track *= gain * _loudness(band)
    if rng.random() < 0.3:  # two takes or a chorus: wide
        wide = production.chorus(track, rng)
        mix += wide
    else:
        mix[0] += np.float32(np.sqrt(0.5 - pan / 2)) * track
        mix[1] += np.float32(np.sqrt(0.5 + pan / 2)) * track
    send += np.float32(rng.uniform(0, 1)) * track


def _loudness(band: _Band) -> Samples:
    """Gain by section energy, up to 10 dB between quiet and loud sections, with transitions of 0.1 s."""
    times = [0.0]
    gains_db = [10 * (band.bars[0].section.energy - 1)]
    for bar in band.bars:
        if bar.number == 0:
            start = bar.start_samples
            times += [max(times[-1], start - 0.1 * SAMPLE_RATE_HZ), start]
            gains_db += [gains_db[-1], 10 * (bar.section.energy - 1)]
    hop = 256
    coarse = np.interp(np.arange(0, band.total_samples + hop, hop), times, gains_db)
    return np.repeat((10 ** (coarse / 20)).astype(np.float32), hop)[: band.total_samples]


def _add(out: Samples, start: int, note: Samples, gain: float = 1.0) -> None:
    start = max(0, start)
    end = min(len(out), start + len(note))
    if end > start:
        out[start:end] += note[: end - start] * np.float32(gain)


# --- players: each returns a mono track
# ---------------------------------------------------------------------------------


def _chords(band: _Band, instrument: Instrument, *, strum_seconds: float = 0.0, octave: int = 0) -> Samples:
    """Triads near the middle of the range, in the rhythm of the style."""
    music, rng, out = band.music, band.rng, band.silence()
    patterns = band.pattern(
        styles.CHORDS,
        styles.STYLES[music.style].chords,
        styles.THREE_FOUR_CHORDS if music.beats_per_bar == 3 else styles.SIX_EIGHT_CHORDS,
    )
    legato, doubled = rng.uniform(0.4, 1.1), rng.random() < 0.4
    for bar in band.playing(0.1, 0.7):
        pattern = patterns[bar.section.energy > 0.6]
        hits = [i for i, sign in enumerate(pattern) if sign != "."]
        voicing = sorted((pitch - 60) % 12 + 55 + 12 * octave for pitch in bar.chord)
        if doubled:
            voicing.append(voicing[0] + 12)
        for hit, following in zip(hits, [*hits[1:], music.steps_per_bar], strict=True):
            loud = (1.0 if pattern[hit] == "x" else 0.55) * rng.uniform(0.8, 1)
            length = band.samples(max(0.9, legato * (following - hit)))
            start = band.step(bar, hit)
            downwards = -1 if strum_seconds and hit % 4 == 2 else 1
            for i, pitch in enumerate(voicing[::downwards]):
                _add(out, start + round(i * strum_seconds * SAMPLE_RATE_HZ), instrument(float(pitch), length), loud)
    return out


def _power_chords(band: _Band, instrument: Instrument) -> Samples:
    music, out = band.music, band.silence()
    patterns = band.pattern(
        styles.CHORDS,
        styles.STYLES[music.style].chords,
        styles.THREE_FOUR_CHORDS if music.beats_per_bar == 3 else styles.SIX_EIGHT_CHORDS,
    )
    for bar in band.playing(0.3, 0.8):
        pattern = patterns[bar.section.energy > 0.6]
        hits = [i for i, sign in enumerate(pattern) if sign != "."]
        for hit, following in zip(hits, [*hits[1:], music.steps_per_bar], strict=True):
            note = instrument(float((bar.chord[0] - 40) % 12 + 40), band.samples(0.95 * (following - hit)))
            _add(out, band.step(bar, hit), note, 1.0 if pattern[hit] == "x" else 0.6)
    return out


def _sustained(band: _Band, instrument: Instrument, octave: int) -> Samples:
    """Chords held for a whole bar, in some songs with the root doubled an octave above."""
    rng, out = band.rng, band.silence()
    length = band.samples(1.02 * band.music.steps_per_bar)
    top = rng.random() < 0.5
    for bar in band.playing(0.2, 0.9):
        pitches = [(pitch - 60) % 12 + 52 + 12 * octave for pitch in bar.chord]
        for pitch in [*pitches, pitches[0] + 12] if top else pitches:
            _add(out, bar.start_samples, instrument(float(pitch), length))
    return out


def _arpeggio(band: _Band, instrument: Instrument) -> Samples:
    rng, out = band.rng, band.silence()
    order = rng.permutation(6)
    every = int(rng.choice([1, 2, 2, 4]))
    length = band.samples(every * rng.uniform(0.8, 4))
    for bar in band.playing(0.0, 0.7):
        tones = [*bar.chord, *(pitch + 12 for pitch in bar.chord)]
        for i, step in enumerate(range(0, band.music.steps_per_bar, every)):
            _add(out, band.step(bar, step), instrument(float(tones[order[i % 6]]), length), rng.uniform(0.7, 1))
    return out


def _lead(band: _Band) -> Samples:
    """Phrases of a lead instrument: mostly in solos, intros and breaks, and in some songs under the vocals."""
    music, rng, out = band.music, band.rng, band.silence()
    phrase = instruments.lead(rng)
    under_voice = rng.choice([0.0, 0.15, 0.5, 0.9])
    octave = 7 * int(rng.integers(0, 2))
    degree = octave + int(rng.integers(2, 7))
    for bar in band.bars:
        if rng.random() >= (0.9 if bar.section.kind in ("solo", "intro", "break") else under_voice):
            continue
        notes: list[float] = []
        lengths: list[int] = []
        step = int(rng.choice([0, 0, 2, 4]))
        while step < music.steps_per_bar:
            steps = min(int(rng.choice([1, 2, 2, 4, 4, 6, 8])), music.steps_per_bar - step)
            degree = int(np.clip(degree + rng.integers(-2, 3), octave - 3, octave + 10))
            notes.append(float(music.degree_midi(degree)))
            lengths.append(band.samples(steps))
            step += steps
        _add(out, band.step(bar, music.steps_per_bar) - sum(lengths), phrase(notes, lengths))
    return out


def _bass(band: _Band) -> Samples:
    music, rng, out = band.music, band.rng, band.silence()
    instrument = instruments.bass(rng)
    patterns = band.pattern(
        styles.BASS,
        [styles.STYLES[music.style].bass],
        styles.THREE_FOUR_BASS if music.beats_per_bar == 3 else styles.SIX_EIGHT_BASS,
    )
    legato = rng.uniform(0.5, 1.0)
    for bar in band.playing(0.0, 0.6):
        pattern = patterns[bar.section.energy > 0.6]
        hits = [i for i, sign in enumerate(pattern) if sign != "."]
        root = (bar.chord[0] - 28) % 12 + 28
        pitches = {"r": root, "t": root + bar.chord[1] - bar.chord[0], "f": root + 7, "u": root + 12}
        for hit, following in zip(hits, [*hits[1:], music.steps_per_bar], strict=True):
            length = band.samples(max(0.9, legato * (following - hit)))
            _add(out, band.step(bar, hit), instrument(float(pitches[pattern[hit]]), length), rng.uniform(0.8, 1))
    return out


def _drums(band: _Band, mix: Samples, send: Samples, kit: dict[str, Samples]) -> Samples:
    """Add the drums to the mix, except for the kick, which is returned so that it can duck the other players."""
    music, rng = band.music, band.rng
    if music.steps_per_bar == styles.STEPS_OF_FOUR:
        choices = styles.GROOVES[styles.STYLES[music.style].groove]
    else:
        choices = styles.THREE_FOUR if music.beats_per_bar == 3 else styles.SIX_EIGHT
    calm, loud = (choices[int(i)] for i in rng.integers(0, len(choices), 2))
    levels = {piece: 10 ** (rng.uniform(-5, 1) / 20) for piece in kit}
    levels |= {piece: levels[piece] * 0.35 for piece in ("hat", "open", "ride", "shaker", "crash", "swish")}
    width = rng.uniform(0, 0.7)
    tracks = {side: band.silence() for side in ("kick", "left", "middle", "right")}
    sides = {"hat": "left", "shaker": "right", "ride": "right", "tom": "left", "low_tom": "right", "kick": "kick"}
    for bar in band.playing(0.0, 0.75):
        if bar.number == 0 and rng.random() < _CRASH_SHARE * bar.section.energy:
            _add(tracks["right"], bar.start_samples, kit["crash"], levels["crash"])
        fill_from = music.steps_per_bar - int(rng.choice([0, 4, 8])) if bar.is_last else music.steps_per_bar
        for piece, pattern in (loud if bar.section.energy > 0.6 else calm).items():
            track = tracks[sides.get(piece, "middle")]
            for step, sign in enumerate(pattern[:fill_from]):
                if sign != ".":
                    gain = levels[piece] * (1.0 if sign == "x" else 0.45) * rng.uniform(0.75, 1)
                    _add(track, band.step(bar, step), kit[piece], gain)
        for step in range(fill_from, music.steps_per_bar):
            piece = _FILL_PIECES[(step - fill_from) // 2 % 4]
            if rng.random() < 0.7:
                _add(tracks["middle"], band.step(bar, step), kit[piece], levels[piece] * rng.uniform(0.5, 1))
    level = np.float32(10 ** (rng.uniform(-14, -6) / 20))
    mix[0] += level * (tracks["middle"] + tracks["left"] + np.float32(1 - width) * tracks["right"])
    mix[1] += level * (tracks["middle"] + tracks["right"] + np.float32(1 - width) * tracks["left"])
    send += np.float32(rng.uniform(0, 0.8)) * level * tracks["middle"]
    return level * np.float32(rng.uniform(0.8, 1.6)) * tracks["kick"]


def _noises(band: _Band) -> Samples:
    """One noise effect: tape hiss, vinyl crackle, a crowd, or risers before loud sections."""
    rng, total = band.rng, band.total_samples
    kind = rng.choice(["hiss", "vinyl", "crowd", "riser", "riser"])
    noise = rng.standard_normal((2, total), dtype=np.float32)
    level = np.float32(10 ** (rng.uniform(-50, -30) / 20))
    if kind == "hiss":
        return noise * level
    if kind == "vinyl":
        clicks = np.where(rng.random(total, dtype=np.float32) < 12 / SAMPLE_RATE_HZ, noise, 0)
        return np.asarray((noise + 60 * clicks) * level * np.float32(0.5))
    if kind == "crowd":
        sections = butter(1, (300, 2500), "bandpass", fs=SAMPLE_RATE_HZ, output="sos").astype(np.float32)
        slow = np.interp(np.arange(total), np.linspace(0, total, 30), rng.uniform(0.2, 1.2, 30)).astype(np.float32)
        return np.asarray(sosfilt(sections, noise) * slow * 4 * level, dtype=np.float32)
    out = np.zeros((2, total), dtype=np.float32)
    length = band.samples(band.music.steps_per_bar * int(rng.choice([1, 2])))
    rise = np.linspace(0, 1, length, dtype=np.float32) ** 3 * np.float32(10 ** (rng.uniform(-28, -14) / 20))
    for bar in band.bars:
        start = bar.start_samples - length
        if bar.number == 0 and bar.section.energy > 0.7 and 0 <= start < total - length:
            out[:, start : start + length] += noise[:, :length] * rise
    return out


_PLAYERS: dict[str, Callable[[_Band], Samples]] = {
    "arpeggio": lambda band: _arpeggio(band, _any(band, instruments.plucked, instruments.piano, instruments.synth)),
    "brass": lambda band: _chords(band, instruments.brass(band.rng)),
    "choir": lambda band: _sustained(band, instruments.choir(band.rng), int(band.rng.integers(0, 2))),
    "chugging": lambda band: _power_chords(band, instruments.distorted(band.rng, muted=True)),
    "distorted": lambda band: _power_chords(band, instruments.distorted(band.rng)),
    "electric": lambda band: _chords(band, instruments.plucked(band.rng), strum_seconds=band.rng.uniform(0, 0.012)),
    "guitar": lambda band: _chords(band, instruments.plucked(band.rng), strum_seconds=band.rng.uniform(0.008, 0.03)),
    "keys": lambda band: _chords(band, instruments.piano(band.rng), octave=int(band.rng.integers(0, 2))),
    "lead": _lead,
    "muted": lambda band: _chords(band, instruments.plucked(band.rng, muted=True), strum_seconds=0.006, octave=1),
    "organ": lambda band: _chords(band, instruments.organ(band.rng)),
    "pad": lambda band: _sustained(band, instruments.ensemble(band.rng), 0),
    "strings": lambda band: _sustained(band, instruments.ensemble(band.rng), 1),
    "synth": lambda band: _chords(band, instruments.synth(band.rng), octave=1),
}


def _any(band: _Band, *kinds: Callable[[np.random.Generator], Instrument]) -> Instrument:
    return kinds[int(band.rng.integers(len(kinds)))](band.rng)
