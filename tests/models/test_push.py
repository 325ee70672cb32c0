"""Publishing a model, against a local server with the hub's API."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from lyrics_asr.cli.main import main
from lyrics_asr.models.hub import ModelNotFoundError
from lyrics_asr.models.push import push_model

TOKEN = "hf_secret"


class Hub(BaseHTTPRequestHandler):
    """The requests of `create_repo` and `upload_folder`; every file is sent in the commit itself."""

    created: dict[str, object]
    files: dict[str, bytes]

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer({"error": "Invalid username or password."}, 401)
        if self.path == "/api/repos/create":
            type(self).created = json.loads(body)
            return self.answer({"url": f"{constants.ENDPOINT}/me/mine"})
        if "/preupload/" in self.path:
            paths = [file["path"] for file in json.loads(body)["files"]]
            regular = {"uploadMode": "regular", "shouldIgnore": False}
            return self.answer({"files": [{"path": path, **regular} for path in paths]})
        if "/commit/" in self.path:
            entries = [json.loads(line)["value"] for line in body.splitlines() if json.loads(line)["key"] == "file"]
            type(self).files = {entry["path"]: base64.b64decode(entry["content"]) for entry in entries}
            return self.answer({"commitUrl": f"{constants.ENDPOINT}/me/mine/commit/abc", "commitOid": "abc"})
        return self.answer({})

    def do_GET(self):
        self.answer({"error": "Repository not found"}, 404)

    def answer(self, content, status=200):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing."""


@pytest.fixture
def hub(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield Hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "acoustic").mkdir()
    (tmp_path / "model.json").write_text("{}")
    (tmp_path / "acoustic" / "model.safetensors").write_bytes(bytes(range(256)))
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    return tmp_path


def test_every_file_of_the_folder_arrives(hub, folder, capsys):
    assert main(["models", "push", str(folder), "me/mine", "--private"]) == 0
    assert capsys.readouterr().out.strip().endswith("/me/mine/commit/abc")
    assert hub.created == {"name": "mine", "organization": "me", "visibility": "private"}
    expected = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert hub.files == expected


def test_what_stands_in_the_way_is_named(hub, folder, monkeypatch):
    with pytest.raises(ModelNotFoundError, match=r"acoustic: not a model \(model\.json is missing\)"):
        push_model(folder / "acoustic", "me/mine")
    with pytest.raises(ValueError, match="not the name of a repository; give OWNER/NAME"):
        push_model(folder, "a/b/c")
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(ValueError, match=r"me/mine: the hub refuses \(.*401.*\); log in with `hf auth login`"):
        push_model(folder, "me/mine")
    (folder / "README.md").write_text("---\nlicense: FILL IN\n---\n")
    with pytest.raises(ValueError, match=r"README\.md: has no licence; replace FILL IN at its top"):
        push_model(folder, "me/mine")


def test_a_hub_that_cannot_be_reached_is_an_error_of_the_connection(folder, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(ConnectionError, match="the Hugging Face hub cannot be reached"):
        push_model(folder, "me/mine")
