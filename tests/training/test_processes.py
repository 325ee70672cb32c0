"""Processes that wait for one of them longer than a collective may take."""

import os
import subprocess
import sys

import pytest

from tests.paths import ROOT

SCRIPT = """
import os, sys, time
from datetime import timedelta
import torch
from lyrics_asr.training import processes
processes.COLLECTIVE_TIMEOUT = timedelta(seconds=4)
accelerator = processes.TrainingAccelerator()
main = accelerator.is_main_process
print(f"started {accelerator.process_index} of {accelerator.num_processes}", flush=True)
accelerator.reduce(torch.ones(1))  # the processes have met

def say(line):  # in one write, so that the lines of two processes do not mix
    os.write(1, (line + "\\n").encode())
"""
SLOW_MAIN = """
with accelerator.main_process_first():
    if main:
        time.sleep(6)
    now = time.time()
times = accelerator.gather(torch.tensor([now], dtype=torch.float64)).tolist()
assert times[0] < times[1], times
if not main:
    time.sleep(6)
accelerator.wait_for_everyone()
say(f"together {int(accelerator.reduce(torch.tensor([1.0])))}")
"""
FAILING_MAIN = """
try:
    with accelerator.main_process_first():
        if main:
            raise ValueError("the disk is full")
        say("should not get here")
except (ValueError, RuntimeError) as error:
    say(f"{type(error).__name__} {error}")
accelerator.wait_for_everyone()
"""
SLOW_COLLECTIVE = """
say("before the collective")
if main:
    time.sleep(6)
accelerator.reduce(torch.ones(1))
say("should not get here")
"""


@pytest.mark.slow
def test_the_others_wait_for_the_main_process_longer_than_a_collective_may_take_and_hear_of_its_failure(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT + SLOW_MAIN + FAILING_MAIN + SLOW_COLLECTIVE)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.count("together 2") == 2, done.stderr
    assert "ValueError the disk is full" in done.stdout
    assert "RuntimeError the main process failed: ValueError: the disk is full" in done.stdout
    assert done.stdout.count("before the collective") == 2
    assert done.returncode != 0  # the limit is in force
    assert "should not get here" not in done.stdout
