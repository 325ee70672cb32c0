"""espeak-ng's sounds against known syllable counts, in four languages."""

from itertools import pairwise

import numpy as np
import pytest

from lyrics_asr.synthesis import tts as speech

SYLLABLES = {
    "en-us": """
        sun 1 river 2 banana 3 television 4 strengths 1 fire 1 button 2 little 2 rhythm 2 about 2 beautiful 3 world 1
        tomorrow 3 radio 3 million 2 power 2 going 2 people 2 voice 1 nation 2 idea 2 over 2 heaven 2 through 1 years 1
    """,
    "es": """
        casa 2 corazón 3 ciudad 2 cielo 2 fuego 2 agua 2 río 2 día 2 país 2 león 2 poeta 3 canción 2 también 2 aunque 2
        ruido 2 viuda 2 rey 1 muy 1 buey 1 europa 3 todavía 4 pingüino 3 viaje 2 quien 1 guerra 2 ahora 3 hoy 1
    """,
    "fr": """
        maison 2 nuit 1 amour 2 pluie 1 étoile 2 je 1 rien 1 lion 1 oui 1 lui 1 huit 1 pays 2 paysage 3 juillet 2 œil 1
        oiseau 2 un 1 matin 2 lumière 2 fenêtre 2 table 1 oublier 3 naïf 2 européen 4 comprendre 2 loin 1 jeune 1
    """,
    "de": """
        haus 1 regen 2 feuer 2 über 2 schön 1 müde 2 träume 2 höhle 2 möchte 2 zwei 1 neu 1 mauer 2 uhr 1 wir 1 gehen 2
        radio 3 nation 2 museum 3 melodie 3 theater 3 regenbogen 4 schmetterling 3 durch 1 würde 2 vertrauen 3 freund 1
    """,
}


@pytest.mark.parametrize("voice", SYLLABLES)
def test_a_word_takes_a_note_for_each_syllable(voice):
    entries = SYLLABLES[voice].split()
    expected = dict(zip(entries[::2], map(int, entries[1::2]), strict=True))
    assert len(expected) >= 25
    counted = {word: speech.syllables(speech.speak_word(word, voice, 160).words[0]) for word in expected}
    assert counted == expected


@pytest.mark.parametrize(
    ("voice", "text"),
    [
        ("en-us+f3", "You're wearing the apron I bought as a joke"),
        ("es", "la lluvia cae y el viento me habla de ti"),
        ("fr", "un weekend sans shopping je te le dis"),  # espeak-ng marks "(en)" and "(fr)" among the sounds
        ("de", "und immer wenn es regnet denke ich an dich"),  # espeak-ng pauses before "wenn"
    ],
)
def test_spoken_words_are_the_words_of_the_line_in_order(voice, text):
    spoken = speech.speak(text, voice, 150)
    assert [word.text for word in spoken.words] == text.split()
    phones = [phone for word in spoken.words for phone in word.phones]
    assert all(phone.name and "(" not in phone.name and phone.end_samples > phone.start_samples for phone in phones)
    assert all(a.end_samples <= b.start_samples for a, b in pairwise(phones))
    assert phones[-1].end_samples <= len(spoken.samples)
    # What no phone covers is silent: before the first sound, in pauses, and after the last one.
    outside = np.ones(len(spoken.samples), bool)
    for phone in phones:
        outside[phone.start_samples : phone.end_samples] = False
    power = spoken.samples**2
    assert power[outside].sum() < 0.02 * power.sum()


def test_a_line_whose_words_espeak_joins_is_spoken_word_by_word():
    # espeak-ng reports no word event for "a" after "was".
    text = "I was louder than a freight train horn"
    spoken = speech.speak(text, "en", 140)
    assert [word.text for word in spoken.words] == text.split()
    alone = speech.speak_word("freight", "en", 140)
    word = spoken.words[5]
    length = word.phones[-1].end_samples - word.phones[0].start_samples
    expected = alone.words[0].phones[-1].end_samples - alone.words[0].phones[0].start_samples
    assert length == pytest.approx(expected, abs=22)  # 1 ms: espeak-ng goes on in the phase in which it stopped


def test_after_a_reset_the_same_words_sound_the_same():
    def say():
        speech.reset()
        return speech.speak("hello my friend", "en-us+f3", 150).samples

    first = say()
    speech.speak("something else", "en+m3", 180)
    np.testing.assert_array_equal(say(), first)


def test_an_unknown_voice_is_named():
    with pytest.raises(ValueError, match="no voice 'xx-nowhere'"):
        speech.speak("hello", "xx-nowhere", 150)
