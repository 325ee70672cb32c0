"""Render a synthetic song from lyrics: arrangement, vocals (`vocal_tracks`), band and production."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyrics_asr.corpora.manifest import TimedPhone
from lyrics_asr.synthesis import arrangement, production, singing
from lyrics_asr.synthesis import band as backing
from lyrics_asr.synthesis.delivery import DELIVERIES, draw_delivery, ornament
from lyrics_asr.synthesis.instruments import SAMPLE_RATE_HZ
from lyrics_asr.synthesis.score import Lyric, Score
from lyrics_asr.synthesis.tts import Speech, syllables
from lyrics_asr.synthesis.vocal_tracks import Performance, perform, sing_line, when_sung
from lyrics_asr.synthesis.vocoder import SPEECH_SAMPLE_RATE_HZ
from lyrics_asr.types import TimedWord

_FADED_SHARE = 0.25  # of songs that fade out
_SLOWEST_RAP_SECONDS = 0.16  # per syllable
_LEAST_VOWEL_SECONDS = 0.06
_LEAST_CONSONANT_RATIO = 0.7
_HELD_SHARE = 0.6  # of lines that repeat one word, such as "ooh ooh ooh"
_SHORTEST_HELD_SECONDS, _LONGEST_HELD_SECONDS, _LONGEST_HELD_LINE_SECONDS = 0.4, 6.0, 14.0
_TAIL_SECONDS = 0.3
_VOICE_DB = (-9.0, -1.0, 6.0)  # vocals relative to the band while there are vocals: lowest, mode, highest

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Rendition:
    """A rendered song; the stems have the same length and add up to the mixture.

    Args:
        vocals: all singers, stereo, `[2, samples]` at `SAMPLE_RATE_HZ`.
        accompaniment: the band, in the same format.
        lines: words of each line of the lead vocals, in order.
        phones: phones of each word.
        pitches_hz: pitch of the first note of each word.
        f0_hz: fundamental frequency of the lead vocals, every `melody.pitch.FRAME_SECONDS`; 0 where they have none.
    """

    vocals: Samples
    accompaniment: Samples
    lines: tuple[tuple[TimedWord, ...], ...]
    phones: tuple[tuple[TimedPhone, ...], ...]
    pitches_hz: tuple[float, ...]
    f0_hz: NDArray[np.float32]


def render(
    stanzas: Sequence[Sequence[str]], voice: singing.Voice, rng: np.random.Generator, *, a_cappella: bool = False
) -> Rendition:
    """Render a song.

    While there are vocals, their level relative to the band is -9 to 6 dB (RMS). The mixture peaks at 0.9. No wordless
    choir is in the band of a song whose lyrics have vocables ("ooh ooh ooh"): it would sound like them.

    Args:
        stanzas: the lyrics, each stanza once; the second is the chorus.
        voice: singer of the lead vocals.
        rng: random generator.
        a_cappella: whether to leave out the accompaniment.
    """
    music = arrangement.compose(rng)
    is_rap = music.syllable_seconds <= _SLOWEST_RAP_SECONDS
    words_per_minute = int(rng.integers(240, 340) if is_rap else rng.integers(140, 200))
    speeches = {line: voice.speak(_speakable(line), words_per_minute) for stanza in stanzas for line in stanza}
    lyrics = [[Lyric(line, _least_seconds(speeches[line], rng)) for line in stanza] for stanza in stanzas]
    score = arrangement.arrange(music, lyrics, voice.center_midi, rng)
    sung = _sing(score, speeches, voice, rng)
    total_samples = sung.lead.shape[-1]
    vocals = production.produce_voice(sung.others + sung.lead, music.beat_seconds, rng)
    accompaniment = np.zeros_like(vocals)
    if not a_cappella:
        choir = not any(len(speech.words) > 1 and _repeats_one_word(speech) for speech in speeches.values())
        band = backing.play(music, score.sections, total_samples, rng, choir=choir)
        accompaniment = production.produce_band(band, rng)
        gain = 10 ** (-rng.triangular(*_VOICE_DB) / 20) * _sung_rms(vocals, sung.lines)
        accompaniment *= np.float32(gain / _sung_rms(accompaniment, sung.lines))
    if rng.random() < _FADED_SHARE:
        fade = _fade_out(score, sung.lines[-1][-1].end_seconds, total_samples)
        vocals, accompaniment = vocals * fade, accompaniment * fade
    stems = production.master(vocals, accompaniment, rng)
    return Rendition(*stems, sung.lines, sung.phones, sung.pitches_hz, sung.f0_hz)


def _sing(score: Score, speeches: dict[str, Speech], voice: singing.Voice, rng: np.random.Generator) -> Performance:
    """Sing the score, with one delivery per kind of section; fast songs are rapped."""
    is_rap = score.music.syllable_seconds <= _SLOWEST_RAP_SECONDS
    kinds = dict.fromkeys(line.section for line in score.lines)
    deliveries = {kind: DELIVERIES["rapped"] if is_rap else draw_delivery(rng) for kind in kinds}
    scale_midi = [score.music.degree_midi(degree) for degree in range(-21, 35)]
    placed = []
    for line in score.lines:
        speech, delivery = speeches[line.text], deliveries[line.section]
        counts = [syllables(word) for word in speech.words]
        melody = ornament(line.notes_midi, line.durations_seconds, counts, scale_midi, delivery, rng)
        placed.append((line.start_seconds, sing_line(line.text, speech, melody, voice, delivery, rng)))
    total_seconds = max(score.duration_seconds, when_sung(placed)[-1][1] + _TAIL_SECONDS)
    return perform(placed, voice, scale_midi, total_seconds, rng)


def _speakable(line: str) -> str:
    """Remove punctuation, except inside words; espeak-ng would turn it into pauses."""
    return " ".join(re.sub(r"[^\w'-]", "", word) or word for word in line.split())


def _least_seconds(speech: Speech, rng: np.random.Generator) -> tuple[float, ...]:
    """Minimum duration of each syllable: a short vowel and shortened consonants; vocables are often held."""
    if _repeats_one_word(speech) and rng.random() < _HELD_SHARE:
        longest = min(_LONGEST_HELD_SECONDS, _LONGEST_HELD_LINE_SECONDS / len(speech.words))
        held_seconds = _SHORTEST_HELD_SECONDS * (longest / _SHORTEST_HELD_SECONDS) ** rng.random()
        return (held_seconds,) * sum(map(syllables, speech.words))
    least: list[float] = []
    for word in speech.words:
        has_vowel = any(phone.is_vowel for phone in word.phones)
        for i, phone in enumerate(word.phones):
            if phone.is_vowel or (i == 0 and not has_vowel):
                least.append(_LEAST_VOWEL_SECONDS)
            elif least:
                spoken_seconds = (phone.end_samples - phone.start_samples) / SPEECH_SAMPLE_RATE_HZ
                least[-1] += _LEAST_CONSONANT_RATIO * spoken_seconds
    return tuple(least)


def _repeats_one_word(speech: Speech) -> bool:
    return len({word.text.lower() for word in speech.words}) == 1


def _sung_rms(stem: Samples, lines: Sequence[Sequence[TimedWord]]) -> float:
    """RMS of a stem while there are lead vocals."""
    rate = SAMPLE_RATE_HZ
    spans = [stem[:, round(line[0].start_seconds * rate) : round(line[-1].end_seconds * rate)] for line in lines]
    power = sum(float(np.square(span).sum()) for span in spans) / max(1, sum(span.size for span in spans))
    return float(np.sqrt(max(power, 1e-12)))


def _fade_out(score: Score, last_word_seconds: float, total_samples: int) -> Samples:
    """A linear fade-out from the last word or the start of the outro, whichever is later, to the end."""
    outro_seconds = score.sections[-1].first_bar * score.music.bar_seconds
    first = round(max(last_word_seconds, outro_seconds) * SAMPLE_RATE_HZ)
    gain = np.ones(total_samples, dtype=np.float32)
    gain[first:] = np.linspace(1, 0, max(0, total_samples - first))
    return gain
