"""Whisper's encoder in PyTorch alone: importing transformers takes longer than aligning a song.

Radford et al. 2023, "Robust Speech Recognition via Large-Scale Weak Supervision", section 2.2: two convolutions,
sinusoidal positions, and pre-norm transformer blocks (Vaswani et al. 2017). Weights have the names, and outputs the
values, of `transformers.models.whisper.modeling_whisper.WhisperEncoder`.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, scaled_dot_product_attention


@runtime_checkable
class EncoderSizes(Protocol):
    """Sizes and dropouts of an encoder, by the names of `transformers.WhisperConfig`."""

    num_mel_bins: int
    max_source_positions: int
    d_model: int
    encoder_layers: int
    encoder_attention_heads: int
    encoder_ffn_dim: int
    dropout: float
    attention_dropout: float
    activation_dropout: float


class WhisperEncoder(nn.Module):
    """Log-mel windows in, the outputs of its layers out; one frame for two columns of the spectrogram.

    Args:
        sizes: of the network. The positions are weights of the checkpoint, which are not trained.
    """

    def __init__(self, sizes: EncoderSizes) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(sizes.num_mel_bins, sizes.d_model, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(sizes.d_model, sizes.d_model, kernel_size=3, stride=2, padding=1)
        positions = torch.zeros(sizes.max_source_positions, sizes.d_model)
        self.embed_positions = nn.Embedding.from_pretrained(positions)  # type: ignore[no-untyped-call]
        self.layers = nn.ModuleList(_Layer(sizes) for _ in range(sizes.encoder_layers))
        self.layer_norm = nn.LayerNorm(sizes.d_model)
        self.gradient_checkpointing = False
        self._dropout = sizes.dropout

    def forward(
        self, input_features: Float[Tensor, "batch mels columns"], layers: int
    ) -> Float[Tensor, "layers batch frames width"]:
        """The outputs of the last `layers` layers; the last of them is normalized."""
        hidden = gelu(self.conv2(gelu(self.conv1(input_features)))).transpose(1, 2)
        hidden = dropout(hidden + self.embed_positions.weight, self._dropout, self.training)
        outputs = []
        for layer in self.layers:
            if self.gradient_checkpointing and self.training:
                from torch.utils.checkpoint import checkpoint

                hidden = checkpoint(layer, hidden, use_reentrant=False)
            else:
                hidden = layer(hidden)
            outputs.append(hidden)
        return torch.stack([*outputs[-layers:-1], self.layer_norm(hidden)])


class _Layer(nn.Module):
    """Attention, then a layer over the channels of each frame; both are normalized first, and added to their input."""

    def __init__(self, sizes: EncoderSizes) -> None:
        super().__init__()
        self.self_attn = _Attention(sizes)
        self.self_attn_layer_norm = nn.LayerNorm(sizes.d_model)
        self.fc1 = nn.Linear(sizes.d_model, sizes.encoder_ffn_dim)
        self.fc2 = nn.Linear(sizes.encoder_ffn_dim, sizes.d_model)
        self.final_layer_norm = nn.LayerNorm(sizes.d_model)
        self._dropout, self._activation_dropout = sizes.dropout, sizes.activation_dropout

    def forward(self, hidden: Float[Tensor, "batch frames width"]) -> Float[Tensor, "batch frames width"]:
        attended = self.self_attn(self.self_attn_layer_norm(hidden))
        hidden = hidden + dropout(attended, self._dropout, self.training)
        widened = gelu(self.fc1(self.final_layer_norm(hidden)))
        narrowed = self.fc2(dropout(widened, self._activation_dropout, self.training))
        return hidden + dropout(narrowed, self._dropout, self.training)


class _Attention(nn.Module):
    """Every frame attends to all frames of its window. Whisper's keys have no bias."""

    def __init__(self, sizes: EncoderSizes) -> None:
        super().__init__()
        self._heads, self._dropout = sizes.encoder_attention_heads, sizes.attention_dropout
        self.q_proj = nn.Linear(sizes.d_model, sizes.d_model)
        self.k_proj = nn.Linear(sizes.d_model, sizes.d_model, bias=False)
        self.v_proj = nn.Linear(sizes.d_model, sizes.d_model)
        self.out_proj = nn.Linear(sizes.d_model, sizes.d_model)

    def forward(self, hidden: Float[Tensor, "batch frames width"]) -> Float[Tensor, "batch frames width"]:
        query, key, value = (
            projection(hidden).unflatten(-1, (self._heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = scaled_dot_product_attention(query, key, value, dropout_p=self._dropout if self.training else 0.0)
        projected: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return projected
