"""Songs per hour beside the usual way, where the time goes, and how it grows.

    python benchmarks/throughput.py                     # full-size networks, 2 minutes of audio, beside the usual way
    python benchmarks/throughput.py --growth PLOT.png   # 1 to 16 songs, and 1 to 60 minutes

Both ways have the same random weights in the shapes of htdemucs and wav2vec2-large, the same trigram model, and the
same songs: those of data/demo, one after the other, cut to length. The usual way, in one process: `demucs --two-stems
vocals` writes WAV files, the Hugging Face pipeline "automatic-speech-recognition" with pyctcdecode reads them, all with
their defaults. Ours: `lyrics-asr transcribe`, with `--set` options of yours. Either is a command of its own; starting
and loading count. Random networks say the same at every frame, more or less, and nothing to a decoder: the last layer
is scaled so that a blank wins at three quarters of the frames and one letter or another at the others.

"Share of peak" is operations of the networks that the songs need, over the time of the networks and what the device
multiplies matrices with in this run (float32 on a CPU, bfloat16 on a GPU that has it).
Exit code 1: ours is not 2.5 times as fast (on a GPU 8 times).

Growth: on a CPU with embedded-small, on a GPU with the full size. Costs are fitted with straight lines.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lyrics_asr.audio import Audio, read_audio, write_audio
from lyrics_asr.language_model import build_language_model
from lyrics_asr.lyrics.normalization import normalize
from lyrics_asr.models.acoustic_checkpoints import build_acoustic
from lyrics_asr.models.devices import find_device
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.precision import has_bfloat16
from lyrics_asr.models.separators.demucs import DemucsSeparator
from lyrics_asr.models.separators.loading import build_separator
from lyrics_asr.options import AcousticOptions, SeparationOptions
from lyrics_asr.synthesis.lyrics import load_lyrics

ROOT = Path(__file__).resolve().parent.parent
RATE_HZ = 44_100
SIGNATURE = "0a0a0a0a"
SIZES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "full": (
        {"channels": 48, "bottom_channels": 512, "t_layers": 5, "segment": 7.8},
        {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    ),
    "small": (
        {"channels": 8, "bottom_channels": 32, "t_layers": 1, "segment": 4.0},
        {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128},
    ),
}


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--songs", type=int, default=1, metavar="N", help="how many songs (default: 1)")
    parser.add_argument("--seconds", type=float, default=120.0, metavar="S", help="their length (default: 120)")
    parser.add_argument("--size", choices=SIZES, default="full", help="of the networks (default: full)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option for ours")
    parser.add_argument("--growth", type=Path, metavar="PNG", help="how costs grow, drawn here")
    parser.add_argument("--usual", nargs="+", help=argparse.SUPPRESS)  # the usual way, in a process of its own
    given = parser.parse_args()
    if given.usual:
        usual_way(Path(given.usual[0]), [Path(song) for song in given.usual[1:]])
        return 0
    with tempfile.TemporaryDirectory() as folder:
        if given.growth is not None:
            growth(Path(folder), given.growth)
            return 0
        return compare(Path(folder), given)


def compare(folder: Path, given: argparse.Namespace) -> int:
    """Print both ways and what lies between them; the exit code."""
    model = random_model(folder, given.size)
    flops, peak = operations_per_second(model), multiplications_per_second(model.device)
    on_cpu = model.device.type == "cpu"
    del model
    songs = make_songs(folder / "songs", given.songs, given.seconds)
    audio_seconds = given.songs * given.seconds
    options = [f"--set={each}" for each in given.set]
    usual = run([str(Path(__file__)), "--usual", str(folder), *map(str, songs)])
    ours = run([*transcription(folder / "songs", folder / "ours", str(folder / "model")), *options])
    usual_stages = json.loads((folder / "usual.json").read_text())
    stages = stage_seconds(folder / "ours" / "run.jsonl")
    print(f"{given.songs} songs of {given.seconds:g} s, {given.size} size, {'CPU' if on_cpu else 'GPU'}")
    print(f"{'':14}{'seconds':>10}{'RTF':>8}{'GiB':>7}   stages (seconds; those of ours overlap)")
    for name, (seconds, size), each in (("the usual way", usual, usual_stages), ("ours", ours, stages)):
        told = ", ".join(f"{stage} {value:.1f}" for stage, value in each.items())
        print(f"{name:14}{seconds:>10.1f}{seconds / audio_seconds:>8.3f}{size / 2**30:>7.2f}   {told}")
    ratio, target = usual[0] / ours[0], 2.5 if on_cpu else 8.0
    networks = stages["separation"] + stages["acoustic"]
    print(f"ours is {ratio:.2f} times as fast; target {target:g}")
    print(f"hours of audio an hour: {audio_seconds / ours[0]:.1f}")
    print(f"operations: {flops / 1e9:.0f} GFLOP for a second of audio; the device does {peak / 1e9:.0f} GFLOP/s")
    print(f"share of peak: {flops * audio_seconds / networks / peak:.0%} in the networks")
    print(f"the limit of this device: {peak / flops:.1f} hours of audio an hour")
    return int(ratio < target)


def growth(folder: Path, plot: Path) -> None:
    """Time songs in growing numbers and lengths, and draw them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    model = "embedded-small"
    if find_device().type != "cpu":
        random_model(folder, "full")
        model = str(folder / "model")
    series = (
        ("songs of one minute", [(count, 60.0) for count in (1, 2, 4, 8, 16)], 0),
        ("minutes of one song", [(1, 60.0 * minutes) for minutes in (1, 4, 16, 60)], 1),
    )
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for (title, sizes, shown), axis in zip(series, axes, strict=True):
        amounts = np.array([(size[0], size[1] / 60)[shown] for size in sizes])
        seconds, gibibytes = [], []
        for count, length in sizes:
            name = f"{count}_{length:g}"
            make_songs(folder / name, count, length)
            spent, memory = run(transcription(folder / name, folder / f"out_{name}", model))
            seconds.append(spent)
            gibibytes.append(memory / 2**30)
            print(f"{title}: {amounts[len(seconds) - 1]:g}: {spent:.1f} s, {gibibytes[-1]:.2f} GiB", flush=True)
        slope, start = np.polyfit(amounts, seconds, 1, w=1 / np.sqrt(amounts))
        off = max(abs(start + slope * amounts - seconds) / seconds)
        print(f"{title}: {start:.1f} s and {slope:.2f} s each, at most {off:.0%} off")
        axis.plot(amounts, start + slope * amounts, color="0.6")
        axis.plot(amounts, seconds, "o", color="C0")
        axis.set(xlabel=title, ylabel="seconds", title=f"{start:.0f} s + {slope:.1f} s each", ylim=(0, None))
        axis.set_xlim(0, None)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(plot, dpi=120)


def usual_way(folder: Path, songs: Sequence[Path]) -> None:
    """Demucs to WAV files, then the recogniser, one song after the other."""
    import soundfile
    from demucs import separate
    from pyctcdecode.decoder import build_ctcdecoder
    from transformers import pipeline

    from lyrics_asr.language_model import read_unigrams

    began = time.monotonic()
    weights = ["--repo", str(folder), "-n", SIGNATURE]
    separate.main([*weights, "--two-stems", "vocals", "-o", str(folder / "usual"), *map(str, songs)])
    separated = time.monotonic()
    path = folder / "trigram.arpa"
    tokens = json.loads((folder / "model" / "acoustic" / "vocab.json").read_text())
    labels = [{"<pad>": "", "|": " ", "<unk>": "⁇"}.get(token, token) for token in sorted(tokens, key=tokens.get)]
    decoder = build_ctcdecoder(labels, str(path), read_unigrams(path))
    device = 0 if torch.cuda.is_available() else -1
    recognize: Any = pipeline(
        "automatic-speech-recognition", model=str(folder / "model" / "acoustic"), decoder=decoder, device=device
    )
    for song in songs:
        samples, rate_hz = soundfile.read(folder / "usual" / SIGNATURE / song.stem / "vocals.wav", dtype="float32")
        text = recognize({"raw": samples.mean(1), "sampling_rate": rate_hz})["text"]
        (folder / "usual" / f"{song.stem}.txt").write_text(text)
    stages = {"separation": separated - began, "recognition": time.monotonic() - separated}
    (folder / "usual.json").write_text(json.dumps(stages))


def random_model(folder: Path, size: str) -> LyricsModel:
    """Write a model for both ways, and give it on the device."""
    separator_sizes, acoustic_sizes = SIZES[size]
    torch.manual_seed(0)
    separator = build_separator(
        {"sources": ["drums", "bass", "other", "vocals"], "depth": 4, **separator_sizes}, SIGNATURE
    )
    acoustic = build_acoustic(
        {**acoustic_sizes, "feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True},
        "abcdefghijklmnopqrstuvwxyz",
    )
    assert isinstance(separator, DemucsSeparator)
    network: Any = separator.network(0)
    args, kwargs = network._init_args_kwargs
    package = {"klass": type(network), "args": args, "kwargs": kwargs, "state": network.state_dict()}
    torch.save(package, folder / f"{SIGNATURE}.th")
    lyrics = load_lyrics(ROOT / "data" / "lyrics", "training").values()
    lines = (normalize(line) for song in lyrics for stanza in song for line in stanza)
    build_language_model(lines, 3, folder / "trigram.arpa")
    head: Any = acoustic.network.get_submodule("lm_head")
    with torch.inference_mode():
        (song,) = demo_songs(1, 10.0)
        logits = acoustic.eval().network(song.to_channels(1).resampled(16_000).samples * 10).logits[0]
        scale = 4 / logits.std(0).mean()
        others = (scale * (logits - logits.mean(0)))[:, 1:].max(1).values
        head.weight.mul_(scale)
        head.bias.copy_(-scale * (logits.mean(0) - head.bias))
        head.bias[0] += others.quantile(0.75)
    model = LyricsModel(separator, acoustic, name="random", language_model_path=folder / "trigram.arpa")
    model.save(folder / "model")
    return model.to(find_device()).eval()


def demo_songs(count: int, seconds: float) -> list[Audio]:
    """The songs of data/demo, one after the other, from a different moment on for each song."""
    demo = [read_audio(path, sample_rate_hz=RATE_HZ, channels=2) for path in sorted((ROOT / "data/demo").glob("*.mp3"))]
    everything = torch.cat([each.samples for each in demo], dim=1)
    length = round(seconds * RATE_HZ)
    repeated = everything.repeat(1, 2 + length // everything.shape[1])
    starts = [index * everything.shape[1] // count for index in range(count)]
    return [Audio(repeated[:, start : start + length], RATE_HZ) for start in starts]


def make_songs(folder: Path, count: int, seconds: float) -> list[Path]:
    """Write songs as MP3 files."""
    paths = [folder / f"song_{number:02}.mp3" for number in range(count)]
    for path, song in zip(paths, demo_songs(count, seconds), strict=True):
        write_audio(path, song)
    return paths


def transcription(songs: Path, output: Path, model: str) -> list[str]:
    """Our command as arguments for Python."""
    command = "import sys; from lyrics_asr.cli.main import main; sys.exit(main())"
    return ["-c", command, "transcribe", str(songs), "--output", str(output), "--model", model]


def run(arguments: Sequence[str]) -> tuple[float, int]:
    """Seconds that a Python command takes, and the bytes of its largest process at the most."""
    began = time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([sys.executable, *arguments], stdout=log, stderr=log, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
        if process.returncode:
            log.seek(0)
            raise RuntimeError(log.read().decode()[-3000:])
    return seconds, usage.ru_maxrss * 1024


def stage_seconds(log: Path) -> dict[str, float]:
    """What each stage of our way took over all songs."""
    total: dict[str, float] = {}
    for line in log.read_text().splitlines():
        for stage, seconds in json.loads(line)["stages"].items():
            total[stage] = total.get(stage, 0.0) + seconds
    return total


def operations_per_second(model: LyricsModel) -> float:
    """Floating-point operations of both networks for a second of audio, with our overlaps."""
    from torch.utils.flop_counter import FlopCounterMode

    assert isinstance(model.separator, DemucsSeparator)
    segment, windows = model.separator.segment_samples(0), model.acoustic.with_windows(AcousticOptions())
    assert windows.window_seconds is not None
    assert windows.context_seconds is not None
    stride = segment * (1 - SeparationOptions().overlap)
    torch.backends.mha.set_fastpath_enabled(False)  # it hides its operations
    with torch.no_grad():
        with FlopCounterMode(display=False) as separation:
            model.separator(torch.randn(1, model.mixture_channels, segment, device=model.device))
        window = torch.randn(1, round(16_000 * windows.window_seconds), device=model.device)
        with FlopCounterMode(display=False) as acoustic:
            model.acoustic(window)
    kept_seconds = windows.window_seconds - 2 * windows.context_seconds
    return separation.get_total_flops() * RATE_HZ / stride + acoustic.get_total_flops() / kept_seconds


def multiplications_per_second(device: torch.device) -> float:
    """Operations a second in a product of large matrices: the best of several."""
    size = 2048 if device.type == "cpu" else 8192
    dtype = torch.bfloat16 if device.type != "cpu" and has_bfloat16(device) else torch.float32
    matrix = torch.randn(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(8):
        began = time.monotonic()
        float((matrix @ matrix)[0, 0])  # waits for the device
        best = min(best, time.monotonic() - began)
    return 2 * size**3 / best


if __name__ == "__main__":
    sys.exit(main())
