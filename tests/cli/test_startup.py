"""What starting a verb imports. Modules are counted; seconds depend on the machine."""

import json
import os
import subprocess
import sys

import pytest

from lyrics_asr.audio import Audio, read_audio, write_audio
from tests.paths import DEMO, ROOT

RUN = """
import contextlib, io, json, sys
from lyrics_asr.cli.main import main
with contextlib.redirect_stdout(io.StringIO()):
    code = main(sys.argv[1:])
print(json.dumps([code, sorted(sys.modules)]))
"""
MODEL_LIBRARIES = {"torch", "torchaudio", "transformers", "numba", "scipy", "demucs", "jaxtyping"}
TRANSCRIPT = {
    "schema": "lyrics-asr/transcript/1",
    "task": "align",
    "audio": {"path": "song.mp3", "duration_seconds": 2.0, "sample_rate_hz": 44100},
    "model": {"name": "m", "separator": "none", "acoustic": "a", "language_model": None},
    "text": "la",
    "lines": [
        {
            "text": "la",
            "start_seconds": 0.5,
            "end_seconds": 1.0,
            "confidence": 0.9,
            "words": [{"text": "la", "start_seconds": 0.5, "end_seconds": 1.0, "confidence": 0.9}],
        }
    ],
}


@pytest.mark.parametrize(
    ("arguments", "most_modules"),
    [
        (["align", "--help"], 200),
        (["serve", "--help"], 200),
        (["render", "song.json", "--format", "srt"], 300),
        (["models", "list"], 600),
    ],
)
def test_verbs_without_networks_import_no_model_library(arguments, most_modules, tmp_path):
    (tmp_path / "song.json").write_text(json.dumps(TRANSCRIPT))
    modules = imported(arguments, tmp_path)
    assert MODEL_LIBRARIES.isdisjoint(modules)
    assert len(modules) <= most_modules


@pytest.mark.slow
def test_aligning_with_the_model_of_the_package_imports_no_transformers(tmp_path):
    song = read_audio(DEMO / "robots_on_the_night_shift.mp3")
    write_audio(tmp_path / "song.wav", Audio(song.samples[:, : 6 * song.sample_rate_hz], song.sample_rate_hz))
    (tmp_path / "song.txt").write_text("Robots on the night shift")
    modules = imported(["align", "song.wav", "song.txt", "--model", "embedded"], tmp_path)
    assert {"transformers", "huggingface_hub", "torch._dynamo", "sympy"}.isdisjoint(modules)
    assert len(modules) <= 2_050


def imported(arguments, folder) -> list[str]:
    """The modules that a command imports, run in a folder."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stderr
    return modules
