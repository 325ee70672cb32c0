import errno
import os
from itertools import pairwise

import pytest
import torch
from filelock import FileLock

import tests.float32  # noqa: F401
from tests import fork_server
from tests.paths import DALI, LYRICS

# Without the branch in the time domain, attention and LSTM: a quarter of the time of the tiny model's HTDemucs.
SEPARATOR = {
    "network": "HDemucs",
    "sources": ["vocals"],
    "channels": 4,
    "nfft": 512,
    "depth": 4,
    "hybrid": False,
    "rewrite": False,
    "dconv_depth": 1,
    "dconv_comp": 2,
    "dconv_attn": 99,
    "dconv_lstm": 99,
    "segment": 2,
}
ACOUSTIC = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": [8, 8, 8],
    "conv_kernel": [40, 8, 4],
    "conv_stride": [20, 4, 4],
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "layerdrop": 0.0,
}
"""Sizes of a tiny Wav2Vec2."""


def pytest_collection_modifyitems(config, items):
    """Each process of `--numprocesses` starts with the slow tests of its share, so that none is left at the end."""
    if not hasattr(config, "workerinput"):
        return
    count = config.workerinput["workercount"]
    bounds = [len(items) * worker // count for worker in range(count + 1)]
    for start, end in pairwise(bounds):
        items[start:end] = sorted(items[start:end], key=lambda item: item.get_closest_marker("slow") is None)


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    try:
        return (yield)
    except ModuleNotFoundError as error:
        if error.name == "pyctcdecode":
            pytest.skip("needs pyctcdecode, which cannot be installed beside numpy 2")
        raise


@pytest.fixture
def full_disk(monkeypatch):
    """Every file that is about to be completed meets a full disk."""

    def fsync(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.fixture(scope="session")
def real_dali():
    """The folder of DALI's own metadata, ground truth and a reviewer's remarks."""
    for name in ("gt_v1.0.gz", "dali_v1_metadata.json", "dali_remarks.csv"):
        if not (DALI / name).is_file():
            pytest.skip(f"{DALI / name} is not there; set LYRICS_ASR_DALI to the folder of DALI's files")
    return DALI


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory):
    """A LyricsModel with random weights and a language model, as `save` writes it."""
    from lyrics_asr.language_model import build_language_model
    from lyrics_asr.models.acoustic_checkpoints import build_acoustic
    from lyrics_asr.models.lyrics_model import LyricsModel
    from lyrics_asr.models.separators.loading import build_separator

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


@pytest.fixture(scope="session")
def tiny_hdemucs():
    """A separator with random weights, for tests that separate much."""
    from lyrics_asr.models.separators.loading import build_separator

    torch.manual_seed(0)
    return build_separator({**SEPARATOR, "sources": ["accompaniment", "vocals"], "segment": 1}).eval()


@pytest.fixture(scope="session")
def training_corpus(tmp_path_factory):
    """Manifest of two short synthetic songs with stems, which all processes of the test run share."""
    from lyrics_asr.synthesis import corpus as synthetic
    from lyrics_asr.synthesis.options import SyntheticOptions

    run_folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # every worker has a folder of its own in that of the run
        run_folder = run_folder.parent
    # The first process makes the songs; `generate` keeps what is complete.
    with FileLock(run_folder / "songs.lock"), fork_server.forked(synthetic):
        synthetic.generate(run_folder / "songs", SyntheticOptions(songs=2, lines=2, seed=3), LYRICS)
    return run_folder / "songs" / "manifest.jsonl"


@pytest.fixture(scope="session")
def training_cuts(training_corpus, tmp_path_factory):
    """Cuts of the corpus, of 3 s at most, with stems and phones."""
    from lyrics_asr.training.data.options import ChunkOptions
    from lyrics_asr.training.data.prepare_manifest import cut_songs

    folder = tmp_path_factory.mktemp("cuts")
    cut_songs(training_corpus, folder, ChunkOptions(chunk_seconds=3.0))
    return folder / "cuts.jsonl.gz"


@pytest.fixture
def training_config(training_corpus, training_cuts, tmp_path):
    """A run of one step from scratch, with networks of a few thousand weights."""
    from accelerate.state import AcceleratorState

    from lyrics_asr.training.config import TrainingConfig
    from lyrics_asr.training.data.options import CutLoaderOptions
    from lyrics_asr.training.stages import OptimizerOptions, SpecAugmentOptions, StageOptions

    yield TrainingConfig(
        cuts=CutLoaderOptions([str(training_cuts)], batch_cuts=2, batch_seconds=6.0, buckets=2, workers=0),
        development=[str(training_corpus)],
        output=str(tmp_path / "run"),
        separator=SEPARATOR,
        acoustic=ACOUSTIC,
        stages=[StageOptions("only", steps=1, acoustic=OptimizerOptions(1e-3))],
        spec_augment=SpecAugmentOptions(time_probability=0.1),
        validate_every_steps=2,
        lyrics="",
    )
    AcceleratorState._reset_state(reset_partial_state=True)  # it remembers the precision of the process' first run
