"""What the learner's commands accept. Nothing here imports torch."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from cl_suite.errors import UserError

DEFAULT_BACKBONE = "tf_efficientnet_lite0"  # 19 MB, fast on a CPU, pictures of 224 pixels
DEFAULT_RULE = "simple_cil"

HELP: Mapping[str, str] = {
    "learn": "make a classifier file, or teach it a class from a few pictures",
    "predict": "print the classes of pictures",
    "forget": "remove a class, as if it had never been learned",
    "rename": "give a class another name",
    "undo": "undo the last change of a classifier file",
    "merge": "teach a classifier all that others of the same backbone and rule know",
    "info": "print what a classifier file knows",
    "evaluate": "measure a classifier on a folder of class folders",
    "export": "write a classifier for other runtimes, as ONNX",
    "serve": "start a page and a JSON interface for a classifier",
}

LEARN_TEXT = f"""make a classifier file, or teach it a class from a few pictures

  cl-suite learn my.clm --from photos/            from one folder of pictures a class
  cl-suite learn my.clm okapi new/*.jpg           teach a class, or more of a known one
  cl-suite learn my.clm --from-run runs/omniglot/teen/seed0
                                                  go on from a finished run

A new classifier has the backbone {DEFAULT_BACKBONE} unless --backbone names another.
Its published weights (19 MB) are downloaded once. If they cannot be downloaded, copy their
.safetensors file from another machine and name it by --weights FILE.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see `{self.prog} --help`")


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Return the options of a command, named by the first word.

    Raises:
        UserError: for options that the command does not have.
    """
    command = words[0]
    parser = _Parser(
        prog=f"cl-suite {command}",
        description=LEARN_TEXT if command == "learn" else HELP[command],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=command)
    parser.add_argument("model", metavar="MODEL", help="classifier file, such as my.clm")
    _OPTIONS[command](parser)
    # options may stand between pictures
    return parser.parse_intermixed_args(list(words[1:]))


def _learn(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", nargs="?", metavar="LABEL", help="the class to teach")
    parser.add_argument(
        "images",
        nargs="*",
        default=[],  # without it the parser calls IMAGES required
        metavar="IMAGES",
        help="files, folders or quoted patterns ('a/*.jpg')",
    )
    start = parser.add_argument_group("a new classifier")
    start.add_argument("--from", dest="photos", metavar="FOLDER", help="one folder a class")
    start.add_argument("--from-run", metavar="RUN", help="folder of a finished run")
    start.add_argument(
        "--backbone",
        metavar="NAME",
        help=f"pretrained network, timm's name or clip:NAME (default: {DEFAULT_BACKBONE})",
    )
    start.add_argument(
        "--beside",
        metavar="NAME",
        help="a second network of timm, whose features stand beside the first one's",
    )
    start.add_argument(
        "--beside-weights", metavar="FILE", help="its .safetensors file (default: published ones)"
    )
    start.add_argument(
        "--rule",
        metavar="NAME",
        help="simple_cil (class means, the default), teen, teen_whitened, lda or ranpac",
    )
    start.add_argument("--overwrite", action="store_true", help="replace MODEL if it exists")
    _strict(parser, "learn nothing if a picture cannot be read")
    _seeing(parser)


def _predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images", nargs="+", metavar="IMAGES", help="files, folders or quoted patterns"
    )
    parser.add_argument(
        "--top", type=_positive, default=5, metavar="N", help="classes to list (default: 5)"
    )
    parser.add_argument(
        "--unlabelled",
        nargs="+",
        metavar="PHOTOS",
        help="pictures without labels, such as a folder, that move the classes' prototypes for "
        "these predictions (transductive); MODEL stays as it is",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a line")
    form.add_argument("--csv", action="store_true", help="CSV with a header")
    _strict(parser, "stop if a picture cannot be read")
    _seeing(parser)


def _forget(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", metavar="LABEL", help="the class to forget")


def _rename(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", metavar="LABEL", help="the class")
    parser.add_argument("to", metavar="NAME", help="its new name")


def _undo(parser: argparse.ArgumentParser) -> None:
    pass


def _merge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("others", nargs="+", metavar="OTHER", help="classifier files; unchanged")


def _info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object")


def _evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", metavar="FOLDER", help="one folder of pictures a class, which it did not learn"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    _strict(parser, "stop if a picture cannot be read")
    _seeing(parser)


def _export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="file to write, such as my.onnx")
    parser.add_argument("--half", action="store_true", help="float16 instead of float32")
    parser.add_argument(
        "--growing",
        action="store_true",
        help="write the class rows to a separate file; a device can then add a class",
    )
    parser.add_argument(
        "--pictures",
        nargs="+",
        metavar="IMAGES",
        help="pictures to check the export on (default: the thumbnails in MODEL)",
    )
    _seeing(parser)


def _serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8000, help="default: 8000; 0: a free one")
    parser.add_argument(
        "--token",
        help="secret that changes must carry; needed for another host (default: CL_SUITE_TOKEN of "
        "the environment, else a random one)",
    )
    parser.add_argument(
        "--held-out", metavar="FOLDER", help="one folder of pictures a class, to watch accuracy on"
    )
    _seeing(parser)


def _strict(parser: argparse.ArgumentParser, meaning: str) -> None:
    parser.add_argument("--strict", action="store_true", help=meaning)


def _seeing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="the backbone's published weights, a .safetensors file (for CLIP: a folder)",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto (default: cpu)")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, got {text}")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"must be a whole number in 0 to 65535, got {text}")
    return int(text)


_OPTIONS: Mapping[str, Callable[[argparse.ArgumentParser], None]] = {
    "learn": _learn,
    "predict": _predict,
    "forget": _forget,
    "rename": _rename,
    "undo": _undo,
    "merge": _merge,
    "info": _info,
    "evaluate": _evaluate,
    "export": _export,
    "serve": _serve,
}
