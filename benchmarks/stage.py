"""Frames per second of the stage with a song of 800 words, and the first paint of the library, in headless Chromium.

    python benchmarks/stage.py

The song is a shared page (`server.share`), which has the same stage as the server's page. Chromium paints without a GPU
here. Frames are those that the compositor draws, by a trace. The CPU time per frame, of the page's main thread and of
all processes of Chromium, is less sensitive to other work on the machine than the frame rate.
"""

import json
import shutil
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

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
CATEGORIES = ["toplevel", "cc", "__metadata"]
DRAWN = "LayerTreeHostImpl::CalculateRenderPasses"  # once per frame, on the compositor's thread
TASK = "ThreadControllerImpl::RunTask"

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
    page.wait_for_timeout(1000)
    before = cpu_seconds()
    browser.start_tracing(page=page, path=folder / "trace.json", categories=CATEGORIES)
    page.wait_for_timeout(1000 * MEASURED_SECONDS)
    used = cpu_seconds() - before
    browser.stop_tracing()
    page.close()
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    drawn = sorted(event["ts"] / 1000 for event in events if event["name"] == DRAWN)
    intervals = sorted(after - before for before, after in pairwise(drawn))
    late = sum(interval > 25 for interval in intervals)  # of 16.7 ms at 60 frames a second
    median, slow = intervals[len(intervals) // 2], intervals[len(intervals) * 99 // 100]
    print(f"{1000 / statistics.mean(intervals):.1f} frames/s; intervals: median {median:.1f} ms, 99 % {slow:.1f} ms")
    print(f"{late} of {len(intervals)} intervals of more than 25 ms")
    main = main_thread_seconds(events)
    print(f"CPU per frame: {1000 * main / len(drawn):.2f} ms main thread, {1000 * used / len(drawn):.2f} ms in all")


def main_thread_seconds(events: list[dict[str, Any]]) -> float:
    """CPU time of the page's main thread in a trace."""
    names = [event for event in events if event["name"] == "thread_name"]
    threads = {(each["pid"], each["tid"]) for each in names if each["args"]["name"] == "CrRendererMain"}
    tasks = [each for each in events if each["name"] == TASK and (each["pid"], each["tid"]) in threads]
    return sum(float(each.get("tdur", 0)) for each in tasks) / 1e6


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
