import json
import sys

import pytest

from lyrics_asr.models.acoustic import CORRECTION_KEY
from scripts import onset_correction


def test_late_onsets_are_corrected_and_corrections_add_up(tmp_path, monkeypatch):
    config, results = tmp_path / "model" / "acoustic" / "config.json", tmp_path / "results.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"hidden_size": 8}))
    for bias, correction in ((0.05, -0.05), (-0.02, -0.03)):
        results.write_text(json.dumps({"metrics": {"words_bias": {"value": bias}}}))
        monkeypatch.setattr(sys, "argv", ["onset_correction", str(tmp_path / "model"), str(results)])
        onset_correction.main()
        kept = json.loads(config.read_text())
        assert kept == {"hidden_size": 8, CORRECTION_KEY: pytest.approx(correction)}
