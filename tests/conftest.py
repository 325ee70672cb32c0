import errno
import os
from pathlib import Path

import pytest
import torch


@pytest.fixture
def full_disk(monkeypatch):
    """Every file that is about to be completed meets a full disk."""

    def fsync(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.fixture(scope="session")
def real_dali():
    """The folder of DALI's own metadata, ground truth and a reviewer's remarks."""
    default = Path(__file__).resolve().parents[2] / "shared" / "dali"
    folder = Path(os.environ.get("LYRICS_ASR_DALI", default))
    for name in ("gt_v1.0.gz", "dali_v1_metadata.json", "dali_remarks.csv"):
        if not (folder / name).is_file():
            pytest.skip(f"{folder / name} is not there; set LYRICS_ASR_DALI to the folder of DALI's files")
    return folder


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory):
    """A LyricsModel with random weights and a language model, as `save` writes it."""
    from lyrics_asr.acoustic import build_acoustic
    from lyrics_asr.language_model import build_language_model
    from lyrics_asr.model import LyricsModel
    from lyrics_asr.separation import build_separator

    folder = tmp_path_factory.mktemp("model")
    language_model = folder / "words.arpa"
    build_language_model(["one two three", "two three four", "three one"], 2, language_model)
    torch.manual_seed(0)
    separator = build_separator(
        {
            "sources": ["accompaniment", "vocals"],
            "channels": 4,
            "dconv_comp": 2,
            "depth": 4,
            "segment": 1,
            "t_layers": 1,
            "t_heads": 2,
            "bottom_channels": 16,
        }
    )
    acoustic = build_acoustic(
        {
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "conv_dim": [8] * 7,
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 2,
        },
        "abcdefghijklmnopqrstuvwxyz",
    )
    model = LyricsModel(separator, acoustic, name="tiny", language_model_path=language_model)
    model.save(folder / "tiny")
    return folder / "tiny"
