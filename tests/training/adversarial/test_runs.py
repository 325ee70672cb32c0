"""The example configuration at tiny size: the data that it reads, resuming, several processes, and collapse."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from lhotse import CutSet, Recording, SupervisionSegment
from lhotse.cut import MonoCut

from lyrics_asr.audio import Audio, write_audio
from lyrics_asr.config import load_config
from lyrics_asr.training import loop
from lyrics_asr.training.checkpoints import load_checkpoint, newest_checkpoint
from lyrics_asr.training.config import TrainingConfig
from lyrics_asr.training.data.cut_loader import CutLoader
from lyrics_asr.training.data.labels import Labeller
from lyrics_asr.training.data.options import AugmentationOptions
from lyrics_asr.training.data.unpaired import WithUnpaired
from lyrics_asr.training.trackers import JsonLog
from lyrics_asr.types import Vocabulary
from tests.conftest import ACOUSTIC
from tests.paths import CONFIGS
from tests.training.test_runs import assert_same_curve, train_in_two_processes

RATE_HZ = 8000
UNET = {
    "network": "UNet",
    "n_fft": 64,
    "bins": 32,
    "patch_frames": 8,
    "channels": [2, 2],
    "sample_rate_hz": RATE_HZ,
    "audio_channels": 1,
}


def tone(hz, seconds=0.4):
    return 0.2 * torch.sin(2 * torch.pi * hz * torch.arange(round(seconds * RATE_HZ)) / RATE_HZ)[None]


def recording_of(path, samples):
    write_audio(path, Audio(samples, RATE_HZ))
    return Recording.from_file(path, recording_id=path.stem)


@pytest.fixture
def files(tmp_path):
    """Cuts with stems, tones over noise, and cuts of solo vocals, which are higher tones."""
    pairs, solos = [], []
    for number in range(4):
        vocals = tone(500 + 100 * number)
        rest = 0.1 * torch.randn(vocals.shape, generator=torch.Generator().manual_seed(number))
        sounds = {"mix": vocals + rest, "vocals": vocals, "accompaniment": rest, "solo": tone(2000 + 100 * number)}
        stored = {name: recording_of(tmp_path / f"{name}{number}.wav", each) for name, each in sounds.items()}
        words = SupervisionSegment(f"{number}", f"mix{number}", 0.0, 0.4, text="ab", language="en")
        stems = {name: stored[name] for name in ("vocals", "accompaniment")}
        pairs.append(MonoCut(f"{number}", 0.0, 0.4, 0, [words], recording=stored["mix"], custom=stems))
        solos.append(MonoCut(f"solo{number}", 0.0, 0.4, 0, recording=stored["solo"]))
    paths = {"pairs": tmp_path / "pairs.jsonl.gz", "solos": tmp_path / "solos.jsonl.gz"}
    for name, cuts in (("pairs", pairs), ("solos", solos)):
        CutSet.from_cuts(cuts).to_file(paths[name])
    return {name: str(path) for name, path in paths.items()}


@pytest.fixture(params=["wasserstein"])
def config(request, files, tmp_path):
    """A shipped configuration with small networks and two solo recordings per row."""
    stage = "stages[0].adversarial"
    values = {
        "model": "",
        "separator": UNET,
        "acoustic": ACOUSTIC,
        "cuts.cuts": [files["pairs"]],
        "cuts.batch_cuts": 2,
        "cuts.workers": 0,
        "development": [],
        "development_cuts": files["pairs"],
        "validation_examples": 1,
        "output": str(tmp_path / "run"),
        "stages[0].steps": 4,
        f"{stage}.vocals": [files["solos"]],
        f"{stage}.accompaniment": [files["pairs"]],
        f"{stage}.mixtures": [files["pairs"]],
        f"{stage}.discriminator_steps": 2,
        f"{stage}.n_fft": 64,
        f"{stage}.patch_frames": 8,
        f"{stage}.filters": 2,
        f"{stage}.objective": request.param,
        "log_every_steps": 1,
        "checkpoint_every_steps": 2,
    }
    overrides = [f"{key}={json.dumps(value)}" for key, value in values.items()]
    yield load_config(TrainingConfig, CONFIGS / "adversarial.yaml", overrides)
    AcceleratorState._reset_state(reset_partial_state=True)


def curve(config):
    """The entries of steps, the last one of each."""
    entries = [json.loads(line) for line in Path(config.output, "log.jsonl").read_text().splitlines()]
    return {entry["step"]: entry for entry in entries if "additive" in entry}


@pytest.mark.parametrize("config", ["wasserstein", "factor_gan"], indirect=True)
def test_a_stopped_run_goes_on_as_the_uninterrupted_one_with_its_discriminators(config, tmp_path):
    loop.train(config, JsonLog(Path(config.output)))
    expected = curve(config)
    assert list(expected) == [1, 2, 3, 4]
    assert all(entry["separation"] > 0 and entry["adversarial"] != 0 for entry in expected.values())
    assert {"vocals energy", "accompaniment energy"} < expected[1].keys()

    class Stopped(Exception):
        pass

    stopped = replace(config, output=str(tmp_path / "stopped"))
    log = JsonLog(Path(stopped.output))

    def stop(entry):
        log(entry)
        if entry.get("step") == 3 and "additive" in entry:
            raise Stopped

    with pytest.raises(Stopped):
        loop.train(stopped, stop)
    loop.train(stopped, log)
    assert_same_curve(curve(stopped), expected, 1e-6)
    ours, theirs = (load_checkpoint(newest_checkpoint(Path(each.output))) for each in (stopped, config))
    assert ours.adversary["objective"].keys() == theirs.adversary["objective"].keys()
    for part in ("model", "adversary"):
        torch.testing.assert_close(getattr(ours, part), getattr(theirs, part), rtol=1e-5, atol=1e-6)
    other = replace(config.stages[0], adversarial=replace(config.stages[0].adversarial, filters=3), steps=5)
    with pytest.raises(ValueError, match="discriminators are not those of the configuration"):
        loop.train(replace(stopped, stages=[other]), log)


def test_remixes_are_no_real_pairs(config):
    options = replace(config.stages[0].adversarial, objective="factor_gan")
    remixed = replace(config.cuts, augmentation=AugmentationOptions(remix_prob=0.5))
    with pytest.raises(ValueError, match=r"real pairs of stems: set cuts\.augmentation\.remix_prob to 0"):
        replace(config, cuts=remixed, stages=[replace(config.stages[0], adversarial=options)])


@pytest.mark.parametrize("config", ["factor_gan"], indirect=True)
def test_batches_of_one_cut_give_factor_gan_nothing_to_shuffle(config):
    with pytest.raises(
        ValueError, match=r"factor_gan shuffles the cuts of a batch: set cuts\.batch_cuts to at least 2"
    ):
        replace(config, cuts=replace(config.cuts, batch_cuts=1))
    short = replace(config, cuts=replace(config.cuts, batch_seconds=0.5), max_skipped_steps=3)
    with pytest.raises(
        loop.TrainingError, match=r"of 3 steps in a row .* those of 2 discriminator steps; lower"
    ) as error:
        loop.train(short, JsonLog(Path(config.output)))
    assert "raise cuts.batch_seconds so that batches have at least two cuts" in str(error.value)
    entries = [json.loads(line) for line in Path(config.output, "log.jsonl").read_text().splitlines()]
    skipped = {
        entry["step"]: entry["skipped discriminator steps"]
        for entry in entries
        if "skipped discriminator steps" in entry
    }
    assert skipped == {1: 2, 2: 2, 3: 2}


@pytest.mark.slow
@pytest.mark.parametrize("config", ["wasserstein", "factor_gan"], indirect=True)
def test_two_processes_train_as_one_with_the_same_batches(config, tmp_path):
    stage = replace(config.stages[0], steps=3)
    one = replace(config, stages=[replace(stage, accumulation=2)], checkpoint_every_steps=0)
    loop.train(one, JsonLog(Path(one.output)))
    two = replace(one, stages=[stage], output=str(tmp_path / "two"))
    train_in_two_processes(two, tmp_path)
    assert_same_curve(curve(two), curve(one), 1e-4)
    ours, theirs = (load_checkpoint(newest_checkpoint(Path(each.output))).adversary for each in (two, one))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_collapse_ends_the_run_and_names_the_stage_and_the_step(config, monkeypatch):
    options = replace(config.stages[0].adversarial, collapse_steps=2)
    monkeypatch.setattr("lyrics_asr.training.adversarial.collapse.SILENT_SHARE", 10.0)  # nothing is as loud
    with pytest.raises(loop.TrainingError, match=r"^stage 'adversarial', step 2: the separator has collapsed"):
        loop.train(
            replace(config, stages=[replace(config.stages[0], adversarial=options)]), JsonLog(Path(config.output))
        )


def test_an_adversarial_stage_reads_the_right_sound_of_every_cut(config):
    """Solo vocals are tones from 2000 Hz on, those of the stage's cuts from 500 Hz on, and the rest is noise."""
    config = replace(config, cuts=replace(config.cuts, augmentation=AugmentationOptions([1.0], 0.0, 0.0)))
    run = loop._Run(config, loop.create_accelerator(config), lambda entry: None)
    batch = next(iter(run.sources.batches(0, 0, 1)))
    assert len(batch.unpaired) == 2
    for sounds in batch.unpaired:
        assert [peak_share(row) > 0.2 for row in sounds.vocals.mixture] == [True, True]
        assert all(peak_hz(row) >= 2000 for row in sounds.vocals.mixture)
        assert [peak_share(row) > 0.2 for row in sounds.accompaniment.mixture] == [False, False]
        assert all(500 <= peak_hz(row) < 1000 for row in sounds.mixture.mixture)
    assert batch.vocals is not None


def test_the_sounds_of_a_step_are_in_orders_of_their_own(config, files):
    pairs = [files["pairs"]]
    options = replace(config.stages[0].adversarial, vocals=pairs, accompaniment=pairs, mixtures=pairs)
    config = replace(config, stages=[replace(config.stages[0], adversarial=replace(options, discriminator_steps=1))])
    run = loop._Run(config, loop.create_accelerator(config), lambda entry: None)
    batches = [batch for batch, _ in zip(run.sources.batches(0, 0, 1), range(8), strict=False)]
    orders = [tuple(batch.chunk_ids for batch in batches)]
    for name in ("vocals", "accompaniment", "mixture"):
        orders.append(tuple(getattr(batch.unpaired[0], name).chunk_ids for batch in batches))
    assert len(set(orders)) == 4


def spectrum(row):
    return torch.fft.rfft(row[0]).abs().square()


def peak_hz(row):
    return float(spectrum(row).argmax()) * RATE_HZ / row.shape[-1]


def peak_share(row):
    return float(spectrum(row).max() / spectrum(row).sum())


def test_batches_with_unpaired_sounds_resume_at_every_position(files, config):
    letters = Vocabulary(("<pad>", "|", "'", *"abcdefghijklmnopqrstuvwxyz"), 0, 1)

    def source():
        pairs, solos, rest = (
            CutLoader(
                replace(config.cuts, cuts=[files[name]], batch_cuts=1, silence_prob=None),
                Labeller(letters),
                sample_rate_hz=RATE_HZ,
                channels=1,
                seed=seed,
                stem=stem,
            )
            for seed, (name, stem) in enumerate((("pairs", None), ("solos", "vocals"), ("pairs", "accompaniment")))
        )
        return WithUnpaired(pairs, {"vocals": solos, "accompaniment": rest}, discriminator_steps=3)

    def ids(batch):
        return batch.chunk_ids + tuple(each for sounds in batch.unpaired for each in sounds.vocals.chunk_ids)

    whole = source()
    taken, positions = [], []
    for batch, _ in zip(whole, range(6), strict=False):
        taken.append(ids(batch))
        positions.append(whole.state_dict())
    resumed = source()
    resumed.load_state_dict(positions[2])
    assert [ids(batch) for batch, _ in zip(resumed, range(3), strict=False)] == taken[3:]
