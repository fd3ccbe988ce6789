"""The command `cl-suite list`; it imports neither torch nor Avalanche."""

from __future__ import annotations

from rich.console import Console

from cl_suite import registry
from cl_suite.report.console import plain_console, print_columns
from cl_suite.report.pairs import pairs

BACKBONES = {
    "conv4": "four convolution blocks of 64 channels, for 28 x 28 images (111,936 parameters)",
    "resnet20": "the FSCIL literature's CIFAR network, 64 features (271,824 parameters)",
    "identity": "the input itself, flattened: for streams of features",
    "melconv": "four convolution blocks for log-mel maps of sounds (163,240 parameters)",
    "clip:NAME": "a CLIP from the hub or a folder (--model.weights FOLDER), for text and images",
    "wav2vec2:NAME": "a wav2vec2 from the hub or a folder, for speech as waveforms",
    "whisper:NAME": "a Whisper encoder from the hub or a folder, for speech as waveforms",
    "any timm name": "resnet18, vit_small_patch16_224, ...: timm.list_models() lists them all",
}


def print_lists(kind: str | None) -> None:
    """Print scenarios, strategies, backbones, or all three."""
    console = plain_console()
    if kind in (None, "scenarios"):
        _print(console, "scenarios", _entries("scenario"))
    if kind in (None, "strategies"):
        _print(console, "strategies", _entries("strategy"))
    if kind in (None, "backbones"):
        _print(console, "backbones", BACKBONES)


def print_pairs() -> None:
    """Print for each strategy the scenarios that it runs on, and why not on the others."""
    rows = []
    for name, reasons in pairs().items():
        by_reason: dict[str, list[str]] = {}
        for scenario, reason in reasons.items():
            if reason is not None:
                by_reason.setdefault(reason, []).append(scenario)
        without = [f"not {', '.join(names)}: {reason}" for reason, names in by_reason.items()]
        rows.append((name, "; ".join(["all", *without])))
    print_columns(plain_console(), ("strategy", "scenarios"), rows)


def _entries(kind: registry.Kind) -> dict[str, str]:
    return {
        name: entry.summary or f"from package {entry.origin} ({entry.class_path})"
        for name, entry in registry.entries(kind).items()
    }


def _print(console: Console, title: str, rows: dict[str, str]) -> None:
    print_columns(console, (title, ""), list(rows.items()))
    console.print()
