"""Separators side by side: what they gain, what they cost.

    lyrics-asr data synth data/prepared/development --songs 18 --split development
    python -m scripts.convert_spleeter spleeter-2stems
    python benchmarks/separation.py --separators embedded-small/separator embedded/separator

Gain is the SI-SDR of the vocals over that of the mixture, both in mono. Time is processor time on one thread, relative
to the duration of the songs; every song goes through one separator after the other, so that other load hits them alike.
With `--memory SECONDS`, each separator also separates noise of that length in a process of its own, whose peak memory
is printed.
"""

import argparse
import multiprocessing
import resource
import sys
import time
from pathlib import Path
from statistics import mean

import torch

from lyrics_asr.audio import read_audio
from lyrics_asr.corpora.manifest import read_manifest
from lyrics_asr.evaluation.metrics import si_sdr
from lyrics_asr.models.registry import load_model
from lyrics_asr.models.separators.base import Separator
from lyrics_asr.options import SeparationOptions

OPTIONS = SeparationOptions(batch_size=1, precision="float32")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--separators", nargs="+", default=["embedded-small/separator", "embedded/separator"])
    parser.add_argument("--manifests", nargs="+", default=["data/prepared/development/manifest.jsonl"])
    parser.add_argument("--songs", type=int, default=None, help="of each manifest; all by default")
    parser.add_argument("--memory", type=float, default=0.0, metavar="SECONDS", help="length of the noise; 0 to skip")
    options = parser.parse_args()
    if options.memory:  # first, because the peak of a new process is at least what its parent holds
        for name in options.separators:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                before, peak = pool.apply(_memory_mib, (name, options.memory))
            print(f"{name}: peak {peak:.0f} MiB for {options.memory:g} s, {before:.0f} MiB before")
    torch.set_num_threads(1)
    separators = {name: _load(name) for name in options.separators}
    print(f"{'song':<32}{'seconds':>8}{'mixture':>9}" + "".join(f"{name[-24:]:>26}" for name in separators))
    for manifest in map(Path, options.manifests):
        rows = []
        for song in read_manifest(manifest)[: options.songs]:
            assert song.vocals is not None, f"{song.id}: the manifest names no vocals"
            mixture = read_audio(song.audio, sample_rate_hz=44_100, channels=2)
            vocals = read_audio(song.vocals, sample_rate_hz=44_100, channels=2).samples.mean(0)
            row = [mixture.duration_seconds, si_sdr(mixture.samples.mean(0), vocals)]
            for separator in separators.values():
                start = time.process_time()
                (estimate,) = separator.separate([mixture.samples], OPTIONS)
                row += [si_sdr(estimate.mean(0), vocals) - row[1], time.process_time() - start]
            _print(song.id, row)
            rows.append(row)
        _print(f"mean of {manifest.parent.name}", [mean(column) for column in zip(*rows, strict=True)])


def _load(name: str) -> Separator:
    return load_model("embedded", separator=name, device="cpu").separator


def _print(name: str, row: list[float]) -> None:
    seconds, mixture, *results = row
    cells = [
        f"{gain:>+12.1f} dB, {cost / seconds:.4f} x" for gain, cost in zip(results[::2], results[1::2], strict=True)
    ]
    print(f"{name:<32}{seconds:>8.1f}{mixture:>9.1f}" + "".join(f"{cell:>26}" for cell in cells), flush=True)


def _memory_mib(name: str, seconds: float) -> tuple[float, float]:
    """Peak memory of this process before and after a separation."""
    torch.set_num_threads(1)
    separator = _load(name)
    mixture = 0.1 * torch.randn(2, round(seconds * separator.sample_rate_hz))
    before = _peak_mib()
    separator.separate([mixture], OPTIONS)
    return before, _peak_mib()


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


if __name__ == "__main__":
    main()
