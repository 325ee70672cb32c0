"""`lyrics-asr models`: list, download, find, export, average and publish models."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lyrics_asr.console import DONE, UsageError

if TYPE_CHECKING:
    from lyrics_asr.cli.main import VerbParser


def declare_models(parser: "VerbParser") -> None:
    """Actions of `lyrics-asr models`."""
    parser.add_verbs(
        "action",
        [
            ("list", "the models that are known by name, and whether they are on this computer", _declare_list),
            ("download", "fetch a model, to work offline later", _declare_download),
            ("path", "print the folders that hold a model", _declare_path),
            (
                "export",
                "write the best model of a training run as a folder, or a model as ONNX",
                _declare_export,
            ),
            ("average", "write the weighted mean of several models' weights as a model's folder", _declare_average),
            ("push", "publish the folder of a model on the Hugging Face hub", _declare_push),
        ],
    )


def _declare_list(parser: "VerbParser") -> None:
    parser.runs(_list, "lyrics-asr models list")


def _list(args: argparse.Namespace) -> int:
    from lyrics_asr.models.known_models import KNOWN_MODELS, cached_paths

    for model in KNOWN_MODELS.values():
        state = "on this computer" if cached_paths(model.name) else "not downloaded"
        print(f"{model.name:<18}{state:<18}{model.description}")
    return DONE


def _declare_download(parser: "VerbParser") -> None:
    parser.runs(_download, "lyrics-asr models download published")
    _add_name(parser)


def _download(args: argparse.Namespace) -> int:
    from lyrics_asr.models.registry import download

    print(*download(args.name), sep="\n")
    return DONE


def _declare_path(parser: "VerbParser") -> None:
    parser.runs(_path, "lyrics-asr models path published")
    _add_name(parser)


def _path(args: argparse.Namespace) -> int:
    from lyrics_asr.models.known_models import cached_paths

    paths = cached_paths(args.name)
    if not paths:
        raise FileNotFoundError(
            f"{args.name}: not on this computer; get it with lyrics-asr models download {args.name}"
        )
    print(*paths, sep="\n")
    return DONE


def _add_name(parser: "VerbParser") -> None:
    parser.add_argument(
        "name",
        nargs="?",
        default="published",
        metavar="MODEL",
        help="published, embedded or embedded-small (default: %(default)s)",
    )


def _declare_export(parser: "VerbParser") -> None:
    parser.runs(_export, "lyrics-asr models export runs/finetune_dali my-lyrics-model")
    parser.add_argument(
        "model",
        metavar="RUN",
        help="output folder of a training run, or of one of its checkpoints; with --onnx, any model that --model takes",
    )
    parser.add_argument(
        "output", type=Path, metavar="FOLDER", help="output folder of the model; with --onnx, the output file"
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--half", action="store_true", help="store the weights in float16")
    kind.add_argument("--onnx", action="store_true", help="write the acoustic model as an ONNX file")


def _export(args: argparse.Namespace) -> int:
    if args.onnx:
        from lyrics_asr.models.onnx_export import export_onnx
        from lyrics_asr.models.registry import load_model

        export_onnx(load_model(args.model, device="cpu").acoustic, args.output)
    else:
        from lyrics_asr.training.export import export

        export(Path(args.model), args.output, half=args.half)
    print(args.output)
    return DONE


def _declare_average(parser: "VerbParser") -> None:
    parser.runs(_average, "lyrics-asr models average runs/second/model=2 runs/first/model=1 -o averaged")
    parser.add_argument(
        "weighted",
        nargs="+",
        metavar="MODEL[=WEIGHT]",
        help="models of the same architecture, by name or folder, with positive weights (default: 1); all but the "
        "network weights comes from the first",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where the model goes")
    parser.add_argument(
        "--acoustic-only", action="store_true", help="average the acoustic models and keep the first one's separator"
    )
    parser.add_argument("--half", action="store_true", help="store the weights in float16")


def _average(args: argparse.Namespace) -> int:
    from lyrics_asr.models.average import average_models

    average_models(_weights(args.weighted), acoustic_only=args.acoustic_only).save(args.output, half=args.half)
    print(args.output)
    return DONE


def _declare_push(parser: "VerbParser") -> None:
    parser.runs(_push, "lyrics-asr models push runs/finetune_dali/model me/my-lyrics-model")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of the model")
    parser.add_argument("repository", metavar="OWNER/NAME", help="repository on the hub; it is made if there is none")
    parser.add_argument("--private", action="store_true", help="make a new repository private")


def _push(args: argparse.Namespace) -> int:
    from lyrics_asr.models.push import push_model

    print(push_model(args.folder, args.repository, private=args.private))
    return DONE


def _weights(arguments: Sequence[str]) -> dict[str, float]:
    """Models with their weights, from arguments such as `folder=2` or `folder`."""
    weights: dict[str, float] = {}
    for argument in arguments:
        name, separator, weight = argument.rpartition("=")
        name = name if separator else argument
        if name in weights:
            raise UsageError(f"{name}: is given twice; give every model once, with its weight")
        try:
            weights[name] = float(weight) if separator else 1.0
        except ValueError as error:
            raise UsageError(f"{argument}: {weight!r} is not a number; give MODEL=WEIGHT, such as {name}=2") from error
    return weights
