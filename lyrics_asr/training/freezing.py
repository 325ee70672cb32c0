"""Freezing schedule: which parts of the model are trained in which steps, and low-rank adapters (LoRA)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from lyrics_asr.models.acoustic import AcousticModel
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.separators.base import Separator
from lyrics_asr.models.whisper_ctc import WhisperCTC
from lyrics_asr.training.stages import FreezingPhase, LoraOptions, StageOptions

# The projections of attention, as the Wav2Vec2 family and Whisper, Wav2Vec2-BERT, and Parakeet name them.
_ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj", "linear_q", "linear_k", "linear_v", "linear_out", "o_proj"]
_ADAPTER = "lora_"  # in the names of an adapter's weights


@dataclass(frozen=True)
class TrainedParts:
    """Counts of trained parameters from a step of a stage on, and of all parameters."""

    stage: str
    from_step: int
    separator: int
    acoustic: int
    head: int
    separator_total: int
    acoustic_total: int


def phases(stage: StageOptions) -> Sequence[FreezingPhase]:
    """The rows of a stage's table; one that freezes nothing when it has none."""
    return stage.freezing or [FreezingPhase()]


def phase_at(stage: StageOptions, step: int) -> FreezingPhase:
    """The row of the table for a step, counted from 0."""
    return max((phase for phase in phases(stage) if phase.from_step <= step), key=lambda phase: phase.from_step)


def first_trained_step(stage: StageOptions) -> int:
    """The first step in which a stage trains the separator, given a learning rate; the number of steps if never."""
    return next((phase.from_step for phase in phases(stage) if phase.separator_last_layers != 0), stage.steps)


def freeze(model: LyricsModel, stage: StageOptions, phase: FreezingPhase) -> TrainedParts:
    """Enable gradients for exactly what a phase trains; parts that are frozen as a whole go to evaluation mode.

    Raises:
        ValueError: nothing is trained, or the networks have fewer layers than the table names.
    """
    separator, acoustic = model.separator, model.acoustic
    layers = phase.separator_last_layers if stage.separator.learning_rate > 0 else 0
    separator.requires_grad_(layers is None)
    for module in [] if not layers else _last_layers(separator, layers):
        module.requires_grad_(True)
    acoustic.requires_grad_(stage.acoustic.learning_rate > 0)
    if stage.acoustic.learning_rate > 0:
        _freeze_acoustic(acoustic, phase)
    counts = {name: _trained(part) for name, part in (("separator", separator), ("acoustic", acoustic))}
    for name, part in (("separator", separator), ("acoustic", acoustic)):
        part.train(counts[name] > 0)
    if not any(counts.values()):
        raise ValueError(
            f"stage {stage.name!r}: nothing is trained from step {phase.from_step} on; freeze fewer layers"
        )
    head = _trained(acoustic.head)
    return TrainedParts(
        stage.name, phase.from_step, counts["separator"], counts["acoustic"], head, _total(separator), _total(acoustic)
    )


def freezing_table(model: LyricsModel, stages: Sequence[StageOptions]) -> str:
    """Trained parameters in every phase of every stage, as a text table; leaves the model in the last phase."""
    rows = [f"{'stage':<20}{'from step':>10}{'separator':>26}{'acoustic':>26}{'of it, head':>13}"]
    for stage in stages:
        for phase in phases(stage):
            parts = freeze(model, stage, phase)
            rows.append(
                f"{parts.stage:<20}{parts.from_step:>10}"
                f"{_share(parts.separator, parts.separator_total):>26}"
                f"{_share(parts.acoustic, parts.acoustic_total):>26}{parts.head:>13,}"
            )
    return "\n".join(rows)


def add_adapters(acoustic: AcousticModel, options: LoraOptions) -> None:
    """Add low-rank adapters, initially zero, to the attention of every layer."""
    config = LoraConfig(r=options.rank, lora_alpha=options.alpha, target_modules=_ATTENTION)
    inject_adapter_in_model(config, acoustic.network)


def merge_adapters(acoustic: AcousticModel) -> None:
    """Merge the adapters into the weights and remove them."""
    network = acoustic.network
    for name, module in list(network.named_modules()):
        if isinstance(module, LoraLayer):
            cast(Any, module).merge()
            network.set_submodule(name, module.get_base_layer())


def _freeze_acoustic(acoustic: AcousticModel, phase: FreezingPhase) -> None:
    base = acoustic.network.base_model
    for module in acoustic.feature_encoder:
        module.requires_grad_(phase.feature_encoder)
    layers = acoustic.layers
    if phase.frozen_layers > len(layers):
        raise ValueError(f"frozen_layers is {phase.frozen_layers}, the acoustic model has {len(layers)} layers")
    if phase.frozen_layers:
        for module in (*acoustic.feature_projection, *layers[: phase.frozen_layers]):
            module.requires_grad_(False)
    if isinstance(acoustic.network, WhisperCTC):  # sinusoids, not weights
        base.encoder.embed_positions.requires_grad_(False)
    adapted = any(_ADAPTER in name for name, _ in base.named_parameters())
    for name, parameter in base.named_parameters():
        if adapted and _ADAPTER not in name:
            parameter.requires_grad = False


def _last_layers(separator: Separator, layers: int) -> Iterator[nn.Module]:
    network: Any
    for network in separator.networks:
        if layers > len(network.decoder):
            raise ValueError(
                f"separator_last_layers is {layers}, the decoder of the separator has {len(network.decoder)}"
            )
        for decoder in (network.decoder, getattr(network, "tdecoder", [])):
            yield from decoder[-layers:]


def _trained(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _total(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _share(trained: int, total: int) -> str:
    return f"{trained:,} of {total:,}"
