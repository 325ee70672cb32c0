# ruff: noqa: E501
"""Lyrics in the formats that people have them in: each is read as the same lines."""

import json

import pytest

from lyrics_asr.lyrics.sheet import TimeWindow
from lyrics_asr.lyrics.text import parse_lyrics

LINES = ("A truce on the hill", "Am I the last to know?", "We put our 2 swords down", "and sang until the dawn")
PLAIN = "\n".join(LINES)
STARTS = (61.5, 64.0, 68.25, 72.0)

LRC = {
    "hundredths": "[01:01.50]{}\n[01:04.00]{}\n[01:08.25]{}\n[01:12.00]{}",
    "colons": "[01:01:50]{}\n[01:04:00] {}\n[01:08:25]{}\n[01:12:00]{}\n",
    "milliseconds": "[1:01.500] {}\n[1:04.000] {}\n[1:08.250] {}\n[1:12.000] {}",
    "hours": "[00:01:01.50]{}\n[00:01:04.00]{}\n[00:01:08.25]{}\n[00:01:12.00]{}",
    "tags": "[ti:A Truce]\n[ar:Nobody]\n[al:None]\n[by:me]\n[length: 03:20]\n[re:Editor]\n[ve:1.0]\n[la:en]\n[#: a comment]\n\n"
    "[01:01.50]{}\n[01:04.00]{}\n[01:08.25]{}\n[01:12.00]{}",
    "later by 500 ms": "[offset:+500]\n[01:02.00]{}\n[01:04.50]{}\n[01:08.75]{}\n[01:12.50]{}",
    "earlier by 500 ms": "[offset: -500]\n[01:01.00]{}\n[01:03.50]{}\n[01:07.75]{}\n[01:11.50]{}",
    "credits in JSON": '{{"t":0,"c":[{{"tx":"Lyrics: "}}]}}\n[01:01.50]{}\n[01:04.00]{}\n[01:08.25]{}\n[01:12.00]{}',
    "pauses": "[00:00.00]\n[01:01.50]{}\n[01:04.00]{}\n[01:06.00]\n[01:08.25]{}\n[01:12.00]{}\n[01:20.00]",
    "voices": "[01:01.50]F: {}\n[01:04.00]M: {}\n[01:08.25]D: {}\n[01:12.00]{}",
    "not sorted": "[01:08.25]{2}\n[01:01.50][09:00.00]{0}\n[01:04.00]{1}\n[01:12.00]{3}",
    "youtube": "1:01\n{}\n1:04\n{}\n1:08\n{}\n1:12\n{}",
    "bare": "1:01 {}\n1:04 {}\n1:08 {}\n1:12 {}",
    "ranges": "[01:01.50 --> 01:03.00] {}\n[01:04.00 --> 01:06.00]  {}\n[01:08.25 --> 01:09.00] {}\n[01:12.00 --> 01:14.00] {}",
    "behind": "{} [01:01.50]\n{} [01:04.00]\n{} [01:08.25]\n{} [01:12.00]",
    "parentheses": "(1:01) {}\n(1:04) {}\n(1:08) {}\n(1:12) {}",
}


def texts(lyrics):
    return tuple(line.text for line in lyrics.lines)


@pytest.mark.parametrize("form", LRC)
def test_lrc(form):
    lyrics = parse_lyrics(LRC[form].format(*LINES))
    lines = LINES if form != "not sorted" else (*LINES, LINES[0])
    assert texts(lyrics) == lines
    assert lyrics.text.split() == " ".join(lines).split()
    for line, start in zip(lyrics.lines, STARTS, strict=False):
        assert line.window.start_seconds == pytest.approx(start, abs=0.01 if "[" in LRC[form] else 0.5)


def test_lrc_lines_end_at_the_next_time_or_at_their_own():
    text = "[00:01.00]<00:01.00> One <00:02.00> two <00:03.50>\n[00:05.00]Three\n[00:07.00]\n[00:09.00]Four"
    assert [line.window for line in parse_lyrics(text).lines] == [
        TimeWindow(1.0, 3.5), TimeWindow(5.0, 7.0), TimeWindow(9.0, 9.0)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "[00:01.00] <00:01.00> Hello <00:02.00> my <00:03.00> world",
        "[00:01.00]<00:01.00>Hello <00:02.00>my <00:03.00>world <00:04.00>",
        "[00:01.00]Hello [00:02.00]my [00:03.00]world",
        "[00:01.00]<00:01.00>Hel<00:01.50>lo <00:02.00>my <00:03.00>world",
        "[00:01.00]Hello[00:02.00]my[00:03.00]world[00:04.00]",
        "<00:01.00> Hello <00:02.00> my <00:03.00> world",
        "[00:01.00] v1: <00:01.00> Hello <00:02.00> my <00:03.00> world",
    ],
)
def test_lrc_with_times_of_words(text):
    (line,) = parse_lyrics(text).lines
    assert line.words == ("Hello", "my", "world")
    assert line.window.start_seconds == 1.0


SRT = """1
00:01:01,500 --> 00:01:03,000
{}

2
00:01:04,000 --> 00:01:06,000
{}

3
00:01:08,250 --> 00:01:10,000
{}

4
00:01:12,000 --> 00:01:15,000
{}
"""
VTT = """WEBVTT - A Truce
Kind: captions
Language: en

STYLE
::cue {{ color: red }}

NOTE
a note

intro-1
00:01:01.500 --> 00:01:03.000 align:start position:0%
<v Anna>{}

2
01:04.000 --> 01:06.000
♪ <b>{}</b> ♪

NOTE another one

01:08.250 --> 01:10.000
{}

last
01:12.000 --> 01:15.000
<c.loud>{}</c>
"""
ASS = """[Script Info]
; a remark
Title: A Truce
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,20

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Comment: 0,0:00:00.00,0:00:01.00,Default,,0,0,0,,not sung
Dialogue: 0,0:01:01.50,0:01:03.00,Default,,0,0,0,,{{\\an8}}{}
Dialogue: 0,0:01:04.00,0:01:06.00,Default,,0,0,0,,{{\\i1}}{}{{\\i0}}
Dialogue: 0,0:01:12.00,0:01:15.00,Default,,0,0,0,,{3}
Dialogue: 0,0:01:08.25,0:01:10.00,Default,Anna,0,0,0,,{{\\pos(10,10)}}{2}
Dialogue: 0,0:01:16.00,0:01:17.00,Default,,0,0,0,,{{\\p1}}m 0 0 l 100 0{{\\p0}}
"""
TTML = """<?xml version="1.0" encoding="utf-8"?>
<tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttm="http://www.w3.org/ns/ttml#metadata" xml:lang="en">
<head><metadata><ttm:title>A Truce</ttm:title></metadata></head>
<body><div>
<p begin="00:01:01.500" end="00:01:03.000">{}</p>
<p begin="64s" dur="2s"><span begin="64s">{}</span></p>
<p begin="1:08.250">{}</p>
<p begin="72000ms">
  {} <span ttm:role="x-translation">traduit</span>
</p>
</div></body></tt>
"""
SUBTITLES = {
    "srt": SRT,
    "srt without blank lines": SRT.replace("\n\n", "\n"),
    "srt with points and markup": SRT.replace(",", ".").replace("{}", "{{\\an8}}<i>{}</i>"),
    "srt in windows": SRT.replace("\n", "\r\n"),
    "vtt": VTT,
    "ass": ASS.replace("{3}", LINES[3]).replace("{2}", LINES[2]),
    "ttml": TTML,
    "ttml in one line": TTML.replace("\n", ""),
}


@pytest.mark.parametrize("form", SUBTITLES)
def test_subtitles(form):
    lyrics = parse_lyrics(SUBTITLES[form].format(*LINES))
    assert texts(lyrics) == LINES
    assert [line.window.start_seconds for line in lyrics.lines] == pytest.approx(STARTS)


def test_a_cue_with_two_lines_and_a_line_of_digits():
    lyrics = parse_lyrics("1\n00:00:01,000 --> 00:00:02,000\nOne\n2\n\n2\n00:00:03,000 --> 00:00:04,000\n99\n")
    assert texts(lyrics) == ("One", "2", "99")
    assert lyrics.lines[0].window == lyrics.lines[1].window == TimeWindow(1.0, 2.0)


def test_automatic_captions_show_each_line_twice():
    text = (
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nhello<00:00:01.500><c> world</c>\n\n00:00:02.000 --> 00:00:02.010\n"
        "hello world\n\n00:00:02.010 --> 00:00:04.000\nhello world\nmy<00:00:03.000><c> friend</c>\n"
    )
    assert texts(parse_lyrics(text)) == ("hello world", "my friend")


def segments(**keys):
    return [
        {"id": number, keys.get("start", "start"): start, keys.get("end", "end"): start + 1, keys.get("text", "text"): f" {line}"}
        for number, (line, start) in enumerate(zip(LINES, STARTS, strict=True))
    ]  # fmt: skip


WORDS = [
    {"word": word, "start": start + 0.2 * number, "end": start + 0.2 * number + 0.1}
    for line, start in zip(LINES, STARTS, strict=True)
    for number, word in enumerate(line.split())
]
TIMED = {
    "whisper": {"text": PLAIN.replace("\n", " "), "segments": segments(), "language": "en"},
    "whisperX": {"segments": [{**each, "words": WORDS[:3]} for each in segments()], "word_segments": WORDS},
    "OpenAI": {"task": "transcribe", "language": "english", "duration": 80.0, "text": "...", "segments": segments(), "words": WORDS},
    "OpenAI, words": {"task": "transcribe", "duration": 80.0, "text": PLAIN.replace("\n", " "), "words": WORDS},
    "faster-whisper": segments(),
    "transformers": {"text": "...", "chunks": [{"timestamp": [s, s + 1], "text": t} for t, s in zip(LINES, STARTS, strict=True)]},
    "whisper.cpp": {
        "systeminfo": "",
        "result": {"language": "en"},
        "transcription": [
            {"timestamps": {"from": "x", "to": "x"}, "offsets": {"from": s * 1000, "to": s * 1000 + 900}, "text": t}
            for t, s in zip(LINES, STARTS, strict=True)
        ],
    },
    "ours": {
        "schema": "lyrics-asr/transcript/1",
        "text": f"[Verse]\n{PLAIN}\n",
        "lines": segments(start="start_seconds", end="end_seconds"),
    },
    "LRCLIB": {"id": 1, "plainLyrics": PLAIN, "syncedLyrics": LRC["hundredths"].format(*LINES)},
    "Spotify": {"lyrics": {"lines": [{"startTimeMs": str(s * 1000), "words": t} for t, s in zip(LINES, STARTS, strict=True)]}},
    "words": WORDS,
}  # fmt: skip


@pytest.mark.parametrize("form", TIMED)
def test_json_with_times(form):
    lyrics = parse_lyrics(json.dumps(TIMED[form], indent=1))
    assert texts(lyrics) == LINES
    assert [line.window.start_seconds for line in lyrics.lines] == pytest.approx(STARTS)


@pytest.mark.parametrize("document", [{"lyrics": PLAIN}, {"text": PLAIN}, list(LINES), {"response": {"lyrics": PLAIN}}])
def test_json_without_times(document):
    assert texts(parse_lyrics(json.dumps(document))) == LINES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"segments": []}', "JSON without lyrics: none of the keys lines, segments"),
        ('{"segments": [', "looks like JSON but is damaged"),
        ("{\\rtf1 Hello}", "document in RTF"),
        ("<tt xmlns='http://www.w3.org/ns/ttml'><p>", "looks like TTML but is not XML"),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\n\n", "the lyrics are empty"),
    ],
)
def test_formats_that_cannot_be_read(text, message):
    with pytest.raises(ValueError, match=message):
        parse_lyrics(text)


CHORDS = {
    "above": "Am     F   C/G   Gsus4\n{}\n  F#m7  B7  \n{}\nG  D\n{}\nA\n{}",
    "triads": "G        D\n{}\nC     G\n{}\nEm   C\n{}\nG   D   G\n{}",
    "single": "G7\n{}\nC\n{}\nD7\n{}\nA\n{}",
    "german": "e   H7   Fis\n{}\nHm  G  A\n{}\nB  Es  Cm\n{}\nN.C.\n{}",
    "minors": "a       e\n{}\nd  F   G7\n{}\na  C\n{}\nE7   a\n{}",
    "OpenSong": "[V1]\n.G    C\n {}\n.D\n {}\n[C]\n.G\n {}\n.C\n {}",
    "solfege": "LAm   FA  DO\n{}\nSOL7  DO\n{}\nREm  LAm\n{}\nMI7\n{}",
    "bars": "| Am | F | C | G |\n{}\n|: Dm7 . | G7 % :| x2\n{}\n| Am  F |\n{}\nAm - F - C\n{}",
    "inline": "[Am]{}\n[F]{}[G7]\n[C] {}\n[Am][F] {}",
    "parentheses": "(Am){}\n(F#m){}\n(G7){} (D)\n{}",
    "notes": "Capo 2\nTuning: EADGBE\nKey: Am\nTempo: 120\n\nIntro: Am F C G\n\n[Verse 1]\nAm  C\n{}\n{}\n\n[Chorus]\nF  G7\n{}\n{}",
    "tablature": "e|---0---2---|\nB|--1---3----|\nG|-0---------2-|\n\nAm7   G\n{}\n{}\n{}\n{}\n\nD|--2--2h3p2-|",
    "chordpro": "{{title: A Truce}}\n{{artist: Nobody}}\n# a comment\n{{start_of_verse: Verse 1}}\n[Am]{}\n[F#m7]{}\n{{end_of_verse}}\n"
    "{{soc}}\n{}\n[C/G]{} [N.C.]\n{{eoc}}\n{{start_of_tab}}\nwhatever 0-2-3\n{{end_of_tab}}\n{{comment: slowly}}",
    "ultimate": "[Verse]\n[tab][ch]Am[/ch]   [ch]F[/ch]\n{}[/tab]\n[ch]C[/ch]\n{}\n{}\n{}",
    "numbers": "1 4 5\n{}\n1- 4 57\n{}\n6- 4/6 1\n{}\n4 5 1\n{}",
    "numbers of triads": "Intro: 1 4 1\n\n[Verse]\n1   4\n{}\n5   1\n{}\n{}\n{}",
    "numbers of some lines": "| 1 | 4 | 57 |\n{}\n| 6- b7 |\n{}\n{}\n{}\n\n[Solo] 1 4 5",
    "repeats": "Am  F  (x2)\n{}\nC  G  x4\n{}\n{}\n{}",
}


@pytest.mark.parametrize("form", CHORDS)
def test_chords(form):
    assert texts(parse_lyrics(CHORDS[form].format(*LINES))) == LINES


def test_chords_inside_words():
    text = "{t: Song}\n[C]Hal[Am7]le[F]lu[G]jah, [C]A[G]men"
    assert texts(parse_lyrics(text)) == ("Hallelujah, Amen",)


def test_chordpro_repeats_the_chorus():
    text = "{soc}\n[C]La la\n{eoc}\n[G]One\n{chorus}\nTwo\n{chorus}"
    assert texts(parse_lyrics(text)) == ("La la", "One", "La la", "Two", "La la")


@pytest.mark.parametrize(
    "line",
    ["A", "Am I", "A B C", "Go", "Em", "Add a bass", "Do re mi", "La la la", "As", "D-I-V-O-R-C-E", "C'est la vie", "Be", "Dis",
     "A E I O U", "Baby", "Dad", "Face", "Fade", "Bad", "Cabbage", "Edge", "Hm", "Ah", "No", "Gee"],
)  # fmt: skip
def test_words_that_look_like_chords_are_sung(line):
    assert texts(parse_lyrics(f"{PLAIN}\n{line}\nOh my")) == (*LINES, line, "Oh my")


@pytest.mark.parametrize(
    "text",
    ["1 2 3 4\nHello there\n5 6 7 8\nGoodbye now", "6-7\nHello\n6-7\nWorld", "24 7\nI love you\n365\nYou",
     "7 days\n6 nights", "3 2 1\nGo", "1, 2, 3\nGo\n1, 2, 3\nNow"],
)  # fmt: skip
def test_numbers_that_are_no_chords_are_sung(text):
    assert texts(parse_lyrics(text)) == tuple(text.split("\n"))


HTML = {
    "fragment": "<p>{}<br>{}</p>\n<p>{}<br/>\n{}</p>",
    "page": "<!DOCTYPE html><html><head><title>Lyrics</title><style>p {{}}</style></head><body><nav>Home</nav><script>x</script>"
    '<div class="lyrics">{}<br>\n{}<br>\n\n{}<br />{}</div><div>Other songs</div><footer>All rights</footer></body></html>',
    "containers": '<div>Top</div><div data-lyrics-container="true" class="x">[Verse]<br><a href="/1"><span>{}</span></a><br>{}'
    '</div><div>Ad</div><div data-lyrics-container="true">{}<br><i>{}</i></div>',
    "divisions": "<div>{}</div><div>{}</div>\n<div>{}</div>\n<div>{}</div>",
    "preformatted": "<html><body><pre>\nAm   F\n{}\n{}\n\n{}\n{}</pre></body></html>",
    "spans": "<div><span>{}</span><br><span>{}</span><br>{}<br>{}</div>",
}


@pytest.mark.parametrize("form", HTML)
def test_html(form):
    assert texts(parse_lyrics(HTML[form].format(*LINES))) == LINES


def test_ultrastar():
    text = (
        "#TITLE:A Truce\n#ARTIST:Nobody\n#BPM:300,0\n#GAP:1500\n: 0 4 57 Hel\n: 4 2 57 lo\n* 6 2 60  my\n: 8 4 60 ~\n"
        "- 14\n: 20 2 55 world\n: 24 5 55  to\nF 30 2 55 day\nE\n"
    )
    first, second = parse_lyrics(text).lines
    assert (first.words, second.words) == (("Hello", "my"), ("world", "today"))
    windows = [(line.window.start_seconds, line.window.end_seconds) for line in (first, second)]
    assert windows == [pytest.approx((1.5, 1.5 + 12 * 0.05)), pytest.approx((2.5, 1.5 + 32 * 0.05))]


def test_html_entities():
    assert texts(parse_lyrics("Don&#39;t say &quot;no&quot;\nR&amp;B &amp; soul")) == ('Don\'t say "no"', "R&B & soul")


SITES = {
    "genius": "3 ContributorsA Truce Lyrics[Verse 1: Someone]\n{}\n{}\nYou might also like[Chorus]\n{}\n{}12Embed",
    "embed": "{}\n{}\n{}\n{}\nEmbed",
    "lines": "3 Contributors\nTranslations\nA Truce Lyrics\n[Verse]\n{}\n{}\n{}\n{}\n1Embed\nCancel\nHow to Format Lyrics:",
    "share": "{}\n{}\nSee Nobody LiveGet tickets as low as $45You might also like\n{}\n{}5EmbedShare URLCopyEmbedCopy",
    "translations": "12 ContributorsTranslationsDeutschEspañolA Truce Lyrics\n{}\n{}\n{}\n{}\n1.2KEmbed",
    "description": "3 ContributorsA Truce Lyrics A song about a truce… Read More \n[Verse]\n{}\n{}\n{}\n{}Embed",
    "credits": "Lyrics by: Some Body\nMusic: Any Body\n\n{}\n{}\n{}\n{}\n\nSource: LyricFind\nSongwriters: Some Body\n"
    "A Truce lyrics © Some Music Ltd",
    "translator": "{}\n{}\n{}\n{}\n\nTranslation by Some Body\nhttps://lyrics.example.com/a-truce",
    "musixmatch": "{}\n{}\n{}\n{}\n...\n\n******* This Lyrics is NOT for Commercial use *******\n(1409618345123)",
    "french": "Paroles de la chanson A Truce par Nobody\n{}\n{}\n{}\n{}\n\nParoliers : Some Body",
    "widgets": "12 Contributors\nTranslations\nDeutsch\nTürkçe (Turkish)\nA Truce Lyrics\n{}\n{}\nSee Any Body Live\n"
    "Get tickets as low as $52\nYou might also like\n{}\n{}\nEmbed",
    "euros": "{}\n{}\nGet tickets as low as €52You might also like\n{}\n{}5Embed",
    "unclear words": "{}\n{} [?]\n[?] {}\n[?]\n{}",
    "German": "3 Mitwirkende\nÜbersetzungen\nEnglish\n{}\n{}\nDas könnte dir auch gefallen\n{}\n{}\n\nQuelle: LyricFind\n"
    "Komponisten: Some Body",
    "French page": "3 Contributeurs\nTraductions\n{}\n{}\nVous aimerez aussi\n{}\n{}\n\nSource : LyricFind",
    "Spanish": "{}\n{}\nTambién te puede gustar\n{}\n{}\n\nFuente: Musixmatch\nCompositores: Some Body",
    "title": "Title: A Truce\nArtist: Nobody\n\n{}\n{}\n{}\n{}\n\nwww.example.com",
}


@pytest.mark.parametrize("form", SITES)
def test_residue_of_sites(form):
    words = [word for line in parse_lyrics(SITES[form].format(*LINES)).lines for word in line.words if word != "..."]
    assert words == PLAIN.split()


def test_lines_that_look_like_residue_are_sung():
    text = "I want you by my side\nSource of all my pain\nMusic by the sea\nYou said: stay\nI wrote a song by hand\nEmbed me"
    text += "\nSee you live\nTranslations of me\nYou might also like me\nEnglish\nMy language"
    assert texts(parse_lyrics(text)) == tuple(text.split("\n"))


def test_transcripts_keep_lines_that_were_not_found():
    lines = [
        {"text": "One", "start_seconds": 1.0, "end_seconds": 2.0, "status": "sung", "number": 0},
        {"text": "Three", "start_seconds": 5.0, "end_seconds": 6.0, "status": "sung", "number": 2},
        {"text": "One", "start_seconds": 7.0, "end_seconds": 8.0, "status": "repeated", "number": 0},
    ]
    document = {"schema": "lyrics-asr/transcript/2", "text": "[Verse]\nOne (x2)\nTwo\nThree\n", "lines": lines}
    read = parse_lyrics(json.dumps(document)).lines
    assert [(line.text, line.window) for line in read] == [
        ("One", TimeWindow(1.0, 2.0)), ("Two", None), ("Three", TimeWindow(5.0, 6.0))
    ]  # fmt: skip


def test_transcripts_keep_backing_vocals_in_their_lines():
    lines = [
        {"text": "Hold on", "start_seconds": 1.0, "end_seconds": 4.0, "status": "sung", "number": 0, "voice": "lead"},
        {
            "text": "(ooh ah)",
            "start_seconds": 2.0,
            "end_seconds": 3.0,
            "status": "sung",
            "number": 1,
            "voice": "backing",
        },
        {"text": "Let go", "start_seconds": 5.0, "end_seconds": 6.0, "status": "sung", "number": 2, "voice": "lead"},
    ]
    document = {"schema": "lyrics-asr/transcript/2", "text": "Hold (ooh ah) on\nLet go", "lines": lines}
    read = parse_lyrics(json.dumps(document)).lines
    assert [(line.text, line.window) for line in read] == [
        ("Hold on", TimeWindow(1.0, 4.0)), ("(ooh ah)", TimeWindow(1.0, 4.0)), ("Let go", TimeWindow(5.0, 6.0))
    ]  # fmt: skip


def test_cues_of_single_words_are_joined():
    cues = (f"{n}\n{time(word['start'])} --> {time(word['end'])}\n{word['word']}" for n, word in enumerate(WORDS, 1))
    assert texts(parse_lyrics("\n\n".join(cues))) == LINES


def time(seconds):
    return f"00:{int(seconds // 60):02d}:{seconds % 60:06.3f}".replace(".", ",")
