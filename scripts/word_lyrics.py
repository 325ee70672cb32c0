"""Write training lyrics with a wide vocabulary: lines of frequent words in random order, of vocables, and of our own.

    pip install wordfreq==3.1.1
    python -m scripts.word_lyrics build/lyrics
    lyrics-asr data synth build/songs --language en --songs 500 --lyrics build/lyrics

Our own lyrics have some thousand words of each language. A model that is to spell any word has to hear more of them. A
word is drawn with the square root of its frequency, from the 20,000 most frequent words of wordfreq (Speer 2022). Its
data are under CC BY-SA 4.0, so the lyrics stay out of the package. No line comes from the development or held-out
lyrics. Lines of vocables, such as "ooh ooh ooh", keep the model from taking them for a choir of the accompaniment.
"""

import argparse
import random
from pathlib import Path

import wordfreq

from lyrics_asr.synthesis.lyrics import ALPHABETS, load_lyrics

WORDS = 20_000
FILES = 1500
LINES = 8
OWN_SHARE, VOCABLES_SHARE = 0.5, 0.05
LINE_WORDS = range(3, 8)
VOCABLE_LINE_WORDS = range(1, 8)
VOCABLES = {
    "en": ("ooh", "oh", "ah", "la", "na", "hey", "yeah", "whoa", "mmm", "doo"),
    "es": ("oh", "ah", "la", "na", "eh", "uh", "ooh", "ay"),
    "fr": ("oh", "ah", "la", "na", "hé", "ouh", "ooh"),
    "de": ("oh", "ah", "la", "na", "hey", "uh", "ooh"),
}


def main() -> None:
    """Write the lyrics of all languages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder to write, for --lyrics")
    parser.add_argument(
        "--vocables-share", type=float, default=VOCABLES_SHARE, help="fraction of lines of vocables (%(default)s)"
    )
    parser.add_argument("--own", type=Path, default=Path("data/lyrics"), help="folder of our own lyrics")
    args = parser.parse_args()
    for language in ALPHABETS:
        write_lyrics(args.folder / language, language, args.own, vocables_share=args.vocables_share)


def write_lyrics(folder: Path, language: str, own: Path, *, vocables_share: float) -> None:
    """Write the lyrics of a language; the same ones at each call."""
    rng = random.Random(language)
    words = frequent_words(language)
    weights = [wordfreq.word_frequency(word, language) ** 0.5 for word in words]
    songs = load_lyrics(own, "training", language)
    lines = [line for stanzas in songs.values() for stanza in stanzas for line in stanza]
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(FILES):
        drawn = []
        for _ in range(LINES):
            if rng.random() < vocables_share:
                drawn.append(" ".join([rng.choice(VOCABLES[language])] * rng.choice(VOCABLE_LINE_WORDS)))
            elif rng.random() < OWN_SHARE:
                drawn.append(rng.choice(lines))
            else:
                drawn.append(" ".join(rng.choices(words, weights, k=rng.choice(LINE_WORDS))))
        stanzas = "\n".join(drawn[: LINES // 2]), "\n".join(drawn[LINES // 2 :])
        (folder / f"words_{number:04d}.txt").write_text("\n\n".join(stanzas) + "\n", encoding="utf-8")
    for name in ("development.txt", "held_out.txt"):  # no song of these splits
        (folder / name).write_text("", encoding="utf-8")


def frequent_words(language: str) -> list[str]:
    """The most frequent words in the letters of a language, without fragments such as "'s" and single consonants."""
    allowed, vowels = {*ALPHABETS[language], "'"}, set("aeiouyàáéèêó")
    found = []
    for word in wordfreq.top_n_list(language, 2 * WORDS):
        if allowed.issuperset(word) and not word.startswith("'") and (len(word) > 1 or word in vowels):
            found.append(word)
    return found[:WORDS]


if __name__ == "__main__":
    main()
