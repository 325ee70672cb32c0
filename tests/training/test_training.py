import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from lyrics_asr.config import load_config
from lyrics_asr.corpora.manifest import read_manifest, write_manifest
from lyrics_asr.models.acoustic_checkpoints import build_acoustic
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.registry import load_model
from lyrics_asr.models.separators.loading import build_separator
from lyrics_asr.synthesis.options import LANGUAGE_NAMES
from lyrics_asr.training import loop
from lyrics_asr.training.checkpoints import load_checkpoint, newest_checkpoint, read_run
from lyrics_asr.training.config import TrainingConfig
from lyrics_asr.training.data.batch import Batch
from lyrics_asr.training.data.batch_sources import first_rows
from lyrics_asr.training.data.cut_loader import CutLoader
from lyrics_asr.training.data.prepare_manifest import cut_songs
from lyrics_asr.training.freezing import freeze, phase_at
from lyrics_asr.training.from_scratch.frame_targets import IGNORED, frame_targets
from lyrics_asr.training.from_scratch.phones import PhoneClassifier
from lyrics_asr.training.losses import Losses, LossGraph
from lyrics_asr.training.optimizers import build_optimizers, warmup_cosine
from lyrics_asr.training.setup import starting_model
from lyrics_asr.training.stages import OptimizerOptions, StageOptions
from lyrics_asr.training.step import take_step
from lyrics_asr.training.trackers import JsonLog
from lyrics_asr.types import FrameGrid

ROOT = Path(__file__).parents[2]
PARTS = tuple(Losses.__dataclass_fields__)
MOVED = OptimizerOptions(learning_rate=1e-3, warmup_steps=1)
STEMS = StageOptions("acoustic", steps=4, acoustic=MOVED)
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


@pytest.mark.slow
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


def losses_of(model, stage, inputs, phones=None, start=None):
    graph = LossGraph(model, phones, start)
    targets = graph.targets(stage, inputs)
    return graph(stage, inputs, targets, targets.counts)


def step(model, stage, inputs, optimizers, phones=None):
    freeze(model, stage, phase_at(stage, 0))
    graph = LossGraph(model, phones)
    return take_step(Accelerator(), graph, stage, [inputs], optimizers, (0,)).losses


def batch(seconds=2.0, rate=44_100):
    torch.manual_seed(1)
    samples = round(seconds * rate)
    voice, rest = torch.randn(2, 2, 2, samples) * 0.1
    spans = torch.tensor([[0.1, 0.15], [0.15, 0.2], [0.1, 0.15], [0.2, 0.2]])
    lengths = torch.tensor([samples, samples])
    counts = torch.tensor([2, 2])
    letters, names = torch.tensor([5, 6, 7, 5]), torch.tensor([1, 2, 2, 3])
    return Batch(("a", "b"), voice, rest, None, lengths, letters, spans, counts, names, spans, counts)


@pytest.mark.slow
def test_every_kind_of_stage_trains_its_parts_on_its_losses(config):
    letters = StageOptions("letters", 1, input="vocals", acoustic=MOVED, ctc_weight=0.0, frame_weight=1.0)
    stages = [
        StageOptions("separator", 1, input="mixture", separator=MOVED, separation_weight=1.0, ctc_weight=0.0),
        replace(letters, phone_weight=1.0),
        replace(STEMS, name="stems", steps=1, phone_weight=1.0),
        replace(STEMS, name="separated", steps=1, input="separated", phone_weight=1.0),
        replace(JOINT, steps=1, phone_weight=1.0),
    ]
    config = replace(config, stages=stages, log_every_steps=1, validation_examples=1)
    weights = [starting_model(config).state_dict()]

    def log(entry):
        JsonLog(Path(config.output))(entry)
        if entry.get("done"):
            weights.append(load_checkpoint(newest_checkpoint(Path(config.output))).model)

    loop.train(config, log)
    losses = {entry["stage"]: entry for entry in entries(config) if "ctc" in entry}
    assert {stage: {name for name in PARTS if losses[stage][name] > 0} for stage in losses} == {
        "separator": {"separation"},
        "letters": {"frames", "phones"},
        "stems": {"ctc", "phones"},
        "separated": {"ctc", "phones"},
        "joint": {"separation", "ctc", "phones"},
    }
    moved = [
        {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
        for before, after in pairwise(weights)
    ]
    assert moved == [{"separator"}, {"acoustic"}, {"acoustic"}, {"acoustic"}, {"separator", "acoustic"}]
    assert len(list(Path(config.output, "vocals_cache").glob("*/audio/*.flac"))) == 2 * 2  # two songs, each remixed


@pytest.mark.slow
def test_a_run_resumes_at_its_step_on_fewer_processes(config):
    """Eight processes are simulated by eight batches per step of one process, which leave the same position."""
    eight = replace(config, stages=[replace(STEMS, steps=4)], checkpoint_every_steps=1, log_every_steps=1)
    seen = []

    def log(entry):
        JsonLog(Path(config.output))(entry)
        if entry.get("step") == 2 and "ctc" in entry:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CutLoader, "__iter__", recorded(seen))
        with pytest.raises(KeyboardInterrupt):
            loop.train(replace(eight, stages=[replace(STEMS, steps=4, accumulation=8)]), log)
        position = len(seen) // 2  # of the checkpoint after step 1
        loop.train(eight, JsonLog(Path(config.output)))
    assert [entry["step"] for entry in entries(config) if "ctc" in entry] == [1, 2, 2, 3, 4]
    assert seen[16:19] == seen[position : position + 3]


def recorded(seen):
    """`CutLoader.__iter__`, which keeps the ids of the batches."""
    given = CutLoader.__iter__

    def iterate(self):
        for read in given(self):
            seen.append(read.chunk_ids)
            yield read

    return iterate


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
    ("made_of", "expected"), [(lambda inputs: inputs.vocals, 0.0), (lambda inputs: 0 * inputs.vocals, 1.0)]
)
def test_the_separation_loss_is_zero_for_the_stem_and_one_for_silence(config, monkeypatch, made_of, expected):
    model, inputs = new_model(config), batch()
    monkeypatch.setattr(model.separator, "forward", lambda mixture: made_of(inputs))
    assert float(losses_of(model, JOINT, inputs).separation) == pytest.approx(expected, abs=2e-3)


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
    tiny = batch(0.3, 16_000)
    labels = torch.full((200,), 5)
    many = replace(tiny, labels=labels, label_spans=torch.zeros(200, 2), label_lengths=torch.tensor([100, 100]))
    losses = losses_of(model, STEMS, many)
    assert float(losses.ctc.detach()) == 0


def test_a_row_without_labels_is_all_blank(config):
    model = new_model(config).eval()
    inputs = batch(2.0, 16_000)
    nothing = torch.tensor([], dtype=torch.int64)
    empty = replace(inputs, labels=nothing, label_spans=torch.zeros(0, 2), label_lengths=torch.tensor([0, 0]))
    log_probs = model.acoustic(inputs.vocals.mean(1), inputs.lengths)
    blank = log_probs[:, :, model.acoustic.vocabulary.blank_id]
    stage = replace(STEMS, input="vocals")
    torch.testing.assert_close(losses_of(model, stage, empty).ctc, -blank.sum(1).mean() / (blank.shape[1] / 6))
    half = replace(
        inputs, labels=inputs.labels[:2], label_spans=inputs.label_spans[:2], label_lengths=torch.tensor([2, 0])
    )
    whole = losses_of(model, stage, inputs).ctc.item()
    second = -blank[1].sum() / (blank.shape[1] / 6)
    first = losses_of(model, stage, half).ctc - second / 2
    assert 0 < first.item() < whole


def test_a_row_whose_words_are_unknown_teaches_no_words(config):
    model, stage = new_model(config).eval(), replace(STEMS, input="vocals", frame_weight=1.0)
    both = batch(2.0, 16_000)
    known = replace(both, words_known=torch.tensor([True, False]))
    first = first_rows(both, 1)
    for name in ("ctc", "frames"):
        of_known, of_first = (getattr(losses_of(model, stage, each), name) for each in (known, first))
        torch.testing.assert_close(of_known, of_first, rtol=1e-4, atol=1e-5)
        assert (getattr(losses_of(model, stage, both), name) - of_first).abs() > 1e-4


def test_frames_of_an_unknown_sound_teach_nothing():
    grid = FrameGrid(stride_samples=160, receptive_field_samples=0, sample_rate_hz=16_000)
    spans = torch.tensor([[0.0, 0.02], [0.02, 0.04], [0.04, 0.06]])
    numbers = torch.tensor([3, IGNORED, IGNORED])
    targets = frame_targets(numbers, spans, torch.tensor([3]), torch.tensor([8]), grid, background=0)
    assert targets.tolist() == [[3, 3, *[IGNORED] * 4, 0, 0]]


@pytest.mark.slow
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
    inputs = batch(rate=16_000)
    before = [parameter.clone() for parameter in model.acoustic.network.base_model.feature_projection.parameters()]
    first = step(model, stage, inputs, optimizers, classifier)
    for _ in range(30):
        last = step(model, stage, inputs, optimizers, classifier)
    assert last["phones"] < 0.7 * first["phones"]
    after = model.acoustic.network.base_model.feature_projection.parameters()
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_sounds_alone_can_be_learnt_from_mixtures(config):
    model = new_model(config)
    classifier = PhoneClassifier(model.acoustic, phones=3)
    losses = losses_of(model, replace(JOINT, ctc_weight=0.0, phone_weight=1.0), batch(), classifier)
    assert float(losses.phones.detach()) > 0


def test_phone_weight_needs_cuts_with_phones(config, training_corpus, tmp_path):
    manifest = training_corpus.with_name("without_phones.jsonl")
    write_manifest(manifest, [replace(song, phones=()) for song in read_manifest(training_corpus)])
    cut_songs(manifest, tmp_path / "cuts")
    without = replace(config, cuts=replace(config.cuts, cuts=[str(tmp_path / "cuts" / "cuts.jsonl.gz")]))
    with pytest.raises(ValueError, match=r"phone_weight needs the phones .*, which \d+ cuts lack.*data cuts"):
        loop.train(without, JsonLog(Path(config.output)))


@pytest.mark.parametrize("name", ["embedded_small_languages", "embedded_small_languages_again"])
def test_the_configs_for_four_languages_are_valid(name):
    config = load_config(TrainingConfig, ROOT / "configs" / f"{name}.yaml")
    assert set(config.stream.languages) == set(LANGUAGE_NAMES)
    assert len(config.development) == 4


@pytest.mark.parametrize("name", ["embedded_small", "ten_minutes", "stream", "finetune_dali", "smoke", "overfit"])
def test_the_other_configs_are_valid(name):
    load_config(TrainingConfig, ROOT / "configs" / f"{name}.yaml")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training=[songs.jsonl]", r"training is no longer an option; use cuts: .*`lyrics-asr data cuts MANIFEST"),
        ("mix.remix_prob=0.5", r"mix is no longer an option; use cuts\.silence_prob and cuts\.augmentation"),
        ("workers=2", r"workers is no longer an option; use cuts\.workers"),
        ("stages[0].batch_size=4", r"stages\[\]\.batch_size is no longer an option; use cuts\.batch_cuts"),
        ("stages[0].chunk_seconds=4", r"stages\[\]\.chunk_seconds is no longer an option; use .*--chunk-seconds"),
        ("stages[0].sound_weight=1", r"stages\[\]\.sound_weight is now called stages\[\]\.phone_weight"),
    ],
)
def test_removed_options_name_their_replacement(override, message):
    with pytest.raises(ValueError, match=message):
        load_config(TrainingConfig, ROOT / "configs" / "embedded_small.yaml", [override])


def test_the_config_of_the_small_embedded_model_is_valid():
    config = load_config(TrainingConfig, ROOT / "configs" / "embedded_small.yaml")
    assert config.stages[0].input == "mixture"
    assert config.stages[0].acoustic.learning_rate == 0
    with pytest.raises(ValueError, match="unknown_key"):
        load_config(TrainingConfig, ROOT / "configs" / "embedded_small.yaml", ["unknown_key=1"])
    shorter = load_config(TrainingConfig, ROOT / "configs" / "embedded_small.yaml", ["stages[1].steps=7"])
    assert shorter == replace(config, stages=[config.stages[0], replace(config.stages[1], steps=7), *config.stages[2:]])
    for wrong in ("stages[1].stepps=7", "stages[99].steps=7", "stages[1].steps=many"):
        with pytest.raises(ValueError, match="command line: stages"):
            load_config(TrainingConfig, ROOT / "configs" / "embedded_small.yaml", [wrong])
    with pytest.raises(ValueError, match="separation_weight needs input: mixture"):
        replace(STEMS, separation_weight=1.0)


def test_a_damaged_checkpoint_is_named(tmp_path):
    folder = tmp_path / "checkpoints" / "step-00000001"
    folder.mkdir(parents=True)
    (folder / "training.pt").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"step-00000001: not a checkpoint that can be read .*; remove it"):
        load_checkpoint(folder)
