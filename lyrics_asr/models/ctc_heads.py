"""The last layer of a CTC network: its name, and a new one for another vocabulary."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from lyrics_asr.models.ctc_checkpoint import Tokenizer
from lyrics_asr.models.whisper_ctc import WhisperCTC

_NAMES = ("lm_head", "ctc_head")
_INITIAL_DEVIATION = 0.02  # the `initializer_range` of all these networks


def head_name(network: nn.Module) -> str:
    """The name of a network's CTC head."""
    return next(name for name in _NAMES if hasattr(network, name))


def is_head(key: str) -> bool:
    """Whether a key of a state dictionary is of a CTC head."""
    return key.partition(".")[0] in _NAMES


def replace_head(network: nn.Module, old: Mapping[str, int], tokenizer: Tokenizer) -> None:
    """Give a network an output for each token, with the old weights of the tokens that it had.

    Args:
        network: its last layer is replaced.
        old: columns of the old tokens.
        tokenizer: of the new ones.
    """
    place = "lm_head.output" if isinstance(network, WhisperCTC) else head_name(network)
    before = cast(Any, network.get_submodule(place))
    tokens = tokenizer.get_vocab()
    if isinstance(before, nn.Conv1d):  # of Parakeet
        after: Any = type(before)(before.in_channels, len(tokens), kernel_size=1)
    else:
        after = nn.Linear(before.in_features, len(tokens))
    nn.init.normal_(after.weight, std=_INITIAL_DEVIATION)
    nn.init.zeros_(after.bias)
    with torch.no_grad():
        for token, column in tokens.items():
            for variant in (token, token.upper(), token.lower()):
                if variant in old:
                    after.weight[column] = before.weight[old[variant]]
                    after.bias[column] = before.bias[old[variant]]
                    break
    network.set_submodule(place, after)
    config: Any = network.config
    for key, value in (
        ("vocab_size", len(tokens)),
        ("pad_token_id", 0),
        ("bos_token_id", None),
        ("eos_token_id", None),
    ):
        setattr(config, key, value)
