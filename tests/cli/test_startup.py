"""Verbs that run no network answer at once: what they import. Modules are counted; seconds depend on the machine."""

import json
import os
import subprocess
import sys

import pytest

from tests.paths import ROOT

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
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stderr
    assert MODEL_LIBRARIES.isdisjoint(modules)
    assert len(modules) <= most_modules
