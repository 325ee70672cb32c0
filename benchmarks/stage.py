"""Frames per second of the stage with a song of 800 words, and the first paint of the library, in headless Chromium.

    python benchmarks/stage.py

The song is a shared page (`server.share`), which has the same stage as the server's page. Chromium paints without a GPU
here. Its CPU time and the numbers of layouts are less sensitive to other work on the machine than the frame rate.
"""

import shutil
import statistics
import tempfile
import time
from pathlib import Path
from threading import Thread

import psutil
import torch
import uvicorn
from playwright.sync_api import Browser, sync_playwright

from lyrics_asr.audio import Audio, write_audio
from lyrics_asr.server.app import create_app
from lyrics_asr.server.settings import ServerSettings, loader
from lyrics_asr.server.share import share_html
from lyrics_asr.types import AudioInfo, ModelInfo, TimedLine, TimedWord, Transcript

WORDS, WORDS_PER_LINE, WORD_SECONDS = 800, 8, 0.3
MEASURED_SECONDS = 10
PAINTS, PORT = 9, 8732
WORK = ("LayoutCount", "RecalcStyleCount", "LayoutDuration", "RecalcStyleDuration", "ScriptDuration", "TaskDuration")

INTERVALS = """(seconds) => new Promise((resolve) => {
  const intervals = [];
  let last = performance.now();
  const end = last + 1000 * seconds;
  const sample = (now) => {
    intervals.push(now - last);
    last = now;
    if (now < end) requestAnimationFrame(sample); else resolve(intervals.slice(1));
  };
  requestAnimationFrame(sample);
})"""
FIRST_PAINT = """() => new Promise((resolve) => {
  new PerformanceObserver((list) => resolve(list.getEntriesByName("first-contentful-paint")[0].startTime))
    .observe({ type: "paint", buffered: true });
})"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        measure_stage(browser, Path(name))
        measure_first_paint(browser, Path(name))
        browser.close()


def measure_stage(browser: Browser, folder: Path) -> None:
    seconds = WORDS * WORD_SECONDS
    write_audio(folder / "stem.opus", Audio(torch.zeros(1, round(seconds * 16_000)), 16_000))
    stems = {"vocals": folder / "stem.opus", "accompaniment": folder / "stem.opus"}
    (folder / "page.html").write_text(share_html("800 words", transcript(seconds), stems), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1920, "height": 1080})
    page.set_default_timeout(120_000)
    page.goto((folder / "page.html").as_uri())
    page.wait_for_function("() => window.player && document.querySelectorAll('.word').length")
    page.click("#play")
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def work() -> dict[str, float]:
        metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
        return {**{name: metrics[name] for name in WORK}, "CPU": cpu_seconds()}

    before = work()
    intervals = sorted(page.evaluate(INTERVALS, MEASURED_SECONDS))
    after = work()
    page.close()
    late = sum(interval > 25 for interval in intervals)  # of 16.7 ms at 60 frames a second
    median, slow = intervals[len(intervals) // 2], intervals[len(intervals) * 99 // 100]
    print(f"{len(intervals) / MEASURED_SECONDS:.1f} frames/s; intervals: median {median:.1f} ms, 99 % {slow:.1f} ms")
    print(f"{late} intervals of more than 25 ms")
    print("per frame: " + ", ".join(f"{(after[name] - before[name]) / len(intervals):.5f} {name}" for name in after))


def cpu_seconds() -> float:
    """CPU time of all processes of Chromium."""
    times = [each.cpu_times() for each in psutil.Process().children(recursive=True) if "chrom" in each.name()]
    return sum(each.user + each.system for each in times)


def measure_first_paint(browser: Browser, folder: Path) -> None:
    settings = ServerSettings(data=folder / "data", model="embedded", load=loader("embedded"), devices=())
    settings.data.mkdir()
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=PORT, log_level="critical"))
    thread = Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    paints = []
    for _ in range(PAINTS):
        context = browser.new_context()  # with an empty cache
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{PORT}")
        paints.append(page.evaluate(FIRST_PAINT))
        context.close()
    server.should_exit = True
    thread.join()
    print(f"first contentful paint: median {statistics.median(paints):.0f} ms, maximum {max(paints):.0f} ms")


def transcript(seconds: float) -> Transcript:
    lines = []
    for first in range(0, WORDS, WORDS_PER_LINE):
        words = []
        for number in range(first, first + WORDS_PER_LINE):
            words.append(TimedWord(f"word{number}", number * WORD_SECONDS, (number + 1) * WORD_SECONDS, 0.9))
        text = " ".join(word.text for word in words)
        lines.append(TimedLine(text, words[0].start_seconds, words[-1].end_seconds, 0.9, tuple(words)))
    model = ModelInfo("none", "none", "none", None)
    return Transcript("align", AudioInfo("song", seconds, 16_000), model, "", tuple(lines))


if __name__ == "__main__":
    main()
