"""Whisper's encoder with a CTC head, in PyTorch alone.

Any size of Whisper can be given a head (`transformers_ctc.with_ctc_head`) and is then trained, saved and loaded like
other CTC checkpoints; `whisper_for_ctc` makes it an `AutoModelForCTC` of transformers. The head mixes the outputs of
the encoder's last layers with learned weights (Yang et al. 2021, "SUPERB: Speech processing Universal PERformance
Benchmark", section 3.1), runs ConvNeXt blocks over time (Liu et al. 2022, "A ConvNet for the 2020s", section 2.6), and
ends in one column per letter.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lyrics_asr.files import atomic_path, write_text
from lyrics_asr.models.ctc_checkpoint import CTCCheckpoint, read_tokenizer
from lyrics_asr.models.int8 import load_int8
from lyrics_asr.models.log_mel import LogMelExtractor
from lyrics_asr.models.whisper_encoder import WhisperEncoder

MODEL_TYPE = "whisper_ctc"
"""What `config.json` calls these checkpoints."""


@dataclass
class WhisperCTCSizes:
    """Sizes of a `WhisperCTC`, and what training sets, by the names of `transformers.WhisperConfig`.

    Args:
        vocab_size: columns of the output.
        head_layers: encoder layers whose outputs are mixed, counted from the last.
        head_size: channels of the head.
        head_blocks: its convolution blocks.
        head_kernel: frames that a convolution spans; odd.
        head_dropout: dropout in each block.
        onset_correction_seconds: see `FrameGrid`.
    """

    vocab_size: int
    num_mel_bins: int = 80
    max_source_positions: int = 1500
    d_model: int = 512
    encoder_layers: int = 6
    encoder_attention_heads: int = 8
    encoder_ffn_dim: int = 2048
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    head_layers: int = 3
    head_size: int = 384
    head_blocks: int = 2
    head_kernel: int = 15
    head_dropout: float = 0.15
    apply_spec_augment: bool = False
    mask_time_prob: float = 0.05
    mask_time_length: int = 10
    mask_time_min_masks: int = 2
    mask_feature_prob: float = 0.0
    mask_feature_length: int = 10
    mask_feature_min_masks: int = 0
    onset_correction_seconds: float = 0.0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "WhisperCTCSizes":
        """The sizes among the entries of a `config.json`."""
        return cls(**{field.name: config[field.name] for field in fields(cls) if field.name in config})


class CTCHead(nn.Module):
    """Outputs of encoder layers in, logits out."""

    def __init__(self, sizes: WhisperCTCSizes) -> None:
        super().__init__()
        self.layer_weights = nn.Parameter(torch.zeros(sizes.head_layers))
        self.projection = nn.Linear(sizes.d_model, sizes.head_size)
        self.blocks = nn.ModuleList(_ConvolutionBlock(sizes) for _ in range(sizes.head_blocks))
        self.norm = nn.LayerNorm(sizes.head_size)
        self.output = nn.Linear(sizes.head_size, sizes.vocab_size)
        self.apply(_initialize)

    def forward(self, states: Float[Tensor, "layers batch frames width"]) -> Float[Tensor, "batch frames vocab"]:
        """Logits of every frame."""
        normalized = nn.functional.layer_norm(states, states.shape[-1:])
        mixed = torch.einsum("l,lbfw->bfw", self.layer_weights.softmax(0).to(normalized.dtype), normalized)
        hidden = self.projection(mixed)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        logits: Tensor = self.output(self.norm(hidden))
        return logits


def _initialize(module: nn.Module) -> None:
    """Initialize a layer as transformers does Whisper's; PyTorch's larger weights learn more slowly."""
    if isinstance(module, nn.Linear | nn.Conv1d) and not module.weight.is_meta:  # else it imports torch._dynamo
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class _ConvolutionBlock(nn.Module):
    """A convolution of each channel over time, then a layer over the channels of each frame (Liu et al. 2022)."""

    def __init__(self, sizes: WhisperCTCSizes) -> None:
        super().__init__()
        size, kernel = sizes.head_size, sizes.head_kernel
        self.norm = nn.LayerNorm(size)
        self.depthwise = nn.Conv1d(size, size, kernel, padding=kernel // 2, groups=size)
        self.pointwise = nn.Sequential(
            nn.Linear(size, 2 * size), nn.GELU(), nn.Dropout(sizes.head_dropout), nn.Linear(2 * size, size)
        )

    def forward(self, hidden: Float[Tensor, "batch frames size"]) -> Float[Tensor, "batch frames size"]:
        over_time = self.depthwise(hidden.transpose(1, 2)).transpose(1, 2)
        change: Tensor = self.pointwise(self.norm(over_time))
        return change


class WhisperCTC(nn.Module):
    """Log-mel windows in, logits out; one frame for two columns of the spectrogram, 20 ms.

    Args:
        sizes: of the network.
    """

    def __init__(self, sizes: WhisperCTCSizes) -> None:
        super().__init__()
        self.config = sizes
        self.encoder = WhisperEncoder(sizes)
        self.lm_head = CTCHead(sizes)

    @property
    def base_model(self) -> "WhisperCTC":
        """The network, as that of any other acoustic model."""
        return self

    def forward(self, input_features: Float[Tensor, "batch mels columns"]) -> Float[Tensor, "batch frames vocab"]:
        """The logits of whole windows, see `log_mel.LogMelSpectrogram`."""
        logits: Tensor = self.lm_head(self.hidden_states(self._spec_augment(input_features)))
        return logits

    def hidden_states(
        self, input_features: Float[Tensor, "batch mels columns"]
    ) -> Float[Tensor, "layers batch frames width"]:
        """What the head takes: the outputs of the last layers, the last of them normalized by the encoder."""
        states: Tensor = self.encoder(input_features, self.config.head_layers)
        return states

    def gradient_checkpointing_enable(self, options: Mapping[str, Any]) -> None:
        """Compute the layers of the encoder again in the backward pass; `options` are those of transformers."""
        self.encoder.gradient_checkpointing = True

    def _spec_augment(self, input_features: Float[Tensor, "batch mels columns"]) -> Float[Tensor, "batch mels columns"]:
        """Masks in training, if the configuration has any (Park et al. 2019), as in `transformers.WhisperModel`."""
        config = self.config
        if not (self.training and config.apply_spec_augment):
            return input_features
        from transformers.models.whisper.modeling_whisper import _compute_mask_indices

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


def load_whisper_ctc(folder: Path) -> CTCCheckpoint:
    """Read a folder that `save_whisper_ctc`, or `save_pretrained` of a `whisper_for_ctc.WhisperForCTC`, wrote.

    Raises:
        OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError: files are missing or damaged.
    """
    sizes = WhisperCTCSizes.of(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    state = load_int8(folder)
    if not state:
        for path in sorted(folder.glob("model*.safetensors")):
            state |= {name: weight.float() for name, weight in load_file(path).items()}
    with torch.device("meta"):  # random weights would take longer than reading those of the folder
        network = WhisperCTC(sizes)
    missing = network.load_state_dict(state, strict=False, assign=True).missing_keys
    return CTCCheckpoint(network, read_tokenizer(folder), LogMelExtractor.load(folder), tuple(sorted(missing)))


def save_whisper_ctc(network: WhisperCTC, state: Mapping[str, Tensor], folder: Path) -> None:
    """Write configuration and weights as transformers does.

    Args:
        network: has the configuration.
        state: its weights, in the type that is stored.
        folder: created if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # What transformers.WhisperConfig would otherwise take for a decoder of Whisper's usual size and tokens.
    encoder_only = {"decoder_layers": 0, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}
    names = {"model_type": MODEL_TYPE, "architectures": ["WhisperForCTC"], "decoder_start_token_id": 0}
    write_text(folder / "config.json", json.dumps(asdict(network.config) | encoder_only | names, indent=2) + "\n")
    with atomic_path(folder / "model.safetensors") as path:
        save_file({name: weight.contiguous() for name, weight in state.items()}, path, {"format": "pt"})
