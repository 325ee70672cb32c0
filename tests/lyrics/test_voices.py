import pytest

from lyrics_asr.lyrics.text import parse_corpus_lyrics, parse_lyrics
from lyrics_asr.lyrics.voices import voice_parts


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("I love you", [("lead", "I love you")]),
        ("I love you (love you)", [("lead", "I love you"), ("backing", "(love you)")]),
        ("Hold (ooh ah) on (hey!)", [("lead", "Hold on"), ("backing", "(ooh ah)"), ("backing", "(hey!)")]),
        ("(Ooh, ooh)", [("backing", "(Ooh, ooh)")]),
        ("“(Ooh) come here,”", [("backing", "“(Ooh)"), ("lead", "come here,”")]),
        ("if (s)he left and love(d)", [("lead", "if (s)he left and love(d)")]),
        ("wait (one (two) three), four", [("lead", "wait four"), ("backing", "(one (two) three),")]),
        ("stay (until the end", [("lead", "stay"), ("backing", "(until the end")]),
        ("好き （好き）", [("lead", "好き"), ("backing", "（好き）")]),
        ("smile :) again)", [("lead", "smile :) again)")]),
    ],
)
def test_phrases_in_parentheses_are_backing_vocals(line, parts):
    words = line.split()
    found = [(part.voice, " ".join(words[place] for place in part.places)) for part in voice_parts(words)]
    assert found == parts
    assert [(each.voice, each.text) for each in parse_lyrics(line).lines] == parts


def test_lyrics_of_corpora_have_one_voice():
    (line,) = parse_corpus_lyrics("I love you (love you)").lines
    assert (line.voice, line.words) == ("lead", ("I", "love", "you", "(love", "you)"))
