"""The command line: `lyrics-asr VERB`.

Exit codes: 0 all done, 1 failure, 2 wrong usage, 3 some songs failed, 130 interrupted. Messages go to stderr, results
to stdout or to files. A verb declares its arguments when it is parsed, and has its heavy imports when it runs, so
`--help` is fast.
"""

import argparse
import contextlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from threading import current_thread, main_thread
from typing import Any

from lyrics_asr.cli.extras import extra_with
from lyrics_asr.console import FAILED, INTERRUPTED, WRONG_USAGE, UsageError, describe, quiet, say
from lyrics_asr.version import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: arguments; None for those of the process.

    Raises:
        KeyboardInterrupt: at Ctrl-C, if the arguments are given, as by a test; else it becomes exit code 130.
    """
    debug = False
    try:
        with _handled_sigterm():
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.reconfigure(encoding="utf-8")  # results are UTF-8 in every locale
            args = _parser().parse_args(argv)
            debug = args.debug
            with quiet(debug, hide_libraries=not args.shows_libraries):
                code: int = args.run(args)
                return code
    except SystemExit as error:  # argparse has printed the help or the error
        return error.code if isinstance(error.code, int) else WRONG_USAGE
    except KeyboardInterrupt:
        say("interrupted; finished files are kept, the one in progress is not")
        if argv is not None:
            raise
        return INTERRUPTED
    except BrokenPipeError:  # the reader of stdout, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _report_error(error)


@contextlib.contextmanager
def _handled_sigterm() -> Iterator[None]:
    """Clean up at SIGTERM as at Ctrl-C; the previous handler is restored at the end."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _report_error(error: Exception) -> int:
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.split(".")[0].replace("_", "-")
        extra = extra_with(package)
        wanted = package if extra is None else f"'lyrics-asr[{extra}]'"
        say(f"error: {error.name} is not installed; install it with: pip install {wanted}")
        return FAILED
    say(f"error: {describe(error)}")
    return WRONG_USAGE if isinstance(error, UsageError) else FAILED


class VerbParser(argparse.ArgumentParser):
    """The parser of a verb, which declares its arguments when they are first needed.

    Args:
        declare: function that adds the arguments; None if they are already declared.
    """

    def __init__(self, *args: Any, declare: Callable[["VerbParser"], None] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "allow_abbrev": False})
        self._declare = declare

    def declare(self) -> None:
        """Add the arguments, once."""
        declare, self._declare = self._declare, None
        if declare is not None:
            declare(self)

    def add_verbs(self, dest: str, verbs: Sequence[tuple[str, str, Callable[["VerbParser"], None]]]) -> None:
        """Add verbs, or actions of a verb: name, summary, and the function that declares the arguments."""
        subparsers = self.add_subparsers(dest=dest, metavar=dest.upper(), required=True)
        for name, summary, declare in verbs:
            description = f"{summary[0].upper()}{summary[1:]}."
            subparsers.add_parser(name, help=summary, description=description, declare=declare)

    def runs(self, run: Callable[[argparse.Namespace], int], example: str, *, shows_libraries: bool = False) -> None:
        """Set the function that the verb runs, and add an example and `--debug`.

        Args:
            run: gets the arguments and returns the exit code.
            example: command for the help.
            shows_libraries: whether messages of libraries on stderr are shown.
        """
        self.epilog = f"Example: {example}"
        self.add_argument("--debug", action="store_true", help="show tracebacks and library messages")
        self.set_defaults(run=run, shows_libraries=shows_libraries)

    def parse_known_args(self, *args: Any, **kwargs: Any) -> Any:
        """See `argparse.ArgumentParser`."""
        self.declare()
        return super().parse_known_args(*args, **kwargs)


def _parser() -> VerbParser:
    parser = VerbParser(
        prog="lyrics-asr",
        description="Song audio in, timed lyrics out.",
        epilog="lyrics-asr VERB --help describes one verb. "
        "Exit codes: 0 all done, 1 failure, 2 wrong usage, 3 some songs failed.",
    )
    parser.add_argument("--version", action="version", version=f"lyrics-asr {__version__}")
    parser.add_verbs("verb", _VERBS)
    return parser


def _declare(module: str, name: str, parser: VerbParser) -> None:
    getattr(import_module(f"lyrics_asr.cli.{module}"), f"declare_{name}")(parser)


_VERBS = (
    ("transcribe", "transcribe songs", partial(_declare, "commands", "transcribe")),
    ("align", "find the time of every word of given lyrics", partial(_declare, "commands", "align")),
    ("separate", "write the vocals of songs as audio", partial(_declare, "commands", "separate")),
    ("render", "convert JSON transcripts to other formats, with no model", partial(_declare, "commands", "render")),
    ("train", "train or fine-tune a model, as a configuration says", partial(_declare, "train", "train")),
    ("evaluate", "evaluate a model on songs with lyrics and times", partial(_declare, "evaluate", "evaluate")),
    ("survey", "make a listening test of separated stems, and report it", partial(_declare, "survey", "survey")),
    ("serve", "run the web application and OpenAI's transcription API", partial(_declare, "serve", "serve")),
    ("models", "list, download, find, export, average and publish models", partial(_declare, "models", "models")),
    ("lm", "build, inspect and tune language models", partial(_declare, "language_model", "lm")),
    ("data", "make training data", partial(_declare, "data", "data")),
    ("doctor", "check this installation: versions, device, codecs, models", partial(_declare, "doctor", "doctor")),
)
"""Name and summary of each verb, and the function that declares its arguments."""


if __name__ == "__main__":
    sys.exit(main())
