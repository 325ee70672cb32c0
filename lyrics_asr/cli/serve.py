"""`lyrics-asr serve`: the web application."""

import argparse
import logging
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from lyrics_asr.cli.arguments import add_computing_options, computing_overrides
from lyrics_asr.console import DONE, UsageError, say
from lyrics_asr.options import DEFAULT_MODEL
from lyrics_asr.server.settings import Limits

if TYPE_CHECKING:
    from lyrics_asr.cli.main import VerbParser

_LIMITS = (
    ("upload-bytes", int, "size of a request"),
    ("lyrics-bytes", int, "size of lyrics"),
    ("audio-seconds", float, "duration of a song"),
    ("queued-jobs", int, "jobs that wait"),
    ("client-jobs", int, "jobs of one client (key or address)"),
    ("body-wait-seconds", float, "pause of a client in the middle of a request"),
    ("decoding-seconds", float, "time to decode a file"),
    ("decoding-bytes", int, "memory to decode a file"),
)


def declare_serve(parser: "VerbParser") -> None:
    """Arguments of `lyrics-asr serve`."""
    parser.runs(serve, "lyrics-asr serve --data library")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this computer only)")
    parser.add_argument("--port", type=int, default=8000, help="port (default: %(default)s)")
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, metavar="NAME", help="see lyrics-asr transcribe (default: %(default)s)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("lyrics_asr_library"),
        metavar="FOLDER",
        help="songs, results and queue (default: %(default)s)",
    )
    parser.add_argument(
        "--device",
        default="auto",
        metavar="NAME[,NAME...]",
        help="a worker on each (default: all CUDA devices, or the CPU)",
    )
    add_computing_options(parser)
    parser.add_argument(
        "--songs",
        type=Path,
        metavar="FOLDER",
        help="songs to add at the start, with lyrics beside them, if they have any",
    )
    parser.add_argument(
        "--survey",
        type=Path,
        metavar="FOLDER",
        help="listening test of lyrics-asr survey make, shown at /survey/ without a key; results go to the data folder",
    )
    parser.add_argument("--api-key-file", type=Path, metavar="FILE", help="accepted keys, one per line")
    parser.add_argument("--insecure", action="store_true", help="listen on the network without keys")
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="name that a reverse proxy gives this server; repeatable",
    )
    for name, kind, summary in _LIMITS:
        default = getattr(Limits, name.replace("-", "_"))
        parser.add_argument(
            f"--max-{name}", type=kind, default=default, metavar="N", help=f"{summary} (default: {default:.0f})"
        )


def serve(args: argparse.Namespace) -> int:
    """Run the server until it is told to end."""
    from lyrics_asr.server.settings import ServerSettings, check_exposure, loader, read_keys

    keys = () if args.api_key_file is None else read_keys(args.api_key_file)
    check_exposure(args.host, keys, args.insecure)
    limits = {field.name: getattr(args, f"max_{field.name}") for field in fields(Limits)}
    for name, value in limits.items():
        if value <= 0:
            raise UsageError(f"--max-{name.replace('_', '-')} {value}: must be above 0")

    from lyrics_asr.files import require_writable_folder
    from lyrics_asr.models.devices import find_devices
    from lyrics_asr.server.run import run_server

    require_writable_folder(args.data)
    settings = ServerSettings(
        data=args.data.resolve(),
        model=args.model,
        load=loader(args.model),
        overrides=computing_overrides(args),
        devices=tuple(str(device) for device in find_devices(args.device)),
        host=args.host,
        port=args.port,
        keys=keys,
        allowed_hosts=tuple(args.allowed_host),
        limits=Limits(**limits),
        survey=args.survey,
    )
    _show_access_log()
    say(f"open http://{f'[{args.host}]' if ':' in args.host else args.host}:{args.port} in a browser; Ctrl-C ends")
    run_server(settings, args.songs)
    return DONE


def _show_access_log() -> None:
    """Write the access log to stderr, one JSON object per line."""
    logger = logging.getLogger("lyrics_asr.server.access")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(logging.StreamHandler())
