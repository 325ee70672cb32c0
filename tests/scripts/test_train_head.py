"""The scripts that train a head on cached outputs: the cache against the network, resuming, a head that learns."""

import json

import pytest
import torch
from safetensors.torch import load_file

from lyrics_asr.models.acoustic_checkpoints import build_acoustic
from lyrics_asr.models.registry import load_model
from lyrics_asr.training.data.cut_loader import CutLoader
from lyrics_asr.training.data.options import AugmentationOptions, CutLoaderOptions
from lyrics_asr.training.data.phones import labeller_of
from scripts import train_head
from scripts.cache_encoder import LETTERS, cache, encode
from tests.models.test_whisper_ctc import make_whisper

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    return make_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def features(whisper, training_cuts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    cache(whisper, folder, [training_cuts], epochs=1, augment=False, seed=0)
    return folder


def test_the_cache_holds_what_the_network_computes_for_each_chunk(whisper, training_cuts, features):
    acoustic = build_acoustic({"encoder": str(whisper)}, LETTERS).eval()
    plain = AugmentationOptions([1.0], gain_db=0.0, remix_prob=0.0)
    options = CutLoaderOptions([str(training_cuts)], batch_cuts=1, buckets=2, workers=0, augmentation=plain)
    labeller = labeller_of([training_cuts], acoustic.vocabulary, ())
    loader = CutLoader(options, labeller, sample_rate_hz=44_100, channels=2, seed=0, epochs=1)
    alone = {tuple(row["labels"].tolist()): row for batch in loader for row in encode(acoustic, batch)}
    cached = [load_file(path) for path in features.glob("*.safetensors")]
    assert len(cached) == len(alone) > 2
    for row in cached:
        expected = alone[tuple(row["labels"].tolist())]
        torch.testing.assert_close(row["states"].float(), expected["states"].float(), atol=5e-3, rtol=0)
        assert torch.equal(row["targets"], expected["targets"])
        labels = iter(row["labels"].tolist())
        framed = torch.unique_consecutive(row["targets"][row["targets"] > 0]).tolist()
        assert all(letter in labels for letter in framed)  # in this order; a fast letter may have no frame of its own
        assert len(framed) > 0.8 * len(row["labels"])


def test_an_interrupted_cache_goes_on_with_other_augmentations(whisper, training_cuts, tmp_path):
    cache(whisper, tmp_path / "whole", [training_cuts], epochs=2, augment=True, seed=1)
    for epochs in (1, 2):
        cache(whisper, tmp_path / "parts", [training_cuts], epochs=epochs, augment=True, seed=1)
    names = sorted(path.name for path in (tmp_path / "whole").glob("*.safetensors"))
    assert names == sorted(path.name for path in (tmp_path / "parts").glob("*.safetensors"))
    states = []
    for name in names:
        ours, theirs = (load_file(tmp_path / part / name)["states"] for part in ("whole", "parts"))
        assert torch.equal(ours, theirs)
        states.append(ours)
    assert not any(torch.equal(a, b) for i, a in enumerate(states) for b in states[:i])


@pytest.mark.parametrize("upper_layers", [0, 1, 2])
def test_upper_layers_go_on_from_cached_outputs_as_the_whole_network_does(whisper, upper_layers):
    network = build_acoustic({"encoder": str(whisper)}, LETTERS).network.eval()
    features = torch.randn(2, network.config.num_mel_bins, 2 * network.config.max_source_positions)
    with torch.inference_mode():
        expected = network(features).log_softmax(-1)
        cached = list(network.hidden_states(features).unbind(1))
        found = train_head._log_probs(network, cached, upper_layers)
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0)


def test_only_layers_with_cached_inputs_can_be_trained(whisper):
    network = build_acoustic({"encoder": str(whisper)}, LETTERS).network
    trained = train_head._train_upper_layers(network, 1)
    frozen = {id(weight) for weight in network.encoder.layers[:-1].parameters()}
    assert trained
    assert all(weight.requires_grad and id(weight) not in frozen for weight in trained)
    assert not any(weight.requires_grad for weight in network.encoder.layers[:-1].parameters())
    with pytest.raises(ValueError, match="3 upper layers"):
        train_head._train_upper_layers(network, 3)


def test_a_head_learns_and_an_interrupted_run_ends_as_a_whole_one(whisper, features, tmp_path, monkeypatch):
    monkeypatch.setattr(train_head, "_VALIDATE_EVERY", 10)
    monkeypatch.setattr(train_head, "_BATCH", 2)
    train_head.train(whisper, tmp_path / "whole", [features], [features], steps=30)
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30]
    assert lines[-1]["development_ctc"] < 0.95 * lines[0]["development_ctc"]

    validate = train_head.validate
    monkeypatch.setattr(train_head, "validate", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_head.train(whisper, tmp_path / "parts", [features], [features], steps=30)
    monkeypatch.setattr(train_head, "validate", validate)
    train_head.train(whisper, tmp_path / "parts", [features], [features], steps=30)

    start = tmp_path / "whole" / "model"
    train_head.train(whisper, tmp_path / "upper", [features], [features], start=start, upper_layers=1, steps=10)
    (line,) = map(json.loads, (tmp_path / "upper" / "log.jsonl").read_text().splitlines())
    assert line["development_ctc"] < 1.02 * lines[-1]["development_ctc"]
    first, last = (
        load_model(str(each), device="cpu").acoustic.network
        for each in (start, start.parent.parent / "upper" / "model")
    )
    assert torch.equal(first.encoder.conv1.weight, last.encoder.conv1.weight)
    assert not torch.equal(first.encoder.layers[-1].fc1.weight, last.encoder.layers[-1].fc1.weight)

    upper = tmp_path / "upper" / "model"  # its upper layers are where further training begins
    train_head.train(whisper, tmp_path / "again", [features], [features], start=upper, upper_layers=1, steps=0)
    again = load_model(str(tmp_path / "again" / "model"), device="cpu").acoustic.network
    assert all(torch.equal(again.state_dict()[name], weight) for name, weight in last.state_dict().items())

    whole, parts = (load_model(str(tmp_path / each / "model"), device="cpu") for each in ("whole", "parts"))
    assert whole.state_dict().keys() == parts.state_dict().keys()
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], weight, atol=0.05, rtol=0)
