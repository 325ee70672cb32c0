"""The report of an evaluation: report.md for a terminal or a pull request, report.html with plots.

report.html is self-contained: plots and styles are inline. Text from corpora and predictions is escaped.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from lyrics_asr.config import dump_config
from lyrics_asr.evaluation.aggregation import METRICS, Estimate, aggregate
from lyrics_asr.evaluation.examples import AXIS_WIDTH, worst_lines, worst_words
from lyrics_asr.evaluation.pictures import pictures, reliability_pictures
from lyrics_asr.evaluation.published import ALIGNMENTS, TRANSCRIPTIONS
from lyrics_asr.evaluation.results import Results
from lyrics_asr.evaluation.scores import SongScores
from lyrics_asr.files import write_text

HEADLINES = (
    "wer",
    "greedy_wer",
    "greedy_cer",
    "jam_alt_wer",
    "words_mean_over_songs",
    "words_median_pooled",
    "words_bias",
    "damaged_words_within",
    "not_found_precision",
    "not_found_recall",
    "word_confidence_ece",
    "word_confidence_auc",
    "line_confidence_ece",
    "line_confidence_auc",
    "song_confidence_ece",
    "song_confidence_auc",
    "word_ends_bias",
    "words_within_0.3",
    "words_pcs",
    "lines_mean_over_songs",
    "lines_bias",
    "line_ends_bias",
    "even_words_mean_over_songs",
    "si_sdr_gain",
    "rtf",
)
_COLUMNS = {
    "wer": "WER",
    "greedy_cer": "CER, greedy",
    "words_mean_over_songs": "mean error",
    "words_median_pooled": "median error",
    "words_within_0.3": "within 0.3 s",
    "rtf": "RTF",
}
"""Metrics shown per song and per group, with short names; errors are of word onsets."""


def write_report(results: Results, folder: Path) -> None:
    """Write report.md and report.html.

    Raises:
        OutputError: the folder cannot be written.
    """
    write_text(folder / "report.md", markdown(results))
    write_text(folder / "report.html", html(results))


def markdown(results: Results) -> str:
    """The report as Markdown: metrics, groups, songs, and failures."""
    lines = [f"# {_cell(results.name)}", "", _summary(results), ""]
    lines += ["| metric | value | 95 % interval | songs |", "|---|---:|---:|---:|"]
    for key, each in results.metrics.items():
        lines.append(f"| {METRICS[key].label} | {shown(key, each.value)} | {interval(key, each)} | {each.songs} |")
    for title, groups in _groups(results):
        lines += ["", *_table(title, list(groups.items()), counted=True)]
    lines += ["", *_song_table(results.songs)]
    if results.failed:
        lines += ["", "Failed:", "", *(f"- {_cell(song.id)}: {_cell(song.reason)}" for song in results.failed)]
    if results.missing_audio:
        lines += ["", f"Without audio: {_cell(', '.join(results.missing_audio))}"]
    return "\n".join(lines) + "\n"


def html(results: Results) -> str:
    """The report as one self-contained HTML page."""
    environment = Environment(
        loader=PackageLoader("lyrics_asr.evaluation"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = _unbroken
    environment.globals |= {"shown": shown, "interval": interval, "metrics": METRICS}
    columns = {key: name for key, name in _COLUMNS.items() if key in results.metrics}
    return environment.get_template("report.html.j2").render(
        results=results,
        summary=_summary(results),
        corpus=_corpus(results),
        headlines=[key for key in HEADLINES if key in results.metrics],
        columns=columns,
        songs=[_song_row(song, tuple(columns)) for song in _worst_first(results.songs)],
        widest={key: max(_value(song, key) or 0.0 for song in results.songs) for key in columns},
        groups=_groups(results),
        alignments=ALIGNMENTS if "words_mean_over_songs" in results.metrics else (),
        transcriptions=TRANSCRIPTIONS if "wer" in results.metrics else (),
        pictures=pictures(results.songs),
        reliability_pictures=reliability_pictures(results.songs),
        lines=worst_lines(results.songs),
        words=worst_words(results.songs),
        axis_width=AXIS_WIDTH,
        config=dump_config(results.config),
        decoding="" if results.decoding is None else dump_config(results.decoding),
    )


def shown(key: str, value: float | None) -> str:
    """A metric's value formatted with its unit; a dash if undefined."""
    if value is None:
        return "–"
    match METRICS[key].unit:
        case "share":
            return f"{100 * value:.1f} %"
        case "s":
            return f"{value:.3f} s"
        case "signed s":
            return f"{value:+.3f} s"
        case "dB":
            return f"{value:+.1f} dB"
        case "x":
            return f"{value:.3f}"


def interval(key: str, each: Estimate) -> str:
    """A metric's interval formatted with its unit; empty if there is none."""
    if each.low is None or each.high is None:
        return ""
    return f"{shown(key, each.low)} to {shown(key, each.high)}"


def _groups(results: Results) -> list[tuple[str, Mapping[str, Mapping[str, Estimate]]]]:
    """Groups with their titles; without empty ones."""
    both = (("Language", results.by_language), ("Genre", results.by_genre))
    return [(title, groups) for title, groups in both if groups]


def _summary(results: Results) -> str:
    seconds = sum(song.duration_seconds or 0 for song in results.songs)
    parts = [f"{len(results.songs)} {'song' if len(results.songs) == 1 else 'songs'}"]
    if seconds:
        parts.append(f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes")
    parts += [f"{len(results.failed)} failed", f"{len(results.missing_audio)} without audio"]
    day, _, time = results.created.partition("T")
    return f"{', '.join(parts)}; corpus {_corpus(results)}, {day} {time[:5]} UTC"


def _corpus(results: Results) -> str:
    """The corpus' name; its folder if the layout has no name."""
    layout = results.config.corpus
    return str(results.config.folder) if layout in ("manifest", "folder") else layout


def _unbroken(text: str) -> str:
    """Text with no-break spaces between numbers and units."""
    return re.sub(r"(?<=\d) (?=%|s\b|dB\b)", "\N{NO-BREAK SPACE}", text)


def _worst_first(songs: Sequence[SongScores]) -> list[SongScores]:
    key = next((key for key in _COLUMNS if any(key in song.statistics for song in songs)), "wer")
    return sorted(songs, key=lambda song: -(_value(song, key) or 0.0))


def _song_row(song: SongScores, columns: Sequence[str]) -> tuple[SongScores, dict[str, float | None]]:
    return song, {key: _value(song, key) for key in columns}


def _value(song: SongScores, key: str) -> float | None:
    return aggregate(METRICS[key], [song.statistics[key]]) if key in song.statistics else None


def _song_table(songs: Sequence[SongScores]) -> list[str]:
    rows = [
        (song.id, {key: Estimate(_value(song, key), None, None, 1) for key in _COLUMNS if key in song.statistics})
        for song in _worst_first(songs)
    ]
    return _table("Song", rows, counted=False)


def _table(title: str, rows: Sequence[tuple[str, Mapping[str, Estimate]]], *, counted: bool) -> list[str]:
    keys = [key for key in _COLUMNS if any(key in metrics for _, metrics in rows)]
    lines = [
        f"| {' | '.join([title, *(['songs'] if counted else []), *(_COLUMNS[key] for key in keys)])} |",
        f"|---|{'---:|' * (counted + len(keys))}",
    ]
    for name, metrics in rows:
        count = max((each.songs for each in metrics.values()), default=0)
        values = [shown(key, metrics[key].value if key in metrics else None) for key in keys]
        lines.append(f"| {' | '.join([_cell(name), *([str(count)] if counted else []), *values])} |")
    return lines


def _cell(text: str) -> str:
    """Text as a cell of a Markdown table."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
