"""Separation against Demucs' own inference and loaders, on tiny networks in the real on-disk formats."""

import contextlib
import hashlib
import http.server
import json
import os
import pickle
import socket
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import demucs.hf
import pytest
import torch
import yaml
from demucs.apply import BagOfModels, apply_model
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from huggingface_hub import constants
from safetensors.torch import save_file

import lyrics_asr.models.hub
import lyrics_asr.models.separators.demucs_weights
from lyrics_asr.models.hub import ModelNotFoundError
from lyrics_asr.models.known_models import SEPARATOR_REVISIONS
from lyrics_asr.models.separators.demucs import DemucsSeparator
from lyrics_asr.models.separators.loading import build_separator, load_separator, save_separator
from lyrics_asr.options import SeparationOptions

SOURCES = ["drums", "bass", "other", "vocals"]
SEGMENT_SAMPLES = 8000
HTDEMUCS = {
    "sources": SOURCES,
    "channels": 4,
    "dconv_comp": 2,
    "t_layers": 1,
    "t_heads": 2,
    "t_hidden_scale": 1.0,
    "bottom_channels": 8,
    "nfft": 1024,
    "depth": 3,
    "samplerate": 8000,
    "segment": Fraction(SEGMENT_SAMPLES, 8000),
}


def tiny_network(seed: int = 0, kind: type = HTDemucs, **changes):
    torch.manual_seed(seed)
    if kind is HTDemucs:
        return HTDemucs(**{**HTDEMUCS, **changes}).eval()
    if kind is Demucs:
        return Demucs(SOURCES, channels=4, dconv_comp=2, depth=2, dconv_lstm=9, samplerate=8000, segment=1).eval()
    return HDemucs(SOURCES, channels=4, dconv_comp=2, samplerate=8000, segment=1, dconv_attn=9, dconv_lstm=9).eval()


LIKE_DEMUCS = SeparationOptions(overlap=0.25)  # the default of its `apply_model`


def song(samples: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(2, samples, generator=torch.Generator().manual_seed(seed))


def write_bag(folder: Path, name: str, networks: dict, **bag) -> None:
    """A bag as Demucs publishes it; a network of None is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({"models": list(networks), **bag}))
    for signature, network in networks.items():
        if network is not None:
            save_separator(DemucsSeparator("x", [network]), folder / "one", half=False)
            (written,) = (folder / "one").glob("*.safetensors")
            written.rename(folder / f"{signature}.safetensors")


def hub_folder(cache: Path, repository: str, revision: str) -> Path:
    """Where the hub's cache keeps a snapshot; `refs/main` makes it the head."""
    root = cache / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(revision)
    return root / "snapshots" / revision


@pytest.fixture
def offline_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "torch"))
    return tmp_path / "hub"


@pytest.mark.parametrize("kind", [HTDemucs, HDemucs, Demucs])
@pytest.mark.parametrize("samples", [3000, SEGMENT_SAMPLES, 20011])
@pytest.mark.parametrize(("overlap", "batch_size"), [(0.25, 1), (0.5, 3)])
def test_separate_equals_demucs(kind, samples, overlap, batch_size):
    mixture = song(samples)
    expected = apply_model(tiny_network(kind=kind), mixture[None], shifts=0, split=True, overlap=overlap)[0, 3]
    separator = DemucsSeparator("tiny", [tiny_network(kind=kind)])
    vocals = separator.separate([mixture], SeparationOptions(overlap=overlap, batch_size=batch_size))[0]
    torch.testing.assert_close(vocals, expected, atol=2e-6, rtol=1e-4)
    assert expected.abs().max() > 0.01


@pytest.mark.parametrize("kind", [HTDemucs, HDemucs, Demucs])
@pytest.mark.parametrize("samples", [3000, 20011])
def test_shorter_segments_are_those_of_demucs(kind, samples):
    """`segment` of `apply_model`; one that is longer than the network's own changes nothing."""
    mixture, network = song(samples), tiny_network(kind=kind)
    if kind is HTDemucs:
        network.use_train_segment = False  # Demucs pads to the network's own segment then, whatever is asked for
    expected = apply_model(network, mixture[None], shifts=0, split=True, segment=0.5)[0, 3]
    separator = DemucsSeparator("tiny", [tiny_network(kind=kind)])
    (vocals,) = separator.separate([mixture], SeparationOptions(overlap=0.25, batch_size=1, segment_seconds=0.5))
    assert vocals.shape == mixture.shape
    (whole,) = separator.separate([mixture], LIKE_DEMUCS)
    (longer,) = separator.separate([mixture], SeparationOptions(overlap=0.25, segment_seconds=60.0))
    assert torch.equal(longer, whole)
    if kind is HTDemucs:  # which is padded to its segment
        assert vocals.isfinite().all()
        assert (vocals - whole).abs().mean() < 0.5 * whole.abs().mean()
    else:
        torch.testing.assert_close(vocals, expected, atol=2e-6, rtol=1e-4)


def test_bag_equals_demucs_and_leaves_out_networks_without_vocals(tmp_path):
    weights = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.5], [0.0, 0.0, 0.0, 1.0]]
    networks = {"aaaa0000": None, "bbbb0000": tiny_network(1), "cccc0000": tiny_network(2)}
    write_bag(tmp_path / "bag", "bag", networks, weights=weights, segment=0.5)
    separator = load_separator(str(tmp_path / "bag"))
    assert separator.weights == (0.5, 1.0)
    assert [separator.segment_samples(index) for index in range(2)] == [4000, 4000]
    bag = BagOfModels([tiny_network(seed) for seed in (3, 1, 2)], weights, segment=0.5)
    expected = apply_model(bag, song(9000)[None], shifts=0, split=True)[0, 3]
    torch.testing.assert_close(separator.separate([song(9000)], LIKE_DEMUCS)[0], expected, atol=2e-6, rtol=1e-4)


def test_a_network_that_stands_twice_in_a_bag_runs_once(tmp_path):
    write_bag(tmp_path / "bag", "bag", {"aaaa0000": tiny_network(1)})
    (tmp_path / "bag" / "bag.yaml").write_text("models: [aaaa0000, aaaa0000]")
    separator = load_separator(str(tmp_path / "bag"))
    expected = DemucsSeparator("one", [tiny_network(1)]).separate([song(5000)], SeparationOptions())[0]
    assert len(separator.networks) == 1
    torch.testing.assert_close(separator.separate([song(5000)], SeparationOptions())[0], expected)


@pytest.mark.parametrize("kind", [HTDemucs, Demucs])
def test_songs_that_share_batches_are_as_each_alone(kind):
    separator = DemucsSeparator("tiny", [tiny_network(1, kind=kind), tiny_network(2, kind=kind)], [1.0, 0.5])
    songs, shares = [song(20011), song(300), song(3000, 2), song(20011, 3)], []
    together = separator.separate(songs, SeparationOptions(batch_size=5), shares.append)
    for mixture, vocals in zip(songs, together, strict=True):
        alone = separator.separate([mixture], SeparationOptions())[0]
        torch.testing.assert_close(vocals, alone, atol=2e-6, rtol=1e-4)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert separator.separate([], SeparationOptions()) == []


def test_same_song_same_vocals_and_progress_to_the_end():
    separator = DemucsSeparator("tiny", [tiny_network()])
    shares = []
    first = separator.separate([song(20000)], SeparationOptions(batch_size=2), shares.append)[0]
    torch.rand(3)
    second = separator.separate([song(20000)], SeparationOptions(batch_size=2))[0]
    assert torch.equal(first, second)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert len(shares) > 1


@pytest.mark.parametrize("tail", [1, 128, 129, 500])
def test_a_short_end_of_a_song_goes_through_a_network_of_spectrograms_alone(tail):
    torch.manual_seed(0)
    network = HDemucs(["vocals"], channels=4, nfft=256, depth=4, hybrid=False, samplerate=8000, segment=1).eval()
    separator = DemucsSeparator("spectrograms", [network])
    song = torch.randn(2, 12_000 + tail)  # the third segment begins at sample 12,000
    vocals = separator.separate([song], SeparationOptions())[0]
    assert vocals.shape == song.shape
    assert vocals.isfinite().all()
    torch.testing.assert_close(vocals[:, :6000], separator.separate([song[:, :8000]], SeparationOptions())[0][:, :6000])


@pytest.mark.parametrize("samples", [1000, SEGMENT_SAMPLES, 11111])
def test_forward_of_any_length_is_differentiable_and_keeps_the_segment(samples):
    separator = build_separator(HTDEMUCS).train()
    mixture = song(samples)[None].requires_grad_()
    vocals = separator(mixture)
    assert vocals.shape == mixture.shape
    vocals.square().mean().backward()
    assert all(parameter.grad is not None for parameter in separator.parameters())
    assert mixture.grad.abs().sum() > 0
    assert separator.segment_samples(0) == SEGMENT_SAMPLES


def test_forward_pads_as_demucs_does_in_evaluation():
    expected = apply_model(tiny_network(), song(3001)[None], shifts=0, split=False)[:, 3]
    torch.testing.assert_close(DemucsSeparator("tiny", [tiny_network()]).eval()(song(3001)[None]), expected)


def test_stems_are_the_vocals_and_the_sum_of_the_other_sources():
    sources = apply_model(tiny_network(), song(3001)[None], shifts=0, split=False)
    vocals, accompaniment = DemucsSeparator("tiny", [tiny_network()]).eval().stems(song(3001)[None])
    torch.testing.assert_close(vocals, sources[:, 3])
    torch.testing.assert_close(accompaniment, sources[:, :3].sum(1), rtol=1e-4, atol=1e-5)


def test_stems_of_a_network_of_vocals_alone_add_up_to_the_mixture():
    separator = DemucsSeparator("tiny", [tiny_network(sources=["vocals"])]).eval()
    stems = separator.stems(song(3001)[None])
    assert torch.equal(stems[0], separator(song(3001)[None]))
    torch.testing.assert_close(stems.sum(0), song(3001)[None])


def test_separate_does_not_leave_training_mode():
    separator = build_separator(HTDEMUCS).train()
    separator.separate([song(1000)], SeparationOptions())[0]
    assert separator.training
    assert all(module.training for module in separator.modules())


def test_none_is_the_mixture_itself():
    separator = load_separator("none")
    assert torch.equal(separator.separate([song(1000)], SeparationOptions())[0], song(1000))
    assert torch.equal(separator(song(1000)[None]), song(1000)[None])
    assert list(separator.parameters()) == []


def test_saved_separator_is_read_by_demucs_and_by_us(tmp_path):
    separator = DemucsSeparator("two", [tiny_network(1), tiny_network(2, segment=Fraction(1, 2))], [1.0, 3.0])
    save_separator(separator, tmp_path / "two", half=False)
    bag = yaml.safe_load((tmp_path / "two" / "two.yaml").read_text())
    networks = [demucs.hf.load_safetensors_model(tmp_path / "two" / f"{name}.safetensors") for name in bag["models"]]
    assert networks[1].segment == Fraction(1, 2)
    expected = apply_model(BagOfModels(networks, bag["weights"]), song(9000)[None], shifts=0)[0, 3]
    again = load_separator(str(tmp_path / "two"))
    torch.testing.assert_close(again.separate([song(9000)], LIKE_DEMUCS)[0], expected, atol=2e-6, rtol=1e-4)
    torch.testing.assert_close(separator.separate([song(9000)], LIKE_DEMUCS)[0], expected, atol=2e-6, rtol=1e-4)


def test_half_halves_the_file(tmp_path):
    sizes = []
    for half in (False, True):
        save_separator(build_separator(HTDEMUCS), tmp_path / str(half), half=half)
        sizes.append(next((tmp_path / str(half)).glob("*.safetensors")).stat().st_size)
    assert sizes[1] < 0.65 * sizes[0]
    weights = load_separator(str(tmp_path / "True")).state_dict()
    assert all(value.dtype == torch.float32 for value in weights.values())


@pytest.mark.parametrize(
    ("name", "repository", "bag"),
    [
        ("htdemucs", "adefossez/HTDemucs", "htdemucs"),
        ("htdemucs_ft", "adefossez/HTDemucs-ft", "htdemucs_ft"),
        ("hdemucs_mmi", "adefossez/Demucs-hdemucs_mmi", "hdemucs_mmi"),
        ("hf://someone/htdemucs_own", "someone/HTDemucs-own", "htdemucs_own"),
    ],
)
def test_names_are_found_in_the_hub_cache(offline_cache, name, repository, bag):
    folder = hub_folder(offline_cache, repository, SEPARATOR_REVISIONS.get(repository, "0" * 40))
    write_bag(folder, bag, {"955717e8": tiny_network(7)})
    separator = load_separator(name)
    expected = DemucsSeparator("x", [tiny_network(7)]).separate([song(3000)], SeparationOptions())[0]
    torch.testing.assert_close(separator.separate([song(3000)], SeparationOptions())[0], expected)
    assert separator.name == name


def legacy_package(**changes) -> dict:
    network = tiny_network(5)
    kwargs = network._init_args_kwargs[1]
    return {
        "klass": HTDemucs,
        "args": (),
        "kwargs": kwargs,
        "state": network.state_dict(),
        "training_args": {},
        **changes,
    }


@pytest.mark.parametrize("name", ["955717e8", "htdemucs"])
def test_legacy_packages_in_torchs_cache(offline_cache, tmp_path, name):
    path = tmp_path / "torch" / "checkpoints" / "955717e8-8726e21a.th"
    path.parent.mkdir(parents=True)
    torch.save(legacy_package(), path)
    expected = DemucsSeparator("x", [tiny_network(5)]).separate([song(3000)], SeparationOptions())[0]
    torch.testing.assert_close(load_separator(name).separate([song(3000)], SeparationOptions())[0], expected)


@pytest.mark.parametrize("name", ["htdemucs", "htdemucs_ft", "955717e8", "hf://someone/other", "nothing_like_it"])
def test_offline_and_not_cached(offline_cache, name):
    with pytest.raises(ModelNotFoundError) as caught:
        load_separator(name)
    fetched = "Run `lyrics-asr models download` while online, or choose `--model embedded`, which needs no download."
    other = "Check the name, and run the same command once while online; or give a folder that holds the weights."
    assert str(caught.value).endswith(fetched if name == "htdemucs" else other)
    assert ("models download" in str(caught.value)) == (name == "htdemucs")


class HubHandler(http.server.BaseHTTPRequestHandler):
    """As much of the Hugging Face hub as it takes to download one repository."""

    files: ClassVar[dict[str, bytes]] = {}
    repository = "someone/HTDemucs-own"
    commit = "4" * 40

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        listing = [{"type": "file", "path": name, "size": len(data), "oid": "0"} for name, data in self.files.items()]
        siblings = [{"rfilename": name} for name in self.files]
        pages = {
            f"/api/models/{self.repository}": json.dumps(
                {"id": "x", "sha": self.commit, "siblings": siblings}
            ).encode(),
            f"/api/models/{self.repository}/tree/{self.commit}": json.dumps(listing).encode(),
            **{f"/{self.repository}/resolve/{self.commit}/{name}": data for name, data in self.files.items()},
        }
        path = self.path.split("?")[0].replace("/revision/main", "")
        body = pages.get(path, b"")
        self.send_response(200 if path in pages else 404)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha1(path.encode()).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.commit)
        if path not in pages:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub(offline_cache, monkeypatch) -> Iterator[type[HubHandler]]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), HubHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    yield HubHandler
    server.shutdown()
    thread.join()
    server.server_close()


def test_download_from_a_hub(hub, tmp_path, monkeypatch):
    networks = {"aaaa0000": None, "bbbb0000": tiny_network(2)}
    write_bag(tmp_path / "bag", "htdemucs_own", networks, weights=[[1, 1, 1, 0], [0, 0, 0, 1]])
    names = ["htdemucs_own.yaml", "bbbb0000.safetensors"]  # the network without vocals is not even asked for
    monkeypatch.setattr(hub, "files", {name: (tmp_path / "bag" / name).read_bytes() for name in names})
    separator = load_separator("hf://someone/htdemucs_own")
    expected = DemucsSeparator("x", [tiny_network(2)]).separate([song(3000)], SeparationOptions())[0]
    torch.testing.assert_close(separator.separate([song(3000)], SeparationOptions())[0], expected)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    load_separator("hf://someone/htdemucs_own")
    with pytest.raises(ModelNotFoundError, match="someone/HTDemucs-else"):
        load_separator("hf://someone/htdemucs_else")


def test_repository_that_the_hub_lacks(hub):
    with pytest.raises(ModelNotFoundError, match=r"someone/HTDemucs-else.*RepositoryNotFoundError"):
        load_separator("hf://someone/htdemucs_else")


def test_no_network_fails_at_once(offline_cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # the discard port: connection refused
    started = time.monotonic()
    with pytest.raises(ModelNotFoundError, match=r"ConnectError.*--model embedded"):
        load_separator("htdemucs")
    assert time.monotonic() - started < 5


@pytest.fixture
def dribbling_server() -> Iterator[str]:
    """Answers with a byte at a time and never comes to the end: no wait for a single byte runs into a timeout."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)

        def serve() -> None:
            connections = []
            while not stop.wait(0.02):
                try:
                    connections.append(server.accept()[0])
                    connections[-1].sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                except TimeoutError:
                    pass
                for connection in connections:
                    with contextlib.suppress(OSError):
                        connection.sendall(b"x")
            for connection in connections:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        stop.set()
        thread.join()


@pytest.mark.parametrize("name", ["htdemucs", "955717e8"])
def test_a_server_that_never_comes_to_the_end_is_left(offline_cache, dribbling_server, monkeypatch, name):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", dribbling_server)
    monkeypatch.setattr(lyrics_asr.models.hub, "HUB_TIMEOUT_SECONDS", 0.5)
    packages = {"955717e8": f"{dribbling_server}/955717e8-8726e21a.th"}
    monkeypatch.setattr(lyrics_asr.models.separators.demucs_weights, "_legacy_packages", lambda: packages)
    started = time.monotonic()
    with pytest.raises(ModelNotFoundError, match=r"TimeoutError: no answer within 0\.5 s"):
        load_separator(name)
    assert 0.5 <= time.monotonic() - started < 3


class Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (os.system, (f"touch {self.marker}",))


def test_hostile_pickle_is_refused_by_name_and_runs_nothing(tmp_path):
    path = tmp_path / "evil.th"
    torch.save(legacy_package(training_args=Hostile(tmp_path / "pwned")), path)
    with pytest.raises(ValueError, match=r"evil\.th.*system"):
        load_separator(str(path))
    path.write_bytes(pickle.dumps(Hostile(tmp_path / "pwned"), protocol=2))
    with pytest.raises(ValueError, match=r"evil\.th"):
        load_separator(str(path))
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "klass", ["os.system", "demucs.apply.BagOfModels", "builtins.eval", "torch.nn.modules.linear.Linear"]
)
def test_hostile_metadata_is_refused_by_name_and_runs_nothing(tmp_path, klass):
    path = tmp_path / "evil.safetensors"
    metadata = {"klass": klass, "args": f'["touch {tmp_path}/pwned"]', "kwargs": "{}"}
    save_file({"x": torch.zeros(1)}, path, metadata)
    with pytest.raises(ValueError, match=rf"evil\.safetensors.*{klass}"):
        load_separator(str(path))
    structure = '{"_dict": [["a", {"_class": "os.system"}]]}'
    metadata |= {"klass": "demucs.htdemucs.HTDemucs", "structure": structure, "args": "[]"}
    save_file({"x": torch.zeros(1)}, path, metadata)
    with pytest.raises(ValueError, match=r"evil\.safetensors.*os\.system"):
        load_separator(str(path))
    assert not (tmp_path / "pwned").exists()


def test_legacy_class_outside_demucs_is_refused(tmp_path):
    torch.save(legacy_package(klass=Fraction), tmp_path / "evil.th")
    with pytest.raises(ValueError, match=r"evil\.th.*Fraction"):
        load_separator(str(tmp_path / "evil.th"))


def test_quantised_weights_ask_for_diffq(tmp_path):
    path = tmp_path / "q.safetensors"
    structure = '{"_dict": [["__quantized", true], ["quantized", {"_list": [{"_tensor": "x"}]}]]}'
    metadata = {"klass": "demucs.htdemucs.HTDemucs", "args": "[]", "kwargs": "{}", "structure": structure}
    save_file({"x": torch.zeros(1)}, path, metadata)
    with pytest.raises(ValueError, match=r"q\.safetensors.*pip install diffq"):
        load_separator(str(path))


def test_bad_folders_and_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no/such/folder"):
        load_separator("no/such/folder")
    with pytest.raises(FileNotFoundError, match=r"0 bags.*0 weight files"):
        load_separator(str(tmp_path))
    write_bag(tmp_path / "bag", "bag", {"aaaa0000": None})
    with pytest.raises(FileNotFoundError, match=r"aaaa0000\.safetensors"):
        load_separator(str(tmp_path / "bag"))
    (tmp_path / "bag" / "bag.yaml").write_text("models: [../../etc/passwd]")
    with pytest.raises(ValueError, match=r"bag\.yaml.*signatures"):
        load_separator(str(tmp_path / "bag"))
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(hashlib.sha256(b"x").digest())
    with pytest.raises(ValueError, match=r"damaged\.safetensors.*download it again"):
        load_separator(str(damaged))
    (tmp_path / "notes.txt").write_text("la la")
    with pytest.raises(ValueError, match=r"notes\.txt.*\.safetensors or \.th"):
        load_separator(str(tmp_path / "notes.txt"))


def test_bad_values():
    separator = DemucsSeparator("tiny", [tiny_network()])
    with pytest.raises(ValueError, match=r"overlap 1\.0"):
        separator.separate([song(1000)], SeparationOptions(overlap=1.0))[0]
    with pytest.raises(ValueError, match="batch_size 0"):
        SeparationOptions(batch_size=0)
    with pytest.raises(ValueError, match="takes 2 channels, the mixture has 1"):
        separator.separate([song(1000)[:1]], SeparationOptions())[0]
    with pytest.raises(ValueError, match="'vocals' is needed"):
        DemucsSeparator("drums", [tiny_network(sources=["drums", "bass"])])
