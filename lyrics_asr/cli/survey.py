"""`lyrics-asr survey`: make a listening test, and report its results."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lyrics_asr.console import DONE, UsageError, say

if TYPE_CHECKING:
    from lyrics_asr.cli.main import VerbParser
    from lyrics_asr.evaluation.survey_report import SurveyReport


def declare_survey(parser: "VerbParser") -> None:
    """Actions of `lyrics-asr survey`."""
    parser.add_verbs(
        "action",
        [
            ("make", "write a listening test of separated stems, as a folder that opens in a browser", _declare_make),
            ("report", "evaluate the results of a listening test", _declare_report),
        ],
    )


def _declare_make(parser: "VerbParser") -> None:
    parser.runs(_make, "lyrics-asr survey make demucs/ unet/ --mixtures mixes --references vocals -o survey")
    parser.add_argument(
        "systems",
        nargs="+",
        type=Path,
        metavar="STEMS",
        help="a folder of separated stems for each system; its name is that of the system",
    )
    parser.add_argument("--mixtures", type=Path, required=True, metavar="FOLDER", help="the mixes")
    parser.add_argument("--references", type=Path, required=True, metavar="FOLDER", help="the true stems")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder of the test")
    parser.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="which sample is of which system, kept from the raters (default: FOLDER.key.json, beside the folder)",
    )
    parser.add_argument(
        "--excerpts", type=int, default=8, metavar="N", help="songs to take an excerpt of (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=8.0, metavar="S", help="length of an excerpt (default: %(default)s)"
    )
    parser.add_argument(
        "--stem",
        choices=("vocals", "accompaniment"),
        default="vocals",
        help="what the systems separated (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the choice of songs (default: %(default)s)")


def _make(args: argparse.Namespace) -> int:
    from lyrics_asr.evaluation.survey import SurveyOptions, make_survey

    try:
        options = SurveyOptions(args.excerpts, args.seconds, args.stem, args.seed)
    except ValueError as error:
        raise UsageError(str(error)) from error
    key = args.key or args.output.with_name(f"{args.output.resolve().name}.key.json")
    excerpts = make_survey(args.systems, args.mixtures, args.references, args.output, key, options)
    say(f"wrote {args.output} with {excerpts} excerpts; open {args.output / 'index.html'} in a browser")
    say(f"wrote {key}, for the report; raters must not see it")
    return DONE


def _declare_report(parser: "VerbParser") -> None:
    parser.runs(_report, "lyrics-asr survey report results/*.json --key survey.key.json -o survey_report")
    parser.add_argument(
        "results", nargs="+", type=Path, metavar="JSON", help="results as the page gives them, or folders of them"
    )
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="the key that survey make wrote")
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="folder for report.json and report.svg")


def _report(args: argparse.Namespace) -> int:
    from lyrics_asr.evaluation.survey_report import report_survey, write_survey_report

    report = report_survey(args.results, args.key)
    sys.stdout.write(render_report(report))
    if args.output is not None:
        write_survey_report(report, args.output)
        say(f"wrote {args.output}")
    return DONE


def render_report(report: "SurveyReport") -> str:
    """The report as tables for people, with a line end after each row."""
    rows = [
        f"{report.raters} raters, {report.excerpts} excerpts; {len(report.failed)} raters left out, who failed the "
        "hidden reference" + (f": {', '.join(report.failed)}" if report.failed else ""),
        "",
        f"{'system':<28}{'scale':<12}{'mean':>6}   95 % interval",
    ]
    rows += [
        f"{each.system:<28}{each.scale:<12}{each.mean:>6.2f}   {each.low:.2f} to {each.high:.2f}"
        for each in report.ratings
    ]
    if report.comparisons:
        rows += ["", f"{'compared':<40}{'scale':<12}{'difference':>10}{'p (Wilcoxon, Holm)':>20}"]
    rows += [
        f"{f'{each.first} - {each.second}':<40}{each.scale:<12}{each.difference:>+10.2f}{each.p:>20.4f}"
        for each in report.comparisons
    ]
    return "".join(f"{row}\n" for row in rows)
