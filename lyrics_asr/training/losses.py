"""The losses of a batch over one graph: mixture -> separator -> resample -> acoustic model -> CTC.

Conventions
- CTC: Graves et al. 2006. The negative log-likelihood a token, as a mean over rows. That of a row without a token,
  which is all blank, is divided by the tokens that would be sung in its time, so that it weighs as much as others.
- Separation and anchor: the L1 distance to the true vocals, or to those of the starting separator, over the level of
  these: 1 for silence, 0 for the target itself, whatever the loudness.
- Cross-entropies are means over frames.
- All means are over every batch of a step, whichever process holds it: `Targets.counts` of all batches, summed, are
  what each batch divides its sums by, and the shares of all batches add up to the losses of the step. Neither
  accumulation nor the number of processes changes a step's gradient.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import ctc_loss, nll_loss

from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.separator import Separator
from lyrics_asr.training.config import StageOptions
from lyrics_asr.training.data.batch import Batch
from lyrics_asr.training.data.labels import UNKNOWN_SOUND
from lyrics_asr.training.sounds import SoundClassifier
from lyrics_asr.types import FrameGrid

IGNORED = UNKNOWN_SOUND  # also a frame past the end of its row
SILENCE = 0  # the sound of a frame with no sound
_FRAMES_PER_LABEL = 6  # of sung stretches
_EPSILON = 1e-4  # added to the level of vocals that a distance is relative to


@dataclass(frozen=True)
class Losses:
    """The parts of a step's loss before their weights, or a batch's share of them; a part with weight 0 is 0."""

    separation: Float[Tensor, ""]
    anchor: Float[Tensor, ""]
    ctc: Float[Tensor, ""]
    frames: Float[Tensor, ""]
    sounds: Float[Tensor, ""]

    def weighted(self, stage: StageOptions) -> Float[Tensor, ""]:
        """What is minimised."""
        return (
            stage.separation_weight * self.separation
            + stage.anchor_weight * self.anchor
            + stage.ctc_weight * self.ctc
            + stage.frame_weight * self.frames
            + stage.sound_weight * self.sounds
        )


@dataclass(frozen=True)
class Targets:
    """What a batch is to be heard as, and how much of it there is.

    Args:
        vocals: those of the starting separator, for the anchor.
        letters: see `frame_targets`.
        sounds: the same, of the speech sounds.
        counts: what the sums of each of `Losses`' parts are divided by.
    """

    vocals: Float[Tensor, "batch channels samples"] | None
    letters: Int[Tensor, "batch frames"] | None
    sounds: Int[Tensor, "batch frames"] | None
    counts: Float[Tensor, "5"]


class LossGraph(nn.Module):
    """Batches in, losses out: what is wrapped for training in several processes.

    Args:
        model: is trained.
        sounds: names the speech sounds, in stages with a `sound_weight`.
        start: the separator as it was at the start of the run, which anchors it; None for no anchor.
    """

    def __init__(self, model: LyricsModel, sounds: SoundClassifier | None = None, start: Separator | None = None):
        super().__init__()
        self.model = model
        self.sounds = sounds
        self._start = (start,)  # in a tuple, so that it is no part of what is trained and synchronised

    def targets(self, stage: StageOptions, batch: Batch) -> Targets:
        """What `forward` compares this batch with.

        Raises:
            ValueError: the batch lacks what the stage needs.
        """
        _check_batch(stage, batch)
        model, (start,) = self.model, self._start
        frames = _frame_counts(model, stage, batch).cpu()
        vocals = letters = sounds = None
        if start is not None and model.separator.training and stage.anchor_weight:
            start.train()  # a network in training pads no stretch, and that is heard
            with torch.no_grad():
                vocals = start(batch.mixture)
        grid, blank_id = model.acoustic.grid, model.acoustic.vocabulary.blank_id
        if stage.frame_weight:
            letters = frame_targets(batch.labels, batch.label_spans, batch.label_lengths, frames, grid, blank_id)
        if stage.sound_weight:
            sounds = frame_targets(batch.sounds, batch.sound_spans, batch.sound_lengths, frames, grid, SILENCE)
        counts = [
            _level(batch.vocals) if stage.separation_weight else 0.0,
            _level(vocals),
            float(len(batch.lengths)),
            float((letters != IGNORED).sum()) if letters is not None else 0.0,
            float((sounds != IGNORED).sum()) if sounds is not None else 0.0,
        ]
        return Targets(vocals, letters, sounds, torch.tensor(counts, device=batch.lengths.device))

    def forward(self, stage: StageOptions, batch: Batch, targets: Targets, counts: Float[Tensor, "5"]) -> Losses:
        """The batch's share of the losses.

        Args:
            stage: which losses, and what the acoustic model hears.
            batch: with all that the stage needs.
            targets: of this batch.
            counts: those of all the batches of the step, summed.
        """
        zero = torch.zeros((), device=batch.lengths.device)
        separation = anchor = ctc = letters = sounds = zero
        over = counts.clamp(min=torch.finfo(counts.dtype).tiny)
        model = self.model
        if stage.input == "mixture":
            vocals = model.separator(batch.mixture)
            if stage.separation_weight:
                separation = (vocals - batch.vocals).abs().sum() / over[0]
            if targets.vocals is not None:
                anchor = (vocals - targets.vocals).abs().sum() / over[1]
            if not (stage.ctc_weight or stage.frame_weight or stage.sound_weight):
                return Losses(separation, anchor, zero, zero, zero)
            log_probs = model.listen(vocals, batch.lengths)
        else:
            voice = turned_down(batch) if stage.input == "stems" else batch.vocals
            assert voice is not None
            log_probs = model.acoustic(voice.mean(1), batch.lengths)
        if stage.ctc_weight:
            frames = _frame_counts(model, stage, batch)
            ctc = _ctc(log_probs, frames, batch, model.acoustic.vocabulary.blank_id) / over[2]
        if targets.letters is not None:
            letters = _cross_entropy(log_probs, targets.letters) / over[3]
        if targets.sounds is not None and self.sounds is not None:
            sounds = _cross_entropy(self.sounds(), targets.sounds) / over[4]
        return Losses(separation, anchor, ctc, letters, sounds)


def turned_down(batch: Batch) -> Float[Tensor, "batch channels samples"]:
    """The voice with what a separator may leave in: for half of the rows nothing.

    For the others the accompaniment at -30 to 0 dB of its level.
    """
    assert batch.vocals is not None
    assert batch.accompaniment is not None
    shape = (len(batch.lengths), 1, 1)
    gain = 10 ** ((torch.rand(shape) * 30 - 30) / 20)
    present = torch.rand(shape) < 0.5
    return batch.vocals + batch.accompaniment * (gain * present).to(batch.vocals.device)


def frame_targets(
    tokens: Int[Tensor, "tokens"],
    spans: Float[Tensor, "tokens 2"],
    lengths: Int[Tensor, "batch"],
    frames: Int[Tensor, "batch"],
    grid: FrameGrid,
    background: int,
) -> Int[Tensor, "batch frames"]:
    """What every frame should say: tokens over their spans, at least at one frame, `background` between them.

    IGNORED past the end of a row. Of two equal tokens in a row the second gives up its first frame to the background.
    """
    targets = torch.full((len(frames), int(frames.max())), IGNORED)
    at = 0
    for row, (count, own) in enumerate(zip(frames.tolist(), lengths.tolist(), strict=True)):
        targets[row, :count] = background
        for token, (start, end) in zip(tokens[at : at + own].tolist(), spans[at : at + own].tolist(), strict=True):
            first = min(grid.frame(start), count - 1)
            # CTC reads a letter once unless a blank parts it in two.
            if first and targets[row, first - 1] == token != IGNORED:
                first = min(first + 1, count - 1)
            targets[row, first : min(max(grid.frame(end), first + 1), count)] = token
        at += own
    return targets


def _check_batch(stage: StageOptions, batch: Batch) -> None:
    needs_stems = stage.input == "stems" or stage.separation_weight
    missing = (
        (needs_stems and (batch.vocals is None or batch.accompaniment is None) and "stems")
        or (stage.input == "mixture" and batch.mixture is None and "a mixture")
        or (stage.input in ("vocals", "separated") and batch.vocals is None and "vocals")
    )
    if missing:
        raise ValueError(
            f"stage {stage.name!r} needs {missing}, which {batch.chunk_ids[0]} lacks; change the stage's input and "
            "separation_weight, or the data"
        )


def _frame_counts(model: LyricsModel, stage: StageOptions, batch: Batch) -> Int[Tensor, "batch"]:
    return (model if stage.input == "mixture" else model.acoustic).frame_counts(batch.lengths)


def _level(vocals: Float[Tensor, "batch channels samples"] | None) -> float:
    return 0.0 if vocals is None else float(vocals.abs().sum()) + _EPSILON * vocals.numel()


def _cross_entropy(
    log_probs: Float[Tensor, "batch frames tokens"], targets: Int[Tensor, "batch longest"]
) -> Float[Tensor, ""]:
    seen = log_probs[:, : targets.shape[1]].transpose(1, 2)
    return nll_loss(seen, targets.to(log_probs.device), ignore_index=IGNORED, reduction="sum")


def _ctc(
    log_probs: Float[Tensor, "batch frames vocab"], frames: Int[Tensor, "batch"], batch: Batch, blank_id: int
) -> Float[Tensor, ""]:
    # zero_infinity: a chunk with more labels than frames can hold has no path, an infinite loss, and is left out.
    loss = ctc_loss(
        log_probs.transpose(0, 1),
        batch.labels,
        frames,
        batch.label_lengths,
        blank=blank_id,
        reduction="none",
        zero_infinity=True,
    )
    tokens = torch.where(batch.label_lengths > 0, batch.label_lengths, (frames / _FRAMES_PER_LABEL).clamp(min=1))
    return (loss / tokens).sum()
