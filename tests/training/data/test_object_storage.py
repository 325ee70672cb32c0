"""Shar by URL gives what the same shards give from a folder."""

import shutil
import socket
import subprocess
import time
from itertools import islice
from urllib.request import Request, urlopen

import pytest
import torch

from lyrics_asr.training.data import lhotse_io
from lyrics_asr.training.data.lhotse_io import cuts_fingerprint, write_shar
from tests.training.data.test_cut_loader import cuts, loader

pytest.importorskip("pyarrow")

assert cuts  # a fixture


@pytest.fixture
def shards(cuts, tmp_path, monkeypatch):
    """A folder of several shards."""
    monkeypatch.setattr(lhotse_io, "_SHARD_CUTS", 4)
    write_shar({"train": cuts}, tmp_path / "shar")
    folder = tmp_path / "shar" / "train"
    assert len(list(folder.glob("recording.*.tar"))) > 3
    return folder


@pytest.fixture
def s3(monkeypatch):
    """The address of a local server that is compatible with S3, with an empty bucket "songs"."""
    if shutil.which("moto_server") is None:
        pytest.skip("moto's server is not installed: pipx install 'moto[server]'")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = ["moto_server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                put(f"{address}/songs", b"")
                break
            except OSError:
                time.sleep(0.1)
        environment = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL": address}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield address
    finally:
        server.kill()
        server.wait()


def put(url, content):
    request = Request(url, content, {"Content-Type": "application/octet-stream"}, method="PUT")
    urlopen(request, timeout=10).close()


def assert_read_as_the_folder(url, folder):
    """Also by two processes, and resumed within an epoch."""
    expected = list(loader(folder, epochs=2))
    batches, states = [], []
    reader = loader(url, epochs=2)
    for batch in reader:
        batches.append(batch)
        states.append(reader.state_dict())
    for ours, theirs in zip(batches, expected, strict=True):
        assert ours.chunk_ids == theirs.chunk_ids
        assert torch.equal(ours.mixture, theirs.mixture)
    again = loader(url, epochs=2)
    again.load_state_dict(states[2])
    assert [batch.chunk_ids for batch in again] == [batch.chunk_ids for batch in expected[3:]]
    ranks = [[batch.chunk_ids for batch in loader(url, epochs=2, rank=rank, world_size=2)] for rank in range(2)]
    for rank, own in enumerate(ranks):
        assert own == [batch.chunk_ids for batch in expected[rank::2]]


def test_shards_are_read_by_url_as_from_their_folder(shards):
    url = f"file://{shards}"
    assert_read_as_the_folder(url, shards)
    before = cuts_fingerprint([url])
    assert cuts_fingerprint([f"{url}/"]) == before
    shutil.copy(shards / "cuts.000000.jsonl.gz", shards / "cuts.000001.jsonl.gz")
    assert cuts_fingerprint([url]) != before


@pytest.mark.slow  # the server takes seconds to start
def test_shards_are_read_from_s3_as_from_their_folder(shards, s3):
    for file in shards.iterdir():
        put(f"{s3}/songs/prepared/train/{file.name}", file.read_bytes())
    assert_read_as_the_folder("s3://songs/prepared/train", shards)
    with pytest.raises(FileNotFoundError, match="s3://songs/none: nothing is there; upload the shards"):
        loader("s3://songs/none")
    with pytest.raises(OSError, match=r"s3://nothing/train: cannot be listed .*NO_SUCH_BUCKET.*check the address"):
        loader("s3://nothing/train")


def test_addresses_that_cannot_be_read_are_named(shards, tmp_path):
    with pytest.raises(ValueError, match=r"ftp://host/train: cannot be read from there .*; give s3://"):
        loader("ftp://host/train")
    with pytest.raises(ValueError, match="is not a folder of Lhotse Shar"):
        loader(f"file://{tmp_path}")
    (shards / "recording.000001.tar").unlink()
    for place in (shards, f"file://{shards}"):
        with pytest.raises(ValueError, match=r"has \d+ shards of cuts, but \d+ of recording; copy it again"):
            loader(place)


def test_a_name_that_lhotse_would_run_as_a_command_is_a_file(cuts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such cuts"):
        loader("pipe:touch ran; cat cuts.jsonl.gz")
    shutil.copy(cuts, "pipe:touch ran.jsonl.gz")
    assert len(list(islice(loader("pipe:touch ran.jsonl.gz"), 2))) == 2
    assert {file.name for file in tmp_path.iterdir()} == {"pipe:touch ran.jsonl.gz"}
