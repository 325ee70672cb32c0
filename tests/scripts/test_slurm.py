"""The Slurm script, with stand-ins for Slurm's commands."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "train.sbatch"
SRUN = """
for rank in 0 1; do SLURM_PROCID=$rank SLURM_LOCALID=$rank "$@" || code=$?; done
exit ${code:-0}
"""
TRAIN = 'echo "$RANK $LOCAL_RANK $WORLD_SIZE $MASTER_ADDR $MASTER_PORT: $*" >> "$CALLS"; exit $EXIT_CODE'
SCONTROL = 'if [ "$1" = show ]; then echo node7; echo node8; else echo "$*" >> "$CALLS"; fi'


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (1, False), (130, True)])
def test_an_interrupted_run_is_queued_again(tmp_path, code, requeued):
    for name, body in (("srun", SRUN), ("lyrics-asr", TRAIN), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_JOB_ID": "1234567", "SLURM_NTASKS": "2", "SLURM_JOB_NODELIST": "node[7-8]"}
    test = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls"), "EXIT_CODE": str(code)}
    done = subprocess.run(["bash", SCRIPT, "finetune_dali", "output=runs/my run"], env=os.environ | slurm | test)
    calls = (tmp_path / "calls").read_text().splitlines()
    ranks = [f"{rank} {rank} 2 node7 34567: train finetune_dali output=runs/my run" for rank in range(2)]
    assert calls == ranks + ["requeue 1234567"] * requeued
    assert done.returncode == code
