"""The weighted mean of several models' weights (model soup: Izmailov et al. 2018; Wortsman et al. 2022)."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, cast

from torch import Tensor

from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.registry import load_model

# Settings of an acoustic network that change its output but not the shapes of its weights.
_ACOUSTIC_SETTINGS = (
    "model_type",
    "num_attention_heads",
    "encoder_attention_heads",
    "conv_stride",
    "do_stable_layer_norm",
    "hidden_act",
    "feat_extract_activation",
)


def average_models(weights: Mapping[str, float], *, acoustic_only: bool = False) -> LyricsModel:
    """A model whose parameters are the weighted mean of those of several models of one architecture.

    Everything else, such as the language model and the decoder options, comes from the first model. Sums are in
    float64.

    Args:
        weights: the weight of each model, by the name or folder that `load_model` takes; their sum need not be 1.
        acoustic_only: average the acoustic models only and keep the separator of the first.

    Returns:
        The averaged model, on the CPU, in evaluation mode.

    Raises:
        ValueError: fewer than two models, a weight that is not positive, models of different architectures, or a mean
            that is not finite.
        ModelNotFoundError: one of the models is missing.
    """
    if len(weights) < 2:
        raise ValueError("an average needs at least two different models")
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight > 0):
            raise ValueError(f"{name}: its weight is {weight:g}; it must be a positive number")
    total = sum(weights.values())
    first, *others = weights
    average = load_model(first, transcriber="none", device="cpu")  # it may belong to one of the encoders
    state = dict(_parameters(average, acoustic_only))
    sums = {key: value.double() * weights[first] for key, value in state.items() if value.is_floating_point()}
    for name in others:
        model = load_model(name, device="cpu")
        _require_same_architecture(first, average, name, model, acoustic_only)
        other = dict(_parameters(model, acoustic_only))
        for key, running_sum in sums.items():
            running_sum += other[key].double() * weights[name]
    for key, running_sum in sums.items():
        if not running_sum.isfinite().all():
            raise ValueError(f"{key}: not finite in one of the models; leave that model out")
        state[key].copy_(running_sum / total)
    return average


def _parameters(model: LyricsModel, acoustic_only: bool) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers by name; changing one changes the model."""
    for name, value in model.state_dict().items():
        if name.startswith("acoustic.") or not acoustic_only:
            yield name, value


def _require_same_architecture(
    first: str, first_model: LyricsModel, name: str, model: LyricsModel, acoustic_only: bool
) -> None:
    ours, theirs = _architecture(first_model, acoustic_only), _architecture(model, acoustic_only)
    for key in ours.keys() | theirs.keys():
        if ours.get(key) != theirs.get(key):
            raise ValueError(
                f"{name}: of another architecture than {first}: its {key} is {theirs.get(key, 'missing')}, not "
                f"{ours.get(key, 'missing')}; only models that were fine-tuned from the same weights can be averaged"
            )


def _architecture(model: LyricsModel, acoustic_only: bool) -> dict[str, object]:
    """What has to be equal for a mean to make sense: settings, vocabulary and the shape of every parameter."""
    config = cast(Any, model.acoustic.network).config
    found: dict[str, object] = {name: getattr(config, name, None) for name in _ACOUSTIC_SETTINGS}
    found["vocabulary"] = model.acoustic.vocabulary.tokens
    if not acoustic_only:
        found |= {f"separator's {key}": value for key, value in model.separator.settings.items()}
    shapes = {key: tuple(value.shape) for key, value in _parameters(model, acoustic_only)}
    return found | shapes
