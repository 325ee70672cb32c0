"""Words from an attention model of the Whisper family, such as openai/whisper-large-v3.

Only the words and line breaks are used: times and confidences come from CTC alignment (`inference.attention`). An
attention model that is lost repeats itself or invents text. So songs are cut at silences, texts that compress too well
are decoded again without repeated n-grams, and decoding is deterministic: beam search, no sampling.

Source: Radford et al. 2023, "Robust Speech Recognition via Large-Scale Weak Supervision", section 4.5. Like there, the
model writes timestamps: without them it tends to stop after the first phrase. Where the text ends before the segment,
decoding starts again from there.
"""

import zlib
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    GenerationMixin,
    LogitsProcessorList,
    StoppingCriteriaList,
    WhisperConfig,
    WhisperForConditionalGeneration,
    WhisperTimeStampLogitsProcessor,
)
from transformers.modeling_outputs import BaseModelOutput

from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ
from lyrics_asr.lyrics.languages import AUTO, NAMES
from lyrics_asr.models.hub import hub_snapshot
from lyrics_asr.models.int8 import Int8Logits, load_int8
from lyrics_asr.models.log_mel import LogMelExtractor, LogMelSpectrogram
from lyrics_asr.models.segments import Span, split_at_silences
from lyrics_asr.options import SilenceOptions
from lyrics_asr.types import Candidate, SegmentText, SongText

_MAX_COMPRESSION = 2.4  # of UTF-8 by zlib, as in openai/whisper
_UNREPEATED_TOKENS = 4  # length of the n-grams that may not repeat, where a text compressed too well
_LONGEST_SECONDS = 28.0  # of a segment; the window of the model is 30 s
_SHORTEST_SECONDS = 1.0  # of what is decoded again
_LANGUAGE_SEGMENTS = 3  # that the language is guessed from
_UNCLEAR_LANGUAGES = ("cy", "la")  # Whisper takes unclear singing for Welsh and Latin; they have to be given
_TIMESTAMP_SECONDS = 0.02
_SEQUENCES = 6  # decoded at a time; each takes 40 MB with Whisper base
_LONGEST_TEXT = 224  # tokens of a segment, as in openai/whisper
_LOOP_TOKENS = 128  # after as many, it is seen whether a text repeats itself; choruses of few words do so for a while
_FEWEST_WEIGHTS_INT8 = 1 << 20  # of an output layer that computes in int8
ENCODER = "model.encoder."
"""How the names of the encoder's weights begin."""
_DOWNLOADS = (["*.json", "*.txt", "model*.safetensors"], ["pytorch_model*.bin"])


class Transcriber(Protocol):
    """A model that transcribes a song without the time of each word."""

    @property
    def name(self) -> str:
        """The name that `load_transcriber` takes."""

    @property
    def network(self) -> nn.Module:
        """All weights."""

    def transcribe(
        self, voice: Float[Tensor, " samples"], language: str, *, hot_words: str = "", beams: int = 1
    ) -> SongText:
        """Transcribe a song, segment by segment.

        Args:
            voice: separated vocals of a whole song, mono at 16 kHz.
            language: ISO 639-1 code; "auto" for the language that the song sounds like.
            hot_words: text whose words are likely to be sung.
            beams: width of the beam search, and the most candidates per segment.

        Raises:
            ValueError: a language that the model does not know.
        """


class WhisperTranscriber:
    """A `Transcriber` with a checkpoint of `transformers.WhisperForConditionalGeneration`.

    Args:
        name: shown in transcripts.
        network: in evaluation mode, on any device.
        tokenizer: of the checkpoint.
        log_mel: of the checkpoint.
    """

    def __init__(
        self, name: str, network: WhisperForConditionalGeneration, tokenizer: Any, log_mel: LogMelSpectrogram
    ) -> None:
        self.name = name
        self.network = cast(Any, network)  # the types of its own `generate` do not fit together
        self._tokenizer, self._log_mel = tokenizer, log_mel
        self._options = self.network.generation_config
        self._first_timestamp = int(self._options.no_timestamps_token_id) + 1

    @torch.inference_mode()
    def transcribe(
        self, voice: Float[Tensor, " samples"], language: str, *, hot_words: str = "", beams: int = 1
    ) -> SongText:
        """See `Transcriber`. The hot words are the text before the first segment, as in openai/whisper.

        Segments of similar length share a batch of the decoder, whose weights are then read once for all of them.
        """
        rate, rows = ACOUSTIC_SAMPLE_RATE_HZ, max(_LANGUAGE_SEGMENTS, _SEQUENCES // beams)
        shortest = round(_SHORTEST_SECONDS * rate)
        pending = list(split_at_silences(voice, rate, SilenceOptions(), _LONGEST_SECONDS))
        heard, probability, prompt, segments = None, 0.0, None, []
        while pending:
            pending.sort(key=lambda span: span.end - span.start, reverse=True)
            batch, pending = pending[:rows], pending[rows:]
            states = self._encode([voice[span.start : span.end] for span in batch])
            if prompt is None:
                heard, probability = self._language(states[:_LANGUAGE_SEGMENTS])
                language = (heard or "en") if language == AUTO else language
                prompt = self._prompt(language, hot_words)
            for span, found in zip(batch, self._decode(states, prompt, beams), strict=True):
                if not found:
                    continue
                covered = min(span.end - span.start, round(found[0][1] * rate))
                end = span.end if span.end - span.start - covered < shortest else span.start + covered
                candidates = tuple(each for each, seconds in found if seconds >= found[0][1] - _SHORTEST_SECONDS)
                segments.append(SegmentText(span.start / rate, end / rate, candidates))
                if end < span.end and covered >= shortest:
                    pending.append(Span(end, span.end))
        segments.sort(key=attrgetter("start_seconds"))
        return SongText("en" if language == AUTO else language, heard, probability, tuple(segments))

    def _encode(self, waveforms: Sequence[Float[Tensor, " _"]]) -> Float[Tensor, "batch frames width"]:
        """The encoder's output for segments, one by one: on a CPU, activations of a batch would leave the caches."""
        encoder = self.network.model.encoder
        features = (self._log_mel(each[None].to(self.network.device)) for each in waveforms)
        return torch.cat([encoder(each).last_hidden_state for each in features])

    def _language(self, states: Float[Tensor, "batch frames width"]) -> tuple[str | None, float]:
        """The likeliest language, and the mean of its probability over some segments."""
        options = self._options
        if not getattr(options, "is_multilingual", False):
            return None, 0.0
        start = torch.full((len(states), 1), options.decoder_start_token_id, device=states.device)
        tokens = {name.strip("<|>"): token for name, token in options.lang_to_id.items()}
        languages = [language for language in tokens if language in NAMES and language not in _UNCLEAR_LANGUAGES]
        outputs = self.network(encoder_outputs=BaseModelOutput(states), decoder_input_ids=start)
        scores = outputs.logits[:, -1, [tokens[language] for language in languages]].softmax(-1).mean(0)
        best = int(scores.argmax())
        return languages[best], float(scores[best])

    def _prompt(self, language: str, hot_words: str) -> list[int]:
        """The tokens that begin every text."""
        options = self._options
        prompt = [options.decoder_start_token_id]
        if hot_words.strip():
            before = self._tokenizer.encode(f" {' '.join(hot_words.split())}", add_special_tokens=False)
            longest = self.network.config.max_target_positions // 2 - 1  # half of the positions, as in openai/whisper
            prompt = [options.prev_sot_token_id, *before[:longest], *prompt]
        if getattr(options, "is_multilingual", False):
            languages = options.lang_to_id
            if f"<|{language}|>" not in languages:
                known = ", ".join(sorted(token.strip("<|>") for token in languages))
                raise ValueError(f"{self.name}: no language {language!r}; choose one of {known}")
            prompt += [languages[f"<|{language}|>"], options.task_to_id["transcribe"]]
        return prompt

    def _decode(
        self, states: Float[Tensor, "batch frames width"], prompt: list[int], beams: int
    ) -> list[list[tuple[Candidate, float]]]:
        """Texts of each segment that do not repeat themselves, likeliest first, with the seconds that they cover."""
        found = self._generate(states, prompt, beams)
        if lost := [row for row, candidates in enumerate(found) if not candidates]:
            again = self._generate(states[lost], prompt, beams, _UNREPEATED_TOKENS)
            for row, candidates in zip(lost, again, strict=True):
                found[row] = candidates
        return found

    def _generate(
        self, states: Float[Tensor, "batch frames width"], prompt: list[int], beams: int, unrepeated_tokens: int = 0
    ) -> list[list[tuple[Candidate, float]]]:
        options = self._options
        longest = min(self.network.config.max_target_positions, len(prompt) + _LONGEST_TEXT)
        found: Any = GenerationMixin.generate(
            self.network,
            encoder_outputs=BaseModelOutput(states),
            attention_mask=torch.ones(states.shape[:2], dtype=torch.long, device=states.device),
            decoder_input_ids=torch.tensor([prompt], device=states.device).expand(len(states), -1),
            logits_processor=LogitsProcessorList([WhisperTimeStampLogitsProcessor(options, len(prompt))]),
            stopping_criteria=StoppingCriteriaList([partial(self._repeats, len(prompt))] if beams == 1 else []),
            max_length=longest,
            num_beams=beams,
            num_return_sequences=beams,
            do_sample=False,
            no_repeat_ngram_size=unrepeated_tokens,
            return_dict_in_generate=True,
            output_scores=beams > 1,
        )
        sequences = found.sequences[:, len(prompt) :].tolist()
        scores = [0.0] * len(sequences) if beams == 1 else found.sequences_scores.tolist()
        candidates: list[dict[tuple[str, ...], tuple[Candidate, float]]] = [{} for _ in states]
        for number, (tokens, score) in enumerate(zip(sequences, scores, strict=True)):
            written = [token for token in tokens if token not in (options.eos_token_id, options.pad_token_id)]
            lines, end_seconds = self._lines(written)
            if lines and not _repeats_itself(lines):
                has_end = len(prompt) + len(written) < longest
                log_prob = score * (len(written) + has_end)  # the score is the mean over the tokens
                candidates[number // beams].setdefault(lines, (Candidate(lines, log_prob), end_seconds))
        return [list(each.values()) for each in candidates]

    def _repeats(self, start: int, tokens: Int[Tensor, "batch length"], scores: Any) -> Bool[Tensor, " batch"]:
        """Which texts repeat themselves so far; decoding them further is a waste."""
        stopped = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
        if (tokens.shape[1] - start) % _LOOP_TOKENS == 0:
            for row, written in enumerate(tokens[:, start:].tolist()):
                stopped[row] = _repeats_itself(self._lines(written)[0])
        return stopped

    def _lines(self, tokens: Sequence[int]) -> tuple[tuple[str, ...], float]:
        """The texts between timestamps, and the last timestamp; the end of a text without one is that of the window."""
        lines, end_seconds = [], 0.0
        for is_timestamp, group in groupby(tokens, lambda token: token >= self._first_timestamp):
            own = list(group)
            if is_timestamp:
                end_seconds = (own[-1] - self._first_timestamp) * _TIMESTAMP_SECONDS
            elif text := self._tokenizer.decode(own, skip_special_tokens=True).strip():
                lines.append(text)
                end_seconds = _LONGEST_SECONDS
        return tuple(lines), end_seconds


def load_transcriber(name: str, device: torch.device, encoder: nn.Module | None = None) -> WhisperTranscriber:
    """Load an attention model in evaluation mode.

    Args:
        name: folder or name on the Hugging Face hub of a Whisper checkpoint.
        device: it runs there.
        encoder: encoder of the acoustic model, for a folder without an encoder, or without some of its layers.

    Raises:
        ModelNotFoundError: the weights are not on this computer and cannot be downloaded.
        ValueError: not a Whisper checkpoint, or damaged.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = hub_snapshot(name, None, *_DOWNLOADS, complete=_is_complete)
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        extractor = LogMelExtractor.load(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        if state := load_int8(folder):
            network: Any = _from_int8(folder, state, encoder)
        else:
            safetensors = any(folder.glob("model*.safetensors"))
            network = WhisperForConditionalGeneration.from_pretrained(
                folder, use_safetensors=safetensors, dtype=torch.float32, **options
            )
        log_mel = LogMelSpectrogram(extractor)
        if device.type == "cpu" and network.proj_out.weight.numel() >= _FEWEST_WEIGHTS_INT8:
            first_timestamp = network.generation_config.no_timestamps_token_id + 1
            network.proj_out = Int8Logits(network.proj_out.weight, first_timestamp)
        return WhisperTranscriber(name, network.to(device).eval(), tokenizer, log_mel.to(device))
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise ValueError(f"{name}: not a Whisper checkpoint that can be read: {error}") from error


def _from_int8(folder: Path, state: dict[str, Tensor], encoder: nn.Module | None) -> WhisperForConditionalGeneration:
    """A network from weights in int8, which may leave layers of the encoder to the acoustic model; they are shared."""
    with torch.device("meta"):
        network = WhisperForConditionalGeneration(WhisperConfig.from_pretrained(folder, local_files_only=True))
    network.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    shared = {} if encoder is None else {f"{ENCODER}{key}": value for key, value in encoder.state_dict().items()}
    state = shared | state
    if any(key not in state for key in network.state_dict() if key.startswith(ENCODER)):
        raise ValueError(
            "it has no encoder of its own; use it with the acoustic model that it was saved with, or --transcriber none"
        )
    network.load_state_dict(state | {"proj_out.weight": state["model.decoder.embed_tokens.weight"]}, assign=True)
    return network


def _is_complete(folder: Path) -> bool:
    return (folder / "preprocessor_config.json").is_file() and any(
        any(folder.glob(pattern)) for pattern in ("model*.safetensors", "pytorch_model*.bin")
    )


def _repeats_itself(lines: Sequence[str]) -> bool:
    """Whether zlib makes a text so much smaller that it repeats itself."""
    data = " ".join(lines).encode()
    return len(data) > _MAX_COMPRESSION * len(zlib.compress(data))
