"""The page in Chromium: upload, stage, slider, keys, phone; axe-core finds no violations."""

import json
import time

import httpx
import pytest

from lyrics_asr.audio import Audio, leveling_gain
from tests.fake_model import BACKING, RATE_HZ, VOICE, WORD_FRAMES, FakeModel
from tests.server.conftest import listening, needs_chromium, opened_page

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the extra dev")

pytestmark = [pytest.mark.slow, needs_chromium]

# Position and lit words in every frame of the song.
RECORD = """() => new Promise((resolve) => {
  const samples = [];
  const sample = () => {
    const lit = [...document.querySelectorAll(".word.is-active")].map((word) => word.textContent);
    samples.push([player.position(), lit]);
    if (player.isPlaying) requestAnimationFrame(sample); else resolve(samples);
  };
  requestAnimationFrame(sample);
})"""

# Root mean square of what the singer's fader lets through, over a third of a second.
LEVEL = """() => new Promise((resolve) => {
  const analyser = new AnalyserNode(player.context, { fftSize: 16384 });
  player.gains.vocals.connect(analyser);
  setTimeout(() => {
    const samples = new Float32Array(analyser.fftSize);
    analyser.getFloatTimeDomainData(samples);
    resolve(Math.sqrt(samples.reduce((sum, each) => sum + each * each, 0) / samples.length));
  }, 600);
})"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with listening(tmp_path_factory.mktemp("page") / "data") as address:
        while httpx.get(f"{address}/healthz").json()["status"] == "loading":
            time.sleep(0.1)
        yield address


@pytest.fixture
def page(browser, address, request):
    with opened_page(browser, request) as page:
        page.goto(address)
        yield page


def add(page, song, folder, name="a song", lyrics="Sun, moon\n(rain!)"):
    """Upload a song with its lyrics, and open it."""
    (folder / f"{name}.flac").write_bytes(song)
    (folder / f"{name}.txt").write_text(lyrics)
    page.set_input_files("#files", [folder / f"{name}.flac", folder / f"{name}.txt"])
    page.click("#send")
    page.click(f"a.song-name[href]:text-is('{name}')")
    page.wait_for_function("() => window.player && document.querySelectorAll('.word').length")


def violations(page):
    results = axe.Axe().run(page).response["violations"]
    return {each["id"]: [node["html"][:100] for node in each["nodes"]] for each in results}


def test_words_are_lit_at_their_times(page, song, tmp_path):
    add(page, song, tmp_path)
    job_id = page.evaluate("location.hash").partition("=")[2]
    transcript = page.evaluate(f"fetch('/v1/jobs/{job_id}/results/transcript.json').then((answer) => answer.json())")
    words = [word for line in transcript["lines"] for word in line["words"]]
    assert [word["text"] for word in words] == ["Sun,", "moon", "(rain!)"]
    page.click("#play")
    samples = page.evaluate(RECORD)
    assert len(samples) > 20
    checked = 0
    for position, lit in samples:
        for word in words:
            start, end = word["start_seconds"], word["end_seconds"]
            if start + 0.05 < position < end - 0.05:
                assert word["text"] in lit, (position, word)
                checked += 1
            elif not start - 0.05 < position < end + 0.05:
                assert word["text"] not in lit, (position, word)
    assert checked >= 3
    assert page.locator(".backing .word").all_inner_texts() == ["(rain!)"]
    assert violations(page) == {}


def test_slider_and_keys(page, song, tmp_path):
    add(page, song, tmp_path)
    page.evaluate("player.loop = { start: 0.5, end: 2.5 }")
    page.keyboard.press("Space")
    loud = page.evaluate(LEVEL)
    gain = float(leveling_gain(Audio(VOICE + BACKING, RATE_HZ)).median())
    assert loud == pytest.approx(
        0.1 / gain / 2**0.5, rel=0.1
    )  # the fake voice: a sine of 0.1, whatever it is made from
    page.keyboard.press("g")
    assert page.input_value("#vocals") == "0"
    page.wait_for_timeout(300)
    assert page.evaluate(LEVEL) < 0.001 * loud
    page.keyboard.press("g")
    page.fill("#vocals", "50")
    page.wait_for_timeout(300)
    assert page.evaluate(LEVEL) == pytest.approx(loud / 2, rel=0.1)
    page.keyboard.press("Space")
    assert page.get_attribute("#play", "aria-label") == "Play"
    with page.expect_response(lambda response: response.request.method == "PATCH"):
        page.keyboard.press("+")
    page.reload()
    page.wait_for_function("() => document.querySelectorAll('.word').length")
    assert page.inner_text("#offset") == "50 ms"
    with page.expect_response(lambda response: response.request.method == "PATCH"):
        page.keyboard.press("-")
    page.click(".word >> text=moon")
    assert page.evaluate("player.position()") == pytest.approx(
        float(page.get_attribute(".word >> text=moon", "data-start")), abs=0.01
    )
    page.keyboard.press("Escape")
    page.wait_for_selector("#songs")


def test_library(page, song, tmp_path):
    add(page, song, tmp_path, name="<b>other", lyrics="moon")
    page.keyboard.press("Escape")
    assert page.locator("a.song-name", has_text="<b>other").count() == 1
    page.fill("#search", "nothing like this")
    assert page.is_visible("#empty")
    page.fill("#search", "OTHER")
    assert page.locator(".song").count() == 1
    assert violations(page) == {}
    page.on("dialog", lambda dialog: dialog.accept())
    page.click(".song .delete")
    page.wait_for_function("() => !document.querySelector('.song')")


@pytest.mark.parametrize("page", [(360, 740)], indirect=True)
def test_phone(page, song, tmp_path):
    def overflows():
        return page.evaluate("document.documentElement.scrollWidth > innerWidth")

    assert not overflows()
    add(
        page,
        song,
        tmp_path,
        name="a name that is wider than a phone is",
        lyrics="Sun\nmoon rain",
    )
    assert not overflows()
    assert violations(page) == {}
    for control in ("#play", "#mute", "#vocals", "#later", "#back", "#edit", "#fullscreen", "#lines"):
        box = page.locator(control).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
        assert control == "#lines" or box["y"] + box["height"] <= 740


def test_timeline(page):
    """Backing vocals have a row of their own; a countdown comes before a voice that was away for 4 s."""

    def word(text, start):
        return {"text": text, "start_seconds": start, "end_seconds": start + 1}

    def line(text, start, end, words, voice="lead"):
        return {"text": text, "start_seconds": start, "end_seconds": end, "words": words, "voice": voice}

    lines = [
        line("x", 14, 15, [word("x", 14)]),
        line("(ooh ah)", 6, 8, [word("(ooh", 6), word("ah)", 7)], "backing"),
        line("Hold on", 5, 9, [word("Hold", 5), word("on", 8)]),
        line("lost", None, None, []),
        line("(late)", 30, 31, [word("(late)", 30)], "backing"),
    ]
    program = """async (transcript) => {
      const timeline = await import("/static/timeline.js");
      const lines = timeline.displayLines(transcript);
      const text = (row) => row.words.map((word) => word.text).join(" ");
      const rows = lines.map((line) => line.rows.map((row) => [row.isBacking, text(row)]));
      return [rows, [1, 2.5, 4.9, 8.5, 10, 12].map((seconds) => timeline.countdown(lines, seconds))];
    }"""
    rows, counts = page.evaluate(program, {"lines": lines})
    assert rows == [[[False, "Hold on"], [True, "(ooh ah)"]], [[False, "x"]], [[True, "(late)"]]]
    assert [count and round(count, 6) for count in counts] == [None, 2.5, 0.1, None, None, 2.0]


def test_editor(page, song, tmp_path):
    """A word is added, an edge is dragged, the song is aligned again; undo and redo; what is saved is what was seen."""
    add(page, song, tmp_path, name="edited", lyrics="sun rain")
    page.click("#edit")
    line = page.locator("#editor-lines .line").first
    line.fill("sun moon rain")
    line.press("Tab")
    assert page.locator("#editor-lines mark").all_inner_texts() == ["moon"]
    edge = page.locator(".edge.end[data-index='0']").bounding_box()
    before = page.locator(".wave-word").first.bounding_box()["width"]
    page.mouse.move(edge["x"] + 5, edge["y"] + 50)
    page.mouse.down()
    page.mouse.move(edge["x"] + 25, edge["y"] + 50)
    page.mouse.up()
    assert page.locator(".wave-word").first.bounding_box()["width"] > before + 10
    assert page.locator(".wave-word.is-set").count() == 1
    assert violations(page) == {}
    page.click("#align-again")
    page.wait_for_selector("text=/Aligned in \\d+\\.\\d s/")
    assert page.locator(".wave-word.is-set").first.inner_text() == "sun"
    page.click("#undo")
    page.click("#undo")
    assert page.locator(".wave-word.is-set").count() == 0
    page.click("#redo")
    page.click("#redo")
    line = page.locator("#editor-lines .line").first
    line.click()
    line.evaluate("(field) => getSelection().collapse(field.firstChild, 3)")
    for count in (2, 1, 2):  # the caret is where the line was split or joined
        page.keyboard.press("Backspace" if count == 1 else "Enter")
        assert page.locator("#editor-lines li").count() == count
    page.click("#save")
    page.wait_for_selector("#editor", state="hidden")
    page.wait_for_function("() => document.querySelectorAll('#lines li').length === 2")
    page.reload()
    page.wait_for_function("() => document.querySelectorAll('#lines li').length === 2")
    job_id = page.evaluate("location.hash").partition("=")[2]
    transcript = page.evaluate(f"fetch('/v1/jobs/{job_id}/results/transcript.json').then((answer) => answer.json())")
    assert [line["text"] for line in transcript["lines"]] == ["sun", "moon rain"]
    grid = FakeModel().acoustic.grid
    (sun,) = transcript["lines"][0]["words"]
    moon, rain = transcript["lines"][1]["words"]
    assert sun["confidence"] == 1
    free = max(grid.seconds(WORD_FRAMES["moon"]), sun["end_seconds"])  # the end that was dragged stays
    assert moon["start_seconds"] == pytest.approx(free, abs=0.03)
    assert rain["start_seconds"] == pytest.approx(grid.seconds(WORD_FRAMES["rain"]), abs=0.03)


def test_doubts(page, song, tmp_path):
    """Unsure words are marked in their line; a line that was not found is placed by hand."""
    add(page, song, tmp_path, name="doubtful", lyrics="sun moon\nrain")
    address = f"/v1/jobs/{page.evaluate('location.hash').partition('=')[2]}"
    transcript = page.evaluate(f"fetch('{address}/results/transcript.json').then((answer) => answer.json())")
    first, second = transcript["lines"]
    first["words"][1]["confidence"] = 0.49
    for timed in (second, *second["words"]):
        timed.update(start_seconds=None, end_seconds=None)
    second["status"] = "not_found"
    request = {"method": "PUT", "body": json.dumps(transcript)}
    page.evaluate("([address, request]) => fetch(`${address}/transcript`, request)", [address, request])
    page.reload()
    page.wait_for_function("() => window.player && document.querySelectorAll('.word').length")
    page.click("#edit")
    assert page.locator("#editor-lines mark").all_inner_texts() == ["moon"]
    assert page.inner_text("#doubts").startswith("1 unsure word, 1 line not found")
    assert page.locator(".wave-word.is-unsure").all_inner_texts() == ["moon"]
    page.click("#next-doubt")  # from the first line
    assert page.evaluate("document.activeElement.textContent") == "Place"
    page.evaluate("player.seek(1.5)")
    page.keyboard.press("Enter")
    assert page.inner_text("#doubts").startswith("1 unsure word, 0 lines not found")
    edge = page.locator(".edge.end[data-index='0']")
    edge.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert violations(page) == {}
    page.click("#save")
    page.wait_for_selector("#editor", state="hidden")
    saved = page.evaluate(f"fetch('{address}/results/transcript.json').then((answer) => answer.json())")
    assert saved["lines"][1]["status"] == "sung"
    (rain,) = saved["lines"][1]["words"]
    assert (rain["start_seconds"], rain["end_seconds"], rain["confidence"]) == (1.5, pytest.approx(1.92), 1)


def test_share(browser, page, song, tmp_path):
    """The shared file opens from disk, with no server."""
    add(page, song, tmp_path, name="<i>shared", lyrics="sun moon rain\n</script>")
    page.keyboard.press("Escape")
    with page.expect_download() as download:
        page.locator(".song", has_text="shared").locator(".downloads").select_option("share.html")
    download.value.save_as(tmp_path / "share.html")
    shared = browser.new_page()
    errors = []
    shared.on("pageerror", lambda error: errors.append(str(error)))
    shared.on("request", lambda each: errors.append(each.url) if each.url.startswith("http") else None)
    shared.goto((tmp_path / "share.html").as_uri())
    shared.wait_for_function("() => window.player && document.querySelectorAll('.word').length")
    assert shared.locator(".word").all_inner_texts() == ["sun", "moon", "rain"]
    shared.click("#play")
    shared.wait_for_function("() => player.position() > 0.5")
    assert errors == []
    assert violations(shared) == {}
    shared.close()
