"""Transcription by an attention model: its candidates against their scores by teacher forcing, guards, segments."""

import shutil

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from lyrics_asr.models.fingerprint import weights_fingerprint
from lyrics_asr.models.int8 import save_int8
from lyrics_asr.models.registry import load_model
from lyrics_asr.models.segments import split_at_silences
from lyrics_asr.models.transcriber import load_transcriber
from lyrics_asr.options import SilenceOptions
from lyrics_asr.types import Candidate

RATE_HZ = 16_000
POSITIONS = 24
WORDS = ["la", "mi", "sol", "fa", "re", "do", "ti", "so", "na", "ne"]
END, START, ENGLISH, FRENCH, TRANSCRIBE, BEFORE, NO_TIMESTAMPS = range(10, 17)
FIRST_TIMESTAMP = 17
SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|fr|>", "<|transcribe|>", "<|startofprev|>"]
TIMES = [f"<|{number / 50:.2f}|>" for number in range(1501)]
TOKENS = [*WORDS, *SPECIAL, "<|notimestamps|>", *TIMES]


def make_checkpoint(folder, **generation):
    """A tiny Whisper with random weights and a vocabulary of ten words."""
    torch.manual_seed(0)
    sizes = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16}
    sizes |= {
        "decoder_layers": 1,
        "decoder_attention_heads": 2,
        "decoder_ffn_dim": 16,
        "max_target_positions": POSITIONS,
    }
    ends = {"pad_token_id": END, "bos_token_id": END, "eos_token_id": END, "decoder_start_token_id": START}
    network = WhisperForConditionalGeneration(WhisperConfig(vocab_size=len(TOKENS), init_std=0.5, **sizes, **ends))
    languages = {"lang_to_id": {"<|en|>": ENGLISH, "<|fr|>": FRENCH}, "task_to_id": {"transcribe": TRANSCRIBE}}
    more = {"is_multilingual": True, "no_timestamps_token_id": NO_TIMESTAMPS, "prev_sot_token_id": BEFORE}
    network.generation_config = GenerationConfig(**ends, **languages, **more, **generation)
    network.save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(TOKENS)}, unk_token="la"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, additional_special_tokens=TOKENS[10:]).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("whisper"))


def song(seconds, seed=0):
    return 0.1 * torch.randn(round(seconds * RATE_HZ), generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def test_candidates_have_the_log_probability_of_their_tokens(checkpoint):
    transcriber = load_transcriber(str(checkpoint), torch.device("cpu"))
    prompt = transcriber._prompt("fr", "")
    assert prompt == [START, FRENCH, TRANSCRIBE]
    states = transcriber._encode([song(3.0)])
    written = []
    lines_of = transcriber._lines
    transcriber._lines = lambda tokens: written.append(list(tokens)) or lines_of(tokens)
    (found,) = transcriber._decode(states, prompt, 4)
    assert len(found) > 1
    log_probs = [candidate.log_prob for candidate, _ in found]
    assert log_probs == sorted(log_probs, reverse=True)
    by_lines = {}
    for tokens in written:
        by_lines.setdefault(lines_of(tokens)[0], tokens)
    for candidate, _ in found:
        tokens = [*prompt, *by_lines[candidate.lines], END][:POSITIONS]
        features = transcriber._log_mel(song(3.0)[None])
        logits = transcriber.network(features, decoder_input_ids=torch.tensor([tokens[:-1]])).logits[0]
        scores = logits.log_softmax(-1).gather(1, torch.tensor(tokens[1:])[:, None])[len(prompt) - 1 :, 0]
        assert candidate.log_prob == pytest.approx(float(scores.sum()), abs=1e-3)


def test_a_text_that_repeats_itself_is_decoded_again_without_repetitions(tmp_path):
    folder = make_checkpoint(tmp_path, suppress_tokens=sorted({*range(1, len(TOKENS))} - {END, FIRST_TIMESTAMP}))
    transcriber = load_transcriber(str(folder), torch.device("cpu"))
    states, prompt = transcriber._encode([song(3.0)]), transcriber._prompt("en", "")
    assert transcriber._generate(states, prompt, 1) == [[]]
    (((candidate, _),),) = transcriber._generate(states, prompt, 1, 4)
    assert " ".join(candidate.lines) == "la la la la"
    assert transcriber._decode(states, prompt, 1) == [[(candidate, 28.0)]]
    assert [segment.candidates for segment in transcriber.transcribe(song(3.0), "en").segments] == [(candidate,)]


def test_lines_are_the_texts_between_timestamps(checkpoint):
    transcriber = load_transcriber(str(checkpoint), torch.device("cpu"))
    tokens = [FIRST_TIMESTAMP, 0, 1, FIRST_TIMESTAMP + 100, FIRST_TIMESTAMP + 125, 2, FIRST_TIMESTAMP + 200]
    assert transcriber._lines(tokens) == (("la mi", "sol"), 4.0)
    assert transcriber._lines(tokens[:-1]) == (("la mi", "sol"), 28.0)
    assert transcriber._lines([FIRST_TIMESTAMP, FIRST_TIMESTAMP + 5])[0] == ()


def test_where_a_text_ends_early_decoding_goes_on_from_there(checkpoint, monkeypatch):
    transcriber = load_transcriber(str(checkpoint), torch.device("cpu"))
    ends = iter([4.0, 3.5, 2.0, 28.0])
    monkeypatch.setattr(transcriber, "_decode", lambda *_: [[(Candidate(("la",), -1.0), next(ends))]])
    segments = transcriber.transcribe(song(20.0), "en").segments
    assert [(each.start_seconds, each.end_seconds) for each in segments] == [(0, 4), (4, 7.5), (7.5, 9.5), (9.5, 20)]


@torch.inference_mode()
def test_segments_of_one_batch_have_the_texts_that_each_has_alone(tmp_path):
    transcriber = load_transcriber(str(make_checkpoint(tmp_path)), torch.device("cpu"))
    prompt = transcriber._prompt("en", "")
    segments = [song(seconds, seed) for seed, seconds in enumerate((20.0, 9.0, 3.0, 28.0))]
    together = transcriber._decode(transcriber._encode(segments), prompt, 1)
    alone = [transcriber._decode(transcriber._encode([each]), prompt, 1)[0] for each in segments]
    assert together == alone
    assert len({candidate.lines for ((candidate, _),) in alone}) > 1


def test_more_segments_than_fit_a_batch_come_back_in_order(checkpoint, monkeypatch):
    transcriber = load_transcriber(str(checkpoint), torch.device("cpu"))
    batches = []

    def decode(states, prompt, beams):
        batches.append(len(states))
        return [[(Candidate((str(int(each)),), -1.0), 28.0)] for each in states[:, 0, 0]]

    monkeypatch.setattr(transcriber, "_encode", lambda segments: torch.tensor([[[len(each)]] for each in segments]))
    monkeypatch.setattr(transcriber, "_language", lambda states: ("en", 1.0))
    monkeypatch.setattr(transcriber, "_decode", decode)
    pieces = []
    for seed in range(11):  # each with the silence after it is too long for two in one segment
        pieces += [song(15.0 + seed, seed), torch.zeros(2 * RATE_HZ)]
    found = transcriber.transcribe(torch.cat(pieces), "en").segments
    assert batches == [6, 5]
    lengths = [round((each.end_seconds - each.start_seconds) * RATE_HZ) for each in found]
    assert [each.candidates[0].lines for each in found] == [(str(length),) for length in lengths]
    assert lengths == sorted(lengths)


def test_a_looping_text_is_given_up_before_its_longest_length(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.models.test_transcriber.POSITIONS", 300)
    folder = make_checkpoint(tmp_path, suppress_tokens=sorted({*range(1, len(TOKENS))} - {FIRST_TIMESTAMP}))
    transcriber = load_transcriber(str(folder), torch.device("cpu"))
    steps = []
    transcriber.network.proj_out.register_forward_hook(lambda *_: steps.append(None))
    assert transcriber._generate(transcriber._encode([song(3.0)]), transcriber._prompt("en", ""), 1) == [[]]
    assert len(steps) == 128


@torch.inference_mode()
def test_the_language_is_the_likeliest_first_token(checkpoint):
    transcriber = load_transcriber(str(checkpoint), torch.device("cpu"))
    voice = song(3.0)
    heard = transcriber.transcribe(voice, "auto")
    features, start = transcriber._log_mel(voice[None]), torch.tensor([[START]])
    scores = transcriber.network(features, decoder_input_ids=start).logits[0, 0]
    probabilities = scores[[ENGLISH, FRENCH]].softmax(0).tolist()
    assert heard.heard == heard.language == ("en" if probabilities[0] > 0.5 else "fr")
    assert heard.heard_probability == pytest.approx(max(probabilities), abs=1e-5)
    told = transcriber.transcribe(voice, "en" if heard.heard == "fr" else "fr")
    assert (told.heard, told.language) == (heard.heard, "en" if heard.heard == "fr" else "fr")


def test_hot_words_stand_before_the_text(checkpoint):
    transcriber = load_transcriber(str(checkpoint), torch.device("cpu"))
    assert transcriber._prompt("en", " ne\nna ") == [BEFORE, 9, 8, START, ENGLISH, TRANSCRIBE]
    assert len(transcriber._prompt("en", "la " * 1000)) == 1 + POSITIONS // 2 - 1 + 3


def test_a_saved_model_keeps_its_transcriber_by_folder_or_by_name(checkpoint, tiny_model_folder, tmp_path):
    model = load_model(str(tiny_model_folder), transcriber=str(checkpoint), device="cpu")
    model.save(tmp_path / "with folder")
    again = load_model(str(tmp_path / "with folder"), device="cpu")
    assert again.transcriber_name == str(tmp_path / "with folder" / "transcriber")
    assert weights_fingerprint(again.transcriber.network) == weights_fingerprint(model.transcriber.network)
    model.transcriber_name = "someone/whisper"
    model.save(tmp_path / "with name")
    assert load_model(str(tmp_path / "with name"), device="cpu").transcriber_name == "someone/whisper"
    assert load_model(str(tmp_path / "with name"), transcriber="none", device="cpu").transcriber_name is None


def test_unknown_languages_and_checkpoints_are_named(checkpoint, tmp_path):
    transcriber = load_transcriber(str(checkpoint), torch.device("cpu"))
    with pytest.raises(ValueError, match="no language 'de'; choose one of en, fr"):
        transcriber.transcribe(song(1.0), "de")
    with pytest.raises(ValueError, match=f"{tmp_path}: not a Whisper checkpoint"):
        load_transcriber(str(tmp_path), torch.device("cpu"))


def test_songs_are_split_at_silences_and_long_regions_at_quiet_places():
    quiet = torch.cat([song(5.0), torch.zeros(2 * RATE_HZ), song(5.0, 1), torch.zeros(2 * RATE_HZ), song(30.0, 2)])
    quiet[34 * RATE_HZ : 34 * RATE_HZ + 1600] *= 0.1  # a breath
    first, second = split_at_silences(quiet, RATE_HZ, SilenceOptions(), 28.0)[:2]
    assert (first.start, first.end) == pytest.approx((0, 12.2 * RATE_HZ), abs=0.03 * RATE_HZ)
    assert second.start == pytest.approx(13.8 * RATE_HZ, abs=0.03 * RATE_HZ)
    assert 34 * RATE_HZ <= second.end <= 34 * RATE_HZ + 1600


def test_weights_in_int8_without_an_encoder_use_that_of_the_acoustic_model(checkpoint, tmp_path):
    whole = load_transcriber(str(checkpoint), torch.device("cpu"))
    shutil.copytree(checkpoint, tmp_path / "int8", ignore=shutil.ignore_patterns("*.safetensors"))
    state = whole.network.state_dict()
    decoder = {key: value for key, value in state.items() if key.startswith("model.decoder.")}
    save_int8(decoder, tmp_path / "int8" / "decoder.int8.safetensors")
    encoder = whole.network.model.encoder
    random_state = torch.get_rng_state()
    small = load_transcriber(str(tmp_path / "int8"), torch.device("cpu"), encoder)
    assert torch.equal(torch.get_rng_state(), random_state)  # random weights would take longer than reading these
    features, prompt = whole._log_mel(song(3.0)[None]), torch.tensor([[START, FRENCH, TRANSCRIBE, FIRST_TIMESTAMP, 0]])
    with torch.no_grad():
        expected, found = (each.network(features, decoder_input_ids=prompt).logits for each in (whole, small))
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0)
    assert not torch.equal(found, expected)
    with pytest.raises(ValueError, match="it has no encoder"):
        load_transcriber(str(tmp_path / "int8"), torch.device("cpu"))
