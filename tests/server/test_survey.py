"""A listening test in Chromium, from a file and from the server: heard, rated, downloaded and sent."""

import json

import pytest

from lyrics_asr.console import UsageError
from lyrics_asr.evaluation.survey_report import report_survey
from tests.evaluation.test_survey import key_of, make, stems  # noqa: F401, a fixture
from tests.server.conftest import listening, needs_chromium, opened_page, running

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the extra dev")


@pytest.fixture(scope="module")
def survey(stems, tmp_path_factory):  # noqa: F811
    output = tmp_path_factory.mktemp("survey") / "survey"
    assert make(stems, output) == 0
    return output


@pytest.fixture
def page(browser, request):
    with opened_page(browser, request) as page:
        yield page


def violations(page):
    """What axe-core finds; it may not load style sheets of files."""
    results = axe.Axe().run(page, options={"preload": False}).response["violations"]
    return {each["id"]: [node["html"][:100] for node in each["nodes"]] for each in results}


def systems(survey):
    return {sample: each["system"] for sample, each in json.loads(key_of(survey).read_text())["samples"].items()}


RATINGS = {"hidden reference": (7, 7), "anchor": (1, 2), "leaky": (3, 6), "quiet": (6, 4)}


def rate_with_keys(page, survey):
    """Hear and rate every sample of an excerpt with the keyboard alone."""
    known = systems(survey)
    for number, row in enumerate(page.query_selector_all(".sample")):
        isolation, artifacts = RATINGS[known[row.get_attribute("data-file")]]
        page.keyboard.press("ABCD"[number])
        page.wait_for_function(
            "(number) => document.querySelectorAll('.sample .play')[number].ariaPressed === 'true'",
            arg=number,
        )
        page.wait_for_timeout(700)
        page.keyboard.press(str(isolation))
        page.keyboard.press(f"Shift+Digit{artifacts}")


@needs_chromium
@pytest.mark.slow
def test_a_rater_with_a_keyboard_downloads_the_results(page, survey, tmp_path):
    page.goto((survey / "index.html").as_uri())
    assert violations(page) == {}
    page.fill("#rater", "Ada")
    page.keyboard.press("Enter")
    assert page.inner_text("#position") == "Excerpt 1 of 2"
    assert violations(page) == {}
    page.keyboard.press("n")  # nothing is rated yet
    assert page.inner_text("#position") == "Excerpt 1 of 2"
    rate_with_keys(page, survey)
    assert page.inner_text("#missing") == "All rated"
    page.keyboard.press("n")
    assert page.inner_text("#position") == "Excerpt 2 of 2"
    page.reload()  # the ratings survive
    assert page.inner_text("#position") == "Excerpt 2 of 2"
    rate_with_keys(page, survey)
    page.keyboard.press("n")
    with page.expect_download() as download:
        page.click("#download")
    assert not page.is_visible("#send")
    assert violations(page) == {}
    path = tmp_path / "result.json"
    download.value.save_as(path)
    assert json.loads(path.read_text())["rater"] == "Ada"
    report = report_survey([path], key_of(survey))
    assert {(each.system, each.scale): each.mean for each in report.ratings} == {
        (system, scale): rating
        for system, ratings in RATINGS.items()
        for scale, rating in zip(("isolation", "artifacts"), ratings, strict=True)
    }


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("page", [(390, 844)], indirect=True)
def test_a_rater_with_a_phone_sends_the_results(page, survey, tmp_path):
    known = systems(survey)
    with listening(tmp_path / "data", survey=survey, keys=("a-key-of-16-letters",)) as address:
        page.goto(f"{address}/survey/")
        page.click("#begin")
        assert violations(page) == {}
        for _ in range(2):
            assert page.evaluate("document.documentElement.scrollWidth") == 390
            for row in page.query_selector_all(".sample"):
                row.query_selector(".play").click()
                page.wait_for_timeout(700)
                for scale, rating in zip(
                    ("isolation", "artifacts"), RATINGS[known[row.get_attribute("data-file")]], strict=True
                ):
                    row.query_selector(f".{scale} input[value='{rating}']").check()
            page.click("#next")
        page.click("#send")
        page.wait_for_function("() => document.getElementById('sent').textContent.startsWith('Sent')")
    report = report_survey([*(tmp_path / "data" / "survey_results").glob("*")], key_of(survey))
    assert (report.raters, report.failed) == (1, [])
    assert next(each.mean for each in report.ratings if (each.system, each.scale) == ("leaky", "isolation")) == 3


def test_the_server_shows_the_survey_and_nothing_beside_it(survey, tmp_path):
    with running(tmp_path / "data", survey=survey, keys=("a-key-of-16-letters",)) as client:
        assert client.get("/survey/").status_code == 200
        sample = next(iter(systems(survey)))
        assert client.get(f"/survey/{sample}").content == (survey / sample).read_bytes()
        for path in ("../survey.key.json", "%2e%2e/survey.key.json", "audio/../../survey.key.json"):
            assert client.get(f"/survey/{path}").status_code in (401, 404)


def test_the_server_keeps_results_of_its_survey_only(survey, tmp_path):
    survey_id = json.loads((survey / "survey.json").read_text())["id"]
    good = {"schema": "lyrics-asr/survey-result/1", "survey": survey_id, "rater": "../../evil", "session": "../x"}
    with running(tmp_path / "data", survey=survey, keys=("a-key-of-16-letters",)) as client:
        assert client.post("/survey/results", json=good).status_code == 201
        for wrong, status in (
            (b"[]", 400),
            (b"{", 400),
            (json.dumps(good | {"survey": "other"}).encode(), 400),
            (json.dumps(good | {"rater": "a" * 200_000}).encode(), 413),
        ):
            assert client.post("/survey/results", content=wrong).status_code == status
        foreign = {"Origin": "https://example.com"}
        assert client.post("/survey/results", json=good, headers=foreign).status_code == 403
        assert client.get("/v1/jobs").status_code == 401  # the rest still needs a key
    (kept,) = (tmp_path / "data" / "survey_results" / survey_id).iterdir()
    assert json.loads(kept.read_text()) == good


def test_without_a_survey_there_is_no_place_for_results(tmp_path, client):
    assert client.post("/survey/results", json={}).status_code == 404
    with pytest.raises(UsageError, match="has no survey"), running(tmp_path / "data", survey=tmp_path):
        pass
