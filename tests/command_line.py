"""The command line in processes of its own, forked from a server that has imported it once, which takes ten seconds."""

import os
import sys
from multiprocessing import forkserver, get_context

import pytest

# Not the server of `multiprocessing`, which has imported what the first of its users in this process needs.
_server = forkserver.ForkServer()
_server.set_forkserver_preload(["lyrics_asr.inference.tasks"])


def start(arguments, errors=os.devnull):
    """Start `lyrics-asr` with arguments; its stderr goes to a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forkserver, "connect_to_new_process", _server.connect_to_new_process)
        process = get_context("forkserver").Process(target=_run, args=([*map(str, arguments)], str(errors)))
        process.start()
    return process


def _run(arguments, errors):
    from lyrics_asr.cli.main import main

    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), sys.stderr.fileno())
    sys.argv[1:] = arguments
    sys.exit(main())
