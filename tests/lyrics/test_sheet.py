# ruff: noqa: E501
"""What is sung in a lyrics sheet."""

import pytest

from lyrics_asr.lyrics.text import parse_lyrics
from tests.paths import LYRICS

HEADINGS = """Verse 1:
Chorus
(Chorus x2)
Refrain:
VERSE ONE
[Verse 1: Some Body & Another]
[Chorus] x2
Chorus 2x
CHORUS (2x)
Pre-Chorus
Post-Chorus:
Bridge:
(Bridge)
Bridge 2
Outro
Intro:
Middle 8
Guitar Solo
(Instrumental)
Final Chorus
Repeat Chorus
(Repeat chorus 2x)
2nd Verse
Verse 1 & 2
Verse 1 / Chorus
Verse 1 (Anna)
Verse 1: Some Body
**Chorus**
## Verse 2
--- Chorus ---
<Chorus>
Chorus, x2
Estribillo
Estrofa 1:
Coro:
Puente:
Primera estrofa
Solo de guitarra
Couplet 2
1er couplet
Refrain (bis)
Pré-refrain
Pont :
Strophe 1
1. Strophe
Erste Strophe
Zwischenspiel
Brücke:
Kehrreim
Ref.:
All:
(Both)
R:
V1:
Verse 1 [Anna]
Chorus - Anna Smith
Chorus to fade
(Fade out)
Se repite el coro
Repeat Chorus twice
(Repeat 3 times)
(2 mal wiederholen)
[Anything at all]
(x2)
x2
bis
Repeat x2""".splitlines()

SUNG = """Chorus girls are dancing
Bridge over troubled water
Part of me
Hook me up
Final countdown
The end
Solo tú
Vers le sud
Teil von mir
Twice
I second that
(oh yeah)
4x4 truck
See you at 6
Warte bis
Malcolm X 2
Anna: hello
All
Both of us
find""".splitlines()


def sung(text, **options):
    return [line.text for line in parse_lyrics(text, **options).lines]


@pytest.mark.parametrize("heading", HEADINGS)
def test_headings_are_not_sung(heading):
    text = f"Hello\nthere\n{heading}\nWorld\nand all"
    lyrics = parse_lyrics(text)
    assert [line.text for line in lyrics.lines] == ["Hello", "there", "World", "and all"]
    assert lyrics.text == text


@pytest.mark.parametrize("line", SUNG)
def test_lines_that_look_like_headings_are_sung(line):
    assert sung(f"Hello\nthere\n{line}\nWorld\nand all") == ["Hello", "there", line, "World", "and all"]


def test_words_that_may_be_names_of_sections_are_headings_at_the_start_of_a_stanza():
    assert sung("1. Hello\nthere\n\n2. World\nand all\n\n3.\nMore") == ["Hello", "there", "World", "and all", "More"]
    assert sung("Hello\n\nBridge\nWorld\n\nStill\nBridge\nOver") == ["Hello", "World", "Still", "Bridge", "Over"]


def test_words_that_may_be_names_of_sections_are_headings_among_others():
    assert sung("Refrain :\nHello\nPont\nWorld\n# Outro\nOver") == ["Hello", "World", "Over"]


def test_text_after_a_heading_is_sung():
    assert sung("All: Hello there\n(Girls:) Oh my") == ["Hello there", "Oh my"]
    text = "[Verse 1] Hello there\n(Chorus) Oh my\nRefrain: La la la\nVerse 2: I walked alone\nat night"
    assert sung(text) == ["Hello there", "Oh my", "La la la", "I walked alone", "at night"]


@pytest.mark.parametrize(
    "line",
    ["La la la (x2)", "La la la x2", "La la la 2x", "La la la [x2]", "La la la ×3", "La la la bis", "La la la (bis)",
     "La la la (2 times)", "La la la (2 fois)", "La la la (repeat)", "La la la (3 mal)", "La la la (dos veces)",
     "(2x) La la la", "//: La la la ://", "|: La la la :|", "La la la x 2", "La la la (Repeat 2x)", "La la la (twice)"],
)  # fmt: skip
def test_repeat_marks_are_not_sung(line):
    lyrics = parse_lyrics(f"Hello\n{line}")
    assert [each.text for each in lyrics.lines] == ["Hello", "La la la"]
    assert lyrics.text == f"Hello\n{line}"


def test_bis_is_a_word_in_german():
    text = "Ich warte auf dich bis\nder Morgen kommt und ich\nnicht mehr kann\nund wir sind da"
    assert sung(text) == text.split("\n")


def test_a_heading_without_lines_repeats_those_given_before():
    text = "[Verse 1]\nA one\n\n[Chorus]\nLa la\nLa\n\n[Verse 2]\nA two\n\n[Chorus]\n\n[Verse 3]\nA three\n[Chorus x2]"
    chorus = ["La la", "La"]
    lyrics = parse_lyrics(text)
    assert [line.text for line in lyrics.lines] == ["A one", *chorus, "A two", *chorus, "A three", *chorus, *chorus]
    assert lyrics.text == text
    assert lyrics.notes == (
        "repeated from above: [Chorus], [Chorus x2] (headings without lines; --no-expand-repeats leaves them out)",
    )
    assert sung(text, expand_repeats=False) == ["A one", *chorus, "A two", "A three"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Only choruses have headings: a chorus ends at a blank line, here and where it is repeated.
        ("Chorus:\nLa la\n\nOne\nTwo\n\nChorus\n\nThree", ["La la", "One", "Two", "La la", "Three"]),
        # Blank lines below all headings.
        ("Verse 1\n\nOne\n\nChorus\n\nLa la\n\nVerse 2\n\nTwo\n\nChorus", ["One", "La la", "Two", "La la"]),
        # Nothing was given before.
        ("[Intro]\n\n[Verse]\nOne\n\n[Solo]\n\n[Outro]\nTwo", ["One", "Two"]),
        ("[Verse 1]\nOne\n[Verse 2]\n[Verse 3]\nThree", ["One", "Three"]),
        # The name counts, not how it is written.
        ("[Pre-Chorus]\nOoh\n[Chorus: Anna]\nLa\n[Verse]\nOne\n(prechorus)\nFINAL CHORUS:\n", ["Ooh", "La", "One", "Ooh", "La"]),
        ("[Chorus]\nLa\n\n[Verse]\nOne\n\n[Repeat Chorus]\n", ["La", "One", "La"]),
        ("Refrain :\nLa\n\nCouplet 1 :\nUn\n\n(Refrain)\n\nCouplet 2 :\nDeux\n\nAu refrain", ["La", "Un", "La", "Deux", "La"]),
        # Who sings is no section.
        ("[Chorus]\n[Anna]\nLa\nAll:\nOh\n\n[Verse]\nOne\n\n[Chorus]", ["La", "Oh", "One", "La", "Oh"]),
        ("[Chorus]\nLa\n\n[Anything]\nOne\n\n[Chorus]", ["La", "One", "La"]),
        # A mark at a chorus that is written out changes nothing.
        ("(Chorus x2)\nLa\nLa\n\n[Verse]\nOne", ["La", "La", "One"]),
    ],
)  # fmt: skip
def test_which_lines_are_repeated(text, expected):
    assert sung(text) == expected


@pytest.mark.parametrize(
    "text",
    ["1. One\n2. Two\n3. Three\n4. Four", "1 One\n2 Two\n3\n4 Three\n5 Four", "12\tOne\n13\tTwo\n14\tThree\n15\tFour",
     "[Verse]\n1) One\n2) Two\n\n[Chorus]\n1) Three\n2) Four", "01: [Verse 1]\n02: One\n03: Two\n\n04: Three\n05: Four"],
)  # fmt: skip
def test_line_numbers_are_not_sung(text):
    lyrics = parse_lyrics(text)
    assert [line.text for line in lyrics.lines] == ["One", "Two", "Three", "Four"]
    assert lyrics.text == text


@pytest.mark.parametrize(
    "text",
    ["One\n2 become 1\n3 is a crowd\n4 ever", "99 bottles of beer\n98 bottles of beer\n97 bottles\n96 bottles",
     "1 potato\n2 potato\n3 potato", "1 day\n3 days\n4 days\n5 days"],
)  # fmt: skip
def test_numbers_that_do_not_count_lines_are_sung(text):
    assert sung(text) == text.split("\n")


def test_plain_lyrics_are_all_sung():
    """No line of the project's lyrics looks like a heading, a chord line, residue of a site or anything else."""
    for path in sorted(LYRICS.rglob("*.txt"))[::10]:
        text = path.read_text("utf-8")
        written = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("[")]
        assert [line.text for line in parse_lyrics(text, expand_repeats=False).lines] == written, path
