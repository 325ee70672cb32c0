"""Stages of training over one graph: mixture -> separator -> resample -> acoustic model -> CTC.

A stage trains the separator on stems, the acoustic model on voices with some accompaniment left in, or both end to
end. Progress is measured on the development songs, from the mixture, as evaluation does. A run that is started again
goes on from its last checkpoint and sees the batches that the uninterrupted run would have seen.

CTC: Graves et al. 2006. The loss is the mean over the batch of the negative log-likelihood a token.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import ctc_loss, nll_loss
from torch.utils.data import DataLoader

from lyrics_asr.acoustic import build_acoustic
from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ, read_audio
from lyrics_asr.config import AcousticOptions, SeparationOptions, StageOptions, TrainingConfig, dump_config
from lyrics_asr.datasets.chunks import Batch, ChunkBatches, prepare_stems
from lyrics_asr.datasets.labels import sound_names
from lyrics_asr.datasets.manifest import Song, read_manifest
from lyrics_asr.decoding import greedy
from lyrics_asr.files import write_text
from lyrics_asr.metrics import character_errors, si_sdr
from lyrics_asr.model import LyricsModel, find_device
from lyrics_asr.pipeline import read_mixture
from lyrics_asr.separation import build_separator
from lyrics_asr.text import normalize
from lyrics_asr.training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from lyrics_asr.training.optimizers import Optimization, build_optimizations, restore, state_of, trainable_parameters
from lyrics_asr.training.separated import separate_songs
from lyrics_asr.training.sounds import SoundClassifier
from lyrics_asr.types import FrameGrid

_LOG_EVERY_STEPS = 20
_PREPARE_PROCESSES = 2
_EPSILON = 1e-4
_TREBLE_EXPONENT = 0.7  # voices fall off towards the treble, where the consonants are
IGNORED = -100  # a frame past the end of its row
SILENCE = 0  # the sound of a frame with no sound

Log = Callable[[dict[str, object]], None]


@dataclass(frozen=True)
class Losses:
    """The parts of a step's loss, before their weights."""

    separation: Float[Tensor, ""]
    ctc: Float[Tensor, ""]
    frames: Float[Tensor, ""]
    sounds: Float[Tensor, ""]


@dataclass(frozen=True)
class Progress:
    """Development songs, from the mixture: greedy character errors and the separator's gain."""

    cer: float | None
    si_sdr_improvement_db: float | None


def train(config: TrainingConfig, log: Log) -> LyricsModel:
    """Carry out every stage and give the trained model; checkpoints and log are in `config.output`.

    Raises:
        FileNotFoundError: a manifest or a stem is missing.
        ValueError: songs without stems, or a damaged checkpoint.
    """
    output = Path(config.output)
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    model = LyricsModel(
        build_separator(config.separator), build_acoustic(config.acoustic, config.letters), name=str(output / "model")
    )
    start_as_filterbank(cast(Any, model.acoustic.network).base_model.feature_extractor.conv_layers[0].conv)
    model.to(find_device())
    songs = [song for manifest in config.training for song in read_manifest(Path(manifest))]
    sounds = _sound_classifier(config, model, songs)
    development = read_manifest(Path(config.development))

    checkpoint = load_checkpoint(output)
    if checkpoint is not None:
        if checkpoint.architecture != _architecture(config):
            raise ValueError(
                f"{output}: the checkpoint there is of another separator, acoustic model or alphabet than the "
                "configuration's; choose another output, or move the checkpoint away to start anew"
            )
        model.load_state_dict(checkpoint.model)
        if sounds is not None:
            sounds.load_state_dict(checkpoint.sounds)
    write_text(output / "config.yaml", dump_config(config))
    for index, stage in enumerate(config.stages):
        if checkpoint is None or index >= checkpoint.stage:
            resumed = checkpoint if checkpoint is not None and index == checkpoint.stage else None
            _run_stage(config, index, model, sounds, songs, development, resumed, log)
        log({"stage": stage.name, "done": True})
    if sounds is not None:
        sounds.close()
    return model.eval()


def _sound_classifier(config: TrainingConfig, model: LyricsModel, songs: Sequence[Song]) -> SoundClassifier | None:
    if not any(stage.sound_weight for stage in config.stages):
        return None
    without = [song.id for song in songs if not song.sounds]
    if without:
        raise ValueError(
            f"sound_weight needs the sounds of every word, which {len(without)} songs lack, such as {without[0]!r}; "
            "set it to 0, or make the corpus again with `lyrics-asr data synth`"
        )
    return SoundClassifier(model.acoustic, len(sound_names(songs))).to(model.device)


def _architecture(config: TrainingConfig) -> str:
    return json.dumps([config.separator, config.acoustic, config.letters], sort_keys=True)


def start_as_filterbank(convolution: nn.Conv1d) -> None:
    """Make the first convolution a bank of Gabor filters on the mel scale, each in four phases, treble emphasised.

    A network that starts from noise takes long to find the frequencies that matter; from here it goes on learning them
    (Zeghidour et al. 2018, "Learning Filterbanks from Raw Speech for Phone Recognition"). After an activation that
    keeps what is positive, four phases a quarter of a period apart add up to the level of a band at any moment, so that
    the stride can be as long as a spectrogram's.
    """
    channels, _, length = convolution.weight.shape
    mel = torch.linspace(_mel(60.0), _mel(7600.0), channels // 4)
    frequency_hz = 700 * (10 ** (mel / 2595) - 1)
    bandwidth_hz = torch.gradient(frequency_hz)[0].clamp(min=90.0)
    seconds = (torch.arange(length) - (length - 1) / 2) / ACOUSTIC_SAMPLE_RATE_HZ
    window = torch.exp(-0.5 * (2.5 * bandwidth_hz[:, None] * seconds) ** 2)
    phase = 2 * math.pi * frequency_hz[:, None] * seconds
    cosine, sine = window * phase.cos(), window * phase.sin()
    level = (frequency_hz / 1000) ** _TREBLE_EXPONENT
    level = level / level.mean()
    filters = torch.cat([cosine, sine, -cosine, -sine])
    filters *= (level.repeat(4) / filters.norm(dim=1))[:, None]
    with torch.no_grad():
        convolution.weight[: len(filters), 0] = filters
        if convolution.bias is not None:
            convolution.bias.zero_()


def _mel(frequency_hz: float) -> float:
    return 2595 * math.log10(1 + frequency_hz / 700)


def _run_stage(
    config: TrainingConfig,
    index: int,
    model: LyricsModel,
    sounds: SoundClassifier | None,
    songs: Sequence[Song],
    development: Sequence[Song],
    checkpoint: Checkpoint | None,
    log: Log,
) -> None:
    stage = config.stages[index]
    optimizations = build_optimizations(model, stage, sounds)
    first = 0
    if checkpoint is not None:
        restore(optimizations, checkpoint.optimizations)
        first = checkpoint.step
    log({"stage": stage.name, "step": first} | {n: trainable_parameters(o.module) for n, o in optimizations.items()})

    at_separator = stage.input in ("mixture", "separated")
    rate = model.separator.sample_rate_hz if at_separator else ACOUSTIC_SAMPLE_RATE_HZ
    stems = prepare_stems(songs, rate, model.separator.audio_channels if at_separator else 1, _PREPARE_PROCESSES)
    if stage.input == "separated":
        separated = separate_songs(model, songs, stems, Path(config.output, "separated"), config.seed)
        songs, stems, rate = separated.songs, separated.stems, ACOUSTIC_SAMPLE_RATE_HZ
    batches = ChunkBatches(
        songs,
        stems,
        model.acoustic.vocabulary,
        sample_rate_hz=rate,
        steps=stage.steps,
        batch_size=stage.batch_size,
        chunk_seconds=stage.chunk_seconds,
        remix_share=0.5,
        seed=(config.seed, index),
    )
    loader = DataLoader(batches, batch_size=None, sampler=range(first, stage.steps), num_workers=1, prefetch_factor=4)
    began = time.monotonic()
    for step, batch in enumerate(loader, start=first + 1):
        _seed((config.seed, index, step))
        report = _step(model, stage, batch.to(model.device), optimizations, sounds)
        if step % _LOG_EVERY_STEPS == 0:
            rate_per_second = (step - first) / (time.monotonic() - began)
            log({"stage": stage.name, "step": step, **report, "steps_per_second": round(rate_per_second, 3)})
        if step % config.validate_every_steps == 0 or step == stage.steps:
            progress = measure(model, development, with_text=stage.acoustic_learning_rate > 0)
            log({"stage": stage.name, "step": step, **vars(progress)})
            for each in optimizations.values():
                each.module.train()
            heads = {} if sounds is None else sounds.state_dict()
            state = Checkpoint(_architecture(config), index, step, model.state_dict(), heads, state_of(optimizations))
            save_checkpoint(Path(config.output), state)


def _seed(numbers: tuple[int, ...]) -> None:
    """Make the random numbers of a step its own, so that a resumed run draws what the uninterrupted one would have."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002, transformers draws its time masks from NumPy's global generator


def _step(
    model: LyricsModel,
    stage: StageOptions,
    batch: Batch,
    optimizations: dict[str, Optimization],
    sounds: SoundClassifier | None = None,
) -> dict[str, object]:
    losses = compute_losses(model, stage, batch, sounds)
    loss = (
        stage.separation_weight * losses.separation
        + stage.ctc_weight * losses.ctc
        + stage.frame_weight * losses.frames
        + stage.sound_weight * losses.sounds
    )
    loss.backward()  # type: ignore[no-untyped-call]
    norms = {f"{name}_gradient_norm": round(each.step(), 3) for name, each in optimizations.items()}
    return {**{name: round(float(value.detach()), 4) for name, value in vars(losses).items()}, **norms}


def compute_losses(
    model: LyricsModel, stage: StageOptions, batch: Batch, sounds: SoundClassifier | None = None
) -> Losses:
    """The losses of a batch; a part with weight 0 is 0."""
    zero = torch.zeros((), device=batch.vocals.device)
    separation = zero
    if stage.input != "mixture":
        voice = turned_down(batch) if stage.input == "stems" else batch.vocals
        log_probs = model.acoustic(voice.mean(1), batch.lengths)
        frames = model.acoustic.frame_counts(batch.lengths)
    else:
        vocals = model.separator(batch.vocals + batch.accompaniment)
        if stage.separation_weight:
            separation = relative_l1(vocals, batch.vocals)
        if not (stage.ctc_weight or stage.frame_weight or stage.sound_weight):
            return Losses(separation, zero, zero, zero)
        log_probs = model.listen(vocals, batch.lengths)
        frames = model.frame_counts(batch.lengths)
    blank_id, grid = model.acoustic.vocabulary.blank_id, model.acoustic.grid
    letters_loss = sounds_loss = zero
    if stage.frame_weight:
        letters = frame_targets(batch.labels, batch.label_spans, batch.label_lengths, frames, grid, blank_id)
        letters_loss = _cross_entropy(log_probs, letters)
    if stage.sound_weight and sounds is not None:
        names = frame_targets(batch.sounds, batch.sound_spans, batch.sound_lengths, frames, grid, SILENCE)
        sounds_loss = _cross_entropy(sounds(), names)
    return Losses(separation, _ctc(log_probs, frames, batch, blank_id), letters_loss, sounds_loss)


def turned_down(batch: Batch) -> Float[Tensor, "batch channels samples"]:
    """The voice with what a separator may leave in: for half of the rows nothing.

    For the others the accompaniment at -30 to 0 dB of its level.
    """
    shape = (len(batch.lengths), 1, 1)
    gain = 10 ** ((torch.rand(shape) * 30 - 30) / 20)
    present = torch.rand(shape) < 0.5
    return batch.vocals + batch.accompaniment * (gain * present).to(batch.vocals.device)


def relative_l1(
    estimate: Float[Tensor, "batch channels samples"], target: Float[Tensor, "batch channels samples"]
) -> Tensor:
    """L1 distance over the mean level of the target: 1 for silence, 0 for the target itself, whatever the loudness."""
    return (estimate - target).abs().mean() / (target.abs().mean() + _EPSILON)


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
            if first and targets[row, first - 1] == token:  # CTC reads a letter once unless a blank parts it in two
                first = min(first + 1, count - 1)
            targets[row, first : min(max(grid.frame(end), first + 1), count)] = token
        at += own
    return targets


def _cross_entropy(
    log_probs: Float[Tensor, "batch frames tokens"], targets: Int[Tensor, "batch longest"]
) -> Float[Tensor, ""]:
    seen = log_probs[:, : targets.shape[1]].transpose(1, 2)
    return nll_loss(seen, targets.to(log_probs.device), ignore_index=IGNORED)


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
    return (loss / batch.label_lengths).mean()


@torch.inference_mode()
def measure(model: LyricsModel, songs: Sequence[Song], *, with_text: bool = True) -> Progress:
    """Separate and transcribe the songs; leaves the model in evaluation mode."""
    model.eval()
    gains, references, hypotheses = [], [], []
    for song in songs:
        mixture = read_mixture(song.audio, model)
        (vocals,) = model.vocals([mixture], SeparationOptions())
        if song.vocals is not None:
            truth = read_audio(song.vocals, sample_rate_hz=model.separator.sample_rate_hz, channels=2).samples.mean(0)
            gain_db = si_sdr(vocals.cpu().samples.mean(0), truth) - si_sdr(mixture.samples.mean(0), truth)
            if math.isfinite(gain_db):  # there is nothing to gain on a song without accompaniment
                gains.append(gain_db)
        if with_text:
            words = greedy(*model.emissions([model.voice(vocals)], AcousticOptions()))
            references.append(normalize(song.lyrics, song.language))
            hypotheses.append(" ".join(word.text for word in words).lower())
    return Progress(
        cer=character_errors(references, hypotheses).rate if references else None,
        si_sdr_improvement_db=sum(gains) / len(gains) if gains else None,
    )


class JsonLog:
    """A log that prints every entry and keeps it as a line of `log.jsonl`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "log.jsonl"

    def __call__(self, entry: dict[str, object]) -> None:
        """Keep an entry."""
        line = json.dumps(entry)
        print(line, flush=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
