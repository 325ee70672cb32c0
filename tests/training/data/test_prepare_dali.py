import gzip
import json
import math
import re

import numpy as np
import pytest
import torch
from lhotse import CutSet, MonoCut, MultiCut
from lhotse.qa import validate

from lyrics_asr.audio import Audio, AudioError, read_audio, reading, write_audio
from lyrics_asr.cli.main import main
from lyrics_asr.corpora.dali_splits import SplitThresholds
from lyrics_asr.training.data.lhotse_io import our_decoder
from lyrics_asr.training.data.options import ChunkOptions
from lyrics_asr.training.data.prepare_dali import CutOptions, cut_dali
from tests.audio.test_reading import encode
from tests.corpora.test_dali import song_content, write, write_ground_truth
from tests.corpora.test_dali_remarks import HEADER

RATE_HZ = 8000
SECONDS = 60.0
VERSES = [
    "over the hills we go and far away the river sings of home",
    "morning comes to everyone who waits beside the silent shore",
    "paper boats are sailing down the gutter in the summer rain",
    "tell me why the streetlights hum a tune that nobody has known",
    "seven miles of dusty road and not a single bird above",
    "grandmother keeps a wooden box of letters underneath the stairs",
]


@pytest.fixture
def corpus(tmp_path):
    """Annotations and audio, in folders of these names; `add` makes songs."""

    class Corpus:
        annotations, audio, output = tmp_path / "annotations", tmp_path / "audio", tmp_path / "cuts"

        def add(self, song_id, verse=0, *, ncc=0.9, seconds=SECONDS, channels=1, suffix=".wav", change=None, **options):
            lyrics = VERSES[verse] if isinstance(verse, int) else verse
            content = song_content([[lyrics]], song_id=song_id, ncc=ncc, **options)
            if change is not None:
                change(content["annotations"]["annot"]["words"])
            write(self.annotations, content)
            if seconds:
                self.audio.mkdir(exist_ok=True)
                noise = 0.1 * torch.randn(
                    channels, round(seconds * RATE_HZ), generator=torch.Generator().manual_seed(1)
                )
                write_audio(self.audio / f"{song_id}{suffix}", Audio(noise, RATE_HZ))

        def cut(self, **options):
            return cut_dali(self.annotations, self.audio, self.output, **options)

        def cuts(self, split="train"):
            return CutSet.from_file(self.output / f"{split}.jsonl.gz")

    return Corpus()


def words_of(cut):
    """The words and their times in the song, as the alignment of a cut has them."""
    (supervision,) = cut.supervisions
    assert supervision.text == " ".join(item.symbol for item in supervision.alignment["word"])
    assert (supervision.start, supervision.duration) == (0.0, cut.duration)
    for item in supervision.alignment["word"]:
        assert item.start >= 0
        assert item.start + item.duration <= cut.duration + 1e-9
    return [(item.symbol, cut.start + item.start, item.duration) for item in supervision.alignment["word"]]


@pytest.mark.parametrize(("channels", "kind"), [(1, MonoCut), (2, MultiCut)])
def test_cuts_hold_the_sound_and_the_times_of_their_words(corpus, channels, kind):
    corpus.add("a", channels=channels)
    report = corpus.cut()
    cuts = list(corpus.cuts())
    validate(CutSet.from_cuts(cuts), read_data=True)
    assert {type(cut) for cut in cuts} == {kind}
    with gzip.open(corpus.output / "train.jsonl.gz", "rt") as file:
        assert [json.loads(line) for line in file] == [json.loads(json.dumps(cut.to_dict())) for cut in cuts]
    song = read_audio(corpus.audio / "a.wav").samples.numpy()
    for cut in cuts:
        first = round(cut.start * RATE_HZ)
        window = song[:, first : first + round(cut.duration * RATE_HZ)]
        np.testing.assert_array_equal(cut.load_audio(), window)
        with our_decoder():
            np.testing.assert_array_equal(cut.load_audio(), window)
    words = [word for cut in cuts for word in words_of(cut)]
    assert [text for text, *_ in words] == VERSES[0].split()
    assert [start for _, start, _ in words] == pytest.approx([10.0 + i for i in range(len(words))])
    assert [duration for *_, duration in words] == pytest.approx([0.5] * len(words))
    assert {cut.supervisions[0].language for cut in cuts} == {"en"}
    assert [cut.id for cut in cuts] == [f"a-{number:03}" for number in range(len(cuts))]
    size = report.splits["train"]
    assert (size.songs, size.chunks, size.words) == (1, len(cuts), len(words))
    assert size.seconds == pytest.approx(sum(cut.duration for cut in cuts))


def test_a_format_that_lhotse_cannot_read_is_read_by_window(corpus):
    corpus.add("a", suffix=".m4a", channels=2)
    corpus.cut()
    cut = corpus.cuts()[1]
    with our_decoder():
        actual = cut.load_audio()
    window = read_audio(corpus.audio / "a.m4a", start_seconds=cut.start, duration_seconds=cut.duration)
    np.testing.assert_array_equal(actual, window.samples.numpy())


def test_songs_go_to_their_splits(corpus):
    for song_id, verse, ncc in [("a", 0, 0.8), ("b", 1, 0.93), ("c", 2, 0.95), ("d", 3, 0.79), ("e", 4, None)]:
        corpus.add(song_id, verse, ncc=ncc)
    report = corpus.cut()
    ids = {split: {cut.recording_id for cut in corpus.cuts(split)} for split in report.splits}
    assert ids == {"train": {"a"}, "validation": {"b"}, "test": {"c"}}
    assert report.dropped_songs == dict.fromkeys("de", "with an NCC below all splits")
    report = corpus.cut(options=CutOptions(thresholds=SplitThresholds(0.5, 0.94, 0.96)))
    assert {cut.recording_id for cut in corpus.cuts()} == set("abd")


def test_audio_is_not_decoded_but_for_its_first_frames(corpus, monkeypatch):
    corpus.add("a", suffix=".flac")
    frames = []
    original = reading._decoded

    def counting(*arguments, **options):
        for frame in original(*arguments, **options):
            frames.append(frame)
            yield frame

    monkeypatch.setattr(reading, "read_audio", None)
    monkeypatch.setattr(reading, "_decoded", counting)
    assert corpus.cut().splits["train"].songs == 1
    assert len(frames) == 3


def test_files_that_are_slow_to_read_window_by_window_are_named(corpus, capsys):
    corpus.add("a", 0, suffix=".opus")
    corpus.add("b", 1, seconds=0)
    noise = 0.1 * torch.randn(2, 60 * 16_000, generator=torch.Generator().manual_seed(1))
    encode(corpus.audio / "b.webm", noise.numpy(), 16_000, "vorbis", {"strict": "experimental"})
    path = str(corpus.audio / "b.webm")
    assert corpus.cut().slow_files == (path,)
    assert json.loads((corpus.output / "report.json").read_text(encoding="utf-8"))["slow_files"] == [path]
    assert main(["data", "dali", str(corpus.annotations), str(corpus.audio), "-o", str(corpus.output)]) == 0
    lines = capsys.readouterr().out.splitlines()
    index = lines.index("slow: 1 files are decoded from their start for every window; convert them to .flac or .opus")
    assert lines[index + 1].strip() == path


def test_of_songs_with_the_same_lyrics_the_best_annotated_stays(corpus):
    corpus.add("a", 0, ncc=0.85)
    corpus.add("b", "OVER the hills; we go and far, away the river sings", ncc=0.96)
    corpus.add("c", 0, ncc=0.96)
    corpus.add("d", 0, ncc=0.99, seconds=0)  # without audio, it takes the place of none
    corpus.add("e", 1)
    report = corpus.cut()
    assert report.duplicates == {"a": "b", "c": "b"}
    assert report.dropped_songs["a"] == report.dropped_songs["c"] == "with the lyrics of another song"
    assert [{cut.recording_id for cut in corpus.cuts(split)} for split in ("train", "test")] == [{"e"}, {"b"}]


def test_songs_that_cannot_be_used_are_dropped_for_one_reason_each(corpus, caplog):
    def late(words):
        for word in words[-2:]:
            word["time"] = (SECONDS - 0.1, SECONDS + 0.1)

    def early(words):
        for word in words[:2]:
            word["time"] = (-0.1, 1.0)

    corpus.add("good", 0)
    corpus.add("german", 1, language="german")
    corpus.add("wordless", "~")
    corpus.add("silent", 1, seconds=0)
    corpus.add("broken", 1)
    (corpus.audio / "broken.wav").write_bytes(b"no sound")
    corpus.add("late", 1, change=late)
    corpus.add("early", 1, change=early)
    corpus.add("unspeakable", "... - ...")
    report = corpus.cut()
    assert report.dropped_songs == {
        "german": "in another language",
        "wordless": "without words",
        "silent": "without audio",
        "broken": "with audio that cannot be read",
        "late": "whose words lie outside the audio",
        "early": "whose words lie outside the audio",
        "unspeakable": "without a chunk",
    }
    assert report.songs == 8
    assert "broken.wav: is not audio" in caplog.text
    assert report.words == report.splits["train"].words == len(VERSES[0].split())


def test_annotations_that_cannot_be_read_are_dropped_and_named(corpus, caplog):
    corpus.add("good", 0)
    corpus.add("unordered", 1, change=lambda words: words[0].update(index=99))
    corpus.add("untimed", 2, change=lambda words: words[0].pop("time"))
    (corpus.annotations / "torn.gz").write_bytes(b"no gzip")
    (corpus.annotations / "again.gz").write_bytes((corpus.annotations / "good.gz").read_bytes())
    report = corpus.cut()
    reason = "with annotations that cannot be read"
    assert report.dropped_songs == dict.fromkeys(("good.gz", "torn.gz", "unordered", "untimed"), reason)
    assert report.songs == 5
    assert {cut.recording_id for cut in corpus.cuts()} == {"good"}
    for name in (
        "good.gz: a second file for the song of",
        "torn.gz: damaged",
        "unordered.gz: a word belongs",
        "untimed",
    ):
        assert name in caplog.text


def test_without_annotations_that_can_be_read_the_files_are_named(corpus, caplog):
    corpus.annotations.mkdir()
    (corpus.annotations / "torn.gz").write_bytes(b"no gzip")
    with pytest.raises(ValueError, match="annotations: no annotations in it can be read"):
        corpus.cut()
    assert "torn.gz: damaged" in caplog.text


def test_a_few_words_outside_the_audio_are_dropped_alone(corpus):
    def outside(words):
        words[-1]["time"] = (SECONDS - 0.1, SECONDS + 0.1)
        words[0]["time"] = (3.0, 2.0)

    corpus.add("a", VERSES[0] + " " + VERSES[1], change=outside)
    report = corpus.cut()
    assert report.dropped_words == {"past the end of the audio": 1, "that end before they start": 1}
    assert report.words == report.splits["train"].words + 2


def test_chunks_with_samples_that_are_not_finite_are_dropped(corpus, caplog):
    corpus.add("a", VERSES[0] + " " + VERSES[1], channels=2)
    corpus.cut()
    at_seconds = corpus.cuts()[0].start + 1.0
    path = corpus.audio / "a.wav"
    audio = read_audio(path)
    audio.samples[1, round(at_seconds * RATE_HZ)] = torch.nan
    first, *others = (words_of(cut) for cut in corpus.cuts())
    write_audio(path, audio)
    report = corpus.cut()
    assert [words_of(cut) for cut in corpus.cuts()] == others
    assert report.nonfinite_chunks == 1
    assert report.dropped_words == {"in a chunk with NaN or infinite samples": len(first)}
    assert report.words == report.splits["train"].words + len(first)
    assert f"{path}: NaN or infinite samples" in caplog.text


def test_every_song_and_word_is_accounted_for(corpus):
    def crowd(words):
        for number, word in enumerate(words):
            word["time"] = (30 + number / 100, 30 + (number + 1) / 100)

    corpus.add("a", 0)
    corpus.add("b", 1, change=crowd)
    corpus.add("c", 2, change=lambda words: words[3].update(time=(20.0, 35.0)))
    corpus.add("d", VERSES[3] + " ...", ncc=0.93)
    corpus.add("e", 4, seconds=0)
    report = corpus.cut()
    kept = sum(size.songs for size in report.splits.values())
    assert kept + len(report.dropped_songs) == report.songs == 5
    assert sum(size.words for size in report.splits.values()) + sum(report.dropped_words.values()) == report.words
    assert report.dropped_words == {"without a letter": 1, "longer than a chunk": 1}
    assert report.dropped_songs["b"] == "without a chunk"


def test_remarks_are_applied(corpus, tmp_path):
    for number, song_id in enumerate("abcde"):
        corpus.add(song_id, number)
    remarks = tmp_path / "remarks.csv"
    remarks.write_text(
        HEADER + "a;u;14.0;False;0.5;False\nb;u;1e10;True;0;False\nc;u;1e10;False;linear;False\n"
        "d;u;1e10;False;0;True\nunknown;u;1e10;False;0;True\n"
    )
    report = corpus.cut(remarks=remarks)
    first, last = corpus.cuts()[0], list(corpus.cuts())[-1]
    assert [start for _, start, _ in words_of(first)] == pytest.approx([10.5, 11.5, 12.5, 13.5])
    assert first.recording_id == "a"
    assert last.recording_id == "e"
    assert report.dropped_words == {"in a corrupt part (remarks)": len(VERSES[0].split()) - 4}
    assert report.dropped_songs == {
        "b": "noisy (remarks)",
        "c": "with a changing offset (remarks)",
        "d": "not in English (remarks)",
    }


def test_ground_truth_is_applied(corpus, tmp_path):
    corpus.add("a", fr=600.0)
    corpus.cut(ground_truth=write_ground_truth(tmp_path / "truth", {"a": {"offset": 12.0, "fr": 600.0}}))
    assert words_of(corpus.cuts()[0])[0][1] == pytest.approx(12.0)


def test_options_reach_the_chunks(corpus):
    corpus.add("a")
    corpus.cut(options=CutOptions(chunks=ChunkOptions(5.0, 0.4)))
    assert [len(words_of(cut)) for cut in corpus.cuts()] == [1] * len(VERSES[0].split())  # pauses are of 0.5 s
    corpus.cut(options=CutOptions(chunks=ChunkOptions(28.0)))
    assert len(list(corpus.cuts())) == 1


def test_shards_hold_the_same_cuts_with_their_sound(corpus):
    corpus.add("a", 0, channels=2, suffix=".m4a")
    corpus.add("b", 1, channels=2)
    corpus.cut(shar=True)
    assert sorted(path.name for path in (corpus.output / "shar").iterdir()) == ["train"]
    cuts = {cut.id: cut for cut in corpus.cuts()}
    shards = list(CutSet.from_shar(in_dir=corpus.output / "shar" / "train"))
    assert [cut.id for cut in shards] != sorted(cuts)
    assert {cut.id for cut in shards} == set(cuts)
    with our_decoder():
        for cut in shards:
            assert [word[0] for word in words_of(cut)] == [word[0] for word in words_of(cuts[cut.id])]
            np.testing.assert_allclose(cut.load_audio(), cuts[cut.id].load_audio(), atol=2**-15)
    with pytest.raises(ValueError, match="shar: holds older shards; remove them"):
        corpus.cut(shar=True)


def test_shards_that_fail_leave_nothing_behind(corpus, monkeypatch):
    corpus.add("a")

    def fail(*_args, **_options):
        raise OSError("the disk is full")

    monkeypatch.setattr("lyrics_asr.training.data.lhotse_io.read_audio", fail)
    with pytest.raises(Exception, match="the disk is full"):
        corpus.cut(shar=True)
    assert sorted(path.name for path in corpus.output.iterdir()) == [
        "report.json",
        "test.jsonl.gz",
        "train.jsonl.gz",
        "validation.jsonl.gz",
    ]


def test_audio_that_is_cut_off_is_named_when_shards_are_made(corpus):
    corpus.add("a", suffix=".mp3")
    path = corpus.audio / "a.mp3"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 4])
    with pytest.raises(AudioError, match=r"a\.mp3: ends (at|before) \d+\.\d+ s.*[a-z]$"):
        corpus.cut(shar=True)
    assert not (corpus.output / "shar").exists()


def test_a_full_disk_leaves_no_part_of_a_file(corpus, full_disk):
    corpus.add("a", seconds=0)
    with pytest.raises(OSError, match="No space left"):
        corpus.cut()
    assert list(corpus.output.iterdir()) == []


def test_the_same_corpus_gives_the_same_cuts(corpus, tmp_path):
    for number, song_id in enumerate("cab"):
        corpus.add(song_id, number)
    written = []
    for name in "xy":
        corpus.output = tmp_path / name
        corpus.cut()
        written.append((corpus.output / "train.jsonl.gz").read_bytes())
    assert written[0] == written[1]


def run(corpus, *arguments):
    given = ["data", "dali", corpus.annotations, corpus.audio, "-o", corpus.output, *arguments]
    return main([str(argument) for argument in given])


def test_the_command_prints_and_saves_the_report(corpus, capsys):
    corpus.add("a", VERSES[0] + " ...")
    corpus.add("b", 1, ncc=0.97)
    corpus.add("c", 2, seconds=0)
    assert run(corpus, "--chunk-seconds", "28") == 0
    out, err = capsys.readouterr()
    assert out == (
        "split          songs   chunks     words   hours\n"
        "train              1        1        13    0.00\n"
        "validation         0        0         0    0.00\n"
        "test               1        1        10    0.00\n"
        "\n"
        "dropped: 1 of 3 songs\n"
        "       1  without audio\n"
        "\n"
        "dropped: 1 of 24 words of the other songs\n"
        "       1  without a letter\n"
        "\n"
        "dropped: 0 of 2 chunks\n"
    )
    assert err == f"lyrics-asr: wrote {corpus.output}\n"
    report = json.loads((corpus.output / "report.json").read_text(encoding="utf-8"))
    assert report["options"] == {
        "language": "english",
        "thresholds": {"train": 0.8, "validation": 0.925, "test": 0.95},
        "chunks": {"chunk_seconds": 28.0, "pause_seconds": 2.0},
    }
    assert report["splits"]["test"]["words"] == 10
    assert report["dropped_songs"] == {"c": "without audio"}
    assert math.isclose(report["splits"]["train"]["seconds"], corpus.cuts()[0].duration)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--chunk-seconds", "1"], 2, "chunk_seconds 1.0 is out of range; it must be 2 to 28"),
        (["--thresholds", "0.9", "0.8", "0.95"], 2, "thresholds must not decrease from train to validation to test"),
        (["--language", "french"], 1, r"no song in 'french'; its languages are \['english'\]"),
        (
            ["--thresholds", "0.95", "0.96", "0.97"],
            1,
            r"no chunk was made, for the reasons above; .*report\.json names",
        ),
        (["--remarks", "nowhere.csv"], 1, r"nowhere\.csv: no such remarks"),
        (["--ground-truth", "nowhere.gz"], 1, r"nowhere\.gz: no such ground truth"),
    ],
)
def test_what_is_wrong_is_said(corpus, capsys, arguments, code, message):
    corpus.add("a")
    assert run(corpus, *arguments) == code
    assert re.search(message, capsys.readouterr().err)


def test_all_languages(corpus, capsys):
    corpus.add("a", language="german")
    assert run(corpus, "--language", "all") == 0
    assert corpus.cuts()[0].supervisions[0].language == "de"
