"""Alignment with the melody: syllables, and the notes that the separated vocals sing on them."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from lyrics_asr.alignment.syllables import time_syllables
from lyrics_asr.audio import Audio
from lyrics_asr.emissions import Emissions
from lyrics_asr.inference.long_audio import AudioFile
from lyrics_asr.inference.results import write_transcript
from lyrics_asr.inference.runner import Song, Stopwatch
from lyrics_asr.inference.stages import run_networks
from lyrics_asr.inference.tasks import AlignTask
from lyrics_asr.melody.notes import with_notes
from lyrics_asr.melody.pitch import PitchTrack
from lyrics_asr.types import SungTranscript, Transcript


class MelodyTask(AlignTask):
    """`lyrics-asr align --melody`."""

    def further_key(self, song: Song) -> list[Any]:
        """See `Task`."""
        return [*super().further_key(song), "melody"]

    def infer(
        self, songs: Sequence[tuple[Song, Audio | AudioFile]], stopwatch: Stopwatch
    ) -> list[tuple[Emissions, PitchTrack]]:
        """See `Task`."""
        _, mixtures = zip(*songs, strict=True)
        with self.in_progress(songs) as progress:
            voices, emissions = run_networks(mixtures, self.model, self.options, progress, stopwatch)
        with stopwatch("melody"):
            tracks = [self.model.track_pitch(voice) for voice in voices]
        return list(zip(emissions, tracks, strict=True))

    def decoded_seconds(self, song: Song, inferred: Any) -> float:
        """See `Task`."""
        emissions: Emissions = inferred[0]
        return emissions.duration_seconds

    def finish(self, song: Song, inferred: Any, stopwatch: Stopwatch) -> Sequence[Path]:
        """See `Task`."""
        emissions: Emissions = inferred[0]
        track: PitchTrack = inferred[1]
        with stopwatch("alignment"):
            transcript = self.align(song, emissions)
        with stopwatch("melody"):
            sung = with_melody(transcript, emissions, track, song.language)
        with stopwatch("writing"):
            return write_transcript(song.job, sung, self.request)


def with_melody(transcript: Transcript, emissions: Emissions, track: PitchTrack, language: str) -> SungTranscript:
    """A transcript with the syllables of its words and their notes."""
    melody = with_notes(time_syllables(transcript, emissions, language=language), track)
    content = {field.name: getattr(transcript, field.name) for field in fields(transcript)}
    return SungTranscript(**content, melody=melody)
