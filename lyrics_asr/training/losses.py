"""The losses of a batch over one graph: mixture -> separator -> resample -> acoustic model -> CTC.

With `acoustic_input: mixture`, the acoustic model hears the mixture, and the separator has losses of its own.

Conventions
- CTC (Graves et al. 2006): the negative log-likelihood per token, averaged over rows. A row without tokens, whose
  target is all blank, is divided by the average number of tokens sung in that time, so it weighs as much as others.
- Separation and anchor: the L1 distance to the true vocals, or to the output of the initial separator, divided by their
  level: 1 for silence and 0 for the target itself, regardless of loudness.
- Rows whose words are unknown add nothing to the losses of words and phones.
- Cross-entropies are averaged over frames; that of the pitch salience is the sum over its bins, where the F0 is known.
- Adversarial losses are averaged over batches.
- All averages are over all batches of a step in all processes: every batch divides its sums by the total
  `Targets.counts`, so the losses of a step are sums over batches. Neither accumulation nor the number of processes
  changes the gradient of a step.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, ctc_loss, pad

from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.separators.base import Separator
from lyrics_asr.models.separators.pitch_salience import frame_count, salience_targets
from lyrics_asr.training.adversarial.adversary import Adversary
from lyrics_asr.training.data.batch import Batch
from lyrics_asr.training.from_scratch.frame_targets import IGNORED, SILENCE, frame_cross_entropy, frame_targets
from lyrics_asr.training.from_scratch.phones import PhoneClassifier
from lyrics_asr.training.stages import StageOptions

_FRAMES_PER_LABEL = 6  # of singing, on average
_EPSILON = 1e-4  # added to the level by which distances are divided
_LOWEST_ACCOMPANIMENT_DB = -30.0
_WITH_ACCOMPANIMENT_SHARE = 0.5


@dataclass(frozen=True)
class Losses:
    """The unweighted losses of a step, or a batch's share of them; losses with weight 0 are 0."""

    separation: Float[Tensor, ""]
    anchor: Float[Tensor, ""]
    ctc: Float[Tensor, ""]
    frames: Float[Tensor, ""]
    phones: Float[Tensor, ""]
    pitch: Float[Tensor, ""]
    adversarial: Float[Tensor, ""]
    additive: Float[Tensor, ""]

    def weighted(self, stage: StageOptions) -> Float[Tensor, ""]:
        """The weighted sum that is minimized."""
        total = (
            stage.separation_weight * self.separation
            + stage.anchor_weight * self.anchor
            + stage.ctc_weight * self.ctc
            + stage.frame_weight * self.frames
            + stage.phone_weight * self.phones
            + stage.pitch_weight * self.pitch
        )
        if stage.adversarial is None:
            return total
        return total + stage.adversarial.weight * self.adversarial + stage.adversarial.additive_weight * self.additive


@dataclass(frozen=True)
class Targets:
    """Training targets of a batch.

    Args:
        vocals: output of the initial separator, for the anchor.
        letters: letter of each frame, see `frame_targets`.
        phones: phone of each frame.
        f0_hz: F0 of each frame of the pitch salience; NaN where it is not known.
        counts: denominators of the losses, in the order of the fields of `Losses`.
    """

    vocals: Float[Tensor, "batch channels samples"] | None
    letters: Int[Tensor, "batch frames"] | None
    phones: Int[Tensor, "batch frames"] | None
    f0_hz: Float[Tensor, "batch pitch_frames"] | None
    counts: Float[Tensor, "8"]


class LossGraph(nn.Module):
    """Computes the losses of a batch; the module that is wrapped for distributed training.

    Args:
        model: model to train.
        phones: phone classifier, for stages with a `phone_weight`.
        start: initial separator, for the anchor; None for no anchor.
        adversary: discriminators of the separator's outputs, for stages with `adversarial`.
    """

    def __init__(
        self,
        model: LyricsModel,
        phones: PhoneClassifier | None = None,
        start: Separator | None = None,
        adversary: Adversary | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.phones = phones
        self._start = (start,)  # in a tuple, so that it is not registered as a submodule
        self._adversary = adversary

    def targets(self, stage: StageOptions, batch: Batch) -> Targets:
        """Training targets of a batch.

        Raises:
            ValueError: the batch lacks what the stage needs.
        """
        _check_batch(stage, batch)
        model, (start,) = self.model, self._start
        frames = _frame_counts(model, stage, batch).cpu()
        vocals = letters = phones = None
        if start is not None and model.separator.training and stage.anchor_weight:
            start.train()  # in evaluation mode, the network pads its input, which changes the output
            with torch.no_grad():
                vocals = start(batch.mixture)
        grid, blank_id = model.acoustic.grid, model.acoustic.vocabulary.blank_id
        if stage.frame_weight:
            letters = frame_targets(batch.labels, batch.label_spans, batch.label_lengths, frames, grid, blank_id)
        if stage.phone_weight:
            phones = frame_targets(batch.phones, batch.phone_spans, batch.phone_lengths, frames, grid, SILENCE)
        for each in (letters, phones):
            if each is not None:
                each[~_words_known(batch).cpu()] = IGNORED
        f0_hz = _f0_hz(model, batch) if stage.pitch_weight else None
        counts = [
            _level(batch.vocals) if stage.separation_weight else 0.0,
            _level(vocals),
            float(_words_known(batch).sum()),
            float((letters != IGNORED).sum()) if letters is not None else 0.0,
            float((phones != IGNORED).sum()) if phones is not None else 0.0,
            float((~f0_hz.isnan()).sum()) if f0_hz is not None else 0.0,
            1.0,
            1.0,
        ]
        return Targets(vocals, letters, phones, f0_hz, torch.tensor(counts, device=batch.lengths.device))

    def forward(self, stage: StageOptions, batch: Batch, targets: Targets, counts: Float[Tensor, "8"]) -> Losses:
        """The batch's share of the losses of a step.

        Args:
            stage: weights of the losses, and input of the acoustic model.
            batch: batch with all inputs that the stage needs.
            targets: targets of this batch.
            counts: `Targets.counts`, summed over all batches of the step.
        """
        zero = torch.zeros((), device=batch.lengths.device)
        separation = anchor = ctc = letters = phones = pitch = adversarial = additive = zero
        model = self.model
        has_words = bool(stage.ctc_weight or stage.frame_weight or stage.phone_weight)
        if self._adversary is not None:
            found = self._adversary.separator_losses(model.separator, batch)
            adversarial, additive = found.adversarial, found.additive
        if stage.input == "mixture":
            mixture = batch.mixture
            assert mixture is not None
            hears_vocals = has_words and model.acoustic_input == "vocals"
            if hears_vocals or stage.separation_weight or stage.pitch_weight or targets.vocals is not None:
                vocals = model.separator(mixture)
            if stage.separation_weight:
                separation = (vocals - batch.vocals).abs().sum()
            if targets.vocals is not None:
                anchor = (vocals - targets.vocals).abs().sum()
            if targets.f0_hz is not None:
                pitch = _salience_cross_entropy(model.pitch_logits(vocals), targets.f0_hz)
            if has_words:
                log_probs = model.acoustic_log_probs(vocals if hears_vocals else mixture, batch.lengths)
        else:
            vocals = mix_at_snr(batch) if stage.input == "stems" else batch.vocals
            assert vocals is not None
            log_probs = model.acoustic(vocals.mean(1), batch.lengths)
        if stage.ctc_weight:
            frames = _frame_counts(model, stage, batch)
            ctc = _ctc(log_probs, frames, batch, model.acoustic.vocabulary.blank_id)
        if targets.letters is not None:
            letters = frame_cross_entropy(log_probs, targets.letters)
        if targets.phones is not None and self.phones is not None:
            phones = frame_cross_entropy(self.phones(), targets.phones)
        sums = (separation, anchor, ctc, letters, phones, pitch, adversarial, additive)
        denominators = counts.clamp(min=torch.finfo(counts.dtype).tiny)
        return Losses(*(each / denominator for each, denominator in zip(sums, denominators, strict=True)))


def mix_at_snr(batch: Batch) -> Float[Tensor, "batch channels samples"]:
    """Vocals with attenuated accompaniment, which simulates the leakage of a separator.

    Half of the rows are clean vocals; the others include accompaniment at a gain drawn uniformly from -30 to 0 dB.
    """
    assert batch.vocals is not None
    assert batch.accompaniment is not None
    shape = (len(batch.lengths), 1, 1)
    gain = 10 ** ((1 - torch.rand(shape)) * _LOWEST_ACCOMPANIMENT_DB / 20)
    present = torch.rand(shape) < _WITH_ACCOMPANIMENT_SHARE
    return batch.vocals + batch.accompaniment * (gain * present).to(batch.vocals.device)


def _check_batch(stage: StageOptions, batch: Batch) -> None:
    is_factor_gan = stage.adversarial is not None and stage.adversarial.objective == "factor_gan"
    needs_stems = stage.input == "stems" or stage.separation_weight or is_factor_gan
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


def _f0_hz(model: LyricsModel, batch: Batch) -> Float[Tensor, "batch frames"]:
    """The F0 in the frames of the pitch salience."""
    if model.separator.pitch is None:
        raise ValueError("pitch_weight needs a separator with F0; set pitch_channels of its U-Net")
    if batch.f0_hz is None:
        raise ValueError(
            f"pitch_weight needs the F0 of the songs, which {batch.chunk_ids[0]} lacks; make songs and cuts again with "
            "`lyrics-asr data synth` and `lyrics-asr data cuts`"
        )
    assert batch.mixture is not None
    samples = -(-batch.mixture.shape[2] * ACOUSTIC_SAMPLE_RATE_HZ // model.separator.sample_rate_hz)
    return pad(batch.f0_hz, (0, frame_count(samples) - batch.f0_hz.shape[1]), value=torch.nan)


def _salience_cross_entropy(
    logits: Float[Tensor, "batch frames bins"], f0_hz: Float[Tensor, "batch frames"]
) -> Float[Tensor, ""]:
    known = ~f0_hz.isnan()
    targets = salience_targets(f0_hz[known])
    return binary_cross_entropy_with_logits(logits[known], targets, reduction="sum")


def _ctc(
    log_probs: Float[Tensor, "batch frames vocab"], frames: Int[Tensor, "batch"], batch: Batch, blank_id: int
) -> Float[Tensor, ""]:
    # zero_infinity: a chunk with more labels than frames has no path; its infinite loss is set to 0.
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
    return torch.where(_words_known(batch), loss / tokens, 0.0).sum()


def _words_known(batch: Batch) -> Bool[Tensor, "batch"]:
    known = torch.ones_like(batch.lengths, dtype=torch.bool)
    return known if batch.words_known is None else batch.words_known
