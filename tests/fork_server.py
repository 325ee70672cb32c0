"""Processes forked from a server that has imported the package once; a spawned one takes ten seconds for that."""

import os
import signal
import sys
from contextlib import contextmanager
from multiprocessing import forkserver, get_context
from types import SimpleNamespace

import pytest

# Not the server of `multiprocessing`, which has imported what the first of its users in this process needs.
_server = forkserver.ForkServer()
_server.set_forkserver_preload(["lyrics_asr.inference.transcribe", "lyrics_asr.training.loop", "tests.float32"])
if forkserver._forkserver._forkserver_address is not None and forkserver._forkserver._forkserver_pid is None:
    # This is a process of the server, which forks the processes of this one too.
    _server = forkserver._forkserver
    _server.ensure_running = lambda: None


@contextmanager
def forked(*modules):
    """Processes that these modules spawn with `multiprocessing` are forked from the server instead."""
    context = get_context("forkserver")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forkserver, "connect_to_new_process", _server.connect_to_new_process)
        for module in modules:
            patch.setattr(module, "multiprocessing", SimpleNamespace(get_context=lambda method: context))
        yield context


def start_command(arguments, errors=os.devnull):
    """Start `lyrics-asr` with arguments; its stderr goes to a file."""
    with forked() as context:
        process = context.Process(target=_run, args=([*map(str, arguments)], str(errors)))
        process.start()
    return process


def _run(arguments, errors):
    from lyrics_asr.cli.main import main

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), sys.stderr.fileno())
    sys.argv[1:] = arguments
    sys.exit(main())
