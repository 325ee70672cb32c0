"""What inference imports."""

import json
import os
import subprocess
import sys

import pytest

from lyrics_asr.audio import Audio, read_audio, write_audio
from tests.paths import DEMO, ROOT

TRANSCRIBE = """
import json, sys
import lyrics_asr, lyrics_asr.cli.commands
bare = sorted(name for name in sys.modules if name.partition(".")[0] in ("torch", "transformers", "demucs"))
model = lyrics_asr.load_model("embedded-small", device="cpu")
lyrics_asr.transcribe(sys.argv[1], model)
print(json.dumps([bare, sorted(sys.modules)]))
"""


@pytest.mark.slow
def test_transcribing_imports_nothing_of_training(tmp_path):
    """transformers imports accelerate by itself where it is installed, so accelerate is not looked for."""
    demo = read_audio(DEMO / "truce_on_the_hill.mp3")
    song = tmp_path / "song.wav"
    write_audio(song, Audio(demo.samples[:, 20 * demo.sample_rate_hz : 26 * demo.sample_rate_hz], demo.sample_rate_hz))
    done = subprocess.run(
        [sys.executable, "-c", TRANSCRIBE, str(song)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    bare, modules = json.loads(done.stdout.splitlines()[-1])
    assert bare == []  # `import lyrics_asr` alone loads no library of networks
    assert "lyrics_asr.decoding.beam_search" in modules
    forbidden = ("lyrics_asr.training", "lhotse", "wandb", "peft", "pyctcdecode")
    assert [name for name in modules if any(name == each or name.startswith(f"{each}.") for each in forbidden)] == []
