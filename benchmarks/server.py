"""What the server adds: seconds per song against the Python API with the model loaded, and memory during an upload.

    python benchmarks/server.py --songs data/demo --upload-bytes 1000000000

Each song is aligned by `lyrics_asr.align` in this process, and by POST /v1/audio/alignments on a server that has its
model loaded. Both use the same number of threads. The server also writes two stems.
"""

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil

import lyrics_asr

PORT = 8731


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--songs", type=Path, default=Path("data/demo"), help="folder of song.mp3 and song.txt")
    parser.add_argument("--upload-bytes", type=int, default=1_000_000_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "lyrics_asr.cli.main", "serve", "--model", "embedded", "--data", data]
        options = ["--port", str(PORT), "--max-upload-bytes", str(2 * args.upload_bytes)]
        with subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL) as server:
            try:
                measure(args, server.pid)
            finally:
                server.terminate()


def measure(args: argparse.Namespace, server: int) -> None:
    client = httpx.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=600)
    while not is_ready(client):
        time.sleep(0.5)
    model = lyrics_asr.load_model("embedded", device="cpu")
    songs = [song for song in sorted(args.songs.glob("*.mp3")) if song.with_suffix(".txt").is_file()]
    print("song                          alone   server  difference")
    for index, song in enumerate([songs[0], *songs]):  # the first one warms both up
        began = time.monotonic()
        lyrics_asr.align(song, lyrics_asr.read_lyrics(song.with_suffix(".txt")), model)
        alone = time.monotonic() - began
        began = time.monotonic()
        lyrics = song.with_suffix(".txt").read_text() + "\n" * index  # an equal upload would be found
        with song.open("rb") as file:
            answer = client.post("/v1/audio/alignments", files={"file": file}, data={"lyrics": lyrics})
        answer.raise_for_status()
        served = time.monotonic() - began
        if index:
            print(
                f"{song.stem:28} {alone:5.2f} s  {served:5.2f} s  {served - alone:+.2f} s ({served / alone - 1:+.1%})"
            )
    idle = psutil.Process(server).memory_info().rss
    peak = [idle]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            peak[0] = max(peak[0], psutil.Process(server).memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    boundary = secrets.token_hex(8)
    answer = client.post(
        "/v1/jobs",
        content=body(boundary, args.upload_bytes),
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    stop.set()
    watcher.join()
    print(f"upload of {args.upload_bytes} bytes: {answer.status_code}, {(peak[0] - idle) / 1e6:+.0f} MB over idle")


def is_ready(client: httpx.Client) -> bool:
    try:
        return bool(client.get("/healthz").json()["workers"])
    except httpx.TransportError:
        return False


def body(boundary: str, count: int) -> Iterator[bytes]:
    """A form with a file of random bytes, which is not audio."""
    yield f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n'.encode()
    block = os.urandom(1 << 20)
    for _ in range(count // len(block)):
        yield block
    yield f"\r\n--{boundary}--\r\n".encode()


if __name__ == "__main__":
    main()
