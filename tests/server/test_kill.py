"""A server and workers that are killed at any moment, with real processes: nothing is lost, nothing is done twice."""

import pytest

from lyrics_asr.formats import parse_json
from tests.server.stress import Stress


@pytest.mark.slow
def test_kills(song, tmp_path):
    jobs, kills = 8, 4
    result = Stress(tmp_path, song, song_seconds=0.1).run(clients=4, jobs=jobs, kills=kills, pause_seconds=0.6)
    assert result.statuses == dict.fromkeys(result.ids.values(), "done")
    assert len(result.statuses) == jobs
    assert jobs <= result.runs <= jobs + kills  # a kill costs the song that runs
    assert result.exit_code == 0
    assert sorted(path.name for path in (tmp_path / "songs").iterdir()) == sorted(result.statuses)
    for path in tmp_path.glob("songs/*/transcript.json"):
        assert parse_json(path.read_text(), "transcript").text == "sun\nmoon rain"
    assert not list((tmp_path / "uploads").iterdir())
