"""Training on cuts beside a plain loop.

    python benchmarks/training.py                                  # small networks, minutes on a CPU
    python benchmarks/training.py --size full --chunks 16 --songs 8 --song-seconds 240 --workers 8  # on a GPU

Songs of noise, as MP3, are cut into chunks of at most 10 s. Random weights of one size are trained on them

- plain: every weight in fp32 by one optimizer; each chunk's song is decoded whole, in the training process;
- full: every weight by two optimizers, with `cut_batches.CutLoader`, like the following;
- frozen: the acoustic model alone, the separator runs in every step;
- cached: the acoustic model alone, on vocals from `lyrics-asr data cache-vocals`;
- lora: adapters of rank 16 on the acoustic model and its CTC head, the separator runs in every step.

On a GPU all but plain are in bf16. Neither anchor nor augmentation takes part, so that full and plain do the same work.
Each runs in a process of its own, one after the other. "audio s / s" is seconds of training audio for each second,
without the first steps; "memory" the most that a process had, on the GPU where there is one; "of matmul" the
arithmetic of the networks, as PyTorch counts it, over what one large product of matrices in bf16 reaches on the same
GPU. Exit code 1: cached is not 3 times as fast as frozen, or, on a GPU, full not 3 times as fast as plain.
"""

import argparse
import contextlib
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from lhotse import CutSet
from torch.optim import AdamW
from torch.utils.flop_counter import FlopCounterMode

from lyrics_asr.audio import Audio, read_audio, write_audio
from lyrics_asr.cli.main import main as lyrics_asr
from lyrics_asr.corpora.manifest import Song, write_manifest
from lyrics_asr.models.acoustic_checkpoints import build_acoustic
from lyrics_asr.models.devices import find_device
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.registry import load_model
from lyrics_asr.models.separators.loading import build_separator
from lyrics_asr.training.config import TrainingConfig
from lyrics_asr.training.data.batch import Batch
from lyrics_asr.training.data.cut_loader import CutLoader, make_batch
from lyrics_asr.training.data.cut_reader import Row, labels_of
from lyrics_asr.training.data.labels import Labeller
from lyrics_asr.training.data.options import AugmentationOptions, CutLoaderOptions
from lyrics_asr.training.freezing import freeze, phase_at
from lyrics_asr.training.losses import LossGraph
from lyrics_asr.training.optimizers import build_optimizers
from lyrics_asr.training.setup import prepare_networks, starting_model
from lyrics_asr.training.stages import LoraOptions, OptimizerOptions, StageOptions
from lyrics_asr.training.step import take_step
from lyrics_asr.types import TimedWord

UNCHANGED = AugmentationOptions(speeds=[1.0], gain_db=0.0, remix_prob=0.0)
KINDS = ("plain", "full", "frozen", "cached", "lora")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WANTED = 3.0
CHUNK_SECONDS = 10.0
WARM_UP_STEPS = 2
MATMUL_SIZE = 8192
SOURCES = ["drums", "bass", "other", "vocals"]
SEPARATORS: dict[str, dict[str, Any]] = {
    "small": {
        "sources": SOURCES,
        "channels": 4,
        "dconv_comp": 2,
        "t_layers": 1,
        "t_heads": 2,
        "bottom_channels": 32,
        "segment": 7.8,
    },
    "full": {"sources": SOURCES, "bottom_channels": 512, "segment": 7.8},
}
LARGE = {
    "do_stable_layer_norm": True,
    "feat_extract_norm": "layer",
    "conv_bias": True,
    "layerdrop": 0.0,
    "mask_time_prob": 0.0,
}
ACOUSTICS: dict[str, dict[str, Any]] = {
    "small": {
        **LARGE,
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 512,
        "conv_dim": [64] * 7,
    },
    "full": {
        **LARGE,
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    },
}


def main() -> int:
    """Run every kind and print the table; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=("small", "full"), default="small", help="of both networks")
    parser.add_argument("--chunks", type=int, default=2, help="in a batch (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=8, help="that are timed (default: %(default)s)")
    parser.add_argument("--songs", type=int, default=1, help="of --song-seconds (default: %(default)s)")
    parser.add_argument("--song-seconds", type=int, default=120, help="(default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="of the loader (default: %(default)s)")
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.kind:
        print(json.dumps(measure(options.kind, options)))
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, options)
        results = {}
        for kind in KINDS:
            command = [sys.executable, __file__, *sys.argv[1:], "--kind", kind, "--folder", name]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            results[kind] = json.loads(done.stdout.splitlines()[-1])
            print(render(kind, results), flush=True)
    faster = results["cached"]["rate"] / results["frozen"]["rate"]
    print(f"\ncached is {faster:.1f} times as fast as frozen (wanted: {WANTED:g})")
    full = results["full"]["rate"] / results["plain"]["rate"]
    reached = faster >= WANTED
    if torch.cuda.is_available():
        print(f"full is {full:.1f} times as fast as plain (wanted: {WANTED:g})")
        reached = reached and full >= WANTED
    return 0 if reached else 1


def render(kind: str, results: dict[str, dict[str, float]]) -> str:
    """A row of the table, with the head before the first."""
    figures, plain = results[kind], results["plain"]
    head = f"{'':<8}{'audio s / s':>12}{'of plain':>10}{'memory':>11}{'of plain':>10}{'of matmul':>11}\n"
    share = f"{figures['matmul_share']:.1%}" if "matmul_share" in figures else "-"
    rate, memory_bytes = figures["rate"], figures["memory_bytes"]
    return (head if len(results) == 1 else "") + (
        f"{kind:<8}{rate:>12.2f}{rate / plain['rate']:>10.2f}"
        f"{memory_bytes / 2**30:>7.2f} GiB{memory_bytes / plain['memory_bytes']:>10.2f}{share:>11}"
    )


# ---- What all kinds train on ----


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """Random weights, songs, their cuts, and the cuts' vocals."""
    torch.manual_seed(0)
    separator, acoustic = build_separator(SEPARATORS[options.size]), build_acoustic(ACOUSTICS[options.size], LETTERS)
    LyricsModel(separator, acoustic, name="random").save(folder / "model")
    songs = []
    words = tuple(TimedWord("la", at / 2, at / 2 + 0.4, 1.0) for at in range(2 * options.song_seconds))
    for number in range(options.songs):
        path = folder / f"{number}.mp3"
        write_audio(path, Audio(0.1 * torch.randn(2, options.song_seconds * 44_100), 44_100))
        songs.append(Song(str(number), path, "la", words, "en"))
    write_manifest(folder / "manifest.jsonl", songs)
    run_command("data", "cuts", folder / "manifest.jsonl", "-o", folder / "cuts", "--chunk-seconds", CHUNK_SECONDS)
    began = time.perf_counter()
    cuts, cache = folder / "cuts" / "cuts.jsonl.gz", folder / "cached"
    run_command("data", "cache-vocals", cuts, "-o", cache, "--model", folder / "model")
    seconds = time.perf_counter() - began
    print(f"the vocals of {options.songs * options.song_seconds} s were cached in {seconds:.0f} s\n", flush=True)


def run_command(*arguments: object) -> None:
    """A verb of the command line, whose messages are shown if it fails."""
    messages = io.StringIO()
    with contextlib.redirect_stdout(messages), contextlib.redirect_stderr(messages):
        code = lyrics_asr([*map(str, arguments), "--debug"])
    if code:
        raise RuntimeError(messages.getvalue()[-3000:])


# ---- One kind, in its own process ----


def measure(kind: str, options: argparse.Namespace) -> dict[str, float]:
    """Seconds of audio a second, most memory, and on a GPU the share of what a product of matrices reaches."""
    device = find_device()
    step = plain_step(options, device) if kind == "plain" else our_step(kind, options)
    for _ in range(WARM_UP_STEPS):
        step()
    synchronize(device)
    began = time.perf_counter()
    seconds = sum(step() for _ in range(options.steps))
    synchronize(device)
    elapsed = time.perf_counter() - began
    if device.type == "cpu":
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {"rate": seconds / elapsed, "memory_bytes": memory}
    memory = torch.cuda.max_memory_allocated()
    with FlopCounterMode(display=False) as counter:
        step()
    arithmetic = counter.get_total_flops() * options.steps / elapsed
    return {"rate": seconds / elapsed, "memory_bytes": memory, "matmul_share": arithmetic / matmul_rate(device)}


def plain_step(options: argparse.Namespace, device: torch.device) -> Callable[[], float]:
    """The loop that one writes first."""
    model = load_model(str(options.folder / "model")).train()
    optimizer = AdamW(model.parameters(), lr=1e-5)
    batches = plain_batches(options, model)

    def step() -> float:
        batch = next(batches).to(device)
        frames = model.frame_counts(batch.lengths)
        log_probs = model(batch.mixture, batch.lengths).transpose(0, 1)
        blank = model.acoustic.vocabulary.blank_id
        loss = torch.nn.functional.ctc_loss(
            log_probs, batch.labels, frames, batch.label_lengths, blank=blank, zero_infinity=True
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(batch.lengths.sum()) / model.separator.sample_rate_hz

    return step


def plain_batches(options: argparse.Namespace, model: LyricsModel) -> Iterator[Batch]:
    """Chunks in random order; the song of each is decoded whole."""
    cuts = list(CutSet.from_file(options.folder / "cuts" / "cuts.jsonl.gz"))
    order = cycle(torch.randperm(len(cuts), generator=torch.Generator().manual_seed(0)).tolist())
    rate = model.separator.sample_rate_hz
    while True:
        rows = []
        for _ in range(options.chunks):
            cut = cuts[next(order)]
            song = read_audio(Path(cut.recording.sources[0].source), sample_rate_hz=rate, channels=2).samples
            window = song[:, round(cut.start * rate) : round(cut.end * rate)]
            labels, phones = labels_of(cut, Labeller(model.acoustic.vocabulary))
            rows.append(Row(cut.id, cut.recording_id, None, None, window, labels, phones, np.random.default_rng(0)))
        yield make_batch(rows)


def our_step(kind: str, options: argparse.Namespace) -> Callable[[], float]:
    """A step of the project's loop."""
    cuts = options.folder / ("cached" if kind == "cached" else "cuts") / "cuts.jsonl.gz"
    moved = OptimizerOptions(learning_rate=1e-5, warmup_steps=1)
    stage = StageOptions(
        "timed",
        steps=WARM_UP_STEPS + options.steps + 1,
        input="vocals" if kind == "cached" else "mixture",
        separator=moved if kind == "full" else OptimizerOptions(),
        acoustic=moved,
        anchor_weight=0.0,
    )
    loaded = CutLoaderOptions(
        [str(cuts)],
        batch_seconds=options.chunks * CHUNK_SECONDS,
        batch_cuts=options.chunks,
        workers=options.workers,
        augmentation=UNCHANGED,
    )
    config = TrainingConfig(
        stages=[stage],
        output=str(options.folder / "run"),
        cuts=loaded,
        development_cuts=str(cuts),
        model=str(options.folder / "model"),
        lora=LoraOptions(rank=16 if kind == "lora" else 0),
        lyrics="",
    )
    accelerator = Accelerator(mixed_precision="bf16" if torch.cuda.is_available() else "no")
    model = starting_model(config)
    prepare_networks(config, model)
    model.to(accelerator.device)
    freeze(model, stage, phase_at(stage, 0))
    optimizers, graph = build_optimizers(model, stage), LossGraph(model)
    separator = model.separator
    channels = model.mixture_channels
    loader = CutLoader(
        loaded, Labeller(model.acoustic.vocabulary), sample_rate_hz=separator.sample_rate_hz, channels=channels, seed=0
    )
    batches = enumerate(loader)

    def step() -> float:
        number, batch = next(batches)
        take_step(accelerator, graph, stage, [batch.to(accelerator.device)], optimizers, (0, number))
        return float(batch.lengths.sum()) / (16_000 if kind == "cached" else separator.sample_rate_hz)

    return step


def synchronize(device: torch.device) -> None:
    """Wait for the GPU, where there is one."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def matmul_rate(device: torch.device) -> float:
    """Operations a second of a large product of matrices in bf16."""
    a, b = torch.randn(2, MATMUL_SIZE, MATMUL_SIZE, device=device, dtype=torch.bfloat16)
    for _ in range(5):
        a @ b
    synchronize(device)
    began = time.perf_counter()
    for _ in range(20):
        a @ b
    synchronize(device)
    return 20 * 2 * MATMUL_SIZE**3 / (time.perf_counter() - began)


if __name__ == "__main__":
    sys.exit(main())
