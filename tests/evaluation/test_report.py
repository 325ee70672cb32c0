import base64
import html as html_library
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from lyrics_asr.corpora.manifest import Song
from lyrics_asr.evaluation.aggregation import METRICS, Estimate
from lyrics_asr.evaluation.bss_eval import BssEval
from lyrics_asr.evaluation.config import EvaluationConfig
from lyrics_asr.evaluation.damage import DamagedLyrics
from lyrics_asr.evaluation.pictures import pictures, reliability_pictures
from lyrics_asr.evaluation.predictions import Prediction, SeparationScores, StageSeconds
from lyrics_asr.evaluation.published import ALIGNMENTS, TRANSCRIPTIONS
from lyrics_asr.evaluation.report import HEADLINES, html, interval, markdown, shown, write_report
from lyrics_asr.evaluation.results import collect
from lyrics_asr.evaluation.run import Evaluation, FailedSong
from lyrics_asr.evaluation.scores import score_song
from lyrics_asr.files import OutputError
from lyrics_asr.lyrics.text import parse_corpus_lyrics
from lyrics_asr.types import TimedLine, TimedWord

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;javascript:alert(1)|{{ 7919*7907 }}"
LYRICS = "Sun and moon\nrain falls down\n"
CONFIG = EvaluationConfig(transcripts=Path("theirs"))
SECONDS = StageSeconds(1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0)
VOID = {"meta", "link", "img", "br", "line"}


def song(
    name="song",
    lyrics=LYRICS,
    text: str | None = "sun in moon\nrain down",
    errors: tuple[float, ...] | None = (0.1, -0.2),
    separation=None,
    seconds: StageSeconds | None = SECONDS,
    damaged: DamagedLyrics | None = None,
    confidence=1.0,
    **details,
):
    """A song with a word a second; its estimates are off by `errors`, the last of which holds to the end."""
    lines, words = [], []
    for line in parse_corpus_lyrics(lyrics).lines:
        first = len(words)
        words += [TimedWord(word, first + i + 1.0, first + i + 1.5, 1.0) for i, word in enumerate(line.words)]
        late = [errors[min(i, len(errors) - 1)] if errors else 0.0 for i in range(first, len(words))]
        placed = tuple(
            TimedWord(word.text, max(0.0, word.start_seconds + off), max(0.0, word.end_seconds + off), confidence)
            for word, off in zip(words[first:], late, strict=True)
        )
        span = placed[0].start_seconds, placed[-1].end_seconds
        lines.append(TimedLine(line.text, *span, confidence, placed, number=len(lines)))
    duration_seconds = words[-1].end_seconds + 60 + max(errors or (0,))
    details = {"language": "en", **details}
    reference = Song(name, Path("none.wav"), lyrics, tuple(words) if errors else (), **details)
    return score_song(
        reference,
        Prediction(
            duration_seconds,
            text,
            text,
            None if errors is None else tuple(lines),
            separation,
            seconds,
            confidence=confidence,
        ),
        damaged,
    )


def results(*songs, failed=(), missing=(), config=CONFIG):
    return collect(Evaluation(tuple(songs), tuple(failed), tuple(missing)), config)


class Page(HTMLParser):
    """The elements and texts of a page; a tag that is not closed, or closed twice, is an error."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.rows, self._open = [], [], [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if "td" in self._open or "th" in self._open:
            self.rows[-1][-1] += data

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def count(self, tag):
        return sum(name == tag for name, _ in self.elements)


def cells(line):
    """The cells of a row of a Markdown table, as GitHub reads them."""
    assert line.startswith("| ")
    assert line.endswith(" |")
    parts = re.findall(r"(?:\\.|[^|\\])+", line.strip().strip("|"))
    return [re.sub(r"\\([\\|])", r"\1", html_library.unescape(part.strip())) for part in parts]


def varied():
    separation = SeparationScores(-3.0, 6.0, BssEval(-3.0, 0.0, 10.0), BssEval(6.0, 8.0, 9.0))
    return [
        song("Sun", genre="Pop", separation=separation),
        song("Far away", errors=(0.0, 0.1, 40.0), genre="Rock", separation=separation),
        song("No_transcript_" + "in_a_long_name_without_spaces_" * 4, text="", errors=(1.5,), genre="Pop"),
        song("Wer bist du", "Donaudampfschifffahrtsgesellschaftskapitän " * 3, "wer", (-0.4,), language="de"),
        song("Right", text=LYRICS, errors=(0.004,), genre="Folk"),
        song("Damaged", damaged=DamagedLyrics(f"{LYRICS}not sung", (0, 1, None)), confidence=0.8),
        song("Noise", "La " * 60, "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch" * 4, (0.02, 0.3, -0.3)),
    ]


# ---- report.md ----


def test_markdown_has_every_metric_with_its_interval_and_songs():
    found = results(song("a"), song("b", text=LYRICS), song("c", errors=None))
    rows = [cells(line) for line in markdown(found).splitlines() if line.startswith("| ")]
    table = {row[0]: row[1:] for row in rows if len(row) == 4}
    for key, each in found.metrics.items():
        assert table[METRICS[key].label] == [shown(key, each.value), interval(key, each), str(each.songs)]
    assert table["WER"][0] == "22.2 %"  # 2, 0 and 2 errors of 6 words each
    assert table["word onsets: mean error, mean over songs"] == ["0.183 s", "0.183 s to 0.183 s", "2"]


def test_markdown_has_the_songs_worst_first_and_the_groups():
    found = results(
        song("right", text=LYRICS, genre="Pop"), song("wrong", text="oh", genre="Rock"), song("half", genre="Pop")
    )
    rows = [cells(line) for line in markdown(found).splitlines() if line.startswith("| ")]
    start = next(i for i, row in enumerate(rows) if row[0] == "Song")
    assert rows[start][:2] == ["Song", "WER"]
    assert [row[:2] for row in rows[start + 1 :]] == [["wrong", "100.0 %"], ["half", "33.3 %"], ["right", "0.0 %"]]
    start = next(i for i, row in enumerate(rows) if row[0] == "Genre")
    assert [row[:3] for row in rows[start : start + 3]] == [
        ["Genre", "songs", "WER"],
        ["Pop", "2", "16.7 %"],
        ["Rock", "1", "100.0 %"],
    ]


@pytest.mark.parametrize("name", ["a | b", "<b>bold</b>", r"back\slash", "back\\|both", HOSTILE])
def test_names_stay_in_their_cell_of_a_markdown_table(name):
    text = markdown(results(song(name), song("other"), failed=[FailedSong(name, name)]))
    header = next(i for i, line in enumerate(text.splitlines()) if line.startswith("| Song"))
    rows = [cells(line) for line in text.splitlines()[header : header + 4] if line.startswith("| ")]
    assert {len(row) for row in rows} == {len(rows[0])}
    assert html_library.unescape(name) in [row[0] for row in rows]
    assert "<" not in text


def test_a_name_of_many_lines_stays_in_its_row():
    assert "\n| two lines | " in markdown(results(song("two\nlines")))


def test_markdown_lists_songs_that_failed_and_those_without_audio():
    text = markdown(results(song(), failed=[FailedSong("bad", "ValueError: no\nsound")], missing=["gone", "lost"]))
    assert "- bad: ValueError: no sound" in text
    assert "Without audio: gone, lost" in text
    assert "1 song, 67 s, 1 failed, 2 without audio; corpus data/prepared/evaluation, " in text


def test_values_are_shown_in_their_unit():
    assert shown("wer", 0.1234) == "12.3 %"
    assert shown("wer", None) == "–"
    assert shown("words_mean_pooled", 0.21649) == "0.216 s"
    assert (shown("si_sdr", 6.04), shown("si_sdr", -3.0)) == ("+6.0 dB", "-3.0 dB")
    assert shown("rtf", 0.0456) == "0.046"
    assert interval("wer", Estimate(0.5, None, None, 1)) == ""
    assert interval("wer", Estimate(0.5, 0.25, 0.75, 3)) == "25.0 % to 75.0 %"


# ---- report.html ----


@pytest.fixture
def without_pictures(monkeypatch):
    """Drawing takes most of the time, and these tests look at the text alone."""
    for name in ("pictures", "reliability_pictures"):
        monkeypatch.setattr(f"lyrics_asr.evaluation.report.{name}", lambda songs: ())


@pytest.mark.usefixtures("without_pictures")
def test_the_page_has_the_headlines_and_all_metrics():
    found = results(*varied())
    page = Page(html(found))
    cards = page.text.replace("\N{NO-BREAK SPACE}", " ")
    table = {row[0]: row[1:] for row in page.rows if len(row) == 4}
    for key, each in found.metrics.items():
        assert table[METRICS[key].label] == [shown(key, each.value), interval(key, each), str(each.songs)]
    for key in HEADLINES:
        each = found.metrics[key]
        assert f"{shown(key, each.value)} {METRICS[key].label} {interval(key, each) or 'one song'}" in cards


def test_hostile_texts_are_shown_as_they_are_and_do_nothing():
    found = results(
        song(HOSTILE, f"{HOSTILE}\nand {HOSTILE}", f"{HOSTILE} oh", (0.1, 0.5), genre=HOSTILE),
        song("other", genre="Pop", language="fr"),
        failed=[FailedSong(HOSTILE, HOSTILE)],
        missing=[HOSTILE],
        config=EvaluationConfig(corpus="folder", folder=Path(HOSTILE), transcripts=Path(HOSTILE)),
    )
    text = html(found)
    assert "<script" not in text.lower()
    page = Page(text)
    assert page.count("img") == 2
    allowed = {"class", "id", "style", "src", "alt", "href", "rel", "charset", "name", "content", "lang", "role"}
    allowed |= {"aria-label", "viewbox", "x", "y", "x1", "y1", "x2", "y2", "text-anchor"}
    assert {name for _, attributes in page.elements for name in attributes} <= allowed
    assert page.texts.count(HOSTILE) == 7  # name twice, song, its genre, the genre, failed, missing
    assert f"Evaluation of {HOSTILE}" in page.texts
    assert str(7919 * 7907) not in text


def test_the_page_needs_nothing_from_elsewhere():
    text = html(results(*varied()))
    page = Page(text)
    links = [value for _, each in page.elements for name, value in each.items() if name in ("src", "href")]
    assert links
    assert all(link.startswith("data:") for link in links)
    assert not re.search(r"@import|url\(|https?://|srcset|<iframe|<object|<base", text)
    assert page.count("script") == 0


@pytest.mark.usefixtures("without_pictures")
def test_published_numbers_stand_beside_ours_and_are_marked():
    page = Page(html(results(song(), song("b"))))
    published = [row for row in page.rows if len(row) > 1 and "(published)" in row[1]]
    assert published == [
        *(
            [
                each.system,
                f"{each.corpus} (published)",
                each.mean,
                each.median or "–",
                each.within_0_3,
            ]
            for each in ALIGNMENTS
        ),
        *([each.system, f"{each.corpus} (published)", each.wer] for each in TRANSCRIPTIONS),
    ]
    assert ["Cheng et al. 2025", "JamendoLyrics (published)", "0.216 s", "0.041 s", "95.2 %"] in published
    ours = [row for row in page.rows if len(row) > 1 and "(measured here)" in row[1]]
    measured = "data/prepared/evaluation, 2 songs (measured here)"
    assert ours == [["theirs", measured, "0.183 s", "0.200 s", "100.0 %"], ["theirs", measured, "33.3 %"]]


@pytest.mark.usefixtures("without_pictures")
def test_songs_that_are_not_in_the_numbers_are_said_at_the_top_and_listed():
    found = results(song(), failed=[FailedSong("bad", "ValueError: no sound")], missing=["gone"])
    page = Page(html(found))
    assert "Not every song is in these numbers. 1 failed, 1 had no audio" in page.text
    assert "bad : ValueError: no sound" in page.text
    assert "gone : no audio" in page.text
    assert "Not every song" not in Page(html(results(song()))).text


def test_songs_without_word_times_have_no_pictures_of_them():
    found = results(song("a", errors=()), song("b", errors=()))
    assert not any(each.words for each in found.songs)
    page = Page(html(found))
    assert (page.count("img"), page.count("svg")) == (0, 0)
    assert "Words placed furthest" not in page.text
    assert "Alignment beside" not in page.text
    assert "Worst lines" in page.text


def test_alignments_alone_have_no_error_rates():
    page = Page(html(results(song("a", text=None), song("b", text=None))))
    assert "WER" not in page.text
    assert "Worst lines" not in page.text
    assert "Transcription beside" not in page.text
    assert (page.count("img"), page.count("svg")) == (2, 2)


def test_transcripts_alone_have_no_onsets():
    page = Page(html(results(song("a", errors=None, seconds=None), song("b", errors=None, seconds=None))))
    assert "onsets:" not in page.text
    assert "Alignment beside" not in page.text
    assert "Transcription beside" in page.text


@pytest.mark.usefixtures("without_pictures")
def test_a_single_song_has_no_intervals():
    page = Page(html(results(song())))
    cards = page.text.split("Below each number")[0]
    assert cards.count("one song: no interval") == page.count("li")
    assert " to " not in cards
    assert "By language" not in page.text


@pytest.mark.usefixtures("without_pictures")
def test_a_song_without_errors_has_no_worst_lines():
    assert "Worst lines" not in Page(html(results(song(text=LYRICS)))).text


@pytest.mark.usefixtures("without_pictures")
def test_a_song_a_cappella_has_no_gain():
    page = Page(html(results(song(separation=SeparationScores(None, None, None, None)), song("b"))))
    assert "SI-SDR" not in page.text


@pytest.mark.usefixtures("without_pictures")
def test_a_metric_of_some_songs_says_of_how_many():
    separation = SeparationScores(-3.0, 6.0, None, None)
    page = Page(html(results(song("a", separation=separation), song("b", separation=separation), song("c"))))
    text = page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert "+9.0 dB SI-SDR gain, mean over songs +9.0 dB to +9.0 dB; 2 songs" in text


@pytest.mark.usefixtures("without_pictures")
def test_a_bar_is_as_long_as_the_song_is_bad():
    found = results(song("half"), song("right", text=LYRICS), song("wrong", text="oh " * 12))
    page = Page(html(found))
    shares = [each["style"] for tag, each in page.elements if tag == "td" and each.get("class") == "bar"]
    assert {"--share: 100.0%", "--share: 0.0%", "--share: 16.7%"} <= set(shares)  # WER 200 %, 0 % and 33.3 %


@pytest.mark.usefixtures("without_pictures")
def test_each_word_of_the_worst_lines_stands_once():
    text = html(results(song(lyrics="Sun and moon\n", text="sun in moon rises")))
    (line,) = re.findall(r'<div class="diff"><p>(.*?)</p>', text, re.DOTALL)
    assert "".join(line.split()) == "sun<del>and</del><ins>in</ins>moon<ins>rises</ins>"


def test_the_same_results_give_the_same_page():
    found = results(*varied())
    assert html(found) == html(found)


def svg_texts(picture):
    root = ElementTree.fromstring(base64.b64decode(picture.uri.removeprefix("data:image/svg+xml;base64,")))
    comments = re.findall(r"<!-- (.*?) -->", base64.b64decode(picture.uri.partition(",")[2]).decode())
    return root.attrib, comments


@pytest.mark.parametrize("errors", [(0.0,), (0.001,), (-1.0, 1.0), (5000.0,), (40.0, 41.0)])
def test_pictures_hold_for_all_errors(errors):
    (histogram, cumulative) = pictures([song(errors=errors)])
    beyond = 100.0 * (np.abs(errors) > 1).mean()
    attributes, texts = svg_texts(histogram)
    assert float(attributes["width"].removesuffix("pt")) == pytest.approx(4.4 * 72, abs=1)
    assert f"{beyond:.1f} % of 6 words beyond ±1 s" in texts
    _, texts = svg_texts(cumulative)
    assert {"alignment", "even spread", "0.3", "10"} <= set(texts)
    assert ("1000" in texts) == (max(errors) > 1000)


def test_the_curve_of_words_that_are_all_near_is_in_sight():
    (_, cumulative) = pictures([song(errors=(0.001,))])
    svg = base64.b64decode(cumulative.uri.partition(",")[2]).decode()
    curve = re.search(r'<path d="([^"]+)"[^>]*style="[^"]*stroke: #0b6e99', svg)
    places = [float(x) for x in re.findall(r"[ML] ([-\d.]+) ", curve[1])]
    left, right = min(places), max(places)
    assert right - left > 200  # points of a picture that is 317 wide


def test_no_words_give_no_pictures():
    assert pictures([song(errors=None)]) == ()
    assert reliability_pictures([song()]) == ()


def test_the_reliability_diagram_has_a_point_for_each_confidence():
    """Of six words with confidence 0.25 one is right, of six with 0.75 all are."""
    undamaged = DamagedLyrics(LYRICS, (0, 1))
    unsure, sure = (
        song(name, errors=errors, damaged=undamaged, confidence=confidence)
        for name, errors, confidence in (("unsure", (0.0, 5.0), 0.25), ("sure", (0.0,), 0.75))
    )
    words, lines = reliability_pictures([unsure, sure])
    _, texts = svg_texts(words)
    assert "ECE 0.167, AUC 0.929 (12 words)" in texts  # (|6 x 0.25 - 1| + |6 x 0.75 - 6|) / 12, (6 + 0.5) / 7
    assert "ECE 0.250, AUC 1.000 (4 lines)" in svg_texts(lines)[1]
    svg = base64.b64decode(words.uri.partition(",")[2]).decode()
    diagonal, curve = (
        [tuple(map(float, each)) for each in re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", path)]
        for path in re.findall(r'<path d="([^"]+)" clip-path="[^"]*" style="fill: none', svg)[:2]
    )
    (left, bottom), (right, top) = diagonal
    points = [((x - left) / (right - left), (y - bottom) / (top - bottom)) for x, y in curve]
    assert points == [pytest.approx((0.25, 1 / 6), abs=0.001), pytest.approx((0.75, 1.0), abs=0.001)]


# ---- Files ----


def test_write_report_leaves_both_files_and_nothing_else(tmp_path):
    found = results(song())
    write_report(found, tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.md"]
    assert (folder / "report.md").read_text(encoding="utf-8") == markdown(found)
    assert (folder / "report.html").read_text(encoding="utf-8") == html(found)


def test_a_full_disk_leaves_the_old_report(tmp_path, full_disk):
    for name in ("report.md", "report.html"):
        (tmp_path / name).write_text("old")
    with pytest.raises(OutputError, match=r"report\.md: cannot be written: .*free some space"):
        write_report(results(song()), tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"report.md": "old", "report.html": "old"}


# ---- In a browser ----

PROBE = """<pre id="probe"></pre><script>
addEventListener("load", () => {
  const inside = [...document.querySelectorAll(".scroll, .scroll *, details:not([open]) > :not(summary)")];
  const labels = [...document.querySelectorAll("svg")].flatMap((svg) => {
    const boxes = [...svg.querySelectorAll("text")].map((text) => text.getBoundingClientRect());
    return boxes.flatMap((a, i) => boxes.slice(i + 1).filter((b) =>
      a.left < b.right && b.left < a.right && a.top + 4 < b.bottom && b.top + 4 < a.bottom));
  });
  document.getElementById("probe").textContent = JSON.stringify({
    width: innerWidth,
    scrollWidth: document.documentElement.scrollWidth,
    images: [...document.images].map((image) => image.complete && image.naturalWidth > 0 && image.clientWidth > 100),
    svgs: document.querySelectorAll("svg").length,
    tables: document.querySelectorAll("table").length,
    overlaps: labels.length,
    beyond: [...document.body.querySelectorAll("*")].filter((each) => !inside.includes(each)
      && each.getBoundingClientRect().right > innerWidth + 1).map((each) => each.outerHTML.slice(0, 80)),
  });
  parent.postMessage(document.getElementById("probe").textContent, "*");
});
</script></body>"""
# The window of a headless Chromium may not be made as narrow as a phone's; a frame may.
FRAMES = """<!doctype html><pre id="probe"></pre><script>
const seen = [];
addEventListener("message", (event) => {
  seen.push(JSON.parse(event.data));
  document.getElementById("probe").textContent = JSON.stringify(seen);
});
</script>
<iframe src="page.html" style="width: 1280px; height: 900px; border: 0"></iframe>
<iframe src="page.html" style="width: 360px; height: 740px; border: 0"></iframe>
<iframe src="broken.html" style="width: 361px; height: 740px; border: 0"></iframe>"""
BROKEN = """<div style="width: 500px">too wide</div><img src="missing.png">
<svg><text x="10" y="20">one label</text><text x="12" y="20">on another</text></svg>"""


@pytest.fixture(scope="module")
def chromium():
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no chromium, chromium-browser or google-chrome to look at the page with")
    return found


@pytest.mark.slow
def test_a_browser_shows_the_page_whole_on_desktops_and_phones(chromium, tmp_path):
    """No overflow, no image missing, no labels that overlap; a page with all three shows that the probe finds them."""
    songs = varied()
    long_path = "FileNotFoundError: " + "/a/folder/without/any/space" * 8
    found = results(*songs, failed=[FailedSong("Broken", long_path)], missing=["a_song_without_audio_" * 6])
    page = html(found)
    assert page.count("</body>") == 1
    for name, content in (
        ("page.html", page.replace("</body>", PROBE)),
        ("broken.html", page.replace("</body>", BROKEN + PROBE)),
        ("frames.html", FRAMES),
    ):
        (tmp_path / name).write_text(content, encoding="utf-8")
    done = subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--virtual-time-budget=3000",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=1300,900",
            "--dump-dom",
            (tmp_path / "frames.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    seen = json.loads(html_library.unescape(re.search(r'<pre id="probe">(.+?)</pre>', done.stdout, re.DOTALL)[1]))
    by_width = {each["width"]: each for each in seen}
    assert sorted(by_width) == [360, 361, 1280]
    for width in (360, 1280):
        shown = by_width[width]
        assert shown["beyond"] == []
        assert shown["scrollWidth"] <= width
        assert shown["images"] == [True] * 4
        assert shown["svgs"] == len(songs) - 1  # words of damaged lyrics are on no axis
        assert shown["tables"] == 6  # two beside the literature, songs, languages, genres, all metrics
        assert shown["overlaps"] == 0
    broken = by_width[361]
    assert broken["scrollWidth"] > 361
    assert any("too wide" in element for element in broken["beyond"])
    assert broken["images"] == [True] * 4 + [False]
    assert broken["overlaps"] == 1
