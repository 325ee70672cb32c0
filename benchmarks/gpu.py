"""What a GPU makes of this package, as one JSON on stdout: tests, throughput, training steps.

    python benchmarks/gpu.py > gpu.json      # under 8 minutes on one H100 or H200, by its plan
    python benchmarks/gpu.py --small         # every part with tiny networks, to try the script; runs on a CPU

Parts, one after the other, each in a forked process of its own, so that its memory can be told and its failure costs no
other part: the traceback is in the JSON. Parts for which `--limit` leaves no time are skipped by name.

- device: what multiplies large matrices in bf16 here, beside the data sheet;
- tests: those marked `gpu`;
- transcribe, align: songs in our way and in the usual one, see `benchmarks/throughput.py`; the usual alignment is
  demucs, the network of transformers over the whole song, and forced_align of torchaudio;
- plain, full, frozen, cached, lora: training steps, see `benchmarks/training.py`;
- embedded-small: two stages of `configs/embedded_small.yaml` in the training loop, on songs of noise.

The networks of the first three have random weights in the shapes of htdemucs and wav2vec2-large: no weights are
downloaded. Python and its imports have started before the clock does; loading models counts.
Exit code 1: a part failed, or, at full size, a target is missed.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import gpu_parts, training

BASELINES = {
    "transcribe": ("usual transcription", 8.0),
    "align": ("usual alignment", 8.0),
    **dict.fromkeys(("full", "frozen", "cached", "lora"), ("plain", 3.0)),
}
"""The part that another is compared with, and how many times as fast it is to be."""
NETWORKS = {
    "full": "htdemucs and wav2vec2-large in their real sizes, with random weights",
    "small": "tiny, random weights",
}
STAGES = ("acoustic", "end to end")
FULL = gpu_parts.Sizes("full", 8, 180, 8, 10, 100, 16.0, 8)
SMALL = gpu_parts.Sizes("small", 1, 4, 1, 1, 2, 2.0, 0)


def main() -> int:
    """Run every part, print the JSON, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="tiny networks and songs")
    parser.add_argument("--limit", type=float, default=460, metavar="SECONDS", help="of the whole (default: 460)")
    given = parser.parse_args()
    sizes = SMALL if given.small else FULL
    parts: dict[str, dict[str, Any]] = {}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        for part, (seconds, run) in plan(sizes, Path(name)).items():
            left = given.limit - (time.monotonic() - began)
            if not given.small and left < seconds:
                parts[part] = {"skipped": f"needs about {seconds} s, and {left:.0f} s of --limit are left"}
                continue
            parts[part] = in_process(run, left if given.small else min(left, 3 * seconds))
            print(f"{part}: {'failed' if 'failed' in parts[part] else 'done'}", file=sys.stderr, flush=True)
    factors = {name: speed_up(parts, name) for name in BASELINES}
    peak = parts["device"].get("matmul_tflops")
    for each in parts.values():
        if peak and "networks_tflops" in each:
            each["share_of_peak"] = round(each["networks_tflops"] / peak, 4)
    report = {
        "size": sizes.networks,
        "networks": NETWORKS[sizes.networks],
        "seconds": round(time.monotonic() - began, 1),
        "times_as_fast": {
            name: {"as": BASELINES[name][0], "measured": factor, "target": BASELINES[name][1]}
            for name, factor in factors.items()
        },
        "parts": parts,
    }
    print(json.dumps(report, indent=2))
    missed = any(factor is not None and factor < BASELINES[name][1] for name, factor in factors.items())
    failed = any("failed" in each or each.get("failed_tests") for each in parts.values())
    return int(failed or (missed and not given.small))


def speed_up(parts: dict[str, dict[str, Any]], name: str) -> float | None:
    """How many times as fast a part is as its baseline; None if one of both was not measured."""
    ours, baseline = (parts[each].get("audio_seconds_per_second") for each in (name, BASELINES[name][0]))
    return round(ours / baseline, 2) if ours and baseline else None


def plan(sizes: gpu_parts.Sizes, folder: Path) -> dict[str, tuple[float, Callable[[], dict[str, Any]]]]:
    """The parts by name: the seconds that each takes at full size on an H100, at a guess, and what it does."""
    options = argparse.Namespace(
        folder=folder / "training",
        size=sizes.networks,
        chunks=sizes.chunks,
        steps=sizes.steps,
        songs=sizes.songs,
        song_seconds=sizes.song_seconds,
        workers=sizes.workers,
    )

    songs = folder / "songs"
    return {
        "device": (5, gpu_parts.describe_device),
        "tests": (60, gpu_parts.run_tests),
        "songs": (20, lambda: gpu_parts.prepare_songs(songs, sizes)),
        "usual transcription": (90, lambda: gpu_parts.transcribe_as_usual(songs)),
        "usual alignment": (15, lambda: gpu_parts.align_as_usual(songs)),
        "transcribe": (30, lambda: gpu_parts.run_ours("transcribe", songs)),
        "align": (30, lambda: gpu_parts.run_ours("align", songs, "--keep-all")),
        "training data": (40, lambda: gpu_parts.prepare_training(options)),
        **{kind: (25, partial(gpu_parts.train_chunks, kind, options)) for kind in training.KINDS},
        **{f"embedded-small, {stage}": (25, partial(gpu_parts.train_stage, stage, sizes)) for stage in STAGES},
    }


def in_process(run: Callable[[], dict[str, Any]], limit_seconds: float) -> dict[str, Any]:
    """The result of a part, with its time and memory; "failed" is its traceback, or why it ended."""
    context = multiprocessing.get_context("fork")  # the imports of this process need not be repeated
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(run, sender))
    process.start()
    sender.close()
    try:
        result: dict[str, Any] = receiver.recv() if receiver.poll(limit_seconds) else {"failed": "the time was up"}
    except EOFError:
        process.join()
        result = {"failed": f"the process ended with exit code {process.exitcode}"}
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)  # and what it has started
    process.join()
    return result


def _send(run: Callable[[], dict[str, Any]], sender: Any) -> None:
    os.setsid()
    began = time.monotonic()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for the JSON
            result = run()
    except BaseException:
        result = {"failed": traceback.format_exc()}
    used = {"seconds": round(time.monotonic() - began, 1)}
    used["peak_memory_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    if torch.cuda.is_initialized():
        used["peak_gpu_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    sender.send({**used, **result})


if __name__ == "__main__":
    sys.exit(main())
