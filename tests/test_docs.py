"""The documents name files, commands, options and packages that exist."""

import ast
import contextlib
import io
import json
import re
import shlex
import shutil
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from lyrics_asr.cli.main import main
from lyrics_asr.config import load_config
from lyrics_asr.options import InferenceOptions
from lyrics_asr.training.config import TrainingConfig
from scripts.document_config import PAGE, page

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(path for folder in (".", "docs", "data", "benchmarks") for path in (ROOT / folder).glob("*.md"))
PRESENT = [document for document in DOCUMENTS if document.name != "CHANGELOG.md"]
"""Those that name nothing of earlier versions."""
PATH = re.compile(r"(?<![\w./])(?:lyrics_asr|configs|benchmarks|scripts|tests|docs|data/demo)/[\w./-]*\w(?:/|\b)")


def _text(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def _name(value: object) -> str:
    if isinstance(value, Path):
        return str(value.relative_to(ROOT))
    return " ".join(value) if isinstance(value, list) else str(value)


def _links() -> Iterator[tuple[Path, str]]:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s]+)\)", _text(document)):
            if not re.match(r"\w+:", target):
                yield document, target


@pytest.mark.parametrize(("document", "target"), _links(), ids=_name)
def test_links_resolve(document: Path, target: str) -> None:
    name, _, anchor = target.partition("#")
    file = (document.parent / name).resolve() if name else document
    assert file.exists()
    if anchor:
        headings = re.findall(r"^#+ (.*)$", _text(file), flags=re.MULTILINE)
        assert anchor in [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("document", PRESENT, ids=_name)
def test_paths_exist(document: Path) -> None:
    missing = [path for path in PATH.findall(_text(document)) if not (ROOT / path).exists()]
    assert not missing


def _commands() -> Iterator[tuple[Path, list[str]]]:
    """The arguments of every call of lyrics-asr in an indented block or between backticks."""
    for document in PRESENT:
        text = _text(document)
        lines = [line for line in text.splitlines() if line.startswith("    ")]
        inline = [re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`]+)`", text)]
        for line in lines + [code for code in inline if code.startswith("lyrics-asr ")]:
            for command in re.split(r"&&|;", line):
                words = shlex.split(command, comments=True)
                while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                    words.pop(0)
                if len(words) > 1 and words[0] == "lyrics-asr":
                    yield document, words[1:]


@cache
def _help_of(*verbs: str) -> str:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        assert main([*verbs, "--help"]) == 0
    return text.getvalue()


@pytest.mark.parametrize(("document", "words"), _commands(), ids=_name)
def test_verbs_and_options_exist(document: Path, words: list[str]) -> None:
    verbs = words[:2] if words[0] in ("data", "lm", "models", "survey") else words[:1]
    known = re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", _help_of(*verbs))
    given = [word.split("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)]
    assert not set(given) - set(known)


def test_keys_of_stages_are_read() -> None:
    texts = [_text(document) for document in PRESENT]
    settings = [setting for text in texts for setting in re.findall(r"--set\s+([a-z_.]+=[^\s`]+)", text)]
    assert len(settings) > 4
    load_config(InferenceOptions, overrides=settings)


@pytest.mark.parametrize("name", ["fine-tuning.md", "from-scratch.md"])
def test_keys_of_training_are_read(name: str) -> None:
    """The YAML of the documents, in a configuration in which it could stand."""
    given = {}
    for block in re.findall(r"(?:^    .*\n)+", _text(ROOT / "docs" / name), flags=re.MULTILINE):
        if re.match(r" +(stream|freezing):", block):
            given |= yaml.safe_load(block)
    assert given
    if "freezing" in given:
        given = {"stages[0].freezing": given["freezing"]}
    overrides = [f"{key}={json.dumps(value)}" for key, value in given.items()]
    load_config(TrainingConfig, ROOT / "configs" / "stream.yaml", overrides)


def test_the_page_of_the_configuration_is_up_to_date() -> None:
    assert page() == _text(PAGE), "run `python -m scripts.document_config`"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "docs/transcribe.md", "docs/align.md"])
def test_python_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The Python of a document, on a demo song."""
    (code,) = re.findall(r"^    import lyrics_asr\n(?:    .*\n|\n)+", _text(ROOT / name), flags=re.MULTILINE)
    for suffix in (".mp3", ".txt"):
        shutil.copy(ROOT / "data/demo" / f"truce_on_the_hill{suffix}", tmp_path / f"song{suffix}")
    monkeypatch.chdir(tmp_path)
    exec(textwrap.dedent(code), {})
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) >= 9  # lines of the song
    assert "transcribe" in name or "trenches" in printed


def test_layers_and_their_imports_are_as_documented() -> None:
    layers: dict[str, int] = {}
    documented: dict[str, set[str]] = {}
    for row in re.findall(r"^ +(\d+ .*)$", _text(ROOT / "docs/architecture.md"), flags=re.MULTILINE):
        layer, names, *rest = re.split(r" {3,}", row)
        for name in re.findall(r"\w+(?=/|\.py)", names):
            layers[name] = int(layer)
            documented[name] = set(rest[1].split()) if len(rest) > 1 else set()

    package = ROOT / "lyrics_asr"
    imports: dict[str, set[str]] = {
        path.stem: set() for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    for file in package.rglob("*.py"):
        name = file.relative_to(package).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(_text(file))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lyrics_asr."):
                imports[name].add(str(node.module).split(".")[1])
    del imports["__init__"]  # it re-exports names of all layers

    assert set(layers) == set(imports), "list every package in docs/architecture.md"
    upwards = {(name, other) for name in imports for other in imports[name] - {name} if layers[other] >= layers[name]}
    assert not upwards
    above = {name: {other for other in imports[name] - {name} if layers[other] > 2} for name in imports}
    assert documented == above, "list the imports in docs/architecture.md"
