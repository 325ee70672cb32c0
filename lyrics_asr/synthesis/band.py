"""The band of a synthetic song: drums, bass, chords, arpeggios, voice-like leads, choirs and noise effects.

The band plays the sections of a `score` in one of the `styles`: `players` play tracks, which are mixed here with the
`drums`. All randomness comes from the generator argument, so the same seed gives the same music.

Conventions: signals are float32 arrays at `SAMPLE_RATE_HZ`; a player's track is mono, the mix is stereo `[2, samples]`.
"""

from collections.abc import Sequence

import numpy as np
from scipy.signal import butter, sosfilt

from lyrics_asr.synthesis import drums, effects, players, styles
from lyrics_asr.synthesis.instruments import SAMPLE_RATE_HZ, Samples
from lyrics_asr.synthesis.players import Band, Bar, add_note
from lyrics_asr.synthesis.score import Music, Section

_CRASH_SHARE = 0.6  # of sections that start with a crash cymbal
_FILL_PIECES = ("snare", "tom", "low_tom", "snare")


def play(
    music: Music, sections: Sequence[Section], total_samples: int, rng: np.random.Generator, *, choir: bool = True
) -> Samples:
    """Play the sections in the style of `music`; the result has `total_samples` and peaks at 0.5.

    Without `choir`, no wordless choir is in the band.
    """
    style = styles.STYLES[music.style]
    band = Band(music, _bars(music, sections), total_samples, rng)
    names = [name for name, chance in style.players.items() if rng.random() < chance and (choir or name != "choir")]
    if not names:
        names = [max(style.players, key=lambda name: style.players[name])]
    mix = np.zeros((2, total_samples), dtype=np.float32)
    send = np.zeros(total_samples, dtype=np.float32)
    for name in names:
        track = players.PLAYERS[name](band)
        _mix_in(track, mix, send, band, rng.uniform(-10, 0), rng.uniform(-0.8, 0.8))
    if style.kits:
        kick = _drums(band, mix, send, drums.draw_kit(str(rng.choice(style.kits)), rng))
        if style.groove in ("electronic", "disco", "pop") and rng.random() < 0.4:
            mix *= effects.ducking(kick, rng.uniform(2, 9))
            mix += kick
        else:
            mix += kick
    if style.bass:
        _mix_in(players.bass(band), mix, send, band, rng.uniform(-5, 3), 0.0)
    if rng.random() < style.effects:
        mix += _noises(band)
    mix = effects.reverberate(mix, send, effects.draw_room(rng), rng.uniform(0.03, 0.3))
    return mix * np.float32(0.5 / max(float(np.abs(mix).max()), 1e-9))


def _bars(music: Music, sections: Sequence[Section]) -> list[Bar]:
    bars = []
    for section in sections:
        for number in range(section.bars):
            start = round((section.first_bar + number) * music.bar_seconds * SAMPLE_RATE_HZ)
            degree = section.progression[number % len(section.progression)]
            low, middle, high = (music.degree_midi(degree + step) for step in (0, 2, 4))
            bars.append(Bar(start, (low, middle, high), section, number))
    return bars


def _mix_in(track: Samples, mix: Samples, send: Samples, band: Band, level_db: float, pan: float) -> None:
    """Add a player's track to the mix, with equalizer, level, dynamics by section, panning and reverb send."""
    rng = band.rng
    rms = float(np.sqrt(np.mean(np.square(track[track != 0])))) if track.any() else 0.0
    if rms == 0:
        return
    track = effects.equalize(track, effects.draw_equalizer(rng))
    gain = np.float32(0.1 / rms * 10 ** (level_db / 20))
    track *= gain * _loudness(band)
    if rng.random() < 0.3:  # two takes or a chorus: wide
        wide = effects.chorus(track, rng)
        mix += wide
    else:
        mix[0] += np.float32(np.sqrt(0.5 - pan / 2)) * track
        mix[1] += np.float32(np.sqrt(0.5 + pan / 2)) * track
    send += np.float32(rng.uniform(0, 1)) * track


def _loudness(band: Band) -> Samples:
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


def _drums(band: Band, mix: Samples, send: Samples, kit: dict[str, Samples]) -> Samples:
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
            add_note(tracks["right"], bar.start_samples, kit["crash"], levels["crash"])
        fill_from = music.steps_per_bar - int(rng.choice([0, 4, 8])) if bar.is_last else music.steps_per_bar
        for piece, pattern in (loud if bar.section.energy > 0.6 else calm).items():
            track = tracks[sides.get(piece, "middle")]
            for step, sign in enumerate(pattern[:fill_from]):
                if sign != ".":
                    gain = levels[piece] * (1.0 if sign == "x" else 0.45) * rng.uniform(0.75, 1)
                    add_note(track, band.step(bar, step), kit[piece], gain)
        for step in range(fill_from, music.steps_per_bar):
            piece = _FILL_PIECES[(step - fill_from) // 2 % 4]
            if rng.random() < 0.7:
                add_note(tracks["middle"], band.step(bar, step), kit[piece], levels[piece] * rng.uniform(0.5, 1))
    level = np.float32(10 ** (rng.uniform(-14, -6) / 20))
    mix[0] += level * (tracks["middle"] + tracks["left"] + np.float32(1 - width) * tracks["right"])
    mix[1] += level * (tracks["middle"] + tracks["right"] + np.float32(1 - width) * tracks["left"])
    send += np.float32(rng.uniform(0, 0.8)) * level * tracks["middle"]
    return level * np.float32(rng.uniform(0.8, 1.6)) * tracks["kick"]


def _noises(band: Band) -> Samples:
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
