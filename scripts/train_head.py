"""Train a CTC head on cached outputs of a frozen Whisper encoder, see `scripts.cache_encoder`.

    python -m scripts.train_head build/whisper-base build/head --train build/features --development build/development

The loss is CTC, plus 0.1 times the cross-entropy of frames, whose letters are known in synthetic songs: it keeps the
letters at their times. The first tenth of the steps weighs them the other way round, since CTC alone starts slowly. The
folder gets `head.safetensors`, a model that `load_model` takes, and a line per validation. An interrupted run resumes.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from jiwer import cer
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import ctc_loss, nll_loss
from torch.nn.utils.rnn import pad_sequence

from lyrics_asr.files import atomic_path
from lyrics_asr.models.acoustic import AcousticModel
from lyrics_asr.models.acoustic_checkpoints import build_acoustic
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.separators.loading import load_separator
from lyrics_asr.models.whisper_ctc import CTCHead
from lyrics_asr.training.from_scratch.frame_targets import IGNORED
from scripts.cache_encoder import LETTERS

_BATCH = 8
_PEAK_RATE = 2e-3
_WARM_UP_STEPS = 100
_FRAMES_WEIGHT = 0.1
_MASKS, _LONGEST_MASK_FRAMES = 8, 20  # SpecAugment's time masks (Park et al. 2019), on the encoder's outputs
_VALIDATE_EVERY = 250


def main() -> None:
    """Train, validate, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("whisper", type=Path, help="checkpoint of the encoder")
    parser.add_argument("folder", type=Path, help="folder to write")
    parser.add_argument("--train", type=Path, nargs="+", required=True, help="folders of cached outputs")
    parser.add_argument("--development", type=Path, nargs="+", required=True, help="the same of development songs")
    parser.add_argument("--separator", default="none", help="separator of the model that is written")
    parser.add_argument("--steps", type=int, default=4000)
    args = parser.parse_args()
    train(args.whisper, args.folder, args.train, args.development, separator=args.separator, steps=args.steps)


def train(
    whisper: Path, folder: Path, training: Sequence[Path], development: Sequence[Path], *, separator: str, steps: int
) -> None:
    """Train for `steps` batches; see the module."""
    torch.manual_seed(0)
    acoustic = build_acoustic({"encoder": str(whisper)}, LETTERS)
    head = acoustic.network.lm_head
    assert isinstance(head, CTCHead)
    optimizer = torch.optim.AdamW(head.parameters(), lr=_PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    files, held_out = (
        sorted(path for each in own for path in each.glob("*.safetensors")) for own in (training, development)
    )
    state = folder / "state.pt"
    step = 0
    if state.is_file():
        kept = torch.load(state, weights_only=True)
        head.load_state_dict(kept["head"])
        optimizer.load_state_dict(kept["optimizer"])
        step = kept["step"]
    folder.mkdir(parents=True, exist_ok=True)
    began, losses = time.monotonic(), []
    while step < steps:
        order = torch.Generator().manual_seed(step * _BATCH // len(files))
        shuffled = torch.randperm(len(files), generator=order).tolist()
        place = step * _BATCH % len(files)
        rows = [load_file(files[index]) for index in shuffled[place : place + _BATCH]]
        for group in optimizer.param_groups:
            group["lr"] = _PEAK_RATE * min(1, (step + 1) / _WARM_UP_STEPS) * (1 + math.cos(math.pi * step / steps)) / 2
        ctc, frames = _losses(head.train(), rows)
        ctc_weight, frames_weight = (1, _FRAMES_WEIGHT) if step >= steps / 10 else (_FRAMES_WEIGHT, 1)
        optimizer.zero_grad()
        (ctc_weight * ctc + frames_weight * frames).backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 2.0)
        optimizer.step()
        step += 1
        losses.append(ctc.item())
        if step % _VALIDATE_EVERY == 0 or step == steps:
            with atomic_path(state) as path:
                torch.save({"head": head.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, path)
            line = {"step": step, "seconds": time.monotonic() - began, "ctc": sum(losses) / len(losses)}
            line |= validate(acoustic, held_out)
            losses = []
            with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
                print(json.dumps(line), file=log)
            print(line, flush=True)
    LyricsModel(load_separator(separator), acoustic.eval(), name="trained").save(folder / "model")


@torch.inference_mode()
def validate(acoustic: AcousticModel, files: Sequence[Path]) -> dict[str, float]:
    """The mean CTC loss per label over chunks, and the character error rate of greedy decoding."""
    head = acoustic.network.lm_head
    assert isinstance(head, CTCHead)
    head.eval()
    vocabulary = acoustic.vocabulary
    losses, references, hypotheses = [], [], []
    for path in files:
        row = load_file(path)
        losses.append(float(_losses(head, [row])[0]))
        best = torch.unique_consecutive(head(row["states"][:, None].float())[0].argmax(-1)).tolist()
        for texts, tokens in ((references, row["labels"].tolist()), (hypotheses, best)):
            texts.append("".join(vocabulary.tokens[token] for token in tokens if token != vocabulary.blank_id))
    return {"development_ctc": sum(losses) / len(losses), "development_cer": float(cer(references, hypotheses))}


def _losses(head: CTCHead, rows: Sequence[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
    """CTC loss per label, and cross-entropy per frame, with time masks in training."""
    states = pad_sequence([row["states"].float().transpose(0, 1) for row in rows], batch_first=True)
    if head.training:
        for row in states:
            for _ in range(_MASKS):
                length = int(torch.randint(1, _LONGEST_MASK_FRAMES, ()))
                start = int(torch.randint(0, max(1, len(row) - length), ()))
                row[start : start + length] = 0
    device = next(head.parameters()).device.type
    with torch.autocast(device, torch.bfloat16):
        logits = head(states.permute(2, 0, 1, 3))
    log_probs = logits.float().log_softmax(-1)
    labels, frames = [row["labels"] for row in rows], torch.tensor([row["states"].shape[1] for row in rows])
    counts = torch.tensor(list(map(len, labels)))
    ctc = ctc_loss(log_probs.transpose(0, 1), torch.cat(labels), frames, counts, reduction="sum", zero_infinity=True)
    targets = pad_sequence([row["targets"] for row in rows], batch_first=True, padding_value=IGNORED)
    return ctc / counts.sum().clamp(min=1), nll_loss(log_probs.transpose(1, 2), targets, ignore_index=IGNORED)


if __name__ == "__main__":
    main()
