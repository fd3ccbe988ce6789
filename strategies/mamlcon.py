"""MAMLCon: meta-learn weights from which a few steps add classes and one step repairs old ones.

van der Merwe, Kamper, "Mitigating Catastrophic Forgetting for Few-Shot Spoken Word Classification
Through Meta-Learning", Interspeech 2023, arXiv 2305.13080. A classifier has one independent linear
unit per class. An episode draws classes; `phi` begins at the meta-learned `theta`, and the classes
arrive in stages `s` with support samples `D_s`. The softmax covers the `C_s` classes so far:

    phi <- phi - alpha grad CE_{C_s}(phi; D_s)         T times (T_0 times in the first stage)
    phi <- phi - alpha grad CE_C(phi; templates)       once, the first support sample of each class
    theta <- Adam(theta, d/dtheta CE_C(phi; query))    over a batch of episodes

The last line is second order if the gradient goes through every inner step, and first order if it
is the gradient at `phi`. `inner: head` is the paper's baseline OML: the inner loop moves only the
units, its softmax covers all units from the beginning, and there are no templates.

Here the recipe trains the base session, and `meta_epochs` more epochs meta-train it. A later
session gives its classes meta-learned units and takes the same steps as an inner loop: `T` on all
its samples, then one on the templates of all classes so far. Only templates are kept.

Differences from the paper or the authors' code:
    - Second order by default; the authors' settings are first order (`first_order`).
    - OML takes `T_0` steps in a drawn first stage, as our method does; theirs takes `T` there. Set
      `initial_steps` to `T` to get that.
    - Units have no bias, and no ReLU is added before them.
    - Base classes must be classified too, whereas the paper never tests its training words. Base
      units are those that the recipe has trained. They stay in meta-training: the outer loss
      includes the cross-entropy of the queries over all base classes at `theta` (`base_weight`),
      because the base session is measured there.
    - `first_stage: base` makes episodes resemble the sessions to come. The base classes that were
      not drawn keep their units, templates and queries, as a first stage that is already learned.
      The drawn ones take meta-learned units, as if never seen before the episode. At most half of
      the base classes are drawn. `first_stage: drawn` is the paper's episode: only drawn classes,
      the first stage of them in `T_0` steps. There new units first compete with base units in a
      real session.
    - BatchNorm normalises by the running statistics of the base session's training, frozen from
      meta-training on. The authors' code uses batch statistics, in testing too, so a prediction
      depends on the other samples of its batch. Other layers with an eval mode also stay in it.
    - A new class takes the next meta-learned unit in turn, from the first again when all are taken.
      Units of one stage are exchangeable, because episodes draw their classes in random order.
      Units of different stages are not: a unit learns whether another stage follows its own. If a
      stream has more sessions than an episode has stages, use `unit_order: drawn`.
    - In later sessions the softmax covers the classes so far, for OML too.
    - Episodes use training transforms; later sessions and templates use evaluation transforms.
    - We use the network after the last epoch; theirs is the one best on validation words.
    - Inner loops run in single precision; theirs in half.
    - The template step follows each later session, because the last one is not known. Episodes
      take it once, at their end, as the authors' code does, or after each stage (`template_every`).
    - Fewer episodes: 10 epochs of 400; the authors' settings allow 100 of 1000.

A bare Avalanche program adds no epochs: the last `meta_epochs` of its first session are the
meta-training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from torch import nn

from cl_suite.avalanche.loader import batches
from cl_suite.data.stream import StreamInfo
from cl_suite.errors import UserError
from cl_suite.methods.episodes.meta_episodes import EpisodePlan, increments
from cl_suite.methods.episodes.meta_learning import (
    UnitNetwork,
    add_spare_units,
    full_batch_step,
    take_spare_units,
)
from cl_suite.methods.episodes.meta_training import MetaEpisodeLoader, outer_losses
from cl_suite.methods.replay.exemplars import Exemplars
from cl_suite.models.modes import evaluating
from cl_suite.plugin import Requirements, StrategyPlugin, Template, Within, session_classes


@dataclass(kw_only=True, eq=False)
class MAMLConPlugin(StrategyPlugin):
    """Meta-train on episodes of base classes; learn later classes as an episode does.

    The first session it sees is the base session.

    Args:
        episode_classes: most classes drawn for an episode; one unit is meta-learned for each.
        first_stage: first stage of an episode: base (the base classes that were not drawn, already
            learned) or drawn (the paper's: drawn classes, in `initial_steps`).
        first_classes: classes of the first stage if it is drawn.
        way: classes of each other stage.
        shots: support samples per class.
        queries: query samples per class.
        initial_steps: `T_0`, gradient steps of the first stage if it is drawn.
        steps: `T`, gradient steps of each other stage, and of a later session.
        inner_lr: `alpha`, the learning rate of these steps.
        inner: parameters that these steps move: all, or head (only the units; the baseline OML).
        first_order: no gradient through the inner steps.
        templates: keep one sample of each class for the template step; OML has none.
        template_every: when an episode takes the template step: end, or each (after each stage).
        unit_order: order in which the classes of an episode take units: arrival (a unit belongs to
            a stage) or drawn (random; for streams with more sessions than stages).
        meta_epochs: epochs of meta-training.
        meta_steps: outer steps per epoch of meta-training.
        meta_batch: episodes per outer step.
        outer_lr: Adam's learning rate.
        base_weight: weight of the cross-entropy of all base classes before any inner step.
        vectorized: run the episodes of an outer step at once. This multiplies the memory by their
            number; on a CPU it takes longer than running them one after another.
    """

    episode_classes: Annotated[int, Within(1)] = 20
    first_stage: Literal["base", "drawn"] = "base"
    first_classes: Annotated[int, Within(1)] = 5
    way: Annotated[int, Within(1)] = 5
    shots: Annotated[int, Within(1)] = 5
    queries: Annotated[int, Within(1)] = 5
    initial_steps: Annotated[int, Within(0)] = 30
    steps: Annotated[int, Within(0)] = 5
    inner_lr: Annotated[float, Within(0)] = 1e-3
    inner: Literal["all", "head"] = "all"
    first_order: bool = False
    templates: bool = True
    template_every: Literal["end", "each"] = "end"
    unit_order: Literal["arrival", "drawn"] = "arrival"
    meta_epochs: Annotated[int, Within(0)] = 10
    meta_steps: Annotated[int, Within(1)] = 100
    meta_batch: Annotated[int, Within(1)] = 4
    outer_lr: Annotated[float, Within(0)] = 1e-4
    base_weight: Annotated[float, Within(0)] = 1.0
    vectorized: bool = False
    # classes of finished sessions, in order of arrival
    classes_: list[int] = field(default_factory=list, init=False)
    num_base_: int = field(default=0, init=False)
    num_units_: int = field(default=0, init=False)  # meta-learned units
    templates_: Exemplars = field(default_factory=Exemplars, init=False)

    requirements = Requirements(kinds=("class",))

    _outer: torch.optim.Adam | None = field(default=None, init=False, repr=False)
    # loaded state, until the optimiser is made
    _outer_state: Mapping[str, Any] | None = field(default=None, init=False, repr=False)
    _plan: EpisodePlan = field(init=False, repr=False)  # for the base session

    @property
    def uses_templates(self) -> bool:
        """Whether there is a template step."""
        return self.templates and self.inner == "all"

    @property
    def runs_network(self) -> bool:
        return True

    def extra_epochs(self, session: int) -> int:
        return self.meta_epochs if session == 0 else 0

    def kept_data(self) -> tuple[int, int]:
        return len(self.templates_), self.templates_.num_bytes

    def check_stream(self, info: StreamInfo, session_sizes: Sequence[int]) -> None:
        if len(info.session_classes[0]) < 2:
            raise UserError(
                "mamlcon draws its episodes from base classes, but the base session has one; "
                "choose at least 2"
            )

    def prepare_model(self, model: nn.Module) -> None:
        add_spare_units(model, self.episode_classes)

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        super().before_training_exp(template, **kwargs)
        if not self.classes_:
            self._plan = self._episode_plan(len(session_classes(template)))
            self.num_units_ = self._plan.num_classes

    def before_training_epoch(self, template: Template, **kwargs: Any) -> None:
        if self.classes_:
            template.stop_training()  # a later session takes its few steps at its end
        elif self._in_meta_training(template):
            self._begin_meta_training(template)
            # running statistics for BatchNorm, and no dropout; undone after the epoch
            template.model.eval()

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        if self.classes_ or not self._in_meta_training(template):
            return
        template.loss = self.base_weight * template.loss
        for loss in outer_losses(
            UnitNetwork(template.model),
            self._plan,
            template.mbatch,
            lr=self.inner_lr,
            only_units=self.inner == "head",
            first_order=self.first_order,
            vectorized=self.vectorized,
        ):
            # immediately, so only one episode's graph is held
            loss.backward()  # type: ignore[no-untyped-call]  # no types there
            template.loss = template.loss + loss.detach()

    def before_update(self, template: Template, **kwargs: Any) -> None:
        if self._outer is not None:
            self._outer.step()
            # the recipe's own optimiser has nothing left to do
            template.optimizer.zero_grad(set_to_none=True)

    def after_training_epoch(self, template: Template, **kwargs: Any) -> None:
        if self._outer is None:
            return
        template.model.train()
        if not template.loss.isfinite().all():
            raise UserError(
                f"mamlcon: the inner loop diverges at inner_lr {self.inner_lr}; lower it"
            )

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        self._outer = None
        session = session_classes(template)
        new = [c for c in session if c not in self.classes_]
        if not self.classes_:
            self.num_base_ = len(new)
        elif new:
            first = len(self.classes_) - self.num_base_
            places = [i % self.num_units_ for i in range(first, first + len(new))]
            take_spare_units(template.model, new, places)
        is_later, self.classes_ = bool(self.classes_), [*self.classes_, *new]
        data = template.experience.dataset
        if self.uses_templates:
            self._keep_templates(data, new)
        if is_later:
            self._learn(template, data)

    def state_dict(self) -> dict[str, Any]:
        outer = None if self._outer is None else self._outer.state_dict()
        return {**super().state_dict(), "outer_": outer}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict({k: v for k, v in state.items() if k != "outer_"})
        self._outer, self._outer_state = None, state["outer_"]

    def _episode_plan(self, num_base: int) -> EpisodePlan:
        drawn_first = self.first_stage == "drawn"
        most = num_base if drawn_first else max(1, num_base // 2)
        num_classes = min(self.episode_classes, most)
        first = self.first_classes if drawn_first else self.way
        return EpisodePlan(
            sizes=tuple(increments(num_classes, first, self.way)),
            shots=self.shots,
            queries=self.queries,
            initial_steps=self.initial_steps if drawn_first else self.steps,
            steps=self.steps,
            template_step=self.template_every if self.uses_templates else "none",
            with_others=not drawn_first,
            full_softmax=self.inner == "head",
            mixed_units=self.unit_order == "drawn",
        )

    def _in_meta_training(self, template: Template) -> bool:
        return bool(template.clock.train_exp_epochs >= template.train_epochs - self.meta_epochs)

    def _begin_meta_training(self, template: Template) -> None:
        if self._outer is not None:
            return
        trained = [p for p in template.model.parameters() if p.requires_grad]
        self._outer = torch.optim.Adam(trained, lr=self.outer_lr)
        if self._outer_state is not None:
            self._outer.load_state_dict(dict(self._outer_state))
            self._outer_state = None
        template.dataloader = MetaEpisodeLoader(
            template.adapted_dataset,
            self._plan,
            UnitNetwork(template.model),
            num_batches=self.meta_steps,
            batch_size=self.meta_batch,
            num_spare=self.episode_classes,
        )

    def _keep_templates(self, data: Any, new: Sequence[int]) -> None:
        """Keep the first sample of each new class."""
        labels = [int(label) for label in data.targets]
        self.templates_.bind(data)
        self.templates_.append(data, [labels.index(class_id) for class_id in new])

    def _learn(self, template: Template, data: Any) -> None:
        """Take the steps of a later session."""
        network, size = UnitNetwork(template.model), template.train_mb_size
        adapted = network.unit_names if self.inner == "head" else list(network.tensors())
        stages = [data.eval()] * self.steps
        if self.uses_templates:
            stages.append(self.templates_.dataset().eval())
        with evaluating(template.model):
            for samples in stages:
                full_batch_step(
                    network,
                    batches(samples, size),
                    self.classes_,
                    lr=self.inner_lr,
                    adapted=adapted,
                    device=template.device,
                )
