"""Whisper's encoder with a CTC head, as a Hugging Face `AutoModelForCTC`.

Any size of Whisper can be given a head (`with_ctc_head`) and is then trained, saved and loaded like other CTC
checkpoints. The head mixes the outputs of the encoder's last layers with learned weights (Yang et al. 2021, "SUPERB:
Speech processing Universal PERformance Benchmark", section 3.1), runs ConvNeXt blocks over time (Liu et al. 2022, "A
ConvNet for the 2020s", section 2.6), and ends in one column per letter.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, no_type_check

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCTC, WhisperConfig, WhisperModel
from transformers.modeling_outputs import CausalLMOutput
from transformers.models.whisper.modeling_whisper import (
    WhisperEncoder,
    WhisperPreTrainedModel,
    _compute_mask_indices,
)


@no_type_check  # transformers checks the fields, and takes more arguments than there are fields
class WhisperCTCConfig(WhisperConfig):
    """Sizes of a `WhisperForCTC`: those of `transformers.WhisperConfig` for the encoder, and of the head.

    Args:
        head_layers: encoder layers whose outputs are mixed, counted from the last.
        head_size: channels of the head.
        head_blocks: its convolution blocks.
        head_kernel: frames that a convolution spans; odd.
        head_dropout: dropout in each block.
    """

    model_type = "whisper_ctc"

    head_layers: int = 3
    head_size: int = 384
    head_blocks: int = 2
    head_kernel: int = 15
    head_dropout: float = 0.15


class CTCHead(nn.Module):
    """Outputs of encoder layers in, logits out."""

    def __init__(self, config: WhisperCTCConfig) -> None:
        super().__init__()
        self.layer_weights = nn.Parameter(torch.zeros(config.head_layers))
        self.projection = nn.Linear(config.d_model, config.head_size)
        self.blocks = nn.ModuleList(_ConvolutionBlock(config) for _ in range(config.head_blocks))
        self.norm = nn.LayerNorm(config.head_size)
        self.output = nn.Linear(config.head_size, config.vocab_size)

    def forward(self, states: Float[Tensor, "layers batch frames width"]) -> Float[Tensor, "batch frames vocab"]:
        """Logits of every frame."""
        normalized = nn.functional.layer_norm(states, states.shape[-1:])
        mixed = torch.einsum("l,lbfw->bfw", self.layer_weights.softmax(0).to(normalized.dtype), normalized)
        hidden = self.projection(mixed)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        logits: Tensor = self.output(self.norm(hidden))
        return logits


class _ConvolutionBlock(nn.Module):
    """A convolution of each channel over time, then a layer over the channels of each frame (Liu et al. 2022)."""

    def __init__(self, config: WhisperCTCConfig) -> None:
        super().__init__()
        size, kernel = config.head_size, config.head_kernel
        self.norm = nn.LayerNorm(size)
        self.depthwise = nn.Conv1d(size, size, kernel, padding=kernel // 2, groups=size)
        self.pointwise = nn.Sequential(
            nn.Linear(size, 2 * size), nn.GELU(), nn.Dropout(config.head_dropout), nn.Linear(2 * size, size)
        )

    def forward(self, hidden: Float[Tensor, "batch frames size"]) -> Float[Tensor, "batch frames size"]:
        over_time = self.depthwise(hidden.transpose(1, 2)).transpose(1, 2)
        change: Tensor = self.pointwise(self.norm(over_time))
        return change


class WhisperForCTC(WhisperPreTrainedModel):
    """Log-mel windows in, logits out; one frame for two columns of the spectrogram, 20 ms.

    Args:
        config: sizes.
    """

    config_class = WhisperCTCConfig
    main_input_name = "input_features"

    def __init__(self, config: WhisperCTCConfig) -> None:
        super().__init__(config)
        self.encoder = WhisperEncoder(config)
        self.lm_head = CTCHead(config)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, input_features: Float[Tensor, "batch mels columns"], **options: Any) -> CausalLMOutput:
        """The logits of whole windows.

        Args:
            input_features: see `log_mel.LogMelSpectrogram`.
            options: those of `WhisperEncoder.forward`.
        """
        return CausalLMOutput(logits=self.lm_head(self.hidden_states(self._spec_augment(input_features), **options)))

    def hidden_states(
        self, input_features: Float[Tensor, "batch mels columns"], **options: Any
    ) -> Float[Tensor, "layers batch frames width"]:
        """What the head takes: the outputs of the last layers, the last of them normalized by the encoder."""
        states = self.encoder(input_features, **{**options, "output_hidden_states": True}).hidden_states
        return torch.stack(states[-self.config.head_layers :])

    def _spec_augment(self, input_features: Float[Tensor, "batch mels columns"]) -> Float[Tensor, "batch mels columns"]:
        """Masks in training, if the configuration has any (Park et al. 2019), as in `WhisperModel`."""
        config = self.config
        if not (self.training and config.apply_spec_augment):
            return input_features
        batch, mels, columns = input_features.shape
        masked = torch.zeros_like(input_features, dtype=torch.bool)
        if config.mask_time_prob > 0:
            shape, least = (batch, columns), config.mask_time_min_masks
            times = _compute_mask_indices(shape, config.mask_time_prob, config.mask_time_length, min_masks=least)
            masked |= torch.from_numpy(times).to(masked.device)[:, None]
        if config.mask_feature_prob > 0:
            shape, least = (batch, mels), config.mask_feature_min_masks
            bins = _compute_mask_indices(shape, config.mask_feature_prob, config.mask_feature_length, min_masks=least)
            masked |= torch.from_numpy(bins).to(masked.device)[:, :, None]
        return input_features.masked_fill(masked, 0.0)


def with_ctc_head(folder: Path, columns: int, head: Mapping[str, Any]) -> WhisperForCTC:
    """The encoder of a Whisper checkpoint in float32, with a head of random weights.

    Args:
        folder: of a `save_pretrained` checkpoint of Whisper.
        columns: size of the vocabulary; column 0 is the blank.
        head: sizes of the head, see `WhisperCTCConfig`.

    Raises:
        ValueError: an unknown size, or not a complete checkpoint of Whisper.
    """
    unknown = sorted(set(head) - set(WhisperCTCConfig.__annotations__))
    if unknown:
        known = ", ".join(sorted(set(WhisperCTCConfig.__annotations__) - {"model_type"}))
        raise ValueError(f"acoustic: {', '.join(unknown)}: no size of a CTC head; use {known}")
    kind = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
    if kind != WhisperConfig.model_type:
        raise ValueError(f"{folder}: a checkpoint of {kind}; an encoder for a new CTC head must be of Whisper")
    options: dict[str, Any] = {"dtype": torch.float32, "local_files_only": True, "output_loading_info": True}
    loaded: Any = WhisperModel.from_pretrained(folder, **options)
    whisper, report = loaded
    missing = [key for key in sorted(report["missing_keys"]) if key.startswith("encoder.")]
    if missing:
        raise ValueError(f"{folder}: weights {', '.join(missing[:3])} are missing; copy the checkpoint again")
    tokens = {"vocab_size": columns, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}
    sizes = {**whisper.config.to_diff_dict(), **tokens, "decoder_start_token_id": 0, "decoder_layers": 0, **head}
    network = WhisperForCTC(WhisperCTCConfig(**{key: sizes[key] for key in sizes if key != "model_type"}))
    network.encoder.load_state_dict(whisper.encoder.state_dict())
    return network


AutoConfig.register("whisper_ctc", WhisperCTCConfig)
AutoModelForCTC.register(WhisperCTCConfig, WhisperForCTC)
