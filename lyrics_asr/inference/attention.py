"""Transcription with an attention model for the words and the CTC model for their times and confidences.

An attention model such as Whisper knows far more words than a small CTC model with a language model. But its times are
rough, it repeats itself, and it invents text where nobody sings. The CTC model sees every frame. The candidate texts of
a segment are scored by both,

    (1 - w) log P_attention(text) + w log P_CTC(text),

as in Watanabe et al. 2017, "Hybrid CTC/Attention Architecture for End-to-End Speech Recognition", equation 25. The best
text is aligned with the emissions of its segment, and words that do not fit there are dropped.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lyrics_asr.alignment.forced_alignment import align_lyrics
from lyrics_asr.audio import Audio
from lyrics_asr.decoding.forward import text_log_prob
from lyrics_asr.decoding.lexicon import Symbols
from lyrics_asr.decoding.lines import timed_line
from lyrics_asr.inference.jobs import write_transcript
from lyrics_asr.inference.long_audio import AudioFile
from lyrics_asr.inference.runner import Song, Stopwatch
from lyrics_asr.inference.tasks import TranscribeTask, separate_to_16k_mono
from lyrics_asr.lyrics.languages import base_code
from lyrics_asr.lyrics.normalization import spellable_words
from lyrics_asr.lyrics.text import parse_corpus_lyrics
from lyrics_asr.models.transcriber import Candidate, SegmentText, Transcriber, load_transcriber
from lyrics_asr.options import TranscriberOptions
from lyrics_asr.types import AlignmentError, Emissions, TimedLine, TimedWord, Transcript


class AttentionTask(TranscribeTask):
    """`lyrics-asr transcribe --transcriber NAME`."""

    transcriber: Transcriber

    @contextmanager
    def load(self) -> Iterator[None]:
        """See `Task`."""
        assert self.request.transcriber is not None
        with super().load():
            options = self.options.transcriber
            self.transcriber = load_transcriber(self.request.transcriber, self.model.device, beams=options.beams)
            yield

    def further_key(self, song: Song) -> list[Any]:
        """See `Task`."""
        return [
            *super().further_key(song),
            self.transcriber.name,
            self.transcriber.fingerprint,
            asdict(self.options.transcriber),
        ]

    def infer(
        self, songs: Sequence[tuple[Song, Audio | AudioFile]], stopwatch: Stopwatch
    ) -> list[tuple[Emissions, list[SegmentText]]]:
        """See `Task`."""
        _, mixtures = zip(*songs, strict=True)
        with self.in_progress(songs) as progress, stopwatch("separation"):
            voices = separate_to_16k_mono(mixtures, self.model, self.options.separation, progress)
        with stopwatch("acoustic"):
            emissions = self.model.emissions(voices, self.options.acoustic)
        texts = []
        with stopwatch("transcriber"):
            for (song, _), voice in zip(songs, voices, strict=True):
                texts.append(self.transcriber.transcribe(voice.samples[0], base_code(song.language), song.hot_words))
        return list(zip(emissions, texts, strict=True))

    def decoded_seconds(self, song: Song, inferred: Any) -> float:
        """See `Task`."""
        emissions: Emissions = inferred[0]
        return emissions.duration_seconds

    def finish(self, song: Song, inferred: Any, stopwatch: Stopwatch) -> Sequence[Path]:
        """See `Task`."""
        emissions: Emissions = inferred[0]
        segments: list[SegmentText] = inferred[1]
        with stopwatch("decoding"):
            lines = timed_lines(segments, emissions, self.options.transcriber, language=song.language)
        text = "\n".join(line.text for line in lines)
        names = replace(self.model.info, language_model=None, transcriber=self.transcriber.name)
        transcript = Transcript("transcribe", self.audio_of(song, emissions), names, text, lines)
        with stopwatch("writing"):
            return write_transcript(song.job, transcript, self.request)


def timed_lines(
    segments: Sequence[SegmentText], emissions: Emissions, options: TranscriberOptions, *, language: str
) -> tuple[TimedLine, ...]:
    """Choose the text of each segment and find the time of its words.

    Args:
        segments: candidate texts, in order of time.
        emissions: of the whole song.
        options: weight of the CTC model, and which words are dropped.
        language: language of the texts, to verbalize digits and symbols.
    """
    grid, lines = emissions.grid, []
    for segment in segments:
        first, last = grid.frame(segment.start_seconds), grid.frame(segment.end_seconds)
        own = replace(
            emissions,
            log_probs=emissions.log_probs[first:last],
            duration_seconds=emissions.duration_seconds - first * grid.frame_seconds,
        )
        if not len(own.log_probs):
            continue
        chosen = _best(segment.candidates, own, options.ctc_weight, language)
        try:
            aligned = align_lyrics(
                own, parse_corpus_lyrics("\n".join(chosen.lines)), language=language, keep_all=True
            ).lines
        except (AlignmentError, ValueError):  # nothing to spell, or more letters than frames: not what was sung here
            continue
        for line in aligned:
            words = []
            for word in line.words:
                if word.confidence >= options.min_confidence:
                    words.append(_later(word, first * grid.frame_seconds))
            if words:
                lines.append(timed_line(words))
    return tuple(lines)


def _best(candidates: Sequence[Candidate], emissions: Emissions, ctc_weight: float, language: str) -> Candidate:
    """The candidate with the best joint score."""
    if len(candidates) == 1 or ctc_weight == 0:
        return candidates[0]
    symbols = Symbols.of(emissions.vocabulary)
    log_probs = symbols.columns(emissions.log_probs)

    def score(candidate: Candidate) -> float:
        words = spellable_words(" ".join(candidate.lines), emissions.vocabulary, language)
        ctc = text_log_prob(log_probs, symbols.labels, words)
        return (1 - ctc_weight) * candidate.log_prob + ctc_weight * ctc

    return max(candidates, key=score)


def _later(word: TimedWord, seconds: float) -> TimedWord:
    return replace(word, start_seconds=word.start_seconds + seconds, end_seconds=word.end_seconds + seconds)
