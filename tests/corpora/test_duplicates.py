import random

from hypothesis import given
from hypothesis import strategies as st

from lyrics_asr.corpora.duplicates import find_duplicates

WORDS = [f"w{number}" for number in range(400)]


def lyrics(seed, count=100):
    return random.Random(seed).choices(WORDS, k=count)


def test_the_same_song_is_found_whoever_wrote_it_down():
    song = lyrics(0)
    differently = [word if number % 12 else "other" for number, word in enumerate(song)]
    again = song + song[:40]  # the chorus once more
    part = song[:30]
    texts = [" ".join(text) for text in (song, lyrics(1), differently, again, part, song)]
    assert find_duplicates(texts) == {2: 0, 3: 0, 4: 0, 5: 0}


def test_songs_that_share_a_line_are_not_the_same():
    shared = lyrics(9, 12)
    assert find_duplicates([" ".join(lyrics(1) + shared), " ".join(shared + lyrics(2))]) == {}


def test_short_texts():
    assert find_duplicates(["la la", "la la", "na na", "la"]) == {1: 0}


def containment(first, second):
    sets = [
        {tuple(words[i : i + 4]) for i in range(max(1, len(words) - 3))} for words in (first.split(), second.split())
    ]
    return len(sets[0] & sets[1]) / min(map(len, sets))


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=8).map(" ".join), max_size=8))
def test_against_all_pairs(texts):
    kept, duplicates = [], {}
    for number, text in enumerate(texts):
        same = [other for other in kept if containment(texts[other], text) >= 0.5]
        if same:
            duplicates[number] = same[0]
        else:
            kept.append(number)
    assert find_duplicates(texts) == duplicates
