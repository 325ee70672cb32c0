"""Accuracy of the pitch tracker on synthetic songs, whose pitch is known (`python benchmarks/melody.py`).

Measures mir_eval's raw pitch and raw chroma accuracy (within 50 cents, and ignoring octaves) of the lead's pitch curve,
tracked from the true vocals, backing vocals and reverberation included, and from those that the embedded model
separates, whose SI-SDR is shown too.
"""

import argparse
from collections.abc import Sequence
from unittest import mock

import mir_eval
import numpy as np
import torch

from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ, Audio
from lyrics_asr.evaluation.metrics import si_sdr
from lyrics_asr.inference.stages import separate_to_16k_mono
from lyrics_asr.melody.pitch import FRAME_SECONDS, PitchTrack, midi_to_hz, track_pitch
from lyrics_asr.models.registry import load_model
from lyrics_asr.options import SeparationOptions
from lyrics_asr.synthesis import song
from lyrics_asr.synthesis.delivery import DELIVERIES
from lyrics_asr.synthesis.instruments import SAMPLE_RATE_HZ
from lyrics_asr.synthesis.singers import draw_voice
from tests.paths import LYRICS


def render_sung(stanzas: Sequence[Sequence[str]], seed: int) -> song.Rendition:
    """A song without raps and whispers."""
    rng = np.random.default_rng(seed)
    with (
        mock.patch.object(song, "draw_delivery", return_value=DELIVERIES["sung"]),
        mock.patch.object(song, "_SLOWEST_RAP_SECONDS", 0.0),
    ):
        return song.render(stanzas, draw_voice("en", rng), rng)


def scores(truth: np.ndarray, track: PitchTrack) -> tuple[float, float]:
    """Raw pitch and raw chroma accuracy."""
    midi = track.midi
    estimate = np.nan_to_num(midi_to_hz(midi))
    count = min(len(truth), len(estimate))
    times = np.arange(count) * FRAME_SECONDS
    found = mir_eval.melody.evaluate(times, truth[:count], times, estimate[:count])
    return found["Raw Pitch Accuracy"], found["Raw Chroma Accuracy"]


def main() -> None:
    """Print a row per song, and the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--songs", type=int, default=10)
    parser.add_argument("--lines", type=int, default=2, help="lines of each stanza")
    args = parser.parse_args()
    from lyrics_asr.synthesis.lyrics import load_lyrics

    lyrics = list(load_lyrics(LYRICS, "development").values())
    model = load_model("embedded", device="cpu")
    rows = []
    print("song   true: pitch chroma   separated: pitch chroma   SI-SDR")
    for number in range(args.songs):
        stanzas = [stanza[: args.lines] for stanza in lyrics[number % len(lyrics)][:2]]
        rendition = render_sung(stanzas, number)
        truth = rendition.f0_hz
        true = Audio(torch.from_numpy(rendition.vocals), SAMPLE_RATE_HZ)
        mixture = Audio(torch.from_numpy(rendition.vocals + rendition.accompaniment), SAMPLE_RATE_HZ)
        (separated,) = separate_to_16k_mono([mixture], model, SeparationOptions())
        voice = true.to_channels(1).resampled(ACOUSTIC_SAMPLE_RATE_HZ)
        count = min(voice.samples.shape[1], separated.samples.shape[1])
        ratio_db = si_sdr(separated.samples[0, :count], voice.samples[0, :count])
        rows.append([*scores(truth, track_pitch(voice)), *scores(truth, track_pitch(separated)), ratio_db])
        print(_row(f"{number}", rows[-1]), flush=True)
    print(_row("mean", np.mean(rows, axis=0)))


def _row(name: str, values: Sequence[float] | np.ndarray) -> str:
    true_pitch, true_chroma, pitch, chroma, ratio_db = values
    on_true = f"{true_pitch:.3f}  {true_chroma:.3f}"
    return f"{name:>4}         {on_true}              {pitch:.3f}  {chroma:.3f} {ratio_db:+7.1f} dB"


if __name__ == "__main__":
    main()
