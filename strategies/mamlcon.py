"""MAMLCon: meta-learn a start from which few steps add classes and one step repairs the old ones.

van der Merwe, Kamper, "Mitigating Catastrophic Forgetting for Few-Shot Spoken Word Classification
Through Meta-Learning", Interspeech 2023, arXiv 2305.13080. A classifier has one independent linear
unit a class. In an episode of drawn classes, `phi` begins at the meta-learned `theta`, and classes
arrive in stages `s` of support samples `D_s`; the softmax covers the `C_s` classes so far:

    phi <- phi - alpha grad CE_{C_s}(phi; D_s)         T times (T_0 times in the first stage)
    phi <- phi - alpha grad CE_C(phi; templates)       once, the first support sample of each class
    theta <- Adam(theta, d/dtheta CE_C(phi; query))    over a batch of episodes

The last line is second order: through every inner step; or first order: the gradient at `phi`.
`inner: head` is the baseline OML as the paper compares it: the inner loop moves the units alone,
its softmax covers all units from the beginning, and there are no templates.

Here: the base session is trained by the recipe, then meta-trained for `meta_epochs` epochs more. A
later session gives its classes meta-learned units and takes the very steps of an inner loop: `T` on
all its samples, then one on the templates of all classes so far, which are all that is kept.

Differences from the paper or the authors' code:
    - Second order by default; the authors' settings are first order (`first_order`).
    - OML takes `T_0` steps in a drawn first stage, as ours does; theirs takes `T` there, which
      `initial_steps` can ask for.
    - Units have no bias, and no ReLU of their own before them.
    - Base classes must be classified too, whereas the paper's words of training are never asked
      for. Their units are those that the recipe has trained. They stay in meta-training: the
      cross-entropy of the queries at `theta` itself over all base classes (`base_weight`) is part
      of the outer loss, as the base session is measured there.
    - `first_stage: base` makes episodes like the sessions to come: the base classes that were not
      drawn are there with their own units, templates and queries, as a first stage that is learned
      already; the drawn ones take meta-learned units beside them, for an episode as if never seen.
      At most half of the base classes are drawn. `first_stage: drawn` is the paper's episode: drawn
      classes alone, the first stage of them in `T_0` steps. There new units never compete with
      base units before they meet in a session.
    - BatchNorm normalises by the running statistics of the base session's training, frozen from
      meta-training on. The authors' uses the batch's, in testing too: then a prediction depends on
      the other samples of its batch. So all else that differs in eval mode, too.
    - A new class takes the next meta-learned unit in turn, from the first again when all are taken.
      Those of a stage are exchangeable, as episodes draw their classes in random order. Those of
      different stages are not: a unit learns to be followed by a stage, or to be of the last. A
      stream of more sessions than an episode has stages asks for `unit_order: drawn`.
    - In later sessions the softmax covers the classes so far, for OML too.
    - Episodes see training transforms; later sessions and templates the evaluation's.
    - The network after the last epoch; theirs is the one best on validation words.
    - Inner loops in single precision; theirs in half.
    - The template step comes after each later session, as nobody knows which is the last. Episodes
      have it once, at their end, as the authors' code does, or after each stage (`template_every`).
    - Fewer episodes: 10 epochs of 400, where the authors' settings allow 100 of 1000.

In a bare Avalanche program nobody adds epochs: the last `meta_epochs` of its first session are
the meta-training.
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
from cl_suite.plugin import Requirements, StrategyPlugin, Template, Within


@dataclass(kw_only=True, eq=False)
class MAMLConPlugin(StrategyPlugin):
    """Meta-train on episodes of base classes; learn later classes as an episode does.

    The first session it sees is the base session.

    Args:
        episode_classes: classes drawn for an episode, at most; so many units are meta-learned.
        first_stage: what an episode begins with: base (the base classes that were not drawn, known
            already) or drawn (the paper's: drawn classes, in `initial_steps`).
        first_classes: classes of the first stage where it is drawn.
        way: classes of each other stage.
        shots: support samples of a class.
        queries: query samples of a class.
        initial_steps: `T_0`, gradient steps of the first stage where it is drawn.
        steps: `T`, gradient steps of each other stage, and of a later session.
        inner_lr: `alpha`, the length of these steps.
        inner: what they move: all, or the units alone (head), which is the baseline OML.
        first_order: no gradient through the inner steps.
        templates: keep one sample of each class for the template step; OML has none.
        template_every: when an episode takes that step, at its end or after each stage.
        unit_order: which units the classes of an episode take: arrival (as they come, so that a
            unit belongs to a stage) or drawn (any, for a stream of more sessions than that).
        meta_epochs: epochs of meta-training.
        meta_steps: outer steps of such an epoch.
        meta_batch: episodes of an outer step.
        outer_lr: Adam's learning rate.
        base_weight: of the cross-entropy of all base classes before any inner step.
        vectorized: run the episodes of an outer step at once. They need as many times the memory;
            on a CPU it takes longer than one after another.
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
    # of finished sessions, in order of arrival
    classes_: list[int] = field(default_factory=list, init=False)
    num_base_: int = field(default=0, init=False)
    num_units_: int = field(default=0, init=False)  # that were meta-learned
    templates_: Exemplars = field(default_factory=Exemplars, init=False)

    requirements = Requirements(kinds=("class",))

    _outer: torch.optim.Adam | None = field(default=None, init=False, repr=False)
    # waits for the optimiser
    _outer_state: Mapping[str, Any] | None = field(default=None, init=False, repr=False)
    _plan: EpisodePlan = field(init=False, repr=False)  # of the base session

    @property
    def uses_templates(self) -> bool:
        """Whether there is a template step."""
        return self.templates and self.inner == "all"

    def extra_epochs(self, session: int) -> int:
        return self.meta_epochs if session == 0 else 0

    def kept_data(self) -> tuple[int, int]:
        return len(self.templates_), self.templates_.num_bytes

    def check_stream(self, info: StreamInfo, session_sizes: Sequence[int]) -> None:
        if len(info.session_classes[0]) < 2:
            raise UserError(
                "mamlcon draws its episodes from base classes, and the base session has one; give "
                "it at least 2"
            )

    def prepare_model(self, model: nn.Module) -> None:
        add_spare_units(model, self.episode_classes)

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        super().before_training_exp(template, **kwargs)
        if not self.classes_:
            self._plan = self._episode_plan(len(template.adapted_dataset.targets.uniques))
            self.num_units_ = self._plan.num_classes

    def before_training_epoch(self, template: Template, **kwargs: Any) -> None:
        if self.classes_:
            template.stop_training()  # a later session is a few steps, taken at its end
        elif self._in_meta_training(template):
            self._begin_meta_training(template)
            # BatchNorm by its running statistics, and no dropout; back again after the epoch
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
            # at once, so that no two episodes' graphs are held
            loss.backward()  # type: ignore[no-untyped-call]  # no types there
            template.loss = template.loss + loss.detach()

    def before_update(self, template: Template, **kwargs: Any) -> None:
        if self._outer is not None:
            self._outer.step()
            # nothing is left to do for the recipe's own optimiser
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
        session = sorted(int(c) for c in template.experience.classes_in_this_experience)
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
