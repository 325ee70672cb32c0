"""Compute the outputs of a frozen Whisper encoder for augmented chunks once, so that a head trains fast on them.

    lyrics-asr data cuts build/songs/manifest.jsonl -o build/cuts --chunk-seconds 25 --pause-seconds 20
    python -m scripts.cache_encoder build/whisper-base build/features build/cuts/cuts.jsonl.gz --epochs 2

Each epoch sees every chunk at another speed and level, and half of the chunks with the accompaniment of another song.
Vocals are 9 dB below to 25 dB above the accompaniment: mixtures, separated vocals with residue, and clean vocals. An
interrupted run resumes at its last batch. A chunk of 25 s fits the encoder's window of 30 s at the lowest speed; with
pauses of up to 20 s in the chunks, the head hears breaks too.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torchaudio.functional import resample

from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ
from lyrics_asr.files import write_text
from lyrics_asr.models.acoustic import AcousticModel
from lyrics_asr.models.acoustic_checkpoints import build_acoustic
from lyrics_asr.models.whisper_ctc import WhisperCTC
from lyrics_asr.training.data.batch import Batch
from lyrics_asr.training.data.cut_loader import CutLoader
from lyrics_asr.training.data.options import AugmentationOptions, CutLoaderOptions
from lyrics_asr.training.data.phones import labeller_of
from lyrics_asr.training.from_scratch.frame_targets import frame_targets

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPEEDS = [0.86, 0.93, 1.0, 1.07, 1.15]
_RATE_HZ = 44_100


def main() -> None:
    """Read, augment, encode, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("whisper", type=Path, help="checkpoint that `scripts.convert_whisper` wrote")
    parser.add_argument("folder", type=Path, help="folder to write")
    parser.add_argument("cuts", type=Path, nargs="+", help="cuts of songs with stems and phones")
    parser.add_argument("--epochs", type=int, default=1, help="how often each chunk is augmented anew")
    parser.add_argument("--plain", action="store_true", help="without augmentation, for development songs")
    parser.add_argument("--seed", type=int, default=0, help="of the augmentation")
    args = parser.parse_args()
    cache(args.whisper, args.folder, args.cuts, epochs=args.epochs, augment=not args.plain, seed=args.seed)


def cache(whisper: Path, folder: Path, cuts: list[Path], *, epochs: int, augment: bool, seed: int) -> None:
    """Write one file per chunk and epoch; see `encode`."""
    acoustic = build_acoustic({"encoder": str(whisper)}, LETTERS).eval()
    augmentation = AugmentationOptions(SPEEDS, gain_db=10.0, min_vocals_gain_db=-9.0, max_vocals_gain_db=25.0)
    none = AugmentationOptions([1.0], gain_db=0.0, remix_prob=0.0)
    options = CutLoaderOptions(
        list(map(str, cuts)), batch_cuts=8, workers=0, augmentation=augmentation if augment else none
    )
    labeller = labeller_of(cuts, acoustic.vocabulary, ())
    loader = CutLoader(options, labeller, sample_rate_hz=_RATE_HZ, channels=2, seed=seed, epochs=epochs)
    position = folder / "position.json"
    if position.is_file():
        loader.load_state_dict(json.loads(position.read_text(encoding="utf-8")))
    folder.mkdir(parents=True, exist_ok=True)
    for batch in loader:
        at = loader.state_dict()
        for row, tensors in enumerate(encode(acoustic, batch)):
            save_file(tensors, folder / f"{at['epoch']:03d}_{at['batch']:06d}_{row}.safetensors")
        write_text(position, json.dumps(at))


@torch.inference_mode()
def encode(acoustic: AcousticModel, batch: Batch) -> list[dict[str, torch.Tensor]]:
    """What the head takes and gives, for each row of a batch.

    Returns:
        `states`, float16, `[layers, frames, width]`; `labels`, the token ids; `targets`, the token of each frame.
    """
    network = acoustic.network
    assert isinstance(network, WhisperCTC)
    assert acoustic.log_mel is not None
    assert batch.mixture is not None
    waveforms = resample(batch.mixture.mean(1), _RATE_HZ, ACOUSTIC_SAMPLE_RATE_HZ)
    frames = acoustic.frame_counts(-(-batch.lengths * ACOUSTIC_SAMPLE_RATE_HZ // _RATE_HZ))
    targets = frame_targets(
        batch.labels, batch.label_spans, batch.label_lengths, frames, acoustic.grid, acoustic.vocabulary.blank_id
    )
    with torch.autocast("cpu", torch.bfloat16):  # five times as fast where the processor has AMX
        states = network.hidden_states(acoustic.log_mel(waveforms)).half()
    labels = batch.labels.split(batch.label_lengths.tolist())
    rows = []
    for row, count in enumerate(frames.tolist()):
        own = {"states": states[:, row, :count], "labels": labels[row], "targets": targets[row, :count]}
        rows.append({name: tensor.contiguous() for name, tensor in own.items()})
    return rows


if __name__ == "__main__":
    main()
