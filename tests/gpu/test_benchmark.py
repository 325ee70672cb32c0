"""The benchmark for GPUs runs as a whole, on a CPU too."""

import json
import os
import sys
import time

import pytest

from tests import fork_server

pytestmark = pytest.mark.slow


def run_small(output):
    from benchmarks import gpu

    os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT), sys.stdout.fileno())
    sys.argv = ["gpu.py", "--small"]
    sys.exit(gpu.main())


def test_every_part_runs_at_small_size(tmp_path):
    pytest.importorskip("pyctcdecode", reason="pyctcdecode is not installed, with which others transcribe")
    with fork_server.forked() as context:
        process = context.Process(target=run_small, args=(tmp_path / "report.json",))
        process.start()
    process.join()
    report = json.loads((tmp_path / "report.json").read_text())
    assert {name: each.get("failed") for name, each in report["parts"].items()} == dict.fromkeys(report["parts"])
    assert process.exitcode == 0
    assert report["parts"]["device"]["matmul_tflops"] > 0
    assert all(each["measured"] > 0 for each in report["times_as_fast"].values())
    for name in ("transcribe", "align"):
        assert 0 < report["parts"][name]["share_of_peak"] < 1
    for stage in ("acoustic", "end to end"):
        assert report["parts"][f"embedded-small, {stage}"]["steps_per_second"] > 0


@pytest.mark.parametrize(
    ("part", "failure"),
    [
        (lambda: {}["missing"], "KeyError: 'missing'"),
        (lambda: time.sleep(60), "the time was up"),
        (lambda: os._exit(3), "the process ended with exit code 3"),
    ],
)
def test_a_part_that_fails_is_reported(part, failure):
    from benchmarks.gpu import in_process

    assert failure in in_process(part, 1.0)["failed"]
