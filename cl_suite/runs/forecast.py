"""Says before a run's first epoch what will be trained, and after its first steps for how long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.models.classifier import Classifier

# above these a rate was made for training from scratch, by what published fine-tuning uses
HIGHEST_FINE_TUNING_RATE = {"sgd": 0.01, "adamw": 5e-4, "lion": 1e-4}
SECONDS_OF_STEPS = 2.0  # the first step alone is slower than the others
SHORTEST_SAID = 10.0  # seconds


def training_line(engine: Engine) -> str:
    """Return what is trained, on how many samples, in how many epochs."""
    trained, total = engine.model.num_parameters()
    share = f", {100 * trained / total:.3g} %" if total else ""
    line = f"backbone: {trained:,} of {total:,} parameters are trained{share}"
    sizes = [len(samples) for samples in engine.stream.train]
    epochs = [engine.num_epochs(session) for session in range(len(sizes))]
    plans = [_plan("session 0", epochs[:1], sizes[:1])]
    if len(sizes) > 1:
        plans.append(_plan("later sessions", epochs[1:], sizes[1:]))
    return f"{line}; {'; '.join(plans)}"


def training_notes(engine: Engine) -> Iterator[str]:
    """Yield what a user may not have meant in what is trained."""
    model, training = engine.model, engine.training
    trained, total = model.num_parameters()
    starts_elsewhere = engine.context.start is not None
    epochs = [engine.num_epochs(session) for session in range(len(engine.stream.train))]
    if total and model.backbone.weights is None and not starts_elsewhere:
        if not trained:
            yield (
                "note: the backbone is frozen at random weights, so it learns nothing; pass "
                "--model.pretrained true, --model.weights FILE or --start-from RUN"
            )
        elif not any(epochs):
            yield (
                "note: no session trains, so the backbone keeps its random weights; pass "
                "--training.base_epochs N, --model.weights FILE or --start-from RUN"
            )
    if trained and model.backbone.weights is not None and not _has_adapters(model):
        yield from _rate_notes(training, epochs, starts_elsewhere)


class Pace:
    """Estimates a session's duration from its first steps, once a run.

    Args:
        clock: returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.said = False
        self.started = 0.0
        self.first: tuple[int, float] | None = None  # steps done, and when

    def starts(self) -> None:
        """The session's training begins."""
        self.started, self.first = self.clock(), None

    def step(self, epoch: int, step: int, num_steps: int, num_epochs: int) -> str | None:
        """Return how long the session will take, or None if that is not known or not long."""
        if self.said:
            return None
        now, done = self.clock(), epoch * num_steps + step
        if self.first is None:
            self.first = done, now
        if now - self.started < SECONDS_OF_STEPS:
            return None
        self.said = True
        steps, since = done - self.first[0], now - self.first[1]
        pace = since / steps if steps else now - self.started
        left = pace * (num_epochs * num_steps - done)
        if left < SHORTEST_SAID:
            return None
        # to the minute, for a few steps tell no more
        left = left if left < 90 else 60 * round(left / 60)
        return f"  about {in_words(left)} of training left"


def _plan(name: str, epochs: Sequence[int], sizes: Sequence[int]) -> str:
    if not any(epochs):
        return f"{name}: no training"
    word = "epoch" if set(epochs) == {1} else "epochs"
    return f"{name}: {_span(epochs)} {word} on {_span(sizes)} samples"


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _rate_notes(
    training: TrainingConfig, epochs: Sequence[int], starts_elsewhere: bool
) -> Iterator[str]:
    highest = HIGHEST_FINE_TUNING_RATE.get(training.optimizer)
    names = {"lr": 0, "incremental_lr": 1}
    for name, session in names.items():
        trains = epochs[:1] if session == 0 else epochs[1:]
        rate = training.learning_rate(session)
        own = session == 0 or training.incremental_lr is not None
        if highest is not None and own and any(trains) and rate > highest:
            yield (
                f"note: --training.{name} {rate:g} suits training from scratch and may destroy "
                f"pretrained weights; pass {highest / 10:g}, or --model.frozen true"
            )
            return


def _has_adapters(model: Classifier) -> bool:
    return any("lora" in name for name, _ in model.backbone.named_parameters())


def in_words(seconds: float) -> str:
    """Return a duration to read.

    Example:
        >>> in_words(42.3), in_words(150), in_words(8000)
        ('42 s', '2 min 30 s', '2 h 13 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60} s".removesuffix(" 0 s")
    if whole < 3600:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
