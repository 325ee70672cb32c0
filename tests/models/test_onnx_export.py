"""Exported models in onnxruntime, against the emissions of the model itself."""

import json

import onnxruntime
import pytest
import torch
from torch import nn

from lyrics_asr.models.acoustic_checkpoints import build_acoustic
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.onnx_export import export_onnx
from lyrics_asr.models.separators.loading import load_separator
from lyrics_asr.models.tokenizers import train_pieces
from lyrics_asr.options import AcousticOptions, SilenceOptions
from lyrics_asr.types import FrameGrid, Vocabulary
from tests.fork_server import start_command
from tests.lyrics.test_subwords import TEXT
from tests.models.test_front_ends import make
from tests.models.test_lyrics_model import WAV2VEC2
from tests.models.test_whisper_ctc import HEAD, make_whisper

pytestmark = pytest.mark.slow

WHOLE = AcousticOptions(silence=SilenceOptions(threshold_db=-200.0))


def wav2vec2(_folder, norm="layer"):
    """With word pieces."""
    return build_acoustic({**WAV2VEC2, "feat_extract_norm": norm}, train_pieces(TEXT, 40))


def whisper(folder):
    """With its log-mel front end."""
    return build_acoustic({"encoder": str(make_whisper(folder)), **HEAD}, "abc")


@pytest.mark.parametrize("build", [wav2vec2, whisper])
def test_an_exported_model_gives_the_emissions_of_songs_of_any_length(tmp_path, build):
    torch.manual_seed(0)
    acoustic = build(tmp_path).eval()
    LyricsModel(load_separator("none"), acoustic, name="tiny").save(tmp_path / "model")
    # In a process without checks of annotations: the lengths that PyTorch traces are no integers.
    arguments = ["models", "export", tmp_path / "model", tmp_path / "tiny.onnx", "--onnx"]
    process = start_command(arguments, tmp_path / "errors")
    process.join()
    assert (process.exitcode, (tmp_path / "errors").read_text()) == (0, "")

    session = onnxruntime.InferenceSession(tmp_path / "tiny.onnx")
    metadata = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    grid, tokens = FrameGrid(**metadata["grid"]), tuple(metadata["tokens"])
    assert grid == acoustic.grid
    spelling = {name: metadata[name] for name in ("piece_tokenizer", "phoneme_voice")}
    assert Vocabulary(tokens, metadata["blank_id"], metadata["word_delimiter_id"], **spelling) == acoustic.vocabulary
    for rows, samples in ((1, 16_000), (3, 50_001), (1, 5_000)):
        songs = 0.1 * torch.randn(rows, samples)
        (log_probs,) = session.run(None, {"waveform": songs.numpy()})
        assert log_probs.shape == (rows, grid.count(samples), len(tokens))
        for song, ours in zip(songs, log_probs, strict=True):
            (expected,) = acoustic.emissions([song], WHOLE)
            torch.testing.assert_close(torch.from_numpy(ours), expected.log_probs, atol=2e-4, rtol=1e-4)


def test_an_architecture_that_cannot_be_exported_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"^parakeet: PyTorch cannot export ParakeetForCTC to ONNX: Cannot view"):
        export_onnx(make("parakeet"), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_graph_that_is_right_for_the_example_alone_is_not_written(tmp_path):
    acoustic = wav2vec2(tmp_path).eval()
    acoustic.network.lm_head = OtherWhenExported(acoustic.network.lm_head)
    with pytest.raises(ValueError, match=r"^custom: PyTorch's export to ONNX gives other log-probabilities"):
        export_onnx(acoustic, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


class OtherWhenExported(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, hidden):
        return self.head(hidden) * (2 if torch.compiler.is_exporting() else 1)
