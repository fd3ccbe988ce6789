"""CLER: any strategy with a pretext task as an additional, equivariant regulariser.

Bonicelli, Boschini, Frascaroli, Porrello, Pennisi, Bellitto, Palazzo, Spampinato, Calderara, "On
the Effectiveness of Equivariant Regularization for Robust Online Continual Learning", 2023, arXiv
2305.03648. In addition to its host's loss, the network learns to predict an image's transform:

    L = L_host + lambda L_ptx,   L_ptx = mean CE(h(t_y(x0)), y),   y uniform

over the un-augmented images `x0` of the stream batch and of the host's memory. The task (jigsaw,
rotation, ...; see `cl_suite.methods.pretext.tasks`) has its own branch `h`: a private copy of the
last block and a linear head. Its gradient therefore shapes only the shared blocks, neither the last
block nor the classifier. Unlike contrastive terms it needs neither large batches nor many epochs.

The host can be any strategy and decides everything not mentioned here. The parameters in the host's
YAML file apply; its training recipe and its model settings do not.

The images `x0` are:
    - the images of the batch by the evaluation transform, including samples of a memory if the
      host puts these into the batch (joint, rehearsal);
    - samples that the host draws itself, if it offers `replayed_plain() -> Tensor | None`: the
      samples of this step's replay by the evaluation transform (er_ace, der);
    - the augmented images if the host's own data loader provides no others: Avalanche's
      ReplayPlugin, once there is something to replay.

The host's form of replay is the host's own. The paper's hosts (er_ace, der) draw a batch from their
memory in each step, and so does er; `host_params: {replay: union}` is er's other form.

Differences from the authors' code:
    - The copied blocks are the last of `cl_suite.models.stages`, one by default. In their ResNet-18
      it is the last stage, which has two (`private_blocks: 2`). The branch ends as the backbone
      does: with its own copy of the layers after the blocks.
    - A network that is not a `Classifier` is not cut: its branch starts at the features, as with
      `branch: features` (theirs: `split_height` cl).
    - In later sessions with --training.incremental_batchnorm eval, BatchNorm is in eval mode in
      this pass too.
    - The pass draws its permutations, labels and any dropout from its own random generator, so a
      run with weight 0 equals the host's to the last bit; theirs draws from NumPy's.
    - jig_rot makes one pass over both copies of the batch.
    - X-DER, CoPE and DualNet, hosts of the paper, are not in the suite. Neither are the program's
      OnPro, LwF.MC and R-DFCIL, its contrastive branches and its task rel_patch_loc.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_suite.data.stream import StreamInfo
from cl_suite.errors import UserError, option
from cl_suite.methods.host import WrappingPlugin
from cl_suite.methods.pretext.branch import PretextBranch, check_cut
from cl_suite.methods.pretext.tasks import PretextName, PretextTask, draw_labels, make_tasks
from cl_suite.methods.replay.online import precision_of
from cl_suite.models.classifier import Classifier
from cl_suite.models.features import classifier_of
from cl_suite.plugin import Requirements, Template, Within, plain_of, requirements_of


@dataclass(kw_only=True, eq=False)
class CLERPlugin(WrappingPlugin):
    """A host strategy that also learns a pretext task.

    Args:
        host: name of the wrapped strategy; in a program also a plugin.
        host_params: parameters of the host that differ from its YAML file.
        pretext: jigsaw, rotation, both (jig_rot) or vflip for square images; time_jigsaw,
            time_reversal or band_permutation for log-mel maps.
        patches: number of pieces of a puzzle; a square number for jigsaw.
        angles: number of rotation angles: 2, 4 or 8.
        weight: weight of the pretext loss; the paper's lambda (1.5 to 1.7 on CIFAR-100, 0.3 to 1 on
            miniImageNet).
        branch: start of the pretext branch: before the last block, or at the features.
        private_blocks: how many blocks count as the last one.
    """

    host: Any = "er_ace"
    pretext: PretextName = "jigsaw"
    patches: Annotated[int, Within(2)] = 4
    angles: Literal[2, 4, 8] = 4
    weight: Annotated[float, Within(0)] = 1.0
    branch: Literal["last_block", "features"] = "last_block"
    private_blocks: Annotated[int, Within(1)] = 1
    # state of the pretext pass's own random generator
    random_: Tensor | None = field(default=None, init=False)

    @property
    def requirements(self) -> Requirements:  # type: ignore[override]  # the host decides
        """The host's requirements, and the batch by the evaluation transform."""
        of_host = requirements_of(self.hosted)
        return replace(of_host, batch=replace(of_host.batch, plain=True))

    @property
    def runs_network(self) -> bool:
        return True

    def check_host(self, host: Any) -> None:
        needs = requirements_of(host)
        reasons = {
            "learns no classifier that the pretext task could help": not needs.classifier,
            "reads text, and the pretext tasks are for images": needs.text_tower,
        }
        for reason, is_so in reasons.items():
            if is_so:
                raise UserError(
                    f"host '{self.host_name}' {reason}; choose one that trains a "
                    "classifier of images, such as er_ace"
                )

    def check_stream(self, info: StreamInfo, session_sizes: Sequence[int]) -> None:
        super().check_stream(info, session_sizes)
        shape = info.input_shape
        if len(shape) != 3:
            raise UserError(
                f"cler needs images, but the inputs have shape {tuple(shape)}, like precomputed "
                f"features or raw audio; pass {option('model.bank', 'false')}, or choose a "
                "scenario of images or log-mel maps"
            )
        self._check_images(shape)

    def _check_images(self, shape: Sequence[int]) -> None:
        """Raise `UserError` if the pretext task does not fit images `(channels, height, width)`."""
        with torch.random.fork_rng(devices=[]):  # the host's random numbers stay as they are
            tasks = self._make_tasks()
        for task in tasks:
            if task.needs_square and shape[1] != shape[2]:
                raise UserError(
                    f"{option('strategy.pretext', self.pretext)} needs square images, and these "
                    f"are {shape[1]} x {shape[2]}; pass vflip, time_jigsaw, time_reversal or "
                    "band_permutation"
                )
            if shape[1] < task.smallest[0] or shape[2] < task.smallest[1]:
                raise UserError(
                    f"images of {shape[1]} x {shape[2]} cannot be cut into "
                    f"{option('strategy.patches', self.patches)}; pass fewer"
                )

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        # in a program nobody has checked the stream; the evaluation transform draws nothing
        shape = tuple(template.experience.dataset.eval()[0][0].shape)
        if len(shape) != 3:
            raise UserError(
                f"CLERPlugin needs images (channels, height, width), but an input has shape "
                f"{shape}; give it images, or train with its host, "
                f"{type(self.hosted).__name__}, alone"
            )
        self._check_images(shape)
        super().before_training_exp(template, **kwargs)

    def prepare_model(self, model: nn.Module) -> None:
        super().prepare_model(model)
        if isinstance(model, Classifier) and not has_trained(model.backbone):
            raise UserError(
                "cler trains the backbone, but nothing of it is trained; pass "
                f"{option('model.frozen', 'false')}, {option('model.trained_blocks', 'null')}, and "
                f"a {option('model.backbone')} that can learn"
            )
        if self.random_ is not None and hasattr(model, "pretext"):
            return
        # the draws made here must not change the host's random numbers
        with torch.random.fork_rng(devices=[]):
            if not hasattr(model, "pretext"):
                model.pretext = self._make_branch(model)
            seed = int(torch.randint(2**62, ()))
            self.random_ = torch.Generator().manual_seed(seed).get_state()

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        self._hand_on("before_backward", template, **kwargs)
        images = template.mb_x if self._has_own_loader else plain_of(template, self)
        if (replayed := getattr(self.hosted, "replayed_plain", lambda: None)()) is not None:
            images = torch.cat([images, replayed.to(images)])
        loss = self.pretext_loss(template.model, images, precision_of(template))
        template.loss = template.loss + self.weight * loss

    def pretext_loss(
        self, model: nn.Module, images: Tensor, precision: torch.autocast | None = None
    ) -> Tensor:
        """Return the mean cross-entropy of the pretext labels, drawn anew for `(n, ...)` images.

        Args:
            model: the network, after `prepare_model`.
            precision: autocast context of the pass; None: no autocast.
        """
        branch: PretextBranch = model.pretext  # type: ignore[assignment]  # a module's attribute
        with self._own_random(images.device):
            labels = [draw_labels(len(images), task.num_labels) for task in branch.tasks]
            labels = [each.to(images.device) for each in labels]
            moved = [task(images, each) for task, each in zip(branch.tasks, labels, strict=True)]
            with precision or torch.autocast(images.device.type, enabled=False):
                logits = branch(model, torch.cat(moved))
        losses = [
            F.cross_entropy(scores.float(), each)
            for scores, each in zip(logits, labels, strict=True)
        ]
        return torch.stack(losses).mean()

    @contextmanager
    def _own_random(self, device: torch.device) -> Iterator[None]:
        assert self.random_ is not None, "prepare_model made it"
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.set_rng_state(self.random_.cpu())
            yield
            self.random_ = torch.get_rng_state()

    def _make_tasks(self) -> list[PretextTask]:
        return make_tasks(self.pretext, patches=self.patches, angles=self.angles)

    def _make_branch(self, model: nn.Module) -> PretextBranch:
        if not isinstance(model, Classifier):
            last = classifier_of(model)
            dim, body = int(last.in_features), None  # type: ignore[arg-type]  # a linear layer
        else:
            dim = model.feature_dim
            body = model.backbone.body if self.branch == "last_block" else None
        if body is not None:
            check_cut(body, self.private_blocks)
        branch = PretextBranch(self._make_tasks(), dim, body, self.private_blocks)
        return branch.to(next(model.parameters()).device)


def has_trained(module: nn.Module) -> bool:
    """Return whether any parameter of a module is trained."""
    return any(parameter.requires_grad for parameter in module.parameters())
