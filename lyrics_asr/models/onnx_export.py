"""Export of an acoustic model as an ONNX file, to run it without PyTorch.

    waveform (batch, samples), mono float32 at 16 kHz -> log_probs (batch, frames, vocabulary)

The log-probabilities are those of `AcousticModel.emissions` for songs of one window without silences: the input is
normalized if the checkpoint asks for it, log-mel features are computed in the graph, and special symbols are masked.
The rows of a batch have the same length.

The file's metadata have what decoding needs:

    tokens             a JSON list of the vocabulary's columns
    blank_id           column of the CTC blank
    word_delimiter_id  column of the symbol between words, or null
    grid               a JSON object with the fields of `types.FrameGrid`, which gives every frame its time
    piece_tokenizer    for a vocabulary of word pieces: the JSON of a `tokenizers.Tokenizer`, as a JSON string
    phoneme_voice      for a vocabulary of phonemes: the voice of espeak-ng that pronounces words, as a JSON string

For letters, the last two are empty strings.
"""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lyrics_asr.files import atomic_path
from lyrics_asr.models.acoustic import AcousticModel

_LARGEST_BYTES = 2**31 - 2**20  # of a protocol buffer, with some room for the graph
_EXAMPLE = (2, 24_000)
_CHECKED = ((1, 20_111), (3, 40_000))
"""Rows and samples of the exporter's example, and of the inputs that its result is checked with."""
_TOLERANCE = 1e-2
"""Of log-probabilities; a graph that is wrong for other sizes than the example's is off by far more."""


def export_onnx(acoustic: AcousticModel, path: Path) -> None:
    """Write an acoustic model as one ONNX file, after a check of its results against PyTorch's.

    Args:
        acoustic: on the CPU, with float32 weights; left in evaluation mode.
        path: of the file; an older one is replaced.

    Raises:
        ValueError: the exporter cannot translate the network, or not rightly; or its weights are larger than 2 GB.
        OutputError: the file cannot be written.
    """
    logging.getLogger("torch.onnx._internal.exporter").setLevel(logging.ERROR)  # else it misses torchvision
    graph = _Graph(acoustic).eval()
    if sum(each.numel() * each.element_size() for each in graph.state_dict().values()) > _LARGEST_BYTES:
        raise ValueError(f"{acoustic.name}: its weights are larger than 2 GB, which one ONNX file cannot hold")
    try:
        program: Any = torch.onnx.export(
            graph,
            (_noise(*_EXAMPLE),),
            input_names=["waveform"],
            output_names=["log_probs"],
            dynamic_shapes={"waveform": {0: "batch", 1: "samples"}},
            dynamo=True,
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        kind, cause = type(acoustic.network).__name__, str(error.__cause__ or error).partition("\n")[0]
        raise ValueError(f"{acoustic.name}: PyTorch cannot export {kind} to ONNX: {cause}") from error
    program.model.metadata_props.update(_metadata(acoustic))
    with atomic_path(path) as temporary:
        program.save(temporary, external_data=False)
        _check(acoustic.name, graph, temporary)


class _Graph(nn.Module):
    def __init__(self, acoustic: AcousticModel) -> None:
        super().__init__()
        self._acoustic = acoustic

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch frames vocab"]:
        return self._acoustic.masked(self._acoustic(waveform))


def _metadata(acoustic: AcousticModel) -> dict[str, str]:
    vocabulary = acoustic.vocabulary
    values = {
        "tokens": vocabulary.tokens,
        "blank_id": vocabulary.blank_id,
        "word_delimiter_id": vocabulary.word_delimiter_id,
        "grid": asdict(acoustic.grid),
        "piece_tokenizer": vocabulary.piece_tokenizer,
        "phoneme_voice": vocabulary.phoneme_voice,
    }
    return {name: json.dumps(value) for name, value in values.items()}


def _check(name: str, graph: _Graph, path: Path) -> None:
    session = onnxruntime.InferenceSession(path)
    for shape in _CHECKED:
        waveform = _noise(*shape)
        with torch.inference_mode():
            expected = graph(waveform)
        log_probs = torch.from_numpy(session.run(["log_probs"], {"waveform": waveform.numpy()})[0])
        if log_probs.shape != expected.shape or float((log_probs - expected).abs().max()) > _TOLERANCE:
            raise ValueError(f"{name}: PyTorch's export to ONNX gives other log-probabilities than the model")


def _noise(rows: int, samples: int) -> Float[Tensor, "rows samples"]:
    return 0.1 * torch.randn(rows, samples, generator=torch.Generator().manual_seed(samples))
