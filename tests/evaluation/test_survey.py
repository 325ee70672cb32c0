"""Listening tests: what is written for raters, and what their results say. The page itself: test_survey_page.py."""

import json
import math
from itertools import product

import numpy as np
import pyloudnorm
import pytest
import scipy.signal
import torch
from scipy.stats import wilcoxon

from lyrics_asr.audio import Audio, read_audio, write_audio
from lyrics_asr.cli.main import main
from lyrics_asr.evaluation.survey_report import report_survey

RATE_HZ = 44_100
SECONDS = 6
SONGS = ("one", "album/two")


def noise(seed, low_hz, high_hz):
    sections = scipy.signal.butter(4, [low_hz, high_hz], "bandpass", fs=RATE_HZ, output="sos")
    samples = scipy.signal.sosfilt(sections, np.random.default_rng(seed).standard_normal((2, SECONDS * RATE_HZ)))
    return torch.from_numpy(samples.astype(np.float32)) * 0.2


@pytest.fixture(scope="module")
def stems(tmp_path_factory):
    """Mixes, true vocals, and two systems: one leaks, one is quiet and silent in its second song."""
    folder = tmp_path_factory.mktemp("stems")
    for number, song in enumerate(SONGS):
        voice, band = noise(number, 300, 3000), noise(number + 10, 60, 8000)
        voice[:, : 2 * RATE_HZ] *= 0.1  # the excerpt begins later
        for name, samples in (
            ("mixes", voice + band),
            ("true", voice),
            ("leaky", voice + 0.3 * band),
            ("quiet", 0.05 * voice * (number == 0)),
        ):
            write_audio(folder / name / f"{song}.flac", Audio(samples, RATE_HZ))
    write_audio(folder / "mixes" / "three.flac", Audio(voice, RATE_HZ))  # which no system has
    return folder


def make(stems, output, *options):
    folders = ["--mixtures", str(stems / "mixes"), "--references", str(stems / "true")]
    systems = [str(stems / "leaky"), str(stems / "quiet")]
    return main(["survey", "make", *systems, *folders, "-o", str(output), "--seconds", "3", *options])


@pytest.fixture(scope="module")
def survey(stems, tmp_path_factory):
    output = tmp_path_factory.mktemp("made") / "survey"
    assert make(stems, output) == 0
    return output


def key_of(survey):
    return survey.with_name("survey.key.json")


def read(path):
    return json.loads(path.read_text())


def test_all_samples_are_of_the_same_excerpt_and_equally_loud(survey, stems):
    samples = read(key_of(survey))["samples"]
    assert len(samples) == 8
    for excerpt in read(survey / "survey.json")["excerpts"]:
        systems = {samples[sample]["system"]: survey / sample for sample in excerpt["samples"]}
        assert systems.keys() == {"leaky", "quiet", "hidden reference", "anchor"}
        (song,) = {samples[sample]["song"] for sample in excerpt["samples"]}
        start = samples[excerpt["samples"][0]]["start_seconds"]
        assert start >= 2  # where the voice is loud
        loudness = [
            pyloudnorm.Meter(RATE_HZ).integrated_loudness(read_audio(path).samples.numpy().T)
            for name, path in [*systems.items(), ("", survey / excerpt["mixture"])]
            if (name, song) != ("quiet", "album/two")
        ]
        assert loudness == pytest.approx([loudness[0]] * len(loudness), abs=0.1)
        reference = read_audio(systems["hidden reference"]).samples[:, RATE_HZ : 2 * RATE_HZ]
        original = read_audio(stems / "true" / f"{song}.flac", start_seconds=start + 1, duration_seconds=1.0).samples
        scale = reference.square().mean().sqrt() / original.square().mean().sqrt()
        torch.testing.assert_close(reference, scale * original, atol=1e-3, rtol=0)
        spectrum = read_audio(systems["anchor"]).samples[0]
        power = torch.fft.rfft(spectrum).abs().square()
        above = int(4000 * len(spectrum) / RATE_HZ)
        assert power[above:].sum() < 1e-3 * power.sum()
    silent = [sample for sample, each in samples.items() if (each["system"], each["song"]) == ("quiet", "album/two")]
    assert not read_audio(survey / silent[0]).samples.any()


def test_the_folder_does_not_say_which_sample_is_which(survey):
    systems = ("leaky", "quiet", "reference", "anchor", "album", "two")
    names = [path.name for path in survey.rglob("*")]
    assert not any(system in name for system, name in product(systems, names))
    assert not any(system in (survey / "survey.json").read_text() for system in systems)
    page = (survey / "index.html").read_text()
    embedded = page.partition('id="survey">')[2].partition("</script>")[0]
    assert json.loads(embedded) == read(survey / "survey.json")
    assert len({path.stat().st_mtime_ns for path in survey.rglob("*.flac")}) == 10
    positions = [
        [read(key_of(survey))["samples"][sample]["system"] for sample in excerpt["samples"]]
        for excerpt in read(survey / "survey.json")["excerpts"]
    ]
    assert all(sorted(position) == sorted(positions[0]) for position in positions)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seconds", "7"], "less than an excerpt"),
        (["--seconds", "1"], "seconds 1.0 is out of range; it must be 2 to 30"),
        (["--key", "OUTPUT/key.json"], "raters would see the key"),
        (["--references", "EMPTY"], "EMPTY: has no file"),
    ],
)
def test_what_cannot_be_made_is_named(stems, tmp_path, capsys, options, message):
    (tmp_path / "EMPTY").mkdir()
    given = [
        option.replace("OUTPUT", str(tmp_path / "out")).replace("EMPTY", str(tmp_path / "EMPTY")) for option in options
    ]
    assert make(stems, tmp_path / "out", *given) != 0
    assert message.replace("EMPTY", str(tmp_path / "EMPTY")) in capsys.readouterr().err


def test_a_folder_that_is_missing_is_named(stems, tmp_path, capsys):
    assert make(stems, tmp_path / "survey", "--mixtures", str(tmp_path / "nowhere")) == 1
    assert f"{tmp_path / 'nowhere'}: no such folder; check the path" in capsys.readouterr().err
    assert not (tmp_path / "survey").exists()


def test_an_older_survey_is_kept(survey, stems, capsys):
    before = (survey / "survey.json").read_bytes()
    assert make(stems, survey) == 1
    assert "there is a survey or a key already" in capsys.readouterr().err
    assert (survey / "survey.json").read_bytes() == before


def result(survey, session, rate):
    """A rater's results; `rate` gets system, song and scale."""
    samples = read(key_of(survey))["samples"]
    return {
        "schema": "lyrics-asr/survey-result/1",
        "survey": read(survey / "survey.json")["id"],
        "session": session,
        "rater": f"rater {session}",
        "finished": "2026-01-01T00:00:00Z",
        "ratings": [
            {"sample": sample}
            | {scale: rate(each["system"], each["song"], scale) for scale in ("isolation", "artifacts")}
            for sample, each in samples.items()
        ],
    }


def rater(number):
    """Fixed opinions; rater 9 does not hear the reference."""
    rng = np.random.default_rng(number)
    drawn = {key: int(rng.integers(2, 6)) for key in product(("leaky", "quiet"), SONGS, ("isolation", "artifacts"))}
    best = 3 if number == 9 else 7

    def rate(system, song, scale):
        return {"hidden reference": best, "anchor": 1}.get(system) or drawn[system, song, scale]

    return rate


@pytest.fixture
def results(survey, tmp_path):
    for number in range(10):
        (tmp_path / f"{number}.json").write_text(json.dumps(result(survey, str(number), rater(number))))
    older = result(survey, "0", lambda *_: 7) | {"finished": "2025-01-01T00:00:00Z"}
    (tmp_path / "x_older.json").write_text(json.dumps(older))
    return tmp_path


def test_the_report_gives_means_with_intervals(survey, results):
    report = report_survey([results], key_of(survey))
    assert (report.raters, report.failed, report.excerpts) == (9, ["rater 9"], 2)
    expected = {
        (system, scale): [rater(number)(system, song, scale) for number in range(9) for song in SONGS]
        for system, scale in product(("leaky", "quiet", "hidden reference", "anchor"), ("isolation", "artifacts"))
    }
    assert {(each.system, each.scale): each.mean for each in report.ratings} == pytest.approx(
        {key: np.mean(values) for key, values in expected.items()}
    )
    for each in report.ratings:
        assert each.low <= each.mean <= each.high
        spread = np.std(expected[each.system, each.scale])
        assert (each.low == each.high) == (spread == 0)
        # wider than if all ratings were independent, by a factor of three at most
        naive = 2 * 1.96 * spread / math.sqrt(18)
        assert 0.5 * naive <= each.high - each.low <= 3 * naive
    for each in report.comparisons:
        differences = np.subtract(expected[each.first, each.scale], expected[each.second, each.scale])
        assert each.difference == pytest.approx(differences.mean())
        assert each.p == pytest.approx(wilcoxon(differences).pvalue)  # one comparison: nothing to correct
    assert report.ratings[0].system == "hidden reference"


def test_the_report_is_printed_and_drawn(survey, results, tmp_path, capsys):
    output = tmp_path / "report"
    files = [str(path) for path in sorted(results.glob("*.json"))]
    assert main(["survey", "report", *files, "--key", str(key_of(survey)), "-o", str(output)]) == 0
    shown = capsys.readouterr().out
    assert "9 raters, 2 excerpts; 1 raters left out, who failed the hidden reference: rater 9" in shown
    assert "leaky - quiet" in shown
    assert read(output / "report.json")["raters"] == 9
    assert "<svg" in (output / "report.svg").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "another"}, "is not a result of a survey"),
        ({"survey": "0000"}, "is a result of another survey"),
        ({"ratings": []}, "does not have a rating of each sample"),
        ({"ratings": [{"sample": "audio/x.flac", "isolation": 9, "artifacts": 1}]}, "ratings must be 1 to 7"),
        ({"session": 3}, "session must be a non-empty string"),
    ],
)
def test_wrong_results_are_named(survey, tmp_path, change, message):
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(result(survey, "1", rater(1)) | change))
    with pytest.raises(ValueError, match=rf"wrong\.json: {message}"):
        report_survey([path], key_of(survey))


def test_a_damaged_key_is_named(survey, tmp_path):
    good = read(key_of(survey))
    for change, message in (
        ({"schema": "x"}, "is not the key of a survey"),
        ({"samples": []}, "samples must be a JSON object"),
        ({"samples": {"audio/x.flac": {"song": "one"}}}, "a sample lacks system"),
        ({"samples": {"audio/x.flac": {"song": "one", "system": "leaky"}}}, "no sample is the hidden reference"),
    ):
        (tmp_path / "key.json").write_text(json.dumps(good | change))
        with pytest.raises(ValueError, match=rf"key\.json: {message}"):
            report_survey([tmp_path], tmp_path / "key.json")


def test_names_of_raters_do_not_reach_the_terminal_as_they_are(survey, results):
    path = results / "9.json"
    path.write_text(json.dumps(read(path) | {"rater": "\x1b[2J" + "a" * 200}))
    assert report_survey([results], key_of(survey)).failed == ["[2J" + "a" * 77]


def test_raters_who_all_fail_leave_nothing(survey, tmp_path):
    (tmp_path / "one.json").write_text(json.dumps(result(survey, "9", rater(9))))
    with pytest.raises(ValueError, match="all 1 raters failed"):
        report_survey([tmp_path], key_of(survey))
