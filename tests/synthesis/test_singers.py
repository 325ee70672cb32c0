import numpy as np
import pytest

from lyrics_asr.synthesis.singers import HELD_OUT_VOICES, draw_voice
from lyrics_asr.synthesis.tts import reset, speak_word

LANGUAGES = ("en", "es", "fr", "de")


@pytest.mark.parametrize("language", LANGUAGES)
def test_training_voices_are_many_and_none_is_held_out(language):
    rng = np.random.default_rng(0)
    voices = [draw_voice(language, rng) for _ in range(600)]
    variants = {voice.espeak_name.split("+")[1] for voice in voices}
    assert len(variants) >= 60
    assert not variants & {voice.espeak_name.split("+")[1] for voice in HELD_OUT_VOICES[language]}
    assert len(HELD_OUT_VOICES[language]) == 2
    assert all(0.82 <= voice.formant_ratio <= 1.25 for voice in voices)
    centers = [voice.center_midi for voice in voices]
    assert min(centers) < 45
    assert max(centers) > 70


@pytest.mark.parametrize("language", LANGUAGES)
def test_espeak_has_every_accent(language):
    rng = np.random.default_rng(1)
    names = {draw_voice(language, rng).espeak_name for _ in range(200)}
    accents = {name.split("+")[0]: name for name in (*names, *(v.espeak_name for v in HELD_OUT_VOICES[language]))}
    assert all(len(speak_word("la", name, 150).samples) > 1000 for name in accents.values())


def test_an_unknown_language_is_named():
    with pytest.raises(ValueError, match="language must be one of en, es, fr, de, not 'it'"):
        draw_voice("it", np.random.default_rng(0))


def test_a_voice_sounds_the_same_whatever_was_said_before():
    names = sorted({draw_voice("en", np.random.default_rng(seed)).espeak_name.split("+")[1] for seed in range(400)})

    def say(name):
        reset()
        return speak_word("wooden", f"en-us+{name}", 170).samples.tobytes()

    first = {name: say(name) for name in names}
    assert {name: say(name) for name in reversed(names)} == first
