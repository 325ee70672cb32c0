import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from lyrics_asr.config import load_config
from lyrics_asr.corpora.manifest import read_manifest, write_manifest
from lyrics_asr.models.acoustic import build_acoustic
from lyrics_asr.models.demucs_weights import build_separator
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.registry import load_model
from lyrics_asr.synthesis.lyrics import LANGUAGE_NAMES
from lyrics_asr.training import loop
from lyrics_asr.training.checkpoints import load_checkpoint, newest_checkpoint, read_run
from lyrics_asr.training.config import OptimizerOptions, StageOptions, TrainingConfig
from lyrics_asr.training.data.batch import Batch
from lyrics_asr.training.freezing import freeze, phase_at
from lyrics_asr.training.from_scratch.frame_targets import IGNORED, frame_targets
from lyrics_asr.training.from_scratch.phones import PhoneClassifier
from lyrics_asr.training.losses import LossGraph
from lyrics_asr.training.optimizers import build_optimizers, warmup_cosine
from lyrics_asr.training.step import take_step
from lyrics_asr.training.trackers import JsonLog
from lyrics_asr.types import FrameGrid

ROOT = Path(__file__).parents[2]
MOVED = OptimizerOptions(learning_rate=1e-3, warmup_steps=1)
STEMS = StageOptions("acoustic", steps=4, batch_size=2, chunk_seconds=2.0, acoustic=MOVED)
JOINT = replace(STEMS, name="joint", input="mixture", steps=2, separator=MOVED, separation_weight=1.0)


@pytest.fixture
def config(training_config):
    return replace(
        training_config, stages=[replace(STEMS, frame_weight=1.0, phone_weight=1.0), replace(JOINT, phone_weight=1.0)]
    )


def entries(config):
    return [json.loads(line) for line in Path(config.output, "log.jsonl").read_text().splitlines()]


def test_the_learning_rate_rises_and_falls():
    factors = [warmup_cosine(step, 4, 12) for step in (0, 1, 3, 4, 8, 12)]
    assert factors == pytest.approx([0.25, 0.5, 1.0, 1.0, 0.5, 0.0])


def test_a_run_that_is_killed_and_started_again_ends_where_the_uninterrupted_one_does(config, tmp_path):
    whole = loop.train(config, JsonLog(Path(config.output)))

    class Killed(Exception):
        pass

    broken = replace(config, output=str(tmp_path / "broken"))
    log = JsonLog(Path(broken.output))

    def killer(entry):
        log(entry)
        if "cer" in entry and entry["stage"] == "joint":  # after the last step, before its checkpoint
            raise Killed

    with pytest.raises(Killed):
        loop.train(broken, killer)
    assert read_run(newest_checkpoint(Path(broken.output))).stage == 0
    resumed = loop.train(broken, log)
    for (name, ours), theirs in zip(resumed.state_dict().items(), whole.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name, rtol=1e-5, atol=1e-5)
    assert [e["cer"] for e in entries(broken) if "cer" in e][-1] == pytest.approx(
        [e["cer"] for e in entries(config) if "cer" in e][-1]
    )
    whole.save(Path(config.output, "model"), half=True)
    assert load_model(str(Path(config.output, "model")), device="cpu").acoustic.vocabulary == whole.acoustic.vocabulary


def new_model(config):
    torch.manual_seed(0)
    return LyricsModel(build_separator(config.separator), build_acoustic(config.acoustic, config.letters), name="new")


def losses_of(model, stage, heard, phones=None, start=None):
    graph = LossGraph(model, phones, start)
    targets = graph.targets(stage, heard)
    return graph(stage, heard, targets, targets.counts)


def step(model, stage, heard, optimizers, phones=None):
    freeze(model, stage, phase_at(stage, 0))
    graph = LossGraph(model, phones)
    return take_step(Accelerator(), graph, stage, [heard], optimizers, (0,)).losses


def batch(seconds=2.0, rate=44_100):
    torch.manual_seed(1)
    samples = round(seconds * rate)
    voice, rest = torch.randn(2, 2, 2, samples) * 0.1
    spans = torch.tensor([[0.1, 0.15], [0.15, 0.2], [0.1, 0.15], [0.2, 0.2]])
    lengths = torch.tensor([samples, samples])
    counts = torch.tensor([2, 2])
    letters, names = torch.tensor([5, 6, 7, 5]), torch.tensor([1, 2, 2, 3])
    return Batch(("a", "b"), voice, rest, None, lengths, letters, spans, counts, names, spans, counts)


def test_a_stage_on_separated_vocals_leaves_the_separator_as_it_is(config):
    config = replace(config, stages=[replace(STEMS, input="separated", phone_weight=1.0)])
    started = new_model(config).state_dict()
    trained = loop.train(config, JsonLog(Path(config.output))).state_dict()
    moved = {name.split(".")[0] for name, value in trained.items() if not torch.equal(value, started[name])}
    assert moved == {"acoustic"}
    assert len(list(Path(config.output, "separated").glob("*/*.npy"))) == 2 * 2


def test_two_optimizers_and_what_is_frozen_stays(config):
    model = new_model(config)
    optimizers = build_optimizers(model, JOINT)
    assert set(optimizers) == {"separator", "acoustic"}
    owned = [{id(p) for group in each.optimizer.param_groups for p in group["params"]} for each in optimizers.values()]
    assert not owned[0] & owned[1]
    assert len(owned[0] | owned[1]) == len(list(model.parameters()))

    frozen = replace(JOINT, separator=OptimizerOptions())
    optimizers = build_optimizers(model, frozen)
    assert set(optimizers) == {"acoustic"}
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    step(model, frozen, batch(), optimizers)
    moved = {name.split(".")[0] for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"acoustic"}


def test_the_ctc_loss_reaches_the_separator(config):
    model = new_model(config)
    losses_of(model, JOINT, batch()).ctc.backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in model.separator.parameters())


@pytest.mark.parametrize(
    ("made_of", "expected"), [(lambda heard: heard.vocals, 0.0), (lambda heard: 0 * heard.vocals, 1.0)]
)
def test_the_separation_loss_is_zero_for_the_stem_and_one_for_silence(config, monkeypatch, made_of, expected):
    model, heard = new_model(config), batch()
    monkeypatch.setattr(model.separator, "forward", lambda mixture: made_of(heard))
    assert float(losses_of(model, JOINT, heard).separation) == pytest.approx(expected, abs=2e-3)


def test_every_frame_has_the_letter_that_is_sung_there():
    grid = FrameGrid(stride_samples=160, receptive_field_samples=0, sample_rate_hz=16_000)  # frame i at i * 10 ms
    tiny = batch(0.3, 16_000)
    targets = frame_targets(
        tiny.labels, tiny.label_spans, tiny.label_lengths, torch.tensor([30, 25]), grid, background=0
    )
    first = [0] * 10 + [5] * 5 + [6] * 5 + [0] * 10
    second = [0] * 10 + [7] * 5 + [0] * 5 + [5] + [0] * 4 + [IGNORED] * 5
    assert targets.tolist() == [first, second]


def test_a_letter_that_comes_twice_is_parted_by_a_blank():
    grid = FrameGrid(stride_samples=160, receptive_field_samples=0, sample_rate_hz=16_000)
    spans = torch.tensor([[0.0, 0.03], [0.03, 0.06], [0.06, 0.08]])
    frames = torch.tensor([10, 10])
    targets = frame_targets(torch.tensor([5, 5, 6]), spans, torch.tensor([3, 0]), frames, grid, background=0)
    assert targets.tolist() == [[5, 5, 5, 0, 5, 5, 6, 6, 0, 0], [0] * 10]


def test_a_chunk_with_more_labels_than_frames_adds_nothing(config):
    """Its true loss is infinite; a loss that clips it goes on to poison the weights."""
    model = new_model(config)
    stage = replace(STEMS, chunk_seconds=0.3)
    tiny = batch(0.3, 16_000)
    labels = torch.full((200,), 5)
    many = replace(tiny, labels=labels, label_spans=torch.zeros(200, 2), label_lengths=torch.tensor([100, 100]))
    losses = losses_of(model, stage, many)
    assert float(losses.ctc.detach()) == 0


def test_a_row_without_labels_is_all_blank(config):
    model = new_model(config).eval()
    heard = batch(2.0, 16_000)
    nothing = torch.tensor([], dtype=torch.int64)
    empty = replace(heard, labels=nothing, label_spans=torch.zeros(0, 2), label_lengths=torch.tensor([0, 0]))
    log_probs = model.acoustic(heard.vocals.mean(1), heard.lengths)
    blank = log_probs[:, :, model.acoustic.vocabulary.blank_id]
    stage = replace(STEMS, input="vocals")
    torch.testing.assert_close(losses_of(model, stage, empty).ctc, -blank.sum(1).mean() / (blank.shape[1] / 6))
    half = replace(
        heard, labels=heard.labels[:2], label_spans=heard.label_spans[:2], label_lengths=torch.tensor([2, 0])
    )
    whole = losses_of(model, stage, heard).ctc.item()
    second = -blank[1].sum() / (blank.shape[1] / 6)
    first = losses_of(model, stage, half).ctc - second / 2
    assert 0 < first.item() < whole


def test_frames_of_an_unknown_sound_teach_nothing():
    grid = FrameGrid(stride_samples=160, receptive_field_samples=0, sample_rate_hz=16_000)
    spans = torch.tensor([[0.0, 0.02], [0.02, 0.04], [0.04, 0.06]])
    numbers = torch.tensor([3, IGNORED, IGNORED])
    targets = frame_targets(numbers, spans, torch.tensor([3]), torch.tensor([8]), grid, background=0)
    assert targets.tolist() == [[3, 3, *[IGNORED] * 4, 0, 0]]


def test_a_step_lowers_the_loss_of_the_same_batch(config):
    model = new_model(config)
    stage = replace(JOINT, steps=60, acoustic=OptimizerOptions(learning_rate=3e-3, warmup_steps=5))
    optimizers = build_optimizers(model, stage)
    first = step(model, stage, batch(), optimizers)
    for _ in range(30):
        last = step(model, stage, batch(), optimizers)
    assert last["ctc"] < 0.7 * first["ctc"]


def test_the_sound_classifier_listens_two_thirds_of_the_way_up(config):
    network = replace(config, acoustic={**config.acoustic, "num_hidden_layers": 3, "do_stable_layer_norm": True})
    acoustic = new_model(network).acoustic.eval()
    classifier = PhoneClassifier(acoustic, phones=4)
    with pytest.raises(RuntimeError, match="has not been run"):
        classifier()
    waveforms = torch.randn(2, 4000)
    with torch.no_grad():
        acoustic(waveforms)
        hidden = acoustic.network(waveforms, output_hidden_states=True).hidden_states
        expected = torch.log_softmax(classifier.linear(hidden[2]), -1)  # 0 is what goes into the first layer
        torch.testing.assert_close(classifier(), expected, atol=1e-4, rtol=1e-4)
    classifier.close()
    acoustic(waveforms)
    with pytest.raises(RuntimeError, match="has not been run"):
        classifier()


def test_learning_the_sounds_moves_the_acoustic_model(config):
    model = new_model(config)
    classifier = PhoneClassifier(model.acoustic, phones=3)
    stage = replace(STEMS, steps=60, ctc_weight=0.0, phone_weight=1.0, acoustic=OptimizerOptions(3e-3, warmup_steps=1))
    optimizers = build_optimizers(model, stage, classifier)
    assert set(optimizers) == {"acoustic", "phones"}
    heard = batch(rate=16_000)
    before = [parameter.clone() for parameter in model.acoustic.network.base_model.feature_projection.parameters()]
    first = step(model, stage, heard, optimizers, classifier)
    for _ in range(30):
        last = step(model, stage, heard, optimizers, classifier)
    assert last["phones"] < 0.7 * first["phones"]
    after = model.acoustic.network.base_model.feature_projection.parameters()
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_sounds_alone_can_be_learnt_from_mixtures(config):
    model = new_model(config)
    classifier = PhoneClassifier(model.acoustic, phones=3)
    losses = losses_of(model, replace(JOINT, ctc_weight=0.0, phone_weight=1.0), batch(), classifier)
    assert float(losses.phones.detach()) > 0


def test_songs_without_sounds_cannot_teach_them(config):
    songs = [replace(song, phones=()) for song in read_manifest(Path(config.training[0]))]
    write_manifest(Path(config.training[0]).with_name("silent.jsonl"), songs)
    silent = replace(config, training=[str(Path(config.training[0]).with_name("silent.jsonl"))])
    with pytest.raises(
        ValueError, match=r"phone_weight needs the phones of every word, which 2 songs lack.*data synth"
    ):
        loop.train(silent, JsonLog(Path(config.output)))


@pytest.mark.parametrize("name", ["finetune_dali", "smoke", "overfit"])
def test_the_configs_for_fine_tuning_are_valid(name):
    config = load_config(TrainingConfig, ROOT / "configs" / f"{name}.yaml")
    assert config.model
    assert config.stages[0].separator.learning_rate < config.stages[0].acoustic.learning_rate or config.lora.rank


@pytest.mark.parametrize("name", ["embedded_languages", "embedded_languages_again"])
def test_the_configs_for_four_languages_are_valid(name):
    config = load_config(TrainingConfig, ROOT / "configs" / f"{name}.yaml")
    assert set(config.stream.languages) == set(LANGUAGE_NAMES)
    assert len(config.development) == 4


def test_the_config_of_the_embedded_model_is_valid():
    config = load_config(TrainingConfig, ROOT / "configs" / "embedded.yaml")
    assert config.stages[0].input == "mixture"
    assert config.stages[0].acoustic.learning_rate == 0
    with pytest.raises(ValueError, match="unknown_key"):
        load_config(TrainingConfig, ROOT / "configs" / "embedded.yaml", ["unknown_key=1"])
    shorter = load_config(TrainingConfig, ROOT / "configs" / "embedded.yaml", ["stages[1].steps=7"])
    assert shorter == replace(config, stages=[config.stages[0], replace(config.stages[1], steps=7), *config.stages[2:]])
    for wrong in ("stages[1].stepps=7", "stages[99].steps=7", "stages[1].steps=many"):
        with pytest.raises(ValueError, match="command line: stages"):
            load_config(TrainingConfig, ROOT / "configs" / "embedded.yaml", [wrong])
    with pytest.raises(ValueError, match="separation_weight needs input: mixture"):
        replace(STEMS, separation_weight=1.0)


def test_a_damaged_checkpoint_is_named(tmp_path):
    folder = tmp_path / "checkpoints" / "step-00000001"
    folder.mkdir(parents=True)
    (folder / "training.pt").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"step-00000001: not a checkpoint that can be read .*; remove it"):
        load_checkpoint(newest_checkpoint(tmp_path))
