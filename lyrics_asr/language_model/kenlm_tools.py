"""Run KenLM's programs: lmplz (text to ARPA) and build_binary (ARPA to a binary that loads fast).

They are searched in the folder $KENLM_BIN, then on PATH. The Python package `kenlm` does not contain them.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

_REMEDY = "build KenLM's programs (https://kheafield.com/code/kenlm) and put them on PATH or their folder in KENLM_BIN"
_LOG_LINE = re.compile(
    r"\s*$|[-*=\d]{3}|Name:|Chain sizes|Unigram tokens|Statistics:|Memory estimate|File stdin|Substit"
)
_THROW_LOCATION = re.compile(r"^\S+:\d+ in .* threw [\w:]+(?: because `.*')?\.")
_MAX_CAUSE_LINES = 3


def find_tool(name: str) -> Path | None:
    """Find `lmplz` or `build_binary`; None if it is not installed."""
    folder = os.environ.get("KENLM_BIN", "")
    found = (folder and shutil.which(name, path=folder)) or shutil.which(name)
    return Path(found) if found else None


def require_tool(name: str, purpose: str, otherwise: str) -> Path:
    """Find `lmplz` or `build_binary`.

    Args:
        name: of the program.
        purpose: what needs it, for the message.
        otherwise: what to do without it, for the message.

    Raises:
        ValueError: it is not installed; the message has purpose and remedies.
    """
    tool = find_tool(name)
    if tool is None:
        raise ValueError(f"{purpose} needs KenLM's {name}, which is not installed; {_REMEDY}, or {otherwise}")
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
    """Estimate a model. The text is streamed through a pipe and never held as a whole.

    Args:
        lmplz: the program.
        sentences: words, without <s> and </s>.
        arpa: output file.
        order: length of the longest n-grams; at least one sentence must be this long, <s> and </s> included.
        prune: pruning threshold per order.
        vocabulary: the allowed words; None for all.
        memory: memory for sorting, as in lmplz's option -S: "500M", "2G", "50%".
        scratch: an empty folder for sorting; needs about the size of the text times the order.

    Raises:
        ValueError: lmplz failed; the message has the cause.
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
            except BrokenPipeError:  # lmplz exited early; _check reports why
                pass
            process.wait()
        finally:
            process.kill()
            process.wait()
        _check(process, messages, "lmplz")


def run_build_binary(build_binary: Path, arpa: Path, binary: Path) -> None:
    """Convert an ARPA file to a KenLM binary with its word list, in KenLM's default data structure ("probing").

    Raises:
        ValueError: build_binary failed; the message has the cause.
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
    causes = [_THROW_LOCATION.sub("", line).strip() for line in lines if not _LOG_LINE.match(line)]
    causes = [line for line in causes if line][-_MAX_CAUSE_LINES:]
    ended = f"signal {-process.returncode}" if process.returncode < 0 else f"exit code {process.returncode}"
    raise ValueError(f"{name} failed with {ended}: {' '.join(causes) or 'no error message'}")
