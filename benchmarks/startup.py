"""What starting a verb costs: `python benchmarks/startup.py`.

Runs each command in a process of its own, three times, and prints the least processor time, the modules that it
imported, and the packages whose imports took longest. The song is one of data/demo, of 28 s; the model is `embedded`.
"""

import argparse
import re
import resource
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
SONG = ROOT / "data" / "demo" / "robots_on_the_night_shift.mp3"
COMMANDS = (
    ("align", "--help"),
    ("models", "list"),
    ("doctor",),
    ("render", "SONG.json", "--format", "srt"),
    ("align", str(SONG), str(SONG.with_suffix(".txt")), "--model", "embedded"),
    ("transcribe", str(SONG), "--model", "embedded"),
)
RUN = "import sys; from lyrics_asr.cli.main import main; code = main(sys.argv[1:]); "
COUNT = "print(len(sys.modules), file=sys.stderr); sys.exit(code)"
_PACKAGES = 6


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="of each command (default: %(default)s)")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        transcript = Path(folder) / f"{SONG.stem}.json"
        _run(["align", str(SONG), str(SONG.with_suffix(".txt")), "--model", "embedded", "-o", folder])
        for command in COMMANDS:
            arguments = [str(transcript) if each == "SONG.json" else each for each in command]
            seconds, modules = zip(*(_run(arguments) for _ in range(runs)), strict=True)
            shown = " ".join(Path(each).name if "/" in each else each for each in arguments)
            print(f"{min(seconds):6.2f} s, {modules[0]:4} modules  {shown}")
            print(f"           imports: {_imports(arguments)}")


def _run(arguments: list[str]) -> tuple[float, int]:
    """Processor time of a command, and the number of modules at its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", RUN + COUNT, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, int(done.stderr.split()[-1])


def _imports(arguments: list[str]) -> str:
    """The packages whose own modules took longest to import, in seconds of one run that is slower for being traced."""
    command = [sys.executable, "-X", "importtime", "-c", f"{RUN}sys.exit(code)", *arguments, "--debug"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    seconds: defaultdict[str, float] = defaultdict(float)
    for own, package in re.findall(r"^import time: +(\d+) \| +\d+ \| +(\w+)", done.stderr, flags=re.MULTILINE):
        seconds[package] += int(own) / 1e6
    slowest = sorted(seconds.items(), key=lambda item: -item[1])[:_PACKAGES]
    return ", ".join(f"{package} {own:.2f}" for package, own in slowest)


if __name__ == "__main__":
    main()
