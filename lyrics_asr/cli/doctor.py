"""`lyrics-asr doctor`: check versions, device, codecs and models on this computer."""

import argparse
import platform
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING

from lyrics_asr.cli.extras import requirements_of_extras
from lyrics_asr.console import DONE, FAILED

if TYPE_CHECKING:
    from lyrics_asr.cli.main import VerbParser

_CODECS = ("aac", "alac", "flac", "mp3", "opus", "vorbis", "wmav2")
_OLDEST, _NEWEST = (3, 10), (3, 12)


def declare_doctor(parser: "VerbParser") -> None:
    """Arguments of `lyrics-asr doctor`."""
    parser.runs(doctor, "lyrics-asr doctor")


def doctor(args: argparse.Namespace) -> int:
    """Check the installation; returns FAILED if something is wrong."""
    findings = examine()
    for finding in findings:
        print(f"{'ok ' if finding.ok else 'BAD'}  {finding.subject:<20} {finding.detail}")
    return DONE if all(finding.ok for finding in findings) else FAILED


@dataclass(frozen=True)
class Finding:
    """One check; `detail` is what was found, or the problem and its remedy."""

    subject: str
    ok: bool
    detail: str


def examine() -> tuple[Finding, ...]:
    """Check everything that transcribing and aligning need; nothing is downloaded."""
    checks: dict[str, Callable[[], str]] = {
        "libraries": _libraries,
        "device": _device,
        "codecs": _codecs,
        "models": _models,
        "extras": _extras,
    }
    return (_python(), *_packages(), *(_finding(subject, check) for subject, check in checks.items()))


def _finding(subject: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, True, check())
    except Exception as error:  # a broken installation can fail in any way, and the failure is the result
        return Finding(subject, False, f"{type(error).__name__}: {error}")


def _python() -> Finding:
    fits = _OLDEST <= sys.version_info[:2] <= _NEWEST
    remedy = "" if fits else "; Python 3.10 to 3.12 is needed"
    return Finding("python", fits, f"{platform.python_version()} on {platform.platform()}{remedy}")


def _packages() -> tuple[Finding, ...]:
    """The required packages without extras, and their installed versions."""
    try:
        requirements = metadata.requires("lyrics-asr") or []
    except metadata.PackageNotFoundError:
        return (Finding("lyrics-asr", False, "not installed; run pip install -e . in its folder"),)
    names = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in requirements if "extra ==" not in line]
    return tuple(_finding(name, partial(metadata.version, name)) for name in ["lyrics-asr", *names])


def _libraries() -> str:
    import torch
    import torchaudio

    return f"PyTorch {torch.__version__} and torchaudio {torchaudio.__version__} load together"


def _device() -> str:
    import torch

    if not torch.cuda.is_available():
        return f"cpu, {torch.get_num_threads()} threads; no CUDA device"
    return ", ".join(f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count()))


def _codecs() -> str:
    import av

    missing = [name for name in _CODECS if name not in av.codecs_available]
    if missing:
        raise RuntimeError(f"av cannot decode {', '.join(missing)}; install the wheel of av from the package index")
    return f"{', '.join(_CODECS)}: decoded by av {av.__version__}, no ffmpeg program needed"


def _models() -> str:
    from lyrics_asr.models.known_models import KNOWN_MODELS, cached_paths

    states = []
    for model in KNOWN_MODELS.values():
        absent = "is not downloaded" if model.repositories else "is missing from this package"
        states.append(f"{model.name} {'is here' if cached_paths(model.name) else absent}")
    return ", ".join(states)


def _extras() -> str:
    states = []
    for extra, packages in sorted(requirements_of_extras().items()):
        if extra == "dev":  # for work on this package, and nearly everything
            continue
        missing = sorted(package for package in packages if not _is_installed(package))
        states.append(f"{extra} {'lacks ' + ', '.join(missing) if missing else 'is here'}")
    return "; ".join(states)


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
