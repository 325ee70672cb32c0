"""Alignment of songs whose quiet lines are 20 dB below the rest, with and without leveling.

`python benchmarks/quiet_lines.py data/synthetic/development` takes a folder of synthetic songs, as `lyrics-asr data
synth` makes them. Every second line of the first 40 s of singing is turned down, band and all. The score is the share
of words whose start is within 0.3 s.
"""

import argparse
import json
from pathlib import Path
from unittest import mock

import torch

from lyrics_asr.alignment.forced_alignment import align_lyrics
from lyrics_asr.audio import Audio, read_audio
from lyrics_asr.inference import stages
from lyrics_asr.lyrics.text import parse_lyrics
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.registry import load_model
from lyrics_asr.options import InferenceOptions

_SECONDS = 40.0
_MARGIN_SECONDS = 2.0
_QUIET_DB = -20.0
_TOLERANCE_SECONDS = 0.3


def turned_down(audio: Audio, spans: list[tuple[float, float]]) -> Audio:
    """The audio with these spans turned down, with ramps of 0.1 s."""
    rate = audio.sample_rate_hz
    gain = torch.ones(audio.samples.shape[1])
    for start, end in spans:
        gain[max(0, round((start - 0.1) * rate)) : round((end + 0.05) * rate)] = 10 ** (_QUIET_DB / 20)
    ramp = rate // 20
    padded = torch.nn.functional.pad(gain[None, None], (ramp, ramp), mode="replicate")
    return Audio(audio.samples * torch.nn.functional.avg_pool1d(padded, 2 * ramp + 1, 1)[0, 0], rate)


def right_words(model: LyricsModel, mixture: Audio, lines: list[list[dict]], language: str) -> list[bool]:
    """Whether each word starts within the tolerance."""
    options = InferenceOptions()
    (emissions,) = stages.compute_emissions([mixture], model, options)
    lyrics = parse_lyrics("\n".join(" ".join(word["text"] for word in line) for line in lines))
    aligned = align_lyrics(emissions, lyrics, language=language, keep_all=True)
    found = [word.start_seconds for line in aligned.lines for word in line.words]
    truth = [word["start_seconds"] for line in lines for word in line]
    return [abs(mine - true) <= _TOLERANCE_SECONDS for mine, true in zip(found, truth, strict=True)]


def main() -> None:
    """Print a row per condition."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--songs", nargs="+", help="names of the songs' folders (default: all)")
    parser.add_argument("--model", default="embedded")
    args = parser.parse_args()
    model = load_model(args.model, device="cpu")
    results: dict[tuple[str, str], list[bool]] = {}
    for folder in sorted(path.parent for path in args.folder.glob("*/mixture.flac")):
        if args.songs and folder.name not in args.songs:
            continue
        annotations = json.loads((folder / "dali.json").read_text())["annotations"]["annot"]
        start = max(0.0, annotations["lines"][0]["time"][0] - _MARGIN_SECONDS)
        spans = [(line["time"][0] - start, line["time"][1] - start) for line in annotations["lines"]]
        count = sum(end < _SECONDS for _, end in spans)
        lines = [
            [
                {"text": word["text"], "start_seconds": word["time"][0] - start}
                for word in annotations["words"]
                if word["index"] == number
            ]
            for number in range(count)
        ]
        seconds = spans[count - 1][1] + _MARGIN_SECONDS
        plain = read_audio(
            folder / "mixture.flac", sample_rate_hz=44_100, channels=2, start_seconds=start, duration_seconds=seconds
        )
        for kind, mixture in (("plain", plain), ("quiet", turned_down(plain, spans[:count:2]))):
            language = folder.name.split("_")[0]
            leveled = right_words(model, mixture, lines, language)
            with mock.patch.object(stages, "leveled", side_effect=lambda audio: audio):
                unchanged = right_words(model, mixture, lines, language)
            results.setdefault((kind, "as it is"), []).extend(unchanged)
            results.setdefault((kind, "leveled"), []).extend(leveled)
    for (kind, condition), right in results.items():
        print(f"{kind:<6} {condition:<9} {sum(right) / len(right):.3f} of {len(right)} words")


if __name__ == "__main__":
    main()
