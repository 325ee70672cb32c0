import numpy as np
import pytest

from lyrics_asr.synthesis.singers import HELD_OUT_VOICES, draw_natural_voice, draw_voice
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


def test_natural_voices_of_development_songs_are_not_in_training_songs(tmp_path):
    def drawn(split):
        rng = np.random.default_rng(0)
        return [draw_natural_voice("en", split, tmp_path, rng) for _ in range(400)]

    training, development = drawn("training"), drawn("development")
    assert len({voice.name for voice in training}) == 24
    assert len({voice.name for voice in development}) == 4
    assert not {voice.name for voice in training} & {voice.name for voice in development}
    # American voices have an American accent, and women sing higher than men.
    assert all((voice.name[0] == "a") == (voice.espeak_name == "en-us") for voice in training)
    women, men = ([voice.center_midi for voice in training if voice.name[1] == sex] for sex in "fm")
    assert np.median(women) > np.median(men) + 7
    with pytest.raises(ValueError, match="natural voices for en, es, fr only, not for 'de'"):
        draw_natural_voice("de", "training", tmp_path, np.random.default_rng(0))
