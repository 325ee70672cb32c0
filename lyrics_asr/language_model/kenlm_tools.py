"""KenLM's programs lmplz (text to ARPA) and build_binary (ARPA to a file that loads at once).

They are looked for in the folder $KENLM_BIN, then on PATH; the Python module `kenlm` does not bring them.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

_REMEDY = "build KenLM's programs (https://kheafield.com/code/kenlm) and put them on PATH or their folder in KENLM_BIN"
_NOISE = re.compile(r"\s*$|[-*=\d]{3}|Name:|Chain sizes|Unigram tokens|Statistics:|Memory estimate|File stdin|Substit")
_WHERE = re.compile(r"^\S+:\d+ in .* threw [\w:]+(?: because `.*')?\.")
_CAUSE_LINES = 3


def find_tool(name: str) -> Path | None:
    """Where `lmplz` or `build_binary` is; None where it is not."""
    folder = os.environ.get("KENLM_BIN", "")
    found = (folder and shutil.which(name, path=folder)) or shutil.which(name)
    return Path(found) if found else None


def require_tool(name: str, purpose: str, otherwise: str) -> Path:
    """Where a program is.

    Raises:
        ValueError: it is not there; the message tells what it is needed for, how to get it, and what to do otherwise.
    """
    tool = find_tool(name)
    if tool is None:
        raise ValueError(f"{purpose} needs KenLM's {name}, which is not here; {_REMEDY}, or {otherwise}")
    return tool


def run_lmplz(
    lmplz: Path,
    sentences: Iterable[Sequence[str]],
    arpa: Path,
    order: int,
    *,
    prune: Sequence[int],
    vocabulary: Collection[str] | None,
    memory: str,
    scratch: Path,
) -> None:
    """Estimate a model; the text goes through a pipe and is nowhere kept whole.

    Args:
        lmplz: the program.
        sentences: words, without <s> and </s>.
        arpa: the file to write.
        order: length of the longest n-grams; some sentence must be as long, with its <s> and </s>.
        prune: for every order, how often an n-gram occurs at most to be left out.
        vocabulary: the words that are allowed; None for all.
        memory: what sorting may take, as lmplz's -S: "500M", "2G", "50%".
        scratch: an empty folder for lmplz's sorting, about as large as the text times the order.

    Raises:
        ValueError: lmplz failed; the message has its cause.
    """
    command = [str(lmplz), "-o", str(order), "-S", memory, "-T", f"{scratch}/", "--arpa", str(arpa)]
    command += ["--discount_fallback"]
    if any(prune):
        command += ["--prune", *map(str, prune)]
    if vocabulary is not None:
        allowed = scratch / "vocabulary.txt"
        allowed.write_text("".join(f"{word}\n" for word in sorted(vocabulary)), encoding="utf-8")
        command += ["--limit_vocab_file", str(allowed)]
    with tempfile.TemporaryFile() as messages:
        process = _start(command, messages)
        try:
            assert process.stdin is not None
            try:
                with process.stdin as pipe:
                    for words in sentences:
                        pipe.write(" ".join(words).encode() + b"\n")
            except BrokenPipeError:  # it ended early, and tells why
                pass
            process.wait()
        finally:
            process.kill()
            process.wait()
        _check(process, messages, "lmplz")


def run_build_binary(build_binary: Path, arpa: Path, binary: Path) -> None:
    """Make a KenLM binary of an ARPA file, with its words: hash tables ("probing"), KenLM's default.

    Raises:
        ValueError: build_binary failed; the message has its cause.
    """
    with tempfile.TemporaryFile() as messages:
        process = _start([str(build_binary), str(arpa), str(binary)], messages)
        try:
            process.communicate()
        finally:
            process.kill()
            process.wait()
        _check(process, messages, "build_binary")


def _start(command: Sequence[str], messages: object) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=messages)  # type: ignore[call-overload,no-any-return]
    except OSError as error:
        raise ValueError(f"{command[0]}: cannot be run ({error.strerror}); {_REMEDY}") from error


def _check(process: "subprocess.Popen[bytes]", messages: object, name: str) -> None:
    if process.returncode == 0:
        return
    messages.seek(0)  # type: ignore[attr-defined]
    lines = messages.read().decode("utf-8", "replace").splitlines()  # type: ignore[attr-defined]
    told = [_WHERE.sub("", line).strip() for line in lines if not _NOISE.match(line)]
    told = [line for line in told if line][-_CAUSE_LINES:]
    ended = f"signal {-process.returncode}" if process.returncode < 0 else f"exit code {process.returncode}"
    raise ValueError(f"{name} failed with {ended}: {' '.join(told) or 'it does not say why'}")
