import copy
import json

import pytest
import torch
from lhotse import CutSet
from lhotse.qa import validate

from lyrics_asr.audio import Audio, leveled, read_audio, write_audio
from lyrics_asr.corpora.manifest import Song, write_manifest
from lyrics_asr.evaluation.metrics import si_sdr
from lyrics_asr.models.registry import load_model
from lyrics_asr.options import SeparationOptions
from lyrics_asr.training.data.options import AugmentationOptions
from lyrics_asr.training.data.prepare_manifest import cut_songs
from lyrics_asr.training.data.separated_cuts import SeparatedCuts
from lyrics_asr.training.data.vocals_cache import require_separator
from lyrics_asr.types import TimedWord

RATE_HZ = 44_100
SECONDS = 6
QUIET = AugmentationOptions(remix_prob=0.5, min_vocals_gain_db=20.0, max_vocals_gain_db=20.0)
PLAIN = AugmentationOptions(remix_prob=0.0)


@pytest.fixture(scope="module")
def model(tiny_model_folder, tiny_hdemucs):
    model = load_model(str(tiny_model_folder), device="cpu")
    model.separator = copy.deepcopy(tiny_hdemucs)
    return model


@pytest.fixture(scope="module")
def cuts(tmp_path_factory):
    return make_cuts(tmp_path_factory.mktemp("songs"))


@pytest.fixture(scope="module")
def entry(model, cuts, tmp_path_factory):
    """The separated cuts."""
    return separated(model, cuts, tmp_path_factory.mktemp("cache"))


def make_cuts(folder):
    """Cuts of three songs with stems; the second is a cappella. They have words from 3 s on."""
    songs = []
    for number in range(3):
        vocals, rest = 0.1 * torch.randn(2, 2, SECONDS * RATE_HZ, generator=torch.Generator().manual_seed(number))
        stems = {"audio": vocals + rest, "vocals": vocals, "accompaniment": rest}
        if number == 1:
            stems |= {"audio": vocals, "accompaniment": 0 * rest}
        paths = {name: folder / f"{name} {number}.wav" for name in stems}
        for name, samples in stems.items():
            write_audio(paths[name], Audio(samples, RATE_HZ))
        words = tuple(TimedWord("ab", at + 0.25, at + 0.75, 1.0) for at in (3, 4, 5))
        songs.append(Song(f"disc/{number}", lyrics="ab", words=words, language="en", **paths))
    write_manifest(folder / "manifest.jsonl", songs)
    cut_songs(folder / "manifest.jsonl", folder / "cuts")
    return folder / "cuts" / "cuts.jsonl.gz"


def separated(model, cuts, folder, augmentation=QUIET, limit_gb=1.0):
    entry = SeparatedCuts(model, [cuts], folder, augmentation=augmentation, seed=0)
    entry.separate()
    entry.write_cuts(limit_gb)
    return entry.paths[0]


def separate(model, mixture):
    """What the acoustic model hears at inference."""
    return model.to_16k_mono(*model.vocals([leveled(mixture)], SeparationOptions())).samples


def audio_of(path, song, variant):
    return read_audio(path.parent / "audio" / "disc" / f"{song}-{variant}.flac").samples


def test_songs_are_separated_from_their_mixture_and_from_a_remix(model, cuts, entry):
    songs = cuts.parent.parent
    for song in (0, 2):
        mixture = read_audio(songs / f"audio {song}.wav")
        torch.testing.assert_close(audio_of(entry, song, 0), separate(model, mixture), atol=2**-14, rtol=0)
    for song in range(3):  # remixed with one of the two accompaniments, 20 dB below the vocals
        vocals = read_audio(songs / f"vocals {song}.wav")
        clean = separate(model, vocals)[0]
        remixed = audio_of(entry, song, 1)[0]
        assert si_sdr(remixed, clean) < 60
        if song == 1:
            assert si_sdr(audio_of(entry, song, 0)[0], clean) < 60  # a silent accompaniment is always replaced
    assert not torch.equal(audio_of(entry, 0, 0), audio_of(entry, 0, 1))


def test_the_cuts_are_windows_of_the_separated_vocals_with_their_words(model, cuts, entry):
    given = {cut.id: cut for cut in CutSet.from_file(cuts)}
    made = {cut.id: cut for cut in CutSet.from_file(entry)}
    validate(CutSet.from_cuts(made.values()), read_data=True)
    assert made.keys() == {f"{cut_id}-{variant}" for cut_id in given for variant in range(2)}
    for cut_id, cut in made.items():
        own = given[cut_id[:-2]]
        assert (cut.start, cut.duration) == (own.start, own.duration)
        assert [each.alignment for each in cut.supervisions] == [each.alignment for each in own.supervisions]
        assert "vocals" not in cut.custom
    require_separator([entry], model)


def test_a_song_that_cannot_be_read_is_named_and_left_out_alone(model, tmp_path, caplog):
    cuts = make_cuts(tmp_path)
    broken, gone = tmp_path / "vocals 0.wav", tmp_path / "accompaniment 1.wav"
    audio = read_audio(broken)
    audio.samples[0, 0] = torch.nan
    write_audio(broken, audio)
    gone.unlink()
    path = separated(model, cuts, tmp_path / "cache", PLAIN)
    assert {cut.recording_id for cut in CutSet.from_file(path)} == {"disc/2-0"}  # one variant without remixing
    assert f"song disc/0 is left out: {broken}: has NaN or infinite samples" in caplog.text
    assert f"song disc/1 is left out: {gone}: no such file" in caplog.text
    lost = sum(cut.recording_id != "disc/2" for cut in CutSet.from_file(cuts))
    assert f"{lost} cuts are left out" in caplog.text


def test_two_processes_share_the_songs_and_an_interrupted_cache_is_completed(model, cuts, entry, tmp_path):
    ranks = [SeparatedCuts(model, [cuts], tmp_path / "cache", augmentation=QUIET, seed=0) for _ in range(2)]
    ranks[0].separate(0, 2)
    names = {path.name for path in (tmp_path / "cache").rglob("*.flac")}
    assert names == {"0-0.flac", "0-1.flac", "2-0.flac", "2-1.flac"}
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.flac")}
    ranks[1].separate(1, 2)
    ranks[0].write_cuts(1.0)
    path = separated(model, cuts, tmp_path / "cache")
    assert [path] == ranks[1].paths
    assert {each: each.stat().st_mtime_ns for each in made} == made
    for file in path.parent.rglob("*.flac"):
        assert file.read_bytes() == (entry.parent / file.relative_to(path.parent)).read_bytes()


def test_another_separator_has_its_own_entry_and_the_oldest_are_removed(model, cuts, tmp_path):
    model = copy.deepcopy(model)
    songs = sorted(cuts.parent.parent.rglob("*"))
    first = separated(model, cuts, tmp_path / "cache", PLAIN)
    with torch.no_grad():
        next(model.separator.parameters()).add_(1e-3)
    second = separated(model, cuts, tmp_path / "cache", PLAIN)
    assert first != second
    assert first.exists()
    sizes = sum(path.stat().st_size for path in second.parent.rglob("*") if path.is_file())
    with torch.no_grad():
        next(model.separator.parameters()).add_(1e-3)
    third = separated(model, cuts, tmp_path / "cache", PLAIN, limit_gb=2.5 * sizes / 1e9)
    assert [path.exists() for path in (first, second, third)] == [False, True, True]
    separated(model, cuts, tmp_path / "cache", PLAIN, limit_gb=0.0)
    assert third.exists()
    assert not second.exists()
    assert sorted(cuts.parent.parent.rglob("*")) == songs
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_the_mode_of_the_separator_stays(model, cuts, tmp_path):
    model = copy.deepcopy(model).train()
    SeparatedCuts(model, [cuts], tmp_path / "cache", augmentation=PLAIN, seed=0).separate(0, 3)
    assert model.separator.training


def test_cuts_of_something_else_than_songs_are_refused(model, cuts, entry, tmp_path):
    with pytest.raises(ValueError, match="its sound is not a song in a file"):
        SeparatedCuts(model, [entry], tmp_path / "cache", augmentation=QUIET, seed=0)
    with pytest.raises(ValueError, match="input: separated needs files of cuts"):
        SeparatedCuts(model, [tmp_path], tmp_path / "cache", augmentation=QUIET, seed=0)
    line = json.loads(json.dumps(next(iter(CutSet.from_file(cuts))).to_dict()))
    line["recording"]["sources"][0]["source"] = str(tmp_path / "another.wav")
    bad = tmp_path / "bad.jsonl"
    CutSet.from_file(cuts).to_file(bad)
    bad.write_text(bad.read_text() + json.dumps(line) + "\n")
    with pytest.raises(ValueError, match="the recording 'disc/0' is two files"):
        SeparatedCuts(model, [bad], tmp_path / "cache", augmentation=QUIET, seed=0)
