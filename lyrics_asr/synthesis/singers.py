"""Draw singers by language: espeak-ng accent and variant or natural voice, vocal tract, range and habits."""

from pathlib import Path

import numpy as np

from lyrics_asr.synthesis.natural_voices import NaturalVoice
from lyrics_asr.synthesis.singing import Voice

# espeak-ng's voice variants for training songs, by apparent sex. Breathy variants (Alicia, Reed, f2, f3, f5, sandro,
# victor) are excluded: their noise depends on earlier utterances, even after `tts.reset`.
_WOMEN = """
f1 Andrea Annie anika aunty belinda grandma linda shelby steph steph2 steph3
"""
_MEN = """
m1 m2 m3 m4 m5 m6 m8 Alex Andy AnxiousAndy adam antonio benjamin boris croak Denis Diogo ed edward
edward2 Gene Gene2 Henrique Hugo Jacky Lee Marco Mario Michael Mike RicishayMax RicishayMax2 grandpa gustave ian
iven iven2 iven3 john kaukovalta klatt3 klatt5 marcelo max michel miguel mike2 Nguyen norbert pablo paul
pedro quincy rob robert Storm travis zac
"""
_ACCENTS = {
    "en": {
        "en-us": 0.35,
        "en": 0.25,
        "en-gb-x-rp": 0.1,
        "en-us-nyc": 0.1,
        "en-029": 0.05,
        "en-gb-scotland": 0.05,
        "en-gb-x-gbclan": 0.05,
        "en-gb-x-gbcwmd": 0.05,
    },
    "es": {"es": 0.45, "es-419": 0.55},
    "fr": {"fr": 0.6, "fr-be": 0.2, "fr-ch": 0.2},
    "de": {"de": 1.0},
}
# Natural voices by accent. The second letter of a name says whether it is a woman (f) or a man (m).
_NATURAL_VOICES = {
    "en": {
        "en-us": """
            af_alloy af_aoede af_bella af_heart af_jessica af_kore af_nicole af_river af_sarah af_sky
            am_adam am_echo am_eric am_fenrir am_liam am_michael am_onyx am_santa
        """,
        "en-gb-x-rp": "bf_alice bf_emma bf_isabella bm_daniel bm_fable bm_george",
    },
    "es": {"es": "ef_dora em_alex em_santa", "es-419": "ef_dora em_alex em_santa"},
    "fr": {"fr": "ff_siwis"},
}
_DEVELOPMENT_NATURAL_VOICES = {  # not used in training songs; the other languages have too few
    "en": {"en-us": "af_nova am_puck", "en-gb-x-rp": "bf_lily bm_lewis"},
}
HELD_OUT_VOICES = {  # not used in training songs
    language: (Voice(f"{woman}+f4", 1.0, 66.0, 0.3, 5.6, 0.03), Voice(f"{man}+m7", 1.0, 54.0, 0.3, 5.2, 0.03))
    for language, woman, man in (
        ("en", "en-us", "en"),
        ("es", "es", "es-419"),
        ("fr", "fr", "fr-be"),
        ("de", "de", "de"),
    )
}

_CHILD_SHARE = 0.06
_ROUGH_SHARE = 0.2
_BREATHY_SHARE = 0.3
_STILL_SHARE = 0.25  # without vibrato


def draw_voice(language: str, rng: np.random.Generator) -> Voice:
    """Draw a voice for a training song.

    Raises:
        ValueError: there are no voices for this language.
    """
    if language not in _ACCENTS:
        raise ValueError(f"language must be one of {', '.join(_ACCENTS)}, not {language!r}")
    accents = _ACCENTS[language]
    accent = str(rng.choice(list(accents), p=list(accents.values())))
    woman = bool(rng.random() < 0.5)
    variant = str(rng.choice((_WOMEN if woman else _MEN).split()))
    return _draw_habits(f"{accent}+{variant}", woman, rng)


def draw_natural_voice(language: str, split: str, folder: Path, rng: np.random.Generator) -> Voice:
    """Draw a natural voice.

    Args:
        language: of the song.
        split: "training" or "development", which has English voices of its own.
        folder: of the natural voices.
        rng: random generator.

    Raises:
        ValueError: there are no natural voices for this language.
    """
    if language not in _NATURAL_VOICES:
        raise ValueError(f"there are natural voices for {', '.join(_NATURAL_VOICES)} only, not for {language!r}")
    accents = _NATURAL_VOICES[language]
    if split == "development":
        accents = _DEVELOPMENT_NATURAL_VOICES.get(language, accents)
    voices = [(accent, name) for accent, names in accents.items() for name in names.split()]
    accent, name = voices[int(rng.integers(len(voices)))]
    return _draw_habits(accent, name[1] == "f", rng, NaturalVoice(folder, name))


def _draw_habits(espeak_name: str, woman: bool, rng: np.random.Generator, natural: NaturalVoice | None = None) -> Voice:
    if rng.random() < _CHILD_SHARE:
        formant_ratio, center_midi = rng.uniform(1.12, 1.25), rng.uniform(65, 74)
    elif woman:
        formant_ratio, center_midi = rng.uniform(0.9, 1.18), rng.uniform(57, 72)  # alto to soprano
    else:
        formant_ratio, center_midi = rng.uniform(0.82, 1.1), rng.uniform(43, 61)  # bass to tenor
    return Voice(
        espeak_name=espeak_name,
        formant_ratio=float(formant_ratio),
        center_midi=float(center_midi),
        vibrato_semitones=0.0 if rng.random() < _STILL_SHARE else float(rng.uniform(0.05, 1.5) * rng.uniform(0.2, 1)),
        vibrato_hz=float(rng.uniform(4, 7.5)),
        breathiness=float(rng.uniform(0.1, 0.35) if rng.random() < _BREATHY_SHARE else rng.uniform(0, 0.1)),
        vibrato_delay_seconds=float(rng.uniform(0, 0.5)),
        range_semitones=float(rng.uniform(4, 10)),
        portamento_seconds=float(0.02 * 12.5 ** rng.random()),
        scoop_semitones=float(max(0.0, rng.uniform(-2, 3))),
        roughness=float(rng.uniform(0.15, 0.8) if rng.random() < _ROUGH_SHARE else rng.uniform(0, 0.15)),
        tilt_db_per_octave=float(rng.uniform(-3, 3)),
        natural=natural,
    )
