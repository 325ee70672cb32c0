"""A server under many clients, killed at random moments: is a job lost, or done twice?

    python benchmarks/server_stress.py --clients 50 --jobs 200 --kills 10

Half of the kills are of the server, half of its worker, all by SIGKILL. A fake model takes 0.1 s for a song. A kill may
cost the song that runs: it is begun again.
"""

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

from lyrics_asr.audio import Audio, write_audio
from tests.fake_model import BACKING, RATE_HZ, VOICE
from tests.server.stress import Stress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--pause-seconds", type=float, default=10.0, help="longest time between kills")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        song = Path(name, "song.flac")
        write_audio(song, Audio(VOICE + BACKING, RATE_HZ))
        folder = Path(name, "data")
        folder.mkdir()
        began = time.monotonic()
        result = Stress(folder, song.read_bytes(), song_seconds=0.1).run(
            clients=args.clients,
            jobs=args.jobs,
            kills=args.kills,
            pause_seconds=args.pause_seconds,
            seed=args.seed,
        )
        seconds = time.monotonic() - began
    lost = set(result.ids.values()) - {job for job, status in result.statuses.items() if status == "done"}
    twice = len(result.statuses) - len(set(result.ids.values()))
    print(f"{args.jobs} jobs of {args.clients} clients, {args.kills} kills, {seconds:.0f} s")
    print(f"statuses: {dict(Counter(result.statuses.values()))}; {result.repeats} requests were sent again")
    print(f"{len(lost)} lost, {twice} twice; {result.runs} songs begun")
    print(f"exit code of the server after SIGTERM: {result.exit_code}")


if __name__ == "__main__":
    main()
