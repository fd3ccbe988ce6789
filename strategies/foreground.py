"""Prototypes of what a class's few images share: crops of background count less, after COSOC.

Luo et al., "Rectifying the Shortcut Learning of Background for Few-Shot Learning", NeurIPS 2021,
arXiv 2107.07746. Of few images of a class the mean shows their backgrounds too. Crops of the object
look alike across images, crops of background do not. Each few-shot image is seen in `views` further
crops, and the prototype mixes the plain mean `m` with the prototype `p` of the shared crops (see
`cl_suite.features.foreground`):

    row = (1 - blend) norm(m) + blend p

Base classes have images enough, and keep their means. A later session costs `views` more passes
over its few images; a test image one, as ever.

Differences from the paper:
    - Only the support side uses crops; theirs compares several crops of a query with the class
      features, at as many passes a test image.
    - The choice of crops is greedy, where theirs tries all tuples: see the module named above.
    - The half that samples crops while the base session trains (COS) is left out.
    - `blend` is ours. It and `alpha`, in the paper 1, are chosen on fake streams cut from the base
      session; no blend, which is class means, is among the choices. In a base session too small for
      that they are 0.6 and 0.8, also ours.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.features.foreground import foreground_prototype
from cl_suite.features.stats import class_stats
from cl_suite.methods.episodes.tuning import FakeTask, choice_note, choose, fake_figures, fake_tasks
from cl_suite.methods.further_views import further_views
from cl_suite.methods.head_plugin import HeadPlugin
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.plugin import Template, Within, session_features, warn_of_one_view

BLENDS = (0.0, 0.3, 0.6, 1.0)
ALPHAS = (0.0, 0.5, 0.8, 1.0)
DEFAULTS = {"blend": 0.6, "alpha": 0.8}


@dataclass(kw_only=True, eq=False)
class ForegroundPlugin(HeadPlugin):
    """Class means, and for few-shot classes a share of what their images have in common.

    Args:
        views: further crops of each few-shot image, by the training transform, which must be
            random: with a feature bank, `--model.bank_views '[random:8]'`.
        blend: share of the shared crops in a row; null: chosen on fake streams, or 0.6 if the base
            session is too small for that.
        alpha: weight of less shared crops, see `foreground_prototype`; null: as for `blend`, or
            0.8.
        choice_seed: seed of the fake streams.
        fake_shots: shots of each new class in a fake stream.
    """

    views: Annotated[int, Within(1)] = 6
    blend: Annotated[float, Within(0, 1)] | None = None
    alpha: Annotated[float, Within(0, 1)] | None = None
    choice_seed: Annotated[int, Within(0)] = 0
    fake_shots: Annotated[int, Within(1)] = 5
    parameters_: dict[str, float] = field(default_factory=dict, init=False)  # the values in use
    choice_: dict[str, Any] = field(default_factory=dict, init=False)  # how the candidates fared

    fitted = ("parameters_",)

    def session_note(self, session: int) -> str:
        return choice_note(self.choice_) if session == 0 else ""

    def learn(self, template: Template, head: ClassHead) -> list[int]:
        features, labels = session_features(template)
        stats = class_stats(features, labels)
        rows = stats.mean
        if not self.base_classes_:
            self._choose(template, features, labels)
        elif self.parameters_["blend"]:
            crops = self._crops(template, features, torch.arange(len(labels)))
            shared = prototypes(crops, labels.cpu(), stats.classes, self.parameters_["alpha"])
            rows = blended(rows.cpu(), shared, self.parameters_["blend"])
        head.set_rows(stats.classes, rows)
        return stats.classes

    def _crops(self, template: Template, features: Tensor, rows: Tensor) -> Tensor:
        """Return the crops `(len(rows), 1 + views, dim)` of samples, the whole image first."""
        first = features[rows.to(features.device)]
        others = further_views(template, rows, self.views)
        if not self.base_classes_:
            warn_of_one_view(first, others[0].to(first), "foreground", "use another rule")
        return torch.stack([first, *(view.to(first) for view in others)], dim=1).cpu().double()

    def _choose(self, template: Template, features: Tensor, labels: Tensor) -> None:
        given = {"blend": self.blend, "alpha": self.alpha}
        self.parameters_ = {n: DEFAULTS[n] if v is None else v for n, v in given.items()}
        generator = torch.Generator().manual_seed(self.choice_seed)
        tasks = fake_tasks(labels, generator=generator, num_tasks=3, shots=self.fake_shots)
        if None not in given.values() or not tasks:
            return
        blends = BLENDS if self.blend is None else (self.blend,)
        alphas = ALPHAS if self.alpha is None else (self.alpha,)
        candidates = [
            {"blend": blend, "alpha": alpha} for alpha, blend in itertools.product(alphas, blends)
        ]

        def figures(task: FakeTask) -> Tensor:
            crops = self._crops(template, features, task.shots.cpu())
            return foreground_figures(features, labels, task, crops, blends, alphas)

        choice = choose(candidates, tasks, figures)
        self.parameters_, self.choice_ = choice.best, choice.state_dict()


def prototypes(crops: Tensor, labels: Tensor, classes: list[int], alpha: float) -> Tensor:
    """Return the prototypes `(num_classes, dim)` of these classes' crops `(n, V, dim)`."""
    return torch.stack([foreground_prototype(crops[labels == c], alpha) for c in classes])


def blended(means: Tensor, shared: Tensor, blend: float) -> Tensor:
    """Return rows `(num, dim)`: unit means, and prototypes of shared crops at this share."""
    unit = F.normalize(means.double())
    return (1 - blend) * unit + blend * shared


def foreground_figures(
    features: Tensor,
    labels: Tensor,
    task: FakeTask,
    crops: Tensor,
    blends: tuple[float, ...],
    alphas: tuple[float, ...],
) -> Tensor:
    """Return the figures `(num_alphas * num_blends, 2)` of all pairs of values in a fake stream.

    Args:
        crops: `(num_shots, V, dim)` of the task's shots.
    """
    columns = task.columns(labels).cpu()
    base = class_stats(features[task.train], columns[task.train.cpu()])
    new = class_stats(features[task.shots], columns[task.shots.cpu()])
    test = F.normalize(features[task.test].double().cpu())
    of_base = F.normalize(base.mean.double().cpu())
    found = []
    for alpha in alphas:
        shared = prototypes(crops, columns[task.shots.cpu()], new.classes, alpha)
        for blend in blends:
            rows = F.normalize(blended(new.mean.cpu(), shared, blend))
            scores = test @ torch.cat([of_base, rows]).T
            found.append(fake_figures(scores.to(features), labels, task))
    return torch.cat(found)
