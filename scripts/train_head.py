"""Train a CTC head and upper layers of a Whisper encoder on cached outputs, see `scripts.cache_encoder`.

    python -m scripts.train_head build/whisper-base build/head --train build/features --development build/development
    python -m scripts.train_head build/whisper-base build/trained --start build/head/model --upper-layers 2 \
        --train build/features --development build/development

First the head alone, then the head and the encoder's upper layers at low rates: features of a pretrained network are
distorted less than by training both at once, which helps on other data (Kumar et al. 2022, "Fine-Tuning can Distort
Pretrained Features and Underperform Out-of-Distribution"). Upper layers start from the cached outputs below them.

The loss is CTC, plus 0.1 times the cross-entropy of frames, whose letters are known in synthetic songs: it keeps the
letters at their times. The first tenth of the steps of a new head weighs them the other way round, since CTC alone
starts slowly. The folder gets a model that `load_model` takes and a line per validation. An interrupted run resumes.
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
from torch.nn import Parameter
from torch.nn.functional import ctc_loss, nll_loss
from torch.nn.utils.rnn import pad_sequence

from lyrics_asr.files import atomic_path
from lyrics_asr.models.acoustic import AcousticModel
from lyrics_asr.models.acoustic_checkpoints import build_acoustic
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.registry import load_model
from lyrics_asr.models.separators.loading import load_separator
from lyrics_asr.models.whisper_ctc import WhisperCTC
from lyrics_asr.training.from_scratch.frame_targets import IGNORED
from scripts.cache_encoder import LETTERS

_BATCH = 8
_NEW_HEAD_RATE = 2e-3
_HEAD_RATE = 3e-4
_UPPER_RATE = 1e-4
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
    parser.add_argument("--start", type=Path, help="model whose head and upper layers training starts from")
    parser.add_argument("--upper-layers", type=int, default=0, help="encoder layers that are trained too, 0 to 2")
    parser.add_argument("--steps", type=int, default=4000)
    args = parser.parse_args()
    train(
        args.whisper,
        args.folder,
        args.train,
        args.development,
        start=args.start,
        separator=args.separator,
        upper_layers=args.upper_layers,
        steps=args.steps,
    )


def train(
    whisper: Path,
    folder: Path,
    training: Sequence[Path],
    development: Sequence[Path],
    *,
    start: Path | None = None,
    separator: str = "none",
    upper_layers: int = 0,
    steps: int,
) -> None:
    """Train for `steps` batches; see the module."""
    torch.manual_seed(0)
    acoustic = build_acoustic({"encoder": str(whisper)}, LETTERS)
    network = acoustic.network
    assert isinstance(network, WhisperCTC)
    upper = _train_upper_layers(network, upper_layers)
    if start is not None:  # what stays frozen is the checkpoint's, since the features were computed with it
        weights = load_model(str(start), device="cpu").acoustic.network.state_dict()
        names = [name for name, weight in network.named_parameters() if weight.requires_grad]
        network.load_state_dict({name: weights[name] for name in names}, strict=False)
    groups = [
        {"params": list(network.lm_head.parameters()), "peak": _HEAD_RATE if start else _NEW_HEAD_RATE},
        {"params": upper, "peak": _UPPER_RATE},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.01)
    files, held_out = (
        sorted(path for each in own for path in each.glob("*.safetensors")) for own in (training, development)
    )
    state = folder / "state.pt"
    step = 0
    if state.is_file():
        kept = torch.load(state, weights_only=True)
        network.load_state_dict(kept["trained"], strict=False)
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
            warm_up = min(1, (step + 1) / _WARM_UP_STEPS)
            group["lr"] = group["peak"] * warm_up * (1 + math.cos(math.pi * step / steps)) / 2
        ctc, frames = _losses(network.train(), rows, upper_layers)
        ctc_weight, frames_weight = (1, _FRAMES_WEIGHT) if start or step >= steps / 10 else (_FRAMES_WEIGHT, 1)
        optimizer.zero_grad()
        (ctc_weight * ctc + frames_weight * frames).backward()
        torch.nn.utils.clip_grad_norm_([*network.lm_head.parameters(), *upper], 2.0)
        optimizer.step()
        step += 1
        losses.append(ctc.item())
        if step % _VALIDATE_EVERY == 0 or step == steps:
            with atomic_path(state) as path:
                trained = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
                torch.save({"trained": trained, "optimizer": optimizer.state_dict(), "step": step}, path)
            line = {"step": step, "seconds": time.monotonic() - began, "ctc": sum(losses) / len(losses)}
            line |= validate(acoustic, held_out, upper_layers)
            losses = []
            with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
                print(json.dumps(line), file=log)
            print(line, flush=True)
    model = LyricsModel(load_separator(separator), acoustic.eval(), name="trained", acoustic_input="mixture")
    model.save(folder / "model")


def _train_upper_layers(network: WhisperCTC, count: int) -> list[Parameter]:
    """Leave the last layers and the head to be trained, freeze the rest, and return the parameters of the layers."""
    if not 0 <= count < network.config.head_layers:
        raise ValueError(f"{count} upper layers: only the outputs of the last {network.config.head_layers} are cached")
    network.encoder.requires_grad_(False)
    if not count:
        return []
    modules = [*network.encoder.layers[-count:], network.encoder.layer_norm]
    return [weight.requires_grad_() for module in modules for weight in module.parameters()]


@torch.inference_mode()
def validate(acoustic: AcousticModel, files: Sequence[Path], upper_layers: int) -> dict[str, float]:
    """The mean CTC loss per label over chunks, and the character error rate of greedy decoding."""
    network, vocabulary = acoustic.network.eval(), acoustic.vocabulary
    assert isinstance(network, WhisperCTC)
    losses, references, hypotheses = list[float](), list[str](), list[str]()
    for path in files:
        row = load_file(path)
        log_probs = _log_probs(network, [row["states"].float()], upper_layers)
        losses.append(float(_losses_of(log_probs, [row])[0]))
        best = torch.unique_consecutive(log_probs[0].argmax(-1)).tolist()
        for texts, tokens in ((references, row["labels"].tolist()), (hypotheses, best)):
            texts.append("".join(vocabulary.tokens[token] for token in tokens if token != vocabulary.blank_id))
    return {"development_ctc": sum(losses) / len(losses), "development_cer": float(cer(references, hypotheses))}


def _losses(network: WhisperCTC, rows: Sequence[dict[str, Tensor]], upper_layers: int) -> tuple[Tensor, Tensor]:
    """CTC loss per label, and cross-entropy per frame, with time masks."""
    cached = []
    for row in rows:
        states = row["states"].float()
        for _ in range(_MASKS):
            length = int(torch.randint(1, _LONGEST_MASK_FRAMES, ()))
            start = int(torch.randint(0, max(1, states.shape[1] - length), ()))
            states[:, start : start + length] = 0
        cached.append(states)
    return _losses_of(_log_probs(network, cached, upper_layers), rows)


def _log_probs(network: WhisperCTC, cached: Sequence[Tensor], upper_layers: int) -> Tensor:
    """Log-probabilities `[batch, frames, vocab]` from the cached states of each row."""
    states = []
    with torch.autocast(network.lm_head.output.weight.device.type, torch.bfloat16):
        for row in cached:  # row by row, since attention knows no padding
            outputs = list(row[: len(row) - upper_layers])
            for layer in network.encoder.layers[len(network.encoder.layers) - upper_layers :]:
                outputs.append(layer(outputs[-1][None])[0])
            if upper_layers:
                outputs[-1] = network.encoder.layer_norm(outputs[-1])
            states.append(torch.stack([output.float() for output in outputs], 1))
        logits = network.lm_head(pad_sequence(states, batch_first=True).permute(2, 0, 1, 3))
    return logits.float().log_softmax(-1)


def _losses_of(log_probs: Tensor, rows: Sequence[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
    labels, frames = [row["labels"] for row in rows], torch.tensor([row["states"].shape[1] for row in rows])
    counts = torch.tensor(list(map(len, labels)))
    ctc = ctc_loss(log_probs.transpose(0, 1), torch.cat(labels), frames, counts, reduction="sum", zero_infinity=True)
    targets = pad_sequence([row["targets"] for row in rows], batch_first=True, padding_value=IGNORED)
    return ctc / counts.sum().clamp(min=1), nll_loss(log_probs.transpose(1, 2), targets, ignore_index=IGNORED)


if __name__ == "__main__":
    main()
