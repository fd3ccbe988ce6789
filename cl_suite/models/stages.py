"""Cuts a network body into consecutive pieces, so each piece can run alone.

Networks that share their first (frozen) blocks run them once: `prefix` runs up to a block, then a
`suffix` for each network continues from the hidden values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

from torch import Tensor, nn

from cl_suite.distributed.shares import in_shares, whole_rows

Piece = Callable[[Tensor], Tensor]


class Stages(nn.Module):
    """The pieces of a body: `body(x) == finish(blocks[-1](... blocks[0](embed(x))))`.

    It holds the body itself, not a copy, and keeps the blocks found at the cut: cut the body again
    after replacing a block. `torch.func.functional_call(stages, tensors, (hidden, start))` runs a
    suffix with other tensors, named `body.<name>`.

    Args:
        body: the network to cut.
        embed: maps the input to the hidden values before the first block.
        blocks: modules of the body; each maps hidden values to hidden values.
        finish: maps the last hidden values, tokens `(batch, tokens, dim)` or maps, to the features
            `(batch, dim)`.
        finish_parts: names of the body's children that `finish` uses.
    """

    def __init__(
        self,
        body: nn.Module,
        embed: Piece,
        blocks: Sequence[nn.Module],
        finish: Piece,
        finish_parts: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.body = body
        self.embed = embed
        self.blocks = tuple(blocks)
        self.finish = finish
        self.finish_parts = tuple(finish_parts)

    @cached_property  # a body is cut in every step, and few of these cuts ask for names
    def block_names(self) -> tuple[str, ...]:
        """Names of the blocks in the body."""
        names = {part: name for name, part in self.body.named_modules()}
        return tuple(names[block] for block in self.blocks)

    @property
    def num_blocks(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    def prefix(self, x: Tensor, until: int) -> Tensor:
        """Return the hidden values after the first `until` blocks; 0 gives the embedded input."""
        return in_shares(self.body, lambda own: self._prefix(own, until), x)

    def suffix(self, hidden: Tensor, start: int) -> Tensor:
        """Return the features `(batch, dim)` of hidden values before block `start`.

        `suffix(prefix(x, k), k)` equals `body(x)` for every `k` from 0 to `num_blocks`.
        """
        return in_shares(self.body, lambda own: self._suffix(own, start), hidden)

    def _prefix(self, x: Tensor, until: int) -> Tensor:
        hidden = self.embed(x)
        for block in self.blocks[:until]:
            hidden = block(hidden)
        return hidden

    def _suffix(self, hidden: Tensor, start: int) -> Tensor:
        for position, block in enumerate(self.blocks[start:]):
            if position == 0 and getattr(block, "inplace", False):
                hidden = hidden.clone()  # others may start from the same hidden values
            hidden = block(hidden)
        return self.finish(hidden)

    def forward(self, hidden: Tensor, start: int = 0) -> Tensor:
        """Return `suffix(hidden, start)`."""
        return self.suffix(hidden, start)

    def stage_of(self, name: str) -> int:
        """Return the piece that a tensor of the body belongs to: -1 embed, `num_blocks` finish.

        Args:
            name: the tensor's name in the body's `state_dict`.
        """
        for position, block in enumerate(self.block_names):
            if not block or name.startswith(f"{block}."):
                return position
        return self.num_blocks if name.split(".", 1)[0] in self.finish_parts else -1


@contextmanager
def watching(module: nn.Module) -> Iterator[list[Tensor]]:
    """Record the inputs of `module` inside the `with` block, e.g. the hidden values before it."""
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(whole_rows(inputs[0])))
    try:
        yield seen
    finally:
        handle.remove()


def cut(body: nn.Module) -> Stages:
    """Return the pieces of a body.

    Timm's vision transformers (ViT, DeiT), EfficientNets and ResNets and every `nn.Sequential` are
    cut into their blocks; any other body is one block.
    """
    from timm.models.efficientnet import EfficientNet
    from timm.models.resnet import ResNet
    from timm.models.vision_transformer import VisionTransformer

    # a subclass with its own forward pass cannot be cut this way
    if _goes_like(body, VisionTransformer):
        return _cut_vision_transformer(body)
    if _goes_like(body, EfficientNet):
        return _cut_efficientnet(body)
    if _goes_like(body, ResNet):
        return _cut_resnet(body)
    if type(body).forward is nn.Sequential.forward:
        return _cut_sequential(body)
    return Stages(body, _identity, [body], _identity)


def _goes_like(body: nn.Module, family: type[nn.Module]) -> bool:
    return isinstance(body, family) and all(
        getattr(type(body), method) is getattr(family, method)
        for method in ("forward", "forward_features")
    )


def _cut_vision_transformer(body: nn.Module) -> Stages:
    def embed(x: Tensor) -> Tensor:
        tokens = body._pos_embed(body.patch_embed(x))  # type: ignore[operator]  # a module's attribute
        tokens = body.patch_drop(tokens)  # type: ignore[operator]  # a module's attribute
        hidden: Tensor = body.norm_pre(tokens)  # type: ignore[operator]  # a module's attribute
        return hidden

    def finish(hidden: Tensor) -> Tensor:
        hidden = body.norm(hidden)  # type: ignore[operator]  # a module's attribute
        features: Tensor = body.forward_head(hidden)  # type: ignore[operator]  # a module's attribute
        return features

    parts = ("norm", "attn_pool", "fc_norm", "head_drop", "head", "head_dist")
    blocks = list(body.blocks)  # type: ignore[arg-type]  # a module's attribute
    return Stages(body, embed, blocks, finish, parts)


def _cut_efficientnet(body: nn.Module) -> Stages:
    def embed(x: Tensor) -> Tensor:
        hidden: Tensor = body.bn1(body.conv_stem(x))  # type: ignore[operator]  # a module's attribute
        return hidden

    def finish(hidden: Tensor) -> Tensor:
        maps = body.bn2(body.conv_head(hidden))  # type: ignore[operator]  # a module's attribute
        features: Tensor = body.forward_head(maps)  # type: ignore[operator]  # a module's attribute
        return features

    blocks = [block for stage in body.blocks for block in stage]  # type: ignore[union-attr]
    parts = ("conv_head", "bn2", "global_pool", "classifier")
    return Stages(body, embed, blocks, finish, parts)


def _cut_resnet(body: nn.Module) -> Stages:
    def embed(x: Tensor) -> Tensor:
        maps = body.act1(body.bn1(body.conv1(x)))  # type: ignore[operator]  # a module's attribute
        hidden: Tensor = body.maxpool(maps)  # type: ignore[operator]  # a module's attribute
        return hidden

    def finish(hidden: Tensor) -> Tensor:
        features: Tensor = body.forward_head(hidden)  # type: ignore[operator]  # a module's attribute
        return features

    layers = (body.layer1, body.layer2, body.layer3, body.layer4)
    blocks = [block for layer in layers for block in layer]  # type: ignore[union-attr]
    return Stages(body, embed, blocks, finish, ("global_pool", "fc"))


def _cut_sequential(body: nn.Module) -> Stages:
    """Cut at the children: layers before the first block embed, final ones without state finish.

    If no child has layers inside it, each child is a block.
    """
    children = list(body.named_children())
    last = len(children)
    while last and not children[last - 1][1].state_dict():
        last -= 1
    first = next((i for i in range(last) if list(children[i][1].children())), 0)
    before, after = children[:first], children[last:]
    blocks = [child for _, child in children[first:last]]
    return Stages(body, _chain(before), blocks, _chain(after), [name for name, _ in after])


def _chain(children: Sequence[tuple[str, nn.Module]]) -> Piece:
    def run(x: Tensor) -> Tensor:
        for _, child in children:
            x = child(x)
        return x

    return run


def _identity(x: Tensor) -> Tensor:
    return x
