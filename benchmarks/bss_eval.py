"""BSS Eval against museval: `python benchmarks/bss_eval.py SONG [--seconds 20]`.

The vocals are the first demo song and the accompaniment is SONG, both rounded to 16 bits as in stems of a corpus; the
estimate is a mix of both. Prints CPU seconds of both ways for the scores of the estimate and of the mixture, the
largest difference of a ratio below 100 dB, and our CPU seconds for the whole SONG.
"""

import argparse
import sys
import time
from pathlib import Path

import museval.metrics
import numpy as np
import torch
from torch import Tensor

from lyrics_asr.audio import read_audio
from lyrics_asr.evaluation.bss_eval import bss_eval

ROOT = Path(__file__).resolve().parent.parent
RATE_HZ = 44_100


def main() -> int:
    """Run the benchmark; 1 if a difference is above 1e-6 dB, or the song takes more than 5 s."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("song", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0, help="of the comparison (default: %(default)s)")
    options = parser.parse_args()
    band = read(options.song)
    demo = read(sorted((ROOT / "data" / "demo").glob("*.mp3"))[0])
    voice = demo.repeat(1, 1 + band.shape[1] // demo.shape[1])[:, : band.shape[1]]
    estimate = rounded(0.9 * voice + 0.15 * band.roll(7, 1) + 0.05 * torch.tanh(3 * band))

    count = round(options.seconds * RATE_HZ)
    short = [signal[:, :count] for signal in (voice + band, estimate, voice)]
    began = time.process_time()
    ours = [
        (each.sdr_db, each.sir_db, each.sar_db) for each in bss_eval(short[:2], short[2], short[0], RATE_HZ) if each
    ]
    ours_seconds = time.process_time() - began
    began = time.process_time()
    theirs = [museval_scores(each, short[2], short[0], RATE_HZ) for each in short[:2]]
    their_seconds = time.process_time() - began
    pairs = [pair for each in zip(ours, theirs, strict=True) for pair in zip(*each, strict=True)]
    difference = max(abs(a - b) for a, b in pairs if b < 100)
    print(
        f"{options.seconds:g} s: ours {ours_seconds:.2f} s, museval {their_seconds:.2f} s, "
        f"difference {difference:.1e} dB"
    )

    began = time.process_time()
    bss_eval([voice + band, estimate], voice, voice + band, RATE_HZ)
    seconds = time.process_time() - began
    print(f"{band.shape[1] / RATE_HZ:.0f} s: ours {seconds:.2f} s (wanted: 5 s)")
    return int(difference > 1e-6 or seconds > 5)


def read(path: Path) -> Tensor:
    return rounded(read_audio(path, sample_rate_hz=RATE_HZ, channels=2).samples)


def rounded(samples: Tensor) -> Tensor:
    return (samples * 32_767).round() / 32_767


def museval_scores(vocals: Tensor, reference_vocals: Tensor, mixture: Tensor, sample_rate_hz: int) -> list[float]:
    """SDR, SIR and SAR in dB as museval reports them: medians over the windows that have a score."""
    rest = mixture if vocals is mixture else mixture - vocals
    references = torch.stack([reference_vocals, mixture - reference_vocals]).transpose(1, 2).double().numpy()
    estimates = torch.stack([vocals, rest]).transpose(1, 2).double().numpy()
    sdr, _, sir, sar, _ = museval.metrics.bss_eval(references, estimates, window=sample_rate_hz, hop=sample_rate_hz)
    return [float(np.median(each[0][np.isfinite(each[0])])) for each in (sdr, sir, sar)]


if __name__ == "__main__":
    sys.exit(main())
