"""CoACT: how often each block runs in a step, how many steps there are, and what is kept."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from helpers.tiny_coact import make_engine, run
from helpers.tiny_streams import make_stream

from cl_suite.avalanche import benchmark
from cl_suite.avalanche.loader import batches
from cl_suite.models.adapters import lora_parameters
from cl_suite.plugin import BatchLayout, Template
from cl_suite.strategies.coact import CoACTPlugin


class Counting(CoACTPlugin):
    """Counts how often each block and the embedding run in a step, prototypes aside."""

    def before_training_iteration(self, template: Template, **kwargs: Any) -> None:
        super().before_training_iteration(template, **kwargs)
        self.counts: Counter[str] = Counter()
        body = template.model.backbone.body
        parts = {"embed": body.patch_embed, **{str(i): b for i, b in enumerate(body.blocks)}}
        self.handles = [
            part.register_forward_hook(lambda *_, name=name: self.counts.update([name]))
            for name, part in parts.items()
        ]

    def after_backward(self, template: Template, **kwargs: Any) -> None:
        for handle in self.handles:
            handle.remove()

    def times(self) -> list[int]:
        """How often the embedding and each block ran in the latest step."""
        return [self.counts[name] for name in ("embed", "0", "1", "2", "3")]


def test_a_base_step_runs_every_block_once_a_view() -> None:
    for block in (None, 2):
        plugin = Counting(adapt_blocks=2, tune_from_block=block, tune_from_epoch=0)
        run(make_engine(plugin), 1)
        assert plugin.times() == [2, 2, 2, 2, 2]


def test_an_incremental_step_runs_the_shared_prefix_exactly_once_a_view() -> None:
    plugin = Counting(adapt_blocks=2, tune_from_block=None)
    run(make_engine(plugin), 2)
    # student and BASE differ in blocks 2 and 3; both teachers are the pretrained network
    assert plugin.times() == [2, 2, 2, 3, 3]


def test_tuned_blocks_alone_run_once_more_for_the_second_teacher() -> None:
    plugin = Counting(adapt_blocks=2, tune_from_block=3, tune_from_epoch=0)
    run(make_engine(plugin), 2)
    assert plugin.times() == [2, 2, 2, 3, 4]


def test_where_rows_alone_learn_a_later_step_is_one_pass() -> None:
    plugin = Counting(adapt_blocks=2, tune_from_block=3, incremental_layers="classifier")
    run(make_engine(plugin), 2)
    assert plugin.times() == [1, 1, 1, 1, 1]


def test_snapshots_hold_only_what_was_trained() -> None:
    plugin = CoACTPlugin(lora_rank=2, adapt_blocks=2, tune_from_block=3)
    engine = run(make_engine(plugin), 1)
    body = engine.model.backbone.body
    assert set(plugin.base_["adapters"]) == set(lora_parameters(body))
    assert len(plugin.base_["adapters"]) == 8  # query and value of two blocks, A and B of each
    assert set(plugin.teacher_) == set(plugin.pretrained_)
    assert all(n.startswith(("blocks.3.", "norm.")) for n in plugin.teacher_)


@pytest.mark.parametrize(("way", "steps"), [(10, 2), (44, 7), (5, 1), (20, 4), (1, 1)])
def test_o8_steps_of_a_session_of_ten_shots(way: int, steps: int) -> None:
    stream = make_stream([list(range(way))], base_shots=10)
    data = benchmark(stream).train_stream[0].dataset.train()
    assert len(batches(data, 64, shuffle=True, layout=BatchLayout(views=2))) == steps
