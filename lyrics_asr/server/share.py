"""A song as one HTML file: the stage, the times and both stems, which opens from disk without a server."""

import base64
import html
import json
import re
from pathlib import Path

from lyrics_asr.formats import render_json
from lyrics_asr.types import Transcript

_STATIC = Path(__file__).parent / "static"
_MODULES = ("timeline", "player", "filling", "stage", "share")

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
<script type="importmap">{imports}</script>
</head>
<body>
{stage}
<script type="application/json" id="song">{song}</script>
<script type="module">import "share";</script>
</body>
</html>
"""


def share_html(title: str, transcript: Transcript, stems: dict[str, Path], offset_seconds: float = 0.0) -> str:
    """Make the page.

    Args:
        title: name of the song.
        transcript: words and times.
        stems: "vocals" and "accompaniment", as files that browsers play, such as MP3.
        offset_seconds: shift of the words against the audio.
    """
    song = {
        "title": title,
        "transcript": json.loads(render_json(transcript)),
        "offset": offset_seconds,
        "stems": {name: base64.b64encode(path.read_bytes()).decode() for name, path in stems.items()},
    }
    page = (_STATIC / "index.html").read_text(encoding="utf-8")
    (stage,) = re.findall(r'<main id="stage".*?</main>', page, flags=re.DOTALL)
    return _PAGE.format(
        title=html.escape(title),
        style=(_STATIC / "style.css").read_text(encoding="utf-8"),
        imports=json.dumps({"imports": {name: _module(name) for name in _MODULES}}),
        stage=stage.replace(" hidden>", ">", 1),
        song=json.dumps(song).replace("<", "\\u003c"),  # no text of a song can end the element
    )


def display_name(filename: str) -> str:
    """A song's name for people: its file's without folders and suffix, with spaces for underscores."""
    name = filename.replace("\\", "/").rsplit("/", 1)[-1]
    stem = (name.rsplit(".", 1)[0] or name).replace("_", " ")
    return "".join(character for character in stem if character.isprintable())[:200].strip() or "song"


def _module(name: str) -> str:
    """A module as a data: URL, which imports the others by their bare names."""
    text = (_STATIC / f"{name}.js").read_text(encoding="utf-8")
    text = re.sub(r'"/static/(\w+)\.js"', r'"\1"', text)
    return f"data:text/javascript;base64,{base64.b64encode(text.encode()).decode()}"
