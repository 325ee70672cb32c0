"""A Wave-U-Net with a CTC head, as a Hugging Face `AutoModelForCTC`.

Stoller, Durand and Ewert 2019, "End-to-end Lyrics Alignment for Polyphonic Music Using an Audio-to-Character
Recognition Model" (ICASSP): a Wave-U-Net hears the mixture, and from the features of one of its decoder's levels, some
20 to 40 a second, a layer predicts characters. The levels above make the vocals, so that one network can learn both
tasks (`share_network`).
"""

import copy
from collections.abc import Mapping
from typing import Any, no_type_check

from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCTC, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ
from lyrics_asr.models.separators.base import Separator
from lyrics_asr.models.separators.wave_unet import WaveUNet, WaveUNetConfig, WaveUNetSeparator


@no_type_check  # transformers checks the fields, and takes more arguments than there are fields
class WaveUNetCTCConfig(PretrainedConfig):
    """Sizes of a `WaveUNetForCTC`: those of `WaveUNetConfig` at 16 kHz, and the level of the head.

    Args:
        levels: see `WaveUNetConfig`; with ten, a frame depends on about a second on either side.
        filters: see `WaveUNetConfig`.
        encoder_kernel: see `WaveUNetConfig`.
        decoder_kernel: see `WaveUNetConfig`.
        skip_connections: see `WaveUNetConfig`.
        head_level: level of the decoder whose features the head takes; a frame is 2^head_level samples.
    """

    model_type = "wave_unet_ctc"

    levels: int = 10
    filters: int = 24
    encoder_kernel: int = 15
    decoder_kernel: int = 5
    skip_connections: bool = True
    head_level: int = 9
    vocab_size: int = 1


class WaveUNetForCTC(PreTrainedModel):
    """Waveforms in, logits out.

    Args:
        config: sizes.

    Raises:
        ValueError: sizes that make no sense, or a head at no level of the decoder.
    """

    config_class = WaveUNetCTCConfig
    base_model_prefix = "wave_unet"
    main_input_name = "input_values"

    def __init__(self, config: WaveUNetCTCConfig) -> None:
        super().__init__(config)
        if not 0 <= config.head_level < config.levels:
            raise ValueError(
                f"head_level of the Wave-U-Net is {config.head_level}; with {config.levels} levels, it must be 0 to "
                f"{config.levels - 1}"
            )
        sizes = WaveUNetConfig(
            sample_rate_hz=ACOUSTIC_SAMPLE_RATE_HZ,
            audio_channels=1,
            levels=config.levels,
            filters=config.filters,
            encoder_kernel=config.encoder_kernel,
            decoder_kernel=config.decoder_kernel,
            skip_connections=config.skip_connections,
        )
        self.wave_unet = WaveUNet(sizes)
        self.lm_head = nn.Linear(sizes.channels(config.head_level), config.vocab_size)
        self.post_init()  # type: ignore[no-untyped-call]

    @property
    def stride_samples(self) -> int:
        """Samples per frame."""
        return int(2**self.config.head_level)

    def forward(self, input_values: Float[Tensor, "batch samples"], attention_mask: None = None) -> CausalLMOutput:
        """The logits of each frame; the first stands at the first sample.

        Args:
            input_values: mono at 16 kHz.
            attention_mask: not used; rows are padded with silence.
        """
        network, stride = self.wave_unet, self.stride_samples
        features = network.features(network.padded(input_values[:, None]), self.config.head_level)
        first, frames = network.config.context_samples // stride, -(-input_values.shape[1] // stride)
        return CausalLMOutput(logits=self.lm_head(features[..., first : first + frames].transpose(1, 2)))

    def _init_weights(self, module: nn.Module) -> None:
        """Weights stay as PyTorch draws them."""


def build_wave_unet_ctc(sizes: Mapping[str, Any], columns: int) -> WaveUNetForCTC:
    """A network with random weights.

    Args:
        sizes: fields of `WaveUNetCTCConfig`.
        columns: size of the vocabulary; column 0 is the blank.

    Raises:
        ValueError: an unknown size, or sizes that make no sense.
    """
    known = set(WaveUNetCTCConfig.__annotations__) - {"model_type", "vocab_size"}
    unknown = sorted(set(sizes) - known)
    if unknown:
        raise ValueError(f"acoustic: {', '.join(unknown)}: no size of a Wave-U-Net; use {', '.join(sorted(known))}")
    tokens = {"vocab_size": columns, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}
    return WaveUNetForCTC(WaveUNetCTCConfig(**{**sizes, **tokens}))


def share_network(separator: Separator, network: PreTrainedModel) -> None:
    """Train one Wave-U-Net for both tasks: that of the separator, if both are Wave-U-Nets of the same sizes.

    Its weights are then those of the separator alone, until `unshare_network`.
    """
    if isinstance(separator, WaveUNetSeparator) and isinstance(network, WaveUNetForCTC):
        (shared,) = separator.networks
        assert isinstance(shared, WaveUNet)
        if shared.config == network.wave_unet.config:
            del network.wave_unet
            network.__dict__["wave_unet"] = shared  # not as a submodule


def unshare_network(network: PreTrainedModel) -> None:
    """Give a CTC network a copy of the Wave-U-Net that it shares with a separator, if it does."""
    shared = network.__dict__.pop("wave_unet", None)
    if shared is not None:
        network.wave_unet = copy.deepcopy(shared)


AutoConfig.register("wave_unet_ctc", WaveUNetCTCConfig)
AutoModelForCTC.register(WaveUNetCTCConfig, WaveUNetForCTC)
