import weakref
from dataclasses import asdict, replace

import pytest
import torch

from lyrics_asr import (
    SeparateRequest,
    align,
    find_jobs,
    load_model,
    parse_lyrics,
    process,
    separate,
    transcribe,
)
from lyrics_asr.audio import Audio, AudioError, read_audio, write_audio
from lyrics_asr.cli.main import main
from lyrics_asr.inference.mixtures import read_mixture
from lyrics_asr.inference.pipeline import emissions_of
from lyrics_asr.inference.stages import options_for
from lyrics_asr.models.separators.unet import UNetConfig, UNetSeparator
from lyrics_asr.options import AcousticOptions, DecodingOptions, InferenceOptions, SeparationOptions, TranscriberOptions
from lyrics_asr.types import AlignmentError, SongText
from tests.fake_model import FakeModel, make_song


@pytest.fixture(scope="module")
def model(tiny_model_folder):
    return load_model(str(tiny_model_folder), device="cpu")


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    """Noise and a tone, 2 s, mono, at a rate that no model has."""
    path = tmp_path_factory.mktemp("songs") / "song.wav"
    seconds = torch.arange(2 * 22_050) / 22_050
    noise = torch.randn(len(seconds), generator=torch.Generator().manual_seed(0))
    write_audio(path, Audio((0.3 * torch.sin(2770 * seconds) + 0.1 * noise)[None], 22_050))
    return path


def test_a_transcript_names_its_audio_and_its_models(model, song):
    transcript = transcribe(song, model, greedy=True)
    assert transcript.text == "\n".join(line.text for line in transcript.lines)
    assert transcript.task == "transcribe"
    assert transcript.audio.sample_rate_hz == 22_050
    assert transcript.audio.duration_seconds == pytest.approx(2.0, abs=1e-4)
    assert transcript.model.language_model is None


def test_beam_search_names_its_language_model_and_is_deterministic(model, song):
    first = transcribe(song, model)
    assert first.model.language_model is not None
    assert first.model.language_model.endswith("language_model.arpa")
    assert transcribe(song, model) == first


def test_hot_words_are_read_as_the_vocabulary_spells_them(tmp_path):
    model = FakeModel()
    song = make_song(tmp_path, model).audio
    options = InferenceOptions(decoding=DecodingOptions(token_min_logp=-20.0, hot_word_bonus=20.0))
    assert transcribe(song, model, options=options).text.split() == ["sun", "moon", "rain"]
    # The vocabulary cannot spell the Cyrillic letter; 30 is "thirty".
    transcript = transcribe(
        song, model, options=options, hot_words="[Chorus]\nMÖÖD, \N{CYRILLIC CAPITAL LETTER ZHE}! 30"
    )
    assert transcript.text.split() == ["sun", "mood", "rain"]


class Scarce:
    """A network's method that raises an error, with a tensor in its frame, as long as it is asked for too much."""

    def __init__(self, method, error, is_too_much):
        self.method, self.error, self.is_too_much = method, error, is_too_much
        self.tried, self.left_behind, self.alive = [], [], []

    def __call__(self, samples, options, *more):
        self.alive.append(sum(each() is not None for each in self.left_behind))
        self.tried.append(options)
        if self.is_too_much(options):
            activations = torch.zeros(1000)
            self.left_behind.append(weakref.ref(activations))
            raise self.error
        return self.method(samples, options, *more)


OUT_OF_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory"),
]


@pytest.fixture
def own_model(tiny_model_folder):
    """A model that a test may change."""
    return load_model(str(tiny_model_folder), device="cpu")


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_where_memory_runs_out_batches_and_windows_shrink(own_model, song, monkeypatch, error):
    scarce = Scarce(own_model.acoustic.emissions, error, lambda options: options.window_seconds > limit_seconds)
    monkeypatch.setattr(own_model.acoustic, "emissions", scarce)
    options = InferenceOptions(acoustic=AcousticOptions(window_seconds=40.0, context_seconds=2.0, batch_size=4))
    limit_seconds = 10.0
    assert transcribe(song, own_model, options=options).audio.duration_seconds == pytest.approx(2.0, abs=1e-4)
    tried = [(each.batch_size, each.window_seconds) for each in scarce.tried]
    assert tried == [(4, 40.0), (1, 40.0), (1, 20.0), (1, 10.0)]
    assert scarce.alive == [0, 0, 0, 0]
    limit_seconds = 0.0
    with pytest.raises(MemoryError, match=r"even with windows of 10 s, one at a time; close other programs"):
        transcribe(song, own_model, options=options)


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_where_memory_runs_out_the_separator_takes_shorter_segments(own_model, song, monkeypatch, error):
    scarce = Scarce(
        own_model.separator.separate, error, lambda options: (options.segment_seconds or 7.8) > limit_seconds
    )
    monkeypatch.setattr(own_model.separator, "separate", scarce)
    options = InferenceOptions(SeparationOptions(batch_size=4))
    limit_seconds = 2.0
    assert separate(song, own_model, options=options).samples.shape == (2, 2 * 44_100)
    tried = [(each.batch_size, each.segment_seconds) for each in scarce.tried]
    assert tried == [(4, None), (1, None), (1, 4.0), (1, 2.0)]
    assert scarce.alive == [0, 0, 0, 0]
    scarce.tried.clear()
    limit_seconds = 0.0
    with pytest.raises(MemoryError, match=r"even with segments of 1 s, one at a time; close other programs"):
        separate(song, own_model)
    assert [each.segment_seconds for each in scarce.tried] == [None, 4.0, 2.0, 1.0]
    assert len(set(scarce.tried)) == 4  # nothing is tried twice


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_where_memory_runs_out_the_transcriber_takes_fewer_beams(own_model, song, monkeypatch, error):
    tried = []

    class Whisper:
        name = "whisper"

        def transcribe(self, voice, language, *, hot_words="", beams=1):
            tried.append(beams)
            if beams > most:
                raise error
            return SongText(language, None, 0.0, ())

    monkeypatch.setattr(own_model, "transcriber", Whisper())
    options, most = InferenceOptions(transcriber=TranscriberOptions(beams=5)), 1
    assert transcribe(song, own_model, options=options).lines == ()
    assert tried == [5, 2, 1]
    most = 0
    with pytest.raises(MemoryError, match="even with one beam of the transcriber; close other programs"):
        transcribe(song, own_model, options=options)


def test_other_errors_of_a_network_are_no_lack_of_memory(tmp_path, monkeypatch):
    model = FakeModel()

    def fail(*_):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(FakeModel, "vocals", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        transcribe(make_song(tmp_path, model).audio, model)


def test_align_keeps_the_lyrics_as_written_inside_the_song(model, song):
    text = "[Verse 1]\nA Café, 2 cats\n\nThe end\n"
    transcript = align(song, parse_lyrics(text), model)
    words = [word for line in transcript.lines for word in line.words]
    assert [word.text for word in words] == ["A", "Café,", "2", "cats", "The", "end"]
    times = [time for word in words for time in (word.start_seconds, word.end_seconds)]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] <= 2
    assert transcript.text == text
    assert transcript.task == "align"


def test_too_many_words_name_the_song(model, song):
    with pytest.raises(AlignmentError, match=r"song\.wav"):
        align(song, parse_lyrics("many words " * 500), model)


def test_separate_gives_the_whole_song_at_the_separators_rate(model, song):
    vocals = separate(song, model)
    assert vocals.sample_rate_hz == 44_100
    assert vocals.samples.shape == (2, 2 * 44_100)


def test_progress_ends_at_one(model, song):
    shares: list[float] = []
    separate(song, model, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_the_mixture_is_read_as_the_separator_takes_it(model, song, monkeypatch):
    expected = read_audio(song, sample_rate_hz=44_100, channels=2)
    assert torch.equal(read_mixture(song, model).samples, expected.samples)
    monkeypatch.setattr(model.separator, "audio_channels", 4)
    with pytest.raises(ValueError, match="takes 4 channels; use one for mono or stereo"):
        read_mixture(song, model)


def test_an_acoustic_model_that_hears_the_mixture_needs_no_separator(model, tiny_model_folder, song, monkeypatch):
    mixed = load_model(str(tiny_model_folder), device="cpu")
    mixed.acoustic_input = "mixture"
    expected = emissions_of(song, load_model(str(tiny_model_folder), separator="none", device="cpu"))
    monkeypatch.setattr(mixed.separator, "separate", lambda *_: 1 / 0)
    found = emissions_of(song, mixed)
    assert torch.equal(found.log_probs, expected.log_probs)
    assert not torch.equal(found.log_probs, emissions_of(song, model).log_probs)
    options = SeparationOptions(), AcousticOptions()
    assert mixed.fingerprint(*options) != model.fingerprint(*options)
    with pytest.raises(ZeroDivisionError):
        separate(song, mixed)


def test_a_mixture_is_heard_at_the_rate_of_any_separator(tiny_model_folder, song):
    config = UNetConfig(sample_rate_hz=22_050, audio_channels=1, n_fft=256, bins=64, patch_frames=64, channels=(2, 2))
    mixed = load_model(str(tiny_model_folder), separator=UNetSeparator("mono", config), device="cpu")
    expected = emissions_of(song, load_model(str(tiny_model_folder), separator="none", device="cpu"))
    mixed.acoustic_input = "mixture"
    found = emissions_of(song, mixed)
    assert found.duration_seconds == pytest.approx(expected.duration_seconds, abs=1e-3)
    assert len(found.log_probs) == len(expected.log_probs)


def test_silence_is_an_error(model, tmp_path):
    write_audio(tmp_path / "silence.wav", Audio(torch.zeros(1, 16_000), 16_000))
    with pytest.raises(AudioError, match=r"silence\.wav.*silent"):
        transcribe(tmp_path / "silence.wav", model)


def test_overrides_go_over_the_tuned_options_of_the_model(model):
    tuned = DecodingOptions(beam_width=7, alpha=0.9)
    model.decoding = tuned
    try:
        assert options_for(model).decoding == tuned
        options = options_for(model, ["decoding.alpha=0.1", "acoustic.window_seconds=11"])
    finally:
        model.decoding = DecodingOptions()
    assert options.decoding == replace(tuned, alpha=0.1)
    assert asdict(options.acoustic) == {**asdict(InferenceOptions().acoustic), "window_seconds": 11.0}


def test_many_songs_from_python_are_processed_as_on_the_command_line(song, tmp_path, tiny_model_folder):
    request = SeparateRequest(model=str(tiny_model_folder), device="cpu", output=tmp_path / "vocals", formats=("flac",))
    (outcome,) = process(request, find_jobs([song.parent], {".wav"}, request.output))
    assert outcome.error is None
    assert (
        main(["separate", str(song), "-o", str(tmp_path / "same"), "--format", "flac", "--model", request.model]) == 0
    )
    assert outcome.outputs[0].read_bytes() == (tmp_path / "same" / f"{song.stem}.flac").read_bytes()
    (again,) = process(request, find_jobs([song.parent], {".wav"}, request.output))
    assert again.is_kept


def test_an_inverted_side_does_not_lose_the_song(tiny_model_folder, tmp_path):
    model = load_model(str(tiny_model_folder), device="cpu")
    mono = 0.2 * torch.randn(1, 44_100, generator=torch.Generator().manual_seed(0))
    write_audio(tmp_path / "song.wav", Audio(torch.cat([mono, mono]), 44_100))
    write_audio(tmp_path / "inverted.wav", Audio(torch.cat([mono, -mono]), 44_100))
    plain, inverted = (read_mixture(tmp_path / name, model) for name in ("song.wav", "inverted.wav"))
    assert torch.equal(plain.samples, inverted.samples)
    write_audio(tmp_path / "offset.wav", Audio(torch.full((2, 44_100), 0.3), 44_100))
    with pytest.raises(AudioError, match=r"offset\.wav: is silent"):
        read_mixture(tmp_path / "offset.wav", model)
