"""ProGrad: any strategy, with the part of its gradient removed that contradicts what was known.

Zhu, Niu, Han, Wu, Zhang, "Prompt-aligned Gradient for Prompt Tuning", ICCV 2023, arXiv 2205.14865.
The gradient of the host's loss, `g_d`, moves the network. A second gradient, `g_k`, of the
distance to general knowledge only vetoes. For each trained tensor:

    g = g_d                                    if <g_d, g_k> >= 0
    g = g_d - lambda (<g_d, g_k> / |g_k|^2) g_k     else

In the paper general knowledge is what CLIP predicts without training. In a stream it is what the
network predicted after the session before, for the classes of earlier sessions:

    L_k = mean over the batch of  -sum_c p_c log q_c,   c in the earlier classes

with `p` of the earlier network and `q` of the present one on the same images, those of the current
session. It needs no earlier sample. With `scope: global` the rule is A-GEM's (Chaudhry et al.,
ICLR 2019) with this loss in the place of the one on a memory.

Differences from the paper:
    - The teacher is the network after the last session, whatever it learns by; theirs is CLIP with
      hand-written prompts, and prompts are all that learns. In the first session nothing was known,
      so the host trains alone.
    - A tensor whose `g_k` is zero keeps `g_d`; their program divides by zero there.
    - The host decides everything else. Its recipe in its YAML file is not used.

A step costs a pass of the earlier network and a second backward pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from cl_suite.errors import UserError
from cl_suite.methods.host import WrappingPlugin
from cl_suite.methods.replay.online import precision_of
from cl_suite.methods.replay.rehearsal import frozen_copy, kept_state, restored_copy
from cl_suite.plugin import Above, Template, Within, requirements_of, session_classes

Gradients = Sequence[Tensor | None]


# of the task's gradient: in a session's first step the network is the earlier one, so the general
# gradient is zero but for rounding, whose direction says nothing
ROUNDING = 1e-5


@dataclass(kw_only=True, eq=False)
class ProGradPlugin(WrappingPlugin):
    """A host strategy whose gradients may not contradict what the network knew.

    Args:
        host: name of the wrapped strategy; in a program also a plugin.
        host_params: parameters of the host that differ from its YAML file.
        strength: share of the contradicting part that is removed, the paper's lambda; 0: none.
        temperature: of both predictions in the second loss.
        scope: what is compared with what: each tensor by itself (tensor), or all together (global).
    """

    host: Any = "finetune"
    strength: Annotated[float, Within(0, 1)] = 1.0
    temperature: Annotated[float, Above(0)] = 1.0
    scope: Literal["tensor", "global"] = "tensor"
    known_: list[int] = field(default_factory=list, init=False)  # classes of earlier sessions
    teacher_: dict[str, Tensor] = field(default_factory=dict, init=False)
    # made from `teacher_` when needed
    _teacher: nn.Module | None = field(default=None, init=False, repr=False)
    _general: Gradients = field(default=(), init=False, repr=False)  # of the step under way

    @property
    def runs_network(self) -> bool:
        return True

    def check_host(self, host: Any) -> None:
        needs = requirements_of(host)
        reasons = {
            "learns no classifier whose predictions could be compared": not needs.classifier,
            "must be told the session of each sample": needs.session_told,
            "writes its classifier's rows and trains nothing in later sessions": (
                needs.rewrites_rows
            ),
        }
        for reason, is_so in reasons.items():
            if is_so:
                raise UserError(
                    f"host '{self.host_name}' {reason}; choose one that trains in every session, "
                    "such as finetune or er"
                )

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        self._hand_on("before_backward", template, **kwargs)
        teacher = self._earlier(template)
        if teacher is None:
            return
        loss = self._general_loss(template, teacher)
        # the host's loss still needs the graph
        self._general = torch.autograd.grad(
            loss, trained(template.model), retain_graph=True, allow_unused=True
        )

    def after_backward(self, template: Template, **kwargs: Any) -> None:
        self._hand_on("after_backward", template, **kwargs)
        if not self._general:
            return
        parameters = trained(template.model)
        found = aligned(
            [p.grad for p in parameters], self._general, strength=self.strength, scope=self.scope
        )
        for parameter, gradient in zip(parameters, found, strict=True):
            parameter.grad = gradient
        self._general = ()

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        self._hand_on("after_training_exp", template, **kwargs)
        self.known_ = sorted({*self.known_, *session_classes(template)})
        self._teacher = frozen_copy(template.model)
        self.teacher_ = kept_state(self._teacher)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._teacher = None

    def _earlier(self, template: Template) -> nn.Module | None:
        """Return the network after the last session; None in the first, or if nothing is asked."""
        if not self.teacher_ or not self.strength:
            return None
        if self._teacher is None:
            self._teacher = restored_copy(template.model, self.teacher_)
        return self._teacher

    def _general_loss(self, template: Template, teacher: nn.Module) -> Tensor:
        x, own = template.mb_x, template.mb_output
        context = precision_of(template) or torch.autocast(x.device.type, enabled=False)
        with context:
            with torch.no_grad():
                earlier = teacher(x)
            # a host may have replaced the output, or put samples of its memory into the pass
            if len(own) != len(x) or not own.requires_grad:
                own = template.model(x)
        columns = torch.tensor(self.known_, device=x.device)
        return general_loss(own[:, columns], earlier[:, columns], self.temperature)


def trained(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that learn."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def general_loss(logits: Tensor, earlier: Tensor, temperature: float = 1.0) -> Tensor:
    """Return `T^2` times the mean cross-entropy of softened predictions to earlier ones.

    Args:
        logits, earlier: `(batch, classes)` of the same classes, all learned.

    Example:
        >>> loss = general_loss(torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[1.0, 1.0, 0.0]]))
        >>> round(loss.item(), 6)
        1.407606
    """
    target = (earlier.float() / temperature).softmax(dim=1)
    rows = -(target * (logits.float() / temperature).log_softmax(dim=1)).sum(dim=1)
    return rows.mean() * temperature**2


def aligned(
    task: Gradients, general: Gradients, *, strength: float, scope: Literal["tensor", "global"]
) -> list[Tensor | None]:
    """Return the task's gradients without what contradicts the general ones.

    A tensor that one of both does not reach keeps the task's.

    Args:
        task, general: gradients of the same tensors.
        strength: share of the contradicting part that is removed; nothing is where the general
            gradient is as small as rounding beside the task's.
        scope: compare tensor by tensor, or all at once.
    """
    both = [
        (i, g, k)
        for i, (g, k) in enumerate(zip(task, general, strict=True))
        if g is not None and k is not None
    ]
    found = list(task)
    parts = [[each] for each in both] if scope == "tensor" else [both] if both else []
    for part in parts:
        dot = torch.stack([(g * k).sum() for _, g, k in part]).sum()
        size = torch.stack([k.square().sum() for _, _, k in part]).sum()
        of_task = torch.stack([g.square().sum() for _, g, _ in part]).sum()
        says = size > ROUNDING**2 * of_task
        factor = strength * dot.clamp(max=0) / torch.where(says, size, torch.inf)
        for i, g, k in part:
            found[i] = g - factor * k
    return found
