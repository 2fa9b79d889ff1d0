"""The arguments of the command line."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

EPILOG = """examples:
  xpconv train photos --size 64 --out run     # photos/cat/1.jpg, … → a model and a report in run
  xpconv predict run/model.safetensors new.jpg
  xpconv evaluate run/model.safetensors other_photos
  xpconv export run/model.safetensors model.onnx
  xpconv train mnist --data-dir DIR --out run --resume
"""
RAW = argparse.RawDescriptionHelpFormatter


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; `run` is the function of the command."""
    name = "python -m xpconv" if sys.argv[0].endswith("__main__.py") else "xpconv"
    parser = argparse.ArgumentParser(
        prog=name, description="CNNs on NumPy and CuPy.", epilog=EPILOG, formatter_class=RAW
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    add_train(_command(commands, "train", "train a model on images, and write it with a report", TRAIN))
    predict = _command(commands, "predict", "classify image files", PREDICT)
    predict.add_argument("model", metavar="MODEL", help=TRAINED)
    predict.add_argument("images", metavar="IMAGE", nargs="+", help="image files, and folders of them")
    predict.add_argument(
        "--top", type=_at_least(1), default=1, metavar="N", help="classes for each image (default: 1)"
    )
    predict.add_argument("--skip-damaged", action="store_true", help="leave out damaged images")
    predict.add_argument(
        "--csv", type=_path, metavar="FILE", help="write a CSV file with the probability of every class"
    )
    _common(predict, 64)
    evaluate = _command(commands, "evaluate", "measure a model on images by class", EVALUATE)
    evaluate.add_argument("model", metavar="MODEL", help=TRAINED)
    evaluate.add_argument(
        "data", metavar="DATA", help="a folder of images by class, or a data set by name: its test part"
    )
    evaluate.add_argument(
        "--data-dir", type=_path, metavar="DIR", help="folder with the files of a data set by name"
    )
    evaluate.add_argument("--skip-damaged", action="store_true", help="leave out damaged images of a folder")
    _common(evaluate, 64)
    export = _command(commands, "export", "write a model as an ONNX file", EXPORT)
    export.add_argument("model", metavar="MODEL", help="a model file")
    export.add_argument("out", metavar="OUT", help="the file to write, which ends with .onnx")
    export.add_argument(
        "--shape", type=_shape, metavar="C,H,W",
        help="shape of an image; for a model that `xpconv train` did not write",
    )  # fmt: skip
    export.add_argument(
        "--opset", type=_at_least(1), metavar="N", help="version of ONNX's operators (default: 17)"
    )
    export.add_argument(
        "--fold-batchnorm", action="store_true", help="fold each BatchNorm into the layer before it"
    )
    _common(export, batch=False)
    info = _command(commands, "info", "backend, devices, versions, threads, BLAS; or a model's layers", INFO)
    info.add_argument("model", metavar="MODEL", nargs="?", help="a model file to describe")
    _common(info, batch=False)
    options = parser.parse_args(arguments)
    if options.command == "train" and options.resume and not options.out:
        parser.error("--resume needs --out, the folder of the run")
    return options


TRAIN = """examples:
  xpconv train digits                                    # scikit-learn's 8×8 digits, in seconds
  xpconv train photos --size 64 --epochs 30 --out run    # with a folder of images for each class
  xpconv train cifar10 --model resnet20 --epochs 100 --out run
  xpconv train photos --out run --resume                 # after Ctrl-C or a crash, with the same settings
  xpconv train photos --out run --resume --epochs 60     # on with a finished run

DIR/model.safetensors has the weights of the epoch with the lowest validation loss. The model takes images
with values from 0 to 1, which its first layer normalises, in Python too:
  import xpconv
  model = xpconv.load_model("run/model.safetensors")
  image = xpconv.data.read_image("new.png", size=model.image_info["shape"][1:])
  scores = xpconv.train.predict(model, image[None])  # before softmax
  print(model.image_info["classes"][int(scores[0].argmax())])
"""
PREDICT = """examples:
  xpconv predict run/model.safetensors cat.jpg dog.jpg
  xpconv predict run/model.safetensors folder --csv predictions.csv
  xpconv predict run/model.safetensors cat.jpg --top 3 --json
  xpconv predict model.onnx cat.jpg
"""
TRAINED = "a file that `xpconv train` wrote, or an .onnx or model file with image_info, from any source"
EVALUATE = """example:
  xpconv evaluate run/model.safetensors photos --json
"""
EXPORT = """examples:
  xpconv export run/model.safetensors model.onnx
  xpconv export weights.safetensors model.onnx --shape 3,224,224 --fold-batchnorm
"""
INFO = """examples:
  xpconv info
  xpconv info run/model.safetensors
"""


def add_train(parser: argparse.ArgumentParser) -> None:
    """The arguments of `xpconv train`."""
    parser.add_argument(
        "data", metavar="DATA",
        help="a folder with a folder of images for each class (or with train/ and valid/ of such), or "
        "digits, mnist, fashion-mnist, cifar10 or cifar100 (a folder of such a name: ./digits)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=_path, metavar="DIR", help="folder for model, report, log and checkpoints"
    )
    parser.add_argument(
        "--resume", action="store_true",
        help="continue from the latest checkpoint in --out, with that run's settings; --epochs may be more",
    )  # fmt: skip
    parser.add_argument(
        "--model", metavar="NAME",
        help="a function of xpconv.models, such as resnet20, or a file that `xpconv train` wrote "
        "(default: small_cnn)",
    )  # fmt: skip
    parser.add_argument(
        "--data-dir", type=_path, metavar="DIR", help="folder with the files of a data set by name"
    )
    parser.add_argument(
        "--size", type=_at_least(8), metavar="N", help="height and width of a folder's images"
    )
    parser.add_argument(
        "--gray", action="store_true", default=None, help="read a folder's images in shades of gray"
    )
    parser.add_argument(
        "--skip-damaged", action="store_true", default=None, help="leave out damaged images of a folder"
    )
    parser.add_argument(
        "--valid", type=_share, metavar="SHARE",
        help="share of a folder's images to validate with, where it has no part for that (default: 0.2)",
    )  # fmt: skip
    parser.add_argument(
        "--epochs", type=_at_least(1), metavar="N", help="default: 10, and more for few images: 200 steps"
    )
    parser.add_argument("--lr", type=_positive, help="largest rate of Adam (default: 0.003)")
    parser.add_argument("--no-augment", action="store_true", default=None, help="no random crops and flips")
    parser.add_argument("--seed", type=_at_least(0), metavar="N", help="default: 0")
    _common(parser, None, "64, and down to 8 for few images")


def _command(commands: Any, name: str, text: str, epilog: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", epilog=epilog, formatter_class=RAW
    )
    parser.set_defaults(run=_run)
    return parser


def _run(options: argparse.Namespace) -> int:
    """Run the command; only what it needs is imported."""
    if options.command == "train":
        from .train import train as command
    elif options.command == "predict":
        from .predict import predict as command
    elif options.command == "evaluate":
        from .evaluate import evaluate as command
    elif options.command == "export":
        from .export import export as command
    else:
        from .info import info as command
    return command(options)


def _common(
    parser: argparse.ArgumentParser, size: int | None = None, text: str = "64", *, batch: bool = True
) -> None:
    if batch:
        parser.add_argument(
            "--batch-size", type=_at_least(1), default=size, metavar="N", help=f"default: {text}"
        )
        parser.add_argument(
            "--workers",
            type=_at_least(0),
            default=2,
            metavar="N",
            help="threads that read images (default: 2)",
        )
    parser.add_argument("--backend", metavar="NAME", help="numpy, cupy or auto (default: XPCONV_BACKEND)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _at_least(floor: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None
        if value < floor:
            raise argparse.ArgumentTypeError(f"expected at least {floor}, got {value}")
        return value

    return number


def _shape(text: str) -> tuple[int, ...]:
    sizes = text.split(",")
    if not all(size.isascii() and size.strip().isdigit() for size in sizes):
        raise argparse.ArgumentTypeError(f"expected sizes such as 3,224,224, got {text!r}")
    return tuple(map(int, sizes))


def _path(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got ''")
    return text


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def _share(text: str) -> float:
    value = _positive(text)
    if not value < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text!r}")
    return value
