"""Frames per second of the stage with a song of 800 words, in headless Chromium.

    python benchmarks/stage.py

The song is a shared page (`server.share`), which has the same stage as the server's page.
"""

import shutil
import tempfile
from pathlib import Path

import torch
from playwright.sync_api import sync_playwright

from lyrics_asr.audio import Audio, write_audio
from lyrics_asr.server.share import share_html
from lyrics_asr.types import AudioInfo, ModelInfo, TimedLine, TimedWord, Transcript

WORDS, WORDS_PER_LINE, WORD_SECONDS = 800, 8, 0.3
MEASURED_SECONDS = 10

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


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = WORDS * WORD_SECONDS
        noise = 0.01 * torch.randn(2, round(seconds * 16_000), generator=torch.Generator().manual_seed(0))
        write_audio(folder / "stem.mp3", Audio(noise, 16_000))
        stems = {"vocals": folder / "stem.mp3", "accompaniment": folder / "stem.mp3"}
        (folder / "page.html").write_text(share_html("800 words", transcript(seconds), stems), encoding="utf-8")
        with sync_playwright() as playwright:
            arguments = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
            page = browser.new_page(viewport={"width": 1920, "height": 1080})
            page.goto((folder / "page.html").as_uri())
            page.wait_for_function("() => window.player && document.querySelectorAll('.word').length", timeout=60_000)
            page.click("#play")
            intervals = sorted(page.evaluate(INTERVALS, MEASURED_SECONDS))
            browser.close()
    late = sum(interval > 25 for interval in intervals)  # of 16.7 ms at 60 frames a second
    median, slow = intervals[len(intervals) // 2], intervals[len(intervals) * 99 // 100]
    print(f"{len(intervals) / MEASURED_SECONDS:.1f} frames/s; intervals: median {median:.1f} ms, 99 % {slow:.1f} ms")
    print(f"{late} intervals of more than 25 ms")


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
