"""The melody of a song, from the vocals and emissions that are kept: no model is needed."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ, read_audio
from lyrics_asr.files import atomic_path
from lyrics_asr.inference.melody import with_melody
from lyrics_asr.melody.pitch import PitchTrack, track_pitch
from lyrics_asr.server import song_files
from lyrics_asr.types import SungTranscript, Transcript


def sung_transcript(folder: Path, transcript: Transcript, name: str) -> SungTranscript:
    """A song's transcript with the notes of its syllables.

    Args:
        folder: the song's folder; the pitch of the vocals is kept there.
        transcript: its transcript, as edited.
        name: the song's name, in place of the path in the transcript, which a client may have set. UltraStar looks for
            NAME.mp3.
    """
    pitch = folder / song_files.PITCH
    if not pitch.is_file():
        vocals = read_audio(folder / song_files.VOCALS, sample_rate_hz=ACOUSTIC_SAMPLE_RATE_HZ, channels=1)
        with atomic_path(pitch) as temporary, temporary.open("wb") as file:
            np.save(file, track_pitch(vocals).midi)
    track = PitchTrack(np.load(pitch))
    named = replace(transcript, audio=replace(transcript.audio, path=f"{name.replace('/', ' ')}.mp3"))
    emissions = song_files.load_emissions(folder / song_files.EMISSIONS)
    return with_melody(named, emissions, track, transcript.language or "en")
