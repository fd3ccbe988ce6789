"""Tries learning rates on fake streams cut from the base session's training images.

Some base classes play the later sessions, and some images of every class are held back to test. No
test image and no image of a later session is read. Each trial is a short run of its own: a copy of
the untrained network and strategy, the same seed, and as many steps an epoch as the run itself.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cl_suite.data.samples import UNLABELLED
from cl_suite.data.stream import Stream, StreamInfo
from cl_suite.distributed.group import PeerError, from_first
from cl_suite.engine.engine import Engine
from cl_suite.engine.evaluation import joined
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError, option
from cl_suite.methods.episodes.tuning import LEAST_IMAGES
from cl_suite.models.classifier import Classifier
from cl_suite.randomness import seeded
from cl_suite.runs.base_classes import Cut, cut_base, usable_classes
from cl_suite.runs.config import RunConfig
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.rate_choice import NONE, RATES, RateChoice, Trial, best_rates, compared, decide
from cl_suite.runs.refusals import has_diverged
from cl_suite.runs.stored_views import behind_frozen_blocks
from cl_suite.storage import checkpoint

ENTRY = "rate_choice"  # in run.json and the checkpoint
STREAMS = 3  # fake streams
FINALISTS = 2  # rates that are tried on more than the first of them
SHARE_OF_EPOCHS = 0.5  # of the run's
LEAST_CLASSES = 4  # two that play base classes, two that play new ones


def recipe_of(
    config: RunConfig,
    stream: Stream,
    model: Classifier,
    folder: RunFolder,
    says: Callable[[str], None],
    *,
    resume: bool,
) -> tuple[TrainingConfig, dict[str, Any]]:
    """Return a run's recipe with a learning rate, and what was chosen for it.

    A resumed run takes the choice that it made before; see `choose_rate` for the arguments.

    Returns:
        The recipe, and an entry for `run.json` and the checkpoint, none if nothing was to choose.

    Raises:
        UserError: if the earlier choice cannot be read, or a trial cannot run.
    """
    if config.training.lr != "auto":
        return config.training, {}
    choice = (_earlier(folder) if resume else None) or choose_rate(config, stream, model, says)
    return choice.applied(config.training), {ENTRY: choice.to_plain()}


def _earlier(folder: RunFolder) -> RateChoice | None:
    """Return the choice of a run that is resumed, None if it had not made one."""
    if folder.checkpoint_file.exists():
        content = checkpoint.load_values(folder.checkpoint_file)
    elif folder.run_info_file.exists():
        content = folder.read_run_info()
    else:
        return None
    if ENTRY not in content:
        return None
    try:
        return RateChoice.from_plain(content[ENTRY])
    except ValueError as error:
        raise UserError(
            f"the learning rate that run '{folder.path}' chose cannot be read ({error}); start "
            "afresh with --overwrite"
        ) from error


def choose_rate(
    config: RunConfig,
    stream: Stream,
    model: Classifier,
    says: Callable[[str], None] = lambda text: None,
) -> RateChoice:
    """Return the learning rate of a run's base session, chosen on its training images alone.

    The generators' states and the network stay as they are.

    Args:
        model: the untrained network, before the strategy has added anything to it.
        says: is given the choice and its figures, to print.

    Raises:
        UserError: if the strategy cannot learn with these settings.
    """
    start, rates = time.perf_counter(), RATES[config.training.optimizer]
    if stream.info.kind != "class" or UNLABELLED in stream.train[0].targets:
        raise UserError(
            f"{option('training.lr', 'auto')} needs a stream of new classes with labels, and "
            f"'{stream.info.name}' is of another kind; pass a number"
        )
    usable = usable_classes(torch.tensor(stream.train[0].targets))
    if usable < LEAST_CLASSES:
        choice = RateChoice(
            rates[0],
            reason=(
                f"a choice needs {LEAST_CLASSES} base classes of {LEAST_IMAGES} images, and there "
                f"are {usable}"
            ),
        )
    else:
        says("choosing the learning rate on the base session's training images")
        with seeded(config.seed):
            trials = Trials(config, stream, model)
            choice = trials.choice(rates)
        choice = dataclasses.replace(choice, seconds=time.perf_counter() - start)
    # machines that compute differently must not go on with different rates
    choice = RateChoice.from_plain(from_first(choice.to_plain))
    for line in choice.lines():
        says(line)
    return choice


class Trials:
    """Runs trials and counts what they cost.

    Args:
        config: the run's settings; its strategy is copied, never used.
        stream: the run's stream; only the training samples of session 0 are read.
        model: the untrained network; it is copied.
    """

    def __init__(self, config: RunConfig, stream: Stream, model: Classifier) -> None:
        self.config = config
        self.base_share = base_share(stream.info)
        self.steps = steps_an_epoch(len(stream.train[0]), config.training.batch_size)
        self.epochs = math.ceil(SHARE_OF_EPOCHS * config.training.base_epochs)
        self.passes = _Passes()
        self.model = copy.deepcopy(model)
        stored = behind_frozen_blocks(
            Stream(stream.info, stream.train[:1], ()),
            self.model,
            config.strategy,
            batch_size=config.training.eval_batch_size,
            device=config.device,
        )
        self.base = stream if stored is None else stored.stream
        self.passes.num += 0 if stored is None else stored.passes

    def choice(self, rates: tuple[float, ...]) -> RateChoice:
        """Return the choice among these rates and no tuning."""
        found: dict[float, list[Trial]] = {rate: [] for rate in (NONE, *rates)}
        going_on = list(rates)
        for number in range(STREAMS):
            fake = self._cut(number)
            for rate in (NONE, *going_on):
                found[rate].append(self._trial(fake, rate))
            if number == 0:
                going_on = best_rates(compared(found, self.base_share), FINALISTS)
        candidates = compared(found, self.base_share)
        return RateChoice(decide(candidates), tuple(candidates), self.epochs, self.passes.num)

    def _cut(self, number: int) -> Stream:
        seed = (self.config.seed * STREAMS + number) % 2**63
        return cut_base(self.base, Cut(seed=seed, sessions=1, least_classes=LEAST_CLASSES))

    def _trial(self, fake: Stream, rate: float) -> Trial:
        training = self._recipe(fake, rate)
        model, strategy = copy.deepcopy((self.model, self.config.strategy))
        model.backbone.register_forward_hook(self.passes)
        last = fake.info.num_sessions - 1
        with seeded(self.config.seed):
            engine = Engine(fake, model, strategy, training, device=self.config.device)
            try:
                for session in range(last + 1):
                    engine.train_session(session)
                found = joined(engine.predictions(last, "classifier"))
            except PeerError:
                raise  # all processes end
            except (UserError, RuntimeError, ValueError, ArithmeticError):
                if not has_diverged(engine.model):
                    raise
                return self._lost(fake)
        labels, hits = found.labels, found.labels == found.predicted
        return Trial(hits.double(), self._is_base(fake, labels))

    def _recipe(self, fake: Stream, rate: float) -> TrainingConfig:
        """Return the recipe of a trial: fewer epochs, with the run's number of steps in each."""
        later = self.config.training.incremental_epochs
        recipe = dataclasses.replace(
            self.config.training,
            base_epochs=self.epochs,
            incremental_epochs=None if later is None else math.ceil(SHARE_OF_EPOCHS * later),
            batch_size=max(1, math.ceil(len(fake.train[0]) / self.steps)),
        )
        return RateChoice(rate).applied(recipe)

    def _lost(self, fake: Stream) -> Trial:
        """Return the result of a trial whose numbers were no longer finite."""
        labels = torch.tensor([label for samples in fake.test for label in samples.targets])
        return Trial(torch.zeros(len(labels), dtype=torch.float64), self._is_base(fake, labels))

    def _is_base(self, fake: Stream, labels: Tensor) -> Tensor:
        return torch.isin(labels, torch.tensor(fake.info.session_classes[0]))


class _Passes:
    """Counts the images that pass through a network and through its copies."""

    def __init__(self) -> None:
        self.num = 0

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], features: Tensor) -> None:
        self.num += len(features)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Passes:
        # a strategy may copy its network: the copies' passes count too
        return self


def base_share(info: StreamInfo) -> float:
    """Return the share of base classes among the classes seen, averaged over the sessions."""
    num_base = len(info.session_classes[0])
    shares = [num_base / len(info.seen_classes(s)) for s in range(info.num_sessions)]
    return sum(shares) / len(shares)


def steps_an_epoch(num_samples: int, batch_size: int) -> int:
    """Return the steps of an epoch."""
    return math.ceil(num_samples / batch_size)
