"""What is refused: foreign hosts and origins, missing keys, slow clients, hosts without a key."""

import socket
import time

import pytest

from lyrics_asr.console import UsageError
from lyrics_asr.server.settings import Limits, check_exposure, read_keys
from tests.server.conftest import listening, running

KEY = "correct-horse-battery"


def test_headers(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:8000", "evil@localhost", "", "a.nip.io"])
def test_dns_rebinding(client, host):
    answer = client.get("/v1/jobs", headers={"Host": host})
    assert (answer.status_code, answer.json()["error"]["code"]) == (421, "unknown_host")


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:80"])
def test_own_hosts(client, host):
    assert client.get("/v1/jobs", headers={"Host": host}).status_code == 200


def test_foreign_origins(client):
    def status(**headers):
        return client.post("/v1/jobs/none/retry", headers=headers).status_code

    assert status(Origin="https://evil.example") == 403
    assert status(Origin="null") == 403
    assert status(Origin="http://localhost:9999") == 403
    assert status(**{"Sec-Fetch-Site": "cross-site"}) == 403
    assert status(Origin="http://localhost") == 404
    assert status() == 404


def test_keys(tmp_path):
    with running(tmp_path / "data", keys=("another-key-of-16", KEY), devices=()) as client:

        def status(path, value=None):
            return client.get(path, headers={} if value is None else {"Authorization": value}).status_code

        assert [status(path) for path in ("/", "/healthz", "/openapi.json")] == [200, 200, 200]
        assert [status(path) for path in ("/v1/jobs", "/metrics", "/v1/models")] == [401, 401, 401]
        for wrong in (KEY, f"Basic {KEY}", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", "Bearer ", "Bearer é"):
            assert status("/v1/jobs", wrong.encode()) == 401
        assert status("/v1/jobs", f"Bearer {KEY}") == 200


def test_allowed_hosts(tmp_path):
    options = {"keys": (KEY,), "host": "0.0.0.0", "devices": ()}
    with running(tmp_path / "a", **options) as client:
        assert client.get("/", headers={"Host": "songs.example"}).status_code == 200
    with running(tmp_path / "b", allowed_hosts=("songs.example",), **options) as client:
        assert client.get("/", headers={"Host": "songs.example"}).status_code == 200
        assert client.get("/", headers={"Host": "other.example"}).status_code == 421


def test_addresses_cannot_be_rebound(client, tmp_path):
    assert client.get("/", headers={"Host": "192.0.2.1:8000"}).status_code == 421  # it listens on this computer only
    with running(tmp_path / "data", host="0.0.0.0", devices=()) as exposed:
        assert exposed.get("/", headers={"Host": "192.0.2.1:8000"}).status_code == 200
        assert exposed.get("/", headers={"Host": "songs.example"}).status_code == 421


def test_exposure():
    check_exposure("127.0.0.1", (), False)
    check_exposure("localhost", (), False)
    check_exposure("0.0.0.0", (KEY,), False)
    check_exposure("0.0.0.0", (), True)
    with pytest.raises(UsageError, match=r"--host 0\.0\.0\.0.*--api-key-file"):
        check_exposure("0.0.0.0", (), False)


def test_key_file(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"# keys\n\n{KEY}\n")
    assert read_keys(path) == (KEY,)
    path.write_text("short\n")
    with pytest.raises(UsageError, match="key 1 has 5 characters"):
        read_keys(path)
    path.write_text("\n")
    with pytest.raises(UsageError, match="has no key"):
        read_keys(path)


def test_slow_and_half_uploads(tmp_path):
    """A client that stops in the middle is told so, while the server answers others; nothing of it is kept."""
    folder = tmp_path / "data"
    with listening(folder, limits=Limits(body_wait_seconds=0.3), devices=()) as address:
        port = int(address.rsplit(":", 1)[1])
        head = (
            b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
            b'Content-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\nabc'
        )
        with (
            socket.create_connection(("localhost", port)) as slow,
            socket.create_connection(("localhost", port)) as half,
        ):
            slow.sendall(head)
            half.sendall(head)
            half.close()
            with socket.create_connection(("localhost", port)) as other:
                other.sendall(b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert b"200 OK" in other.recv(1000)
            slow.settimeout(10)
            began = time.monotonic()
            assert b"408 Request Timeout" in slow.recv(1000)
            assert time.monotonic() - began < 5
        assert not list((folder / "songs").iterdir())
        assert not list((folder / "uploads").iterdir())
