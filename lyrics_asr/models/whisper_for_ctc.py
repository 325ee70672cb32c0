"""`whisper_ctc` checkpoints as an `AutoModelForCTC` of transformers; importing this module registers the class."""

from typing import Any, no_type_check

from jaxtyping import Float
from torch import Tensor
from transformers import AutoConfig, AutoModelForCTC, PreTrainedModel, WhisperConfig
from transformers.modeling_outputs import CausalLMOutput

from lyrics_asr.models.whisper_ctc import MODEL_TYPE, WhisperCTC, WhisperCTCSizes


@no_type_check  # transformers checks the fields, and takes more arguments than there are fields
class WhisperCTCConfig(WhisperConfig):
    """`transformers.WhisperConfig` with the sizes of the head, see `WhisperCTCSizes`."""

    model_type = MODEL_TYPE

    head_layers: int = 3
    head_size: int = 384
    head_blocks: int = 2
    head_kernel: int = 15
    head_dropout: float = 0.15


class WhisperForCTC(PreTrainedModel):
    """The modules of a `WhisperCTC`, with what transformers adds.

    Args:
        config: sizes.
    """

    config_class = WhisperCTCConfig
    main_input_name = "input_features"

    def __init__(self, config: WhisperCTCConfig) -> None:
        super().__init__(config)
        network = WhisperCTC(WhisperCTCSizes.of(config.to_dict()))
        self.encoder, self.lm_head = network.encoder, network.lm_head
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, input_features: Float[Tensor, "batch mels columns"], **options: Any) -> CausalLMOutput:
        """The logits of whole windows; other options of transformers have no effect."""
        states = self.encoder(self._spec_augment(input_features), self.config.head_layers)
        return CausalLMOutput(logits=self.lm_head(states))

    _spec_augment: Any = WhisperCTC._spec_augment


AutoConfig.register(MODEL_TYPE, WhisperCTCConfig)
AutoModelForCTC.register(WhisperCTCConfig, WhisperForCTC)
