import json
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from lhotse import CutSet

from lyrics_asr.audio import Audio, read_audio, write_audio
from lyrics_asr.corpora.manifest import Song, TimedPhone, write_manifest
from lyrics_asr.training.data import cut_loader
from lyrics_asr.training.data.batch import SoundFormat
from lyrics_asr.training.data.batch_sources import RoundCuts
from lyrics_asr.training.data.cut_loader import CutLoader
from lyrics_asr.training.data.cut_reader import UNREADABLE, has_words, read_row
from lyrics_asr.training.data.cut_sampler import CutOrder, Position, passes_of
from lyrics_asr.training.data.labels import Labeller
from lyrics_asr.training.data.lhotse_io import cuts_fingerprint, write_shar
from lyrics_asr.training.data.options import AugmentationOptions, ChunkOptions, CutLoaderOptions
from lyrics_asr.training.data.phones import labeller_of, phone_names
from lyrics_asr.training.data.prepare_manifest import cut_songs
from lyrics_asr.training.from_scratch.frame_targets import IGNORED
from lyrics_asr.types import TimedWord, Vocabulary
from tests import fork_server

LETTERS = Vocabulary(("<pad>", "|", "'", *"abcdefghijklmnopqrstuvwxyz"), 0, 1)
PLAIN_LABELLER = Labeller(LETTERS)
FILE_HZ, RATE_HZ = 16_000, 8_000
SECONDS = 24
PLAIN = AugmentationOptions(speeds=[1.0], gain_db=0.0, remix_prob=0.0)
LOUD = AugmentationOptions(speeds=[0.9, 1.0, 1.1], gain_db=6.0, remix_prob=0.5)


def make_song(folder, number, *, stems=True):
    """A voice that is a tone of its own, over noise; words of half a second every second, in bursts of some length."""
    seconds = torch.arange(SECONDS * FILE_HZ) / FILE_HZ
    voice = 0.2 * torch.sin(2 * torch.pi * (500 + 100 * number) * seconds)[None]
    rest = 0.1 * torch.randn(1, len(seconds), generator=torch.Generator().manual_seed(number))
    sounds = {"audio": voice + rest} | ({"vocals": voice, "accompaniment": rest} if stems else {})
    paths = {name: folder / f"{number}-{name}.wav" for name in sounds}
    for name, samples in sounds.items():
        write_audio(paths[name], Audio(samples, FILE_HZ))
    sung = [at for at in range(SECONDS - 1) if at % 6 not in ((3, 4, 5), (4, 5), (5,))[number % 3]]
    words = tuple(TimedWord("ab", at + 0.25, at + 0.75, 1.0) for at in sung)
    phones = tuple((TimedPhone("A", at + 0.25, at + 0.35), TimedPhone("B", at + 0.35, at + 0.75)) for at in sung)
    return Song(str(number), lyrics="ab", words=words, language="en", phones=phones, **paths)


@pytest.fixture(scope="module")
def cuts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("songs")
    write_manifest(folder / "manifest.jsonl", [make_song(folder, number) for number in range(6)])
    cut_songs(folder / "manifest.jsonl", folder / "cuts", ChunkOptions(chunk_seconds=5.0, pause_seconds=0.6))
    return folder / "cuts" / "cuts.jsonl.gz"


def loader(cuts, *, labeller=PLAIN_LABELLER, rank=0, world_size=1, epochs=None, seed=1, channels=1, **options):
    settings = {"batch_seconds": 10.0, "buckets": 3, "workers": 0, "augmentation": PLAIN} | options
    paths = [str(path) for path in (cuts if isinstance(cuts, list) else [cuts])]
    return CutLoader(
        CutLoaderOptions(paths, **settings),
        labeller,
        sample_rate_hz=RATE_HZ,
        channels=channels,
        seed=seed,
        rank=rank,
        world_size=world_size,
        epochs=epochs,
    )


def rewritten(cuts, path, change):
    """The cuts without stems, each changed by `change` as JSON."""
    changed = [
        change({key: value for key, value in cut.to_dict().items() if key != "custom"}) for cut in open_cuts(cuts)
    ]
    path.write_text("".join(f"{json.dumps(cut)}\n" for cut in changed))
    return path


def open_cuts(path):
    return CutSet.from_jsonl_lazy(path).filter(has_words)


def assert_same(ours, theirs):
    assert ours.chunk_ids == theirs.chunk_ids
    for name, value in vars(ours).items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(value, getattr(theirs, name), rtol=0, atol=0, msg=name)
        else:
            assert value == getattr(theirs, name)


def test_rows_are_the_windows_of_the_stems_and_their_labels_count_from_the_start_of_the_row(cuts):
    by_id = {cut.id: cut for cut in open_cuts(cuts)}
    for batch in loader(cuts, epochs=1):
        labels = batch.label_lengths.cumsum(0).tolist()
        for row, (cut_id, length, end) in enumerate(zip(batch.chunk_ids, batch.lengths, labels, strict=True)):
            cut = by_id[cut_id]
            for name in ("vocals", "accompaniment"):
                path = cuts.parent.parent / f"{cut.recording_id}-{name}.wav"
                whole = read_audio(path, sample_rate_hz=RATE_HZ).samples
                first = round(cut.start * RATE_HZ)
                actual = getattr(batch, name)[row]
                window = whole[:, first : first + length]
                inner = slice(100, -100)  # the resampler knows nothing beyond the window
                torch.testing.assert_close(actual[:, :length][:, inner], window[:, inner], atol=2e-3, rtol=0)
                assert not actual[:, length:].any()
            assert length == round(cut.duration * RATE_HZ)
            own = slice(end - int(batch.label_lengths[row]), end)
            words = cut.supervisions[0].alignment["word"]
            assert "".join(LETTERS.tokens[i] for i in batch.labels[own]) == "|".join(word.symbol for word in words)
            starts = batch.label_spans[own][batch.labels[own] == LETTERS.tokens.index("a"), 0]
            assert starts.tolist() == pytest.approx([word.start for word in words], abs=1e-5)
        assert batch.unseparated is None
        torch.testing.assert_close(batch.mixture, batch.vocals + batch.accompaniment)


def test_an_epoch_has_every_cut_once_in_batches_of_like_length(cuts):
    expected = sorted(cut.id for cut in open_cuts(cuts))
    seconds = {cut.id: cut.duration for cut in open_cuts(cuts)}
    both = loader(cuts, epochs=2)
    actual = [(both.state_dict()["epoch"], batch.chunk_ids) for batch in both]
    epochs = [[batch for epoch, batch in actual if epoch == number] for number in range(2)]
    for epoch in epochs:
        assert sorted(cut_id for batch in epoch for cut_id in batch) == expected
    assert epochs[0] != epochs[1]
    assert epochs[0] == [batch.chunk_ids for batch in loader(cuts, epochs=1)]
    assert epochs[0] != [batch.chunk_ids for batch in loader(cuts, epochs=1, seed=2)]
    for _, batch in actual:
        assert max(map(seconds.get, batch)) * len(batch) <= 10
    padding = sum(max(map(seconds.get, batch)) - seconds[cut_id] for batch in epochs[0] for cut_id in batch)
    assert padding < 0.1 * sum(seconds.values())


def test_two_processes_hear_what_one_process_does(cuts):
    """... in turns, over the ends of epochs; their state is that of one process that has taken as many batches."""
    one = loader(cuts, augmentation=LOUD)
    ranks = [loader(cuts, augmentation=LOUD, rank=rank, world_size=2) for rank in range(2)]
    for number, (batch, turn) in enumerate(
        zip(one, (b for pair in zip(*ranks, strict=False) for b in pair), strict=False)
    ):
        assert_same(turn, batch)
        if number % 2:
            assert one.state_dict() == ranks[0].state_dict() == ranks[1].state_dict()
        if number == 25:
            break
    assert one.state_dict()["epoch"] >= 1


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_with_the_very_batches(cuts):
    """... whatever its workers had read ahead, and with as many workers as there are."""
    settings = {"augmentation": LOUD, "batch_seconds": 20.0}
    with fork_server.forked(cut_loader):
        whole = list(islice(loader(cuts, **settings, workers=1), 12))
        first = loader(cuts, **settings, workers=2, prefetch_batches=3)
        taken = 0
        for batch, expected in zip(first, whole, strict=False):
            assert_same(batch, expected)
            taken += 1
            if first.state_dict() == {"epoch": 1, "batch": 2}:
                break
        state = json.loads(json.dumps(first.state_dict()))
        second = loader(cuts, **settings, workers=1)
        second.load_state_dict(state)
        assert taken < len(whole) - 1
        for batch, expected in zip(islice(second, len(whole) - taken), whole[taken:], strict=True):
            assert_same(batch, expected)


def test_reading_draws_nothing_from_the_random_numbers_of_the_model(cuts):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    next(iter(loader(cuts, augmentation=LOUD)))
    assert torch.rand(1) == expected


def test_a_faster_cut_is_shorter_and_higher_and_so_are_its_words(cuts):
    fast = replace(PLAIN, speeds=[1.25])
    plain = {batch.chunk_ids: batch for batch in loader(cuts, epochs=1)}
    for batch in loader(cuts, epochs=1, augmentation=fast):
        slow = plain[batch.chunk_ids]
        torch.testing.assert_close(batch.lengths * 1.25, slow.lengths.float(), atol=2, rtol=0)
        letters = batch.labels != LETTERS.word_delimiter_id
        torch.testing.assert_close(batch.label_spans[letters, 0] * 1.25, slow.label_spans[letters, 0])
        for cut_id, vocals, length in zip(batch.chunk_ids, batch.vocals, batch.lengths, strict=True):
            spectrum = torch.fft.rfft(vocals[0, :length] * torch.hann_window(int(length))).abs()
            peak_hz = float(spectrum.argmax()) * RATE_HZ / int(length)
            assert peak_hz == pytest.approx(1.25 * (500 + 100 * int(cut_id[0])), abs=1)


@pytest.mark.parametrize(
    ("shape", "message"), [(None, "not a NumPy array"), ((2, 800), "not one array of one dimension")]
)
def test_an_f0_that_cannot_be_read_makes_a_cut_unreadable(tmp_path, shape, message):
    path = tmp_path / "f0.npy"
    path.write_bytes(b"100 200 300")
    if shape is not None:
        np.save(path, np.zeros(shape, np.float32))
    write_manifest(tmp_path / "manifest.jsonl", [replace(make_song(tmp_path, 0), f0=path)])
    cut_songs(tmp_path / "manifest.jsonl", tmp_path)
    cut = next(iter(open_cuts(tmp_path / "cuts.jsonl.gz")))
    sound = SoundFormat(RATE_HZ, 1)
    with pytest.raises(UNREADABLE, match=rf"f0\.npy: {message}.*; write the F0 of the song"):
        read_row(cut, sound=sound, labeller=PLAIN_LABELLER, augmentation=PLAIN, seed=0, epoch=0)


@pytest.mark.parametrize("speed", [1.0, 0.8])
def test_the_f0_of_a_cut_is_that_of_its_window_at_its_speed(tmp_path, speed):
    songs = [make_song(tmp_path, number) for number in range(2)]
    f0_hz = np.linspace(100, 300, SECONDS * 100, dtype=np.float32)  # every 10 ms
    np.save(tmp_path / "f0.npy", f0_hz)
    write_manifest(tmp_path / "manifest.jsonl", [songs[0], replace(songs[1], f0=tmp_path / "f0.npy")])
    cut_songs(tmp_path / "manifest.jsonl", tmp_path, ChunkOptions(chunk_seconds=5.0, pause_seconds=0.6))
    starts = {cut.id: cut.start for cut in open_cuts(tmp_path / "cuts.jsonl.gz")}
    seen = set()
    for batch in loader(tmp_path / "cuts.jsonl.gz", augmentation=replace(PLAIN, speeds=[speed]), epochs=1):
        for row, cut_id in enumerate(batch.chunk_ids):
            seen.add((cut_id[0], batch.f0_hz is None))
            if batch.f0_hz is None or cut_id.startswith("0"):
                assert batch.f0_hz is None or batch.f0_hz[row].isnan().all()
                continue
            frames = int(batch.lengths[row]) // (RATE_HZ // 100)
            times = starts[cut_id] + np.arange(frames) * 0.01 * speed
            expected = np.interp(times, np.arange(len(f0_hz)) * 0.01, f0_hz, right=0) * speed
            found = batch.f0_hz[row, :frames].numpy()
            sung = (found > 0) & (expected > 0)
            assert sung.mean() > 0.95  # the last frame may lie past the end of the song
            np.testing.assert_allclose(found[sung], expected[sung], atol=0.1)
            assert batch.f0_hz[row, frames + 2 :].isnan().all()
    assert {number for number, _ in seen} == {"0", "1"}


def test_phones_are_read_with_their_times_and_give_the_letters_theirs(cuts):
    assert phone_names([cuts]) == ("A", "B")
    labeller = labeller_of([cuts], LETTERS, ["B"])
    fast = replace(PLAIN, speeds=[1.25])
    by_id = {cut.id: cut for cut in open_cuts(cuts)}
    for batch in loader(cuts, labeller=labeller, epochs=1, augmentation=fast):
        items = [item for cut_id in batch.chunk_ids for item in by_id[cut_id].supervisions[0].alignment["phone"]]
        assert batch.phones.tolist() == [{"A": IGNORED, "B": 1}[item.symbol] for item in items]
        expected = torch.tensor([[item.start / 1.25, item.end / 1.25] for item in items])
        torch.testing.assert_close(batch.phone_spans, expected)
        assert int(batch.phone_lengths.sum()) == len(items)
        letters = batch.labels != LETTERS.word_delimiter_id
        torch.testing.assert_close(batch.label_spans[letters, 0], expected[:, 0])


def test_cuts_without_words_are_drawn_with_their_probability(cuts):
    silent = {cut.id for cut in CutSet.from_jsonl_lazy(cuts) if not has_words(cut)}
    assert silent
    assert not silent & {cut_id for batch in loader(cuts, epochs=2) for cut_id in batch.chunk_ids}
    options = CutLoaderOptions([str(cuts)], batch_seconds=10.0, buckets=3, silence_prob=0.2)
    shares = CutOrder(options, seed=1, epochs=48).shares(Position())
    is_silent = [cut.id in silent for share in shares for cut in share.cuts]
    assert sum(is_silent) / len(is_silent) == pytest.approx(0.2, abs=0.02)
    remixed = replace(PLAIN, remix_prob=1.0)
    for batch in loader(cuts, epochs=2, silence_prob=0.2, augmentation=remixed):
        for row, cut_id in enumerate(batch.chunk_ids):
            assert (cut_id in silent) == (batch.label_lengths[row] == 0)
            assert batch.accompaniment[row].any()


def test_silence_prob_needs_cuts_without_words(cuts, tmp_path):
    sung = tmp_path / "sung.jsonl"
    open_cuts(cuts).to_file(sung)
    with pytest.raises(ValueError, match=r"sung\.jsonl: no cut without words, for silence_prob; make the cuts with"):
        loader(sung, silence_prob=0.1)


def test_another_number_of_processes_continues_where_the_others_stopped(cuts):
    """Eight processes take three steps; one, or two, go on with the batches that follow in the global order."""
    order = [batch.chunk_ids for batch in islice(loader(cuts), 28)]
    eight = [loader(cuts, rank=rank, world_size=8) for rank in range(8)]
    taken = [[batch.chunk_ids for batch in islice(each, 3)] for each in eight]
    assert [batch for step in zip(*taken, strict=True) for batch in step] == order[:24]
    for world_size in (1, 2):
        ranks = [loader(cuts, rank=rank, world_size=world_size) for rank in range(world_size)]
        for each in ranks:
            each.load_state_dict(eight[0].state_dict())
        found = [[batch.chunk_ids for batch in islice(each, 4 // world_size)] for each in ranks]
        assert [batch for step in zip(*found, strict=True) for batch in step] == order[24:]


@pytest.mark.slow
def test_rounds_last_their_steps_and_resume_at_any_step_on_any_number_of_processes(cuts):
    """A round is a seed here; three rounds of two steps with two batches per step."""
    asked = []

    def rounds(batches_per_step, rank=0, world_size=1):
        def loader_of(number):
            asked.append(number)
            return loader(cuts, seed=number, rank=rank, world_size=world_size)

        return RoundCuts(loader_of, steps_per_round=2, accumulation=batches_per_step)

    whole = [batch.chunk_ids for batch in islice(rounds(2), 12)]
    assert asked == [0, 1, 2]
    assert whole == [batch.chunk_ids for seed in range(3) for batch in islice(loader(cuts, seed=seed), 4)]
    two = [[batch.chunk_ids for batch in islice(rounds(1, rank, 2), 6)] for rank in range(2)]
    assert [batch for step in zip(*two, strict=True) for batch in step] == whole
    for step in range(6):
        stopped = rounds(1, 0, 2)
        list(islice(stopped, step))
        assert stopped.state_dict()["step"] == step
        resumed = rounds(2)
        resumed.load_state_dict(json.loads(json.dumps(stopped.state_dict())))
        asked.clear()
        assert [batch.chunk_ids for batch in islice(resumed, 12 - 2 * step)] == whole[2 * step :]
        assert asked == list(range(step // 2, 3))


def test_gain_is_within_its_bounds_and_that_of_both_stems(cuts):
    louder = replace(PLAIN, gain_db=6.0)
    gains = []
    for plain, batch in zip(loader(cuts, epochs=1), loader(cuts, epochs=1, augmentation=louder), strict=True):
        for name in ("vocals", "accompaniment"):
            ratio = getattr(batch, name).square().sum((1, 2)) / getattr(plain, name).square().sum((1, 2))
            gains.append(10 * ratio.log10())
        torch.testing.assert_close(gains[-1], gains[-2])
    gains = torch.cat(gains)
    assert float(gains.abs().max()) <= 6.001
    assert float(gains.std()) > 2


def test_a_remixed_voice_is_mixed_with_another_song_of_the_batch(cuts):
    remixed = replace(PLAIN, remix_prob=1.0)
    plain = {batch.chunk_ids: batch for batch in loader(cuts, epochs=1)}
    songs = 0
    for batch in loader(cuts, epochs=1, augmentation=remixed):
        own = plain[batch.chunk_ids]
        torch.testing.assert_close(batch.vocals, own.vocals)
        for row, cut_id in enumerate(batch.chunk_ids):
            others = [i for i, other in enumerate(batch.chunk_ids) if other[0] != cut_id[0]]
            if not others:
                torch.testing.assert_close(batch.accompaniment[row], own.accompaniment[row])
                continue
            songs += 1
            samples = min(int(own.lengths[i]) for i in (row, *others))
            actual = batch.accompaniment[row, 0, :samples]
            likeness = [torch.cosine_similarity(actual, own.accompaniment[i, 0, :samples], dim=0) for i in others]
            assert max(likeness) > 0.999
            level = 10 * (actual.square().mean() / own.vocals[row, 0, :samples].square().mean()).log10()
            assert -6.5 <= float(level) <= 6.5
    assert songs > 5


def test_a_song_without_accompaniment_gets_another_and_its_level_is_in_the_range(cuts, tmp_path):
    write_audio(tmp_path / "silence.wav", Audio(torch.zeros(1, SECONDS * FILE_HZ), FILE_HZ))

    def change(cut):
        if cut["recording"]["id"] in "135":
            cut["custom"]["accompaniment"]["sources"][0]["source"] = str(tmp_path / "silence.wav")
        return cut

    lines = [change(json.loads(json.dumps(cut.to_dict()))) for cut in open_cuts(cuts)]
    half = tmp_path / "half.jsonl"
    half.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    mix = AugmentationOptions([1.0], 0.0, remix_prob=1e-9, min_vocals_gain_db=10.0, max_vocals_gain_db=12.0)
    levels = []
    for batch in loader(half, epochs=1, batch_seconds=30.0, augmentation=mix):
        songs = {cut_id[0] for cut_id in batch.chunk_ids}
        for row, cut_id in enumerate(batch.chunk_ids):
            if cut_id[0] in "135" and songs & set("024"):
                signals = [
                    each[row, :, : batch.lengths[row]].square().mean() for each in (batch.vocals, batch.accompaniment)
                ]
                levels.append(float(10 * (signals[0] / signals[1]).log10()))
    assert len(levels) > 5
    assert min(levels) > 9.9
    assert max(levels) < 12.1


def test_songs_without_stems_come_as_they_are_in_the_channels_of_the_separator(cuts, tmp_path):
    songs = rewritten(cuts, tmp_path / "songs.jsonl", lambda cut: cut)
    for whole, stems in zip(loader(songs, epochs=1, channels=2), loader(cuts, epochs=1), strict=True):
        assert whole.chunk_ids == stems.chunk_ids
        assert whole.vocals is None
        torch.testing.assert_close(whole.mixture, stems.mixture.repeat(1, 2, 1), atol=1e-5, rtol=0)


def test_songs_beside_stems_make_a_batch_of_songs(cuts, tmp_path):
    renamed = rewritten(cuts, tmp_path / "songs.jsonl", lambda cut: cut | {"id": f"w{cut['id']}"})
    batches = list(loader([cuts, renamed], epochs=1))
    assert sum(len(batch.chunk_ids) for batch in batches) == 2 * len(list(open_cuts(cuts)))
    mixed = [batch for batch in batches if len({cut_id[0] == "w" for cut_id in batch.chunk_ids}) == 2]
    assert mixed
    assert all(batch.vocals is None and batch.mixture is not None for batch in mixed)


def test_words_without_times_share_the_time_of_their_line(cuts, tmp_path):
    def change(cut):
        (supervision,) = cut["supervisions"]
        line = {key: value for key, value in supervision.items() if key != "alignment"}
        return cut | {"supervisions": [line | {"start": 1.0, "duration": 2.0, "text": "ab cd"}]}

    lines = rewritten(cuts, tmp_path / "lines.jsonl", change)
    batch = next(iter(loader(lines)))
    count = int(batch.label_lengths[0])
    assert "".join(LETTERS.tokens[i] for i in batch.labels[:count]) == "ab|cd"
    assert batch.label_spans[0, 0] == pytest.approx(1.0)
    assert batch.label_spans[3, 0] == pytest.approx(2.0)
    assert batch.label_spans[count - 1, 1] == pytest.approx(3.0)


def test_a_cut_whose_audio_cannot_be_read_is_named_counted_and_left_out(cuts, tmp_path, caplog):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")

    def change(cut):
        if cut["recording"]["id"] == "2":
            cut["recording"]["sources"][0]["source"] = str(broken)
        if cut["recording"]["id"] == "3":
            cut["recording"]["sources"][0]["source"] = str(tmp_path / "gone.wav")
        return cut

    songs = rewritten(cuts, tmp_path / "songs.jsonl", change)
    ids = {cut.id for cut in open_cuts(cuts)}
    lost = {cut_id for cut_id in ids if cut_id[0] in "23"}
    batches = loader(songs, epochs=2, batch_cuts=2)
    actual = [cut_id for batch in batches for cut_id in batch.chunk_ids]
    assert sorted(actual) == sorted([*(ids - lost)] * 2)
    assert batches.failures == dict.fromkeys(lost, 2)
    assert {record.getMessage().split()[1] for record in caplog.records} == lost
    assert f"{broken}: is not audio" in caplog.text
    assert "extra info" not in caplog.text

    nothing = rewritten(
        songs, tmp_path / "nothing.jsonl", lambda cut: change(cut | {"recording": cut["recording"] | {"id": "3"}})
    )
    with pytest.raises(ValueError, match=r"no cut's audio can be read; the first says: .*no such file"):
        list(loader(nothing))


@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
def test_a_cut_with_samples_that_are_not_finite_is_named_counted_and_left_out(cuts, tmp_path, caplog, value):
    """One second of a song is broken, after its cuts were made."""
    broken = tmp_path / "broken.wav"
    song = read_audio(cuts.parent.parent / "2-audio.wav")
    song.samples[0, 2 * FILE_HZ : 3 * FILE_HZ] = value
    write_audio(broken, song)

    def change(cut):
        if cut["recording"]["id"] == "2":
            cut["recording"]["sources"][0]["source"] = str(broken)
        return cut

    songs = rewritten(cuts, tmp_path / "songs.jsonl", change)
    lost = {cut.id for cut in open_cuts(songs) if cut.recording_id == "2" and cut.start < 3 and cut.end > 2}
    assert len(lost) == 1
    batches = loader(songs, epochs=1, batch_cuts=2)
    actual = [cut_id for batch in batches for cut_id in batch.chunk_ids]
    assert sorted(actual) == sorted({cut.id for cut in open_cuts(cuts)} - lost)
    assert batches.failures == dict.fromkeys(lost, 1)
    assert f"{broken}: has NaN or infinite samples" in caplog.text


@pytest.mark.parametrize("kind", ["command", "url"])
def test_what_a_cut_would_run_or_fetch_is_refused(cuts, tmp_path, kind):
    def change(cut):
        cut["recording"]["sources"][0] |= {"type": kind, "source": f"touch {tmp_path / 'ran'}"}
        return cut

    hostile = rewritten(cuts, tmp_path / "hostile.jsonl", change)
    with pytest.raises(ValueError, match=f"its sound is a {kind} .*not run or fetched"):
        next(iter(loader(hostile)))
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_shar_gives_the_same_cuts(cuts, tmp_path):
    songs = rewritten(cuts, tmp_path / "songs.jsonl", lambda cut: cut)
    write_shar({"train": songs}, tmp_path / "shar")
    expected = {cut_id: row for batch in loader(songs, epochs=1) for cut_id, row in rows_of(batch)}
    shar = loader(tmp_path / "shar" / "train", epochs=1, workers=1)
    batches = []
    with fork_server.forked(cut_loader):
        for batch in shar:
            batches.append(batch)
            if len(batches) == 4:
                state = shar.state_dict()
    actual = {cut_id: row for batch in batches for cut_id, row in rows_of(batch)}
    assert set(actual) == set(expected)
    for cut_id, row in actual.items():
        torch.testing.assert_close(row, expected[cut_id], atol=1e-3, rtol=0)
    again = loader(tmp_path / "shar" / "train", epochs=1)
    again.load_state_dict(state)
    for ours, theirs in zip(again, batches[4:], strict=True):
        assert ours.chunk_ids == theirs.chunk_ids


def rows_of(batch):
    return [
        (name, batch.mixture[i, :, :n]) for i, (name, n) in enumerate(zip(batch.chunk_ids, batch.lengths, strict=True))
    ]


def test_one_cut_alone_is_repeated_again_and_again(cuts):
    batches = list(islice(loader(cuts, limit=1), 3))
    assert {batch.chunk_ids for batch in batches} == {(next(iter(open_cuts(cuts))).id,)}


def test_bad_cuts_are_named_with_the_remedy(cuts, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.jsonl: no such cuts; `lyrics-asr data dali`"):
        loader(tmp_path / "gone.jsonl")
    with pytest.raises(ValueError, match=r"not a folder of Lhotse Shar; name a file of cuts in it"):
        loader(tmp_path)
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"empty\.jsonl: no cut in it"):
        loader(tmp_path / "empty.jsonl")
    for content in ("no json", "{}", '{"id": 1, "type": "MonoCut"}', "[1]"):
        (tmp_path / "bad.jsonl").write_text(content + "\n")
        with pytest.raises(ValueError, match=r"bad\.jsonl: not cuts as Lhotse writes them"):
            loader(tmp_path / "bad.jsonl")
    for state in ({}, {"epoch": 1}, {"epoch": 0, "batch": -1}, {"epoch": 0, "batch": 0.5}):
        with pytest.raises(ValueError, match="is no position in an order of cuts"):
            loader(cuts).load_state_dict(state)
    with pytest.raises(ValueError, match="no process 2 among 2"):
        loader(cuts, rank=2, world_size=2)


def test_the_fingerprint_is_of_the_cuts_and_not_of_their_sound(cuts, tmp_path):
    copy = tmp_path / "copy.jsonl.gz"
    copy.write_bytes(cuts.read_bytes())
    assert cuts_fingerprint([copy]) == cuts_fingerprint([cuts])
    other = rewritten(cuts, tmp_path / "other.jsonl", lambda cut: cut)
    assert len({cuts_fingerprint([cuts]), cuts_fingerprint([other]), cuts_fingerprint([cuts, other])}) == 3


def test_options_out_of_range_are_named():
    with pytest.raises(ValueError, match=r"augmentation\.speeds 3"):
        AugmentationOptions(speeds=[1.0, 3.0])
    with pytest.raises(ValueError, match="speeds is empty"):
        AugmentationOptions(speeds=[])
    with pytest.raises(ValueError, match="cuts is empty"):
        loader([])
    with pytest.raises(ValueError, match="batch_cuts 0"):
        CutLoaderOptions(["a"], batch_cuts=0)


def test_passes_follow_weights_and_temperature():
    """Known answers: shares proportional to weight * n ** (1 / temperature)."""
    assert passes_of([300, 100], [], 1.0) == [1.0, 1.0]
    assert passes_of([300, 100], [], float("inf")) == pytest.approx([200 / 300, 2.0])
    assert passes_of([300, 100], [1.0, 3.0], 1.0) == pytest.approx([200 / 300, 2.0])
    assert passes_of([900, 100], [], 2.0) == pytest.approx([750 / 900, 2.5])


def test_files_are_sampled_by_their_weights(cuts, tmp_path):
    """A small file is repeated under ids of its own; of a large one, every epoch has another part."""
    large = rewritten(cuts, tmp_path / "large.jsonl", lambda cut: cut)
    small = rewritten(cuts, tmp_path / "small.jsonl", lambda cut: cut | {"id": f"small {cut['id']}"})
    small.write_text("".join(small.read_text().splitlines(keepends=True)[:4]))
    count = len(large.read_text().splitlines())
    options = CutLoaderOptions([str(large), str(small)], weights=[(count - 6) / count, 10 / 4], batch_seconds=10.0)
    epochs = 40
    shares = list(CutOrder(options, seed=1, epochs=epochs).shares(Position()))
    drawn = [[cut.id for share in shares if share.epoch == epoch for cut in share.cuts] for epoch in range(epochs)]
    assert all(len(set(ids)) == len(ids) for ids in drawn)
    of_small = [sorted(cut_id for cut_id in ids if cut_id.startswith("small")) for ids in drawn]
    of_large = [sorted(cut_id for cut_id in ids if not cut_id.startswith("small")) for ids in drawn]
    assert all(8 <= len(ids) <= 12 for ids in of_small)
    assert sum(map(len, of_small)) / epochs == pytest.approx(10, abs=0.5)
    assert sum(map(len, of_large)) / epochs == pytest.approx(count - 6, abs=1.0)
    assert len({tuple(ids) for ids in of_large}) > epochs / 2
    first = [cut.id for cut in shares[0].cuts]
    assert first == [cut.id for cut in next(CutOrder(options, seed=1).shares(Position())).cuts]


def test_weights_are_one_for_each_file():
    with pytest.raises(ValueError, match=r"cuts\.weights has 1 weights for 2 files; give one each"):
        CutLoaderOptions(["a.jsonl", "b.jsonl"], weights=[1.0])
    with pytest.raises(ValueError, match=r"cuts\.temperature 0\.5 is out of range; it must be at least 1"):
        CutLoaderOptions(["a.jsonl"], temperature=0.5)
