"""A head with a library of modules and, for each problem, a path through them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from cl_suite.methods.modular import layers
from cl_suite.methods.modular.layers import FLAT, LONGEST, PERCEPTION, Layout, Sizes
from cl_suite.methods.modular.library import Entry, NamedModules, entry_name, layer_of, problem_of
from cl_suite.methods.modular.path_search import CHUNK, Path, Settings
from cl_suite.methods.modular.soft_type import project
from cl_suite.models.classifier import Classifier
from cl_suite.models.heads.class_head import ClassHead

FOREIGN = "modular_head"  # name of the modules in a foreign network
NOT_THERE = -1  # in `paths`, after the end of a short path


class ModularHead(ClassHead):
    """Scores the classes of each problem by its path; all classes of a problem arrive together.

    The score of class `c` of problem `p` is `log p(c | p, x) + log p(x | p)`. The first term is the
    path's softmax. The second is the mean log-density of the item's images under the soft type of
    the path's first module for the problem. It is the same for all classes of a problem, so it
    only matters if the problem is unknown.

    Args:
        sizes: layer sizes; features are whole items of `sizes.dim` numbers.
        settings: settings of the soft types.

    Attributes:
        library: modules by name.
        bench: new modules of the current problem, by type; empty between problems.
        live: layout and modules in training; None if nothing is trained. It is not saved.
    """

    problem_of: Tensor
    paths: Tensor
    row_tensors = ("problem_of",)

    def __init__(self, sizes: Sizes, num_classes: int, settings: Settings) -> None:
        super().__init__(1, num_classes)  # rows of weights are not used
        self.sizes = sizes
        self.settings = settings
        self.register_buffer("problem_of", torch.empty(0, dtype=torch.long))
        # problem whose module each layer of a path uses; the last column marks flat inputs
        self.register_buffer("paths", torch.empty(0, LONGEST + 1, dtype=torch.long))
        self.library = NamedModules(self._make_entry)
        self.bench = NamedModules(self._make_module)
        self.live: tuple[Layout, list[nn.Module]] | None = None
        self.weight.requires_grad_(False)

    # --- growing ---

    def grow(self, class_ids: Iterable[int]) -> list[int]:
        new = super().grow(class_ids)
        self.weight.requires_grad_(False)
        if new:
            self.problem_of[-len(new) :] = self.num_problems
        return new

    def keep_first(self, num_rows: int) -> None:
        super().keep_first(num_rows)
        self.weight.requires_grad_(False)
        self.paths = self.paths[: len(set(self.problem_of.tolist()))].clone()
        for name in [n for n in self.library if int(n.partition("_")[0]) >= self.num_problems]:
            del self.library[name]
        self._clear_bench()

    @property
    def num_problems(self) -> int:
        """Number of problems that have a path."""
        return len(self.paths)

    def entry(self, name: str) -> Entry:
        """Return a library module with its soft types."""
        entry = self.library[name]
        assert isinstance(entry, Entry)
        return entry

    def rows_of(self, problem: int) -> Tensor:
        """Return the class ids of a problem in the order of its labels, `(num_classes,)`."""
        return self.class_ids[self.problem_of == problem]

    def layout(self, problem: int) -> Layout:
        """Return the layer types of a solved problem."""
        origins, flat = self.paths[problem, :LONGEST], bool(self.paths[problem, LONGEST])
        image = int((origins != NOT_THERE).sum()) == len(PERCEPTION)
        return layers.make_layout(len(self.rows_of(problem)), flat=flat, image=image)

    def solution(self, problem: int) -> tuple[str, ...]:
        """Return the path of a solved problem."""
        pairs = zip(self.paths[problem].tolist(), self.layout(problem), strict=False)
        return tuple(entry_name(origin, layer) for origin, layer in pairs)

    # --- the current problem ---

    def open_problem(self, layout: Layout) -> None:
        """Put new modules of the layout's types on the bench."""
        self._clear_bench()
        for layer in layout:
            self.bench[layer] = self._make_module(layer)

    def modules_of(self, path: Path, layout: Layout) -> list[nn.Module]:
        """Return the modules of a path; new ones come from the bench."""
        pairs = zip(path, layout, strict=True)
        return [self.bench[layer] if n is None else self.entry(n).body for n, layer in pairs]

    def set_live(self, path: Path | None, layout: Layout) -> None:
        """Choose the path that runs in train mode; None for none."""
        self.live = None if path is None else (layout, self.modules_of(path, layout))

    @torch.no_grad()
    def close_problem(self, path: Path, layout: Layout, items: Tensor, accuracy: float) -> None:
        """Save a path as the problem's solution, and freeze its new modules into the library.

        Args:
            items: training items `(n, images, channels, side, side)` for fitting the soft types.
            accuracy: validation accuracy, a fraction.
        """
        problem = self.num_problems
        names = [n or entry_name(problem, layer) for n, layer in zip(path, layout, strict=True)]
        for name, old, layer in zip(names, path, layout, strict=True):
            if old is None:
                self.library[name] = self._make_entry(name)
                self.entry(name).body.load_state_dict(self.bench[layer].state_dict())
        row = [problem_of(name) for name in names]
        row += [NOT_THERE] * (LONGEST - len(row)) + [int(layout[0] == FLAT[0])]
        self.paths = torch.cat([self.paths, self.paths.new_tensor([row])])
        self._learn_inputs(names, layout, items, accuracy)
        self._clear_bench()

    def _learn_inputs(
        self, names: Sequence[str], layout: Layout, items: Tensor, accuracy: float
    ) -> None:
        problem, first = self.num_problems - 1, len(layout) - self.settings.shortest_suffix
        projected: list[list[Tensor]] = [[] for _ in names]
        for part in torch.split(items, CHUNK):
            x = part
            for depth, name in enumerate(names):
                entry, points = self.entry(name), layers.points(layout[depth], x)
                if depth == first and not len(entry.inputs):
                    entry.inputs = points[: self.settings.stored_inputs].clone()
                projected[depth].append(project(points, self.settings.soft_type_dim))
                x = layers.run(layout, [entry.body], x, depth)
        for name, parts in zip(names, projected, strict=True):
            self.entry(name).add_use(torch.cat(parts), accuracy, problem)

    # --- scoring ---

    def items(self, features: Tensor, layout: Layout) -> Tensor:
        """Return features `(batch, dim)` as the images `(batch, images, ...)` a layout uses."""
        images = self.sizes.as_images(features)
        return images[:, :1] if layout == PERCEPTION else images

    def forward(self, features: Tensor) -> Tensor:
        if self.live is None or not self.training:
            return super().forward(features)
        layout, modules = self.live
        scores = layers.label_scores(
            layers.run(layout, modules, self.items(features, layout)), layout
        )
        logits = scores.new_full((len(features), self.num_outputs), -math.inf)
        return logits.index_copy(1, self.rows_of(self.num_problems), scores)

    def scores(self, features: Tensor) -> Tensor:
        outputs = self._outputs(features)
        found = [
            scores + self.log_density(features, problem)[:, None].to(scores)
            for problem, scores in enumerate(outputs)
        ]
        # classes of a problem without a path
        num = len(self.class_ids) - sum(scores.shape[1] for scores in found)
        found.append(features.new_full((len(features), num), -math.inf))
        return torch.cat(found, dim=1)

    def log_density(self, features: Tensor, problem: int) -> Tensor:
        """Return the log-density of items under a problem: `log p(x | p)`, `(batch,)`."""
        layout, name = self.layout(problem), self.solution(problem)[0]
        images = self.items(features, layout)
        points = project(images.flatten(0, 1), self.settings.soft_type_dim)
        densities = self.entry(name).log_densities(points, problem)
        return densities.reshape(images.shape[:2]).mean(1)

    def _outputs(self, features: Tensor) -> list[Tensor]:
        # run a prefix shared by several paths only once
        known: dict[tuple[object, ...], Tensor] = {}
        found = []
        for problem in range(self.num_problems):
            layout = self.layout(problem)
            x = self.items(features, layout)
            key: tuple[object, ...] = (len(layout),)
            for depth, name in enumerate(self.solution(problem)):
                key = (*key, name)
                if key not in known:
                    known[key] = layers.run(layout, [self.entry(name).body], x, depth)
                x = known[key]
            found.append(layers.label_scores(x, layout))
        return found

    # --- parts ---

    def _make_module(self, layer: str) -> nn.Module:
        return layers.make_module(layer, self.sizes).to(self.weight.device)

    def _make_entry(self, name: str) -> Entry:
        body = layers.make_module(layer_of(name), self.sizes)
        return Entry(body, self.settings.covariance).to(self.weight.device)

    def _clear_bench(self) -> None:
        self.live = None
        self.bench.clear()

    def _load_from_state_dict(
        self, state_dict: Mapping[str, object], prefix: str, *args: object
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.weight.requires_grad_(False)


def has_own_head(model: nn.Module) -> bool:
    """Return whether a network is a classifier with a modular head."""
    return isinstance(model, Classifier) and isinstance(model.head, ModularHead)


def modular_head(model: nn.Module) -> ModularHead:
    """Return the modular head of a network; in a foreign network it is an added module."""
    head = model.get_submodule("head" if has_own_head(model) else FOREIGN)
    assert isinstance(head, ModularHead)
    return head
