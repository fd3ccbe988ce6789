"""All tables of results and the runs behind them, as data.

A separate program, `frozen_features.py`, measures the tables of frozen features.
"""

from __future__ import annotations

from collections.abc import Mapping

from table_rows import Table

from table_specs import (
    claims,
    contrastive,
    episodes,
    few_shot,
    frozen,
    full_data,
    online,
    speech,
    tasks,
)

TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        few_shot.omniglot(),
        few_shot.limit(),
        few_shot.limit_mini_imagenet(),
        few_shot.mamlcon(),
        few_shot.mamlcon_omniglot(),
        frozen.input_size(),
        full_data.spoken_digits(),
        full_data.cler(),
        full_data.without_labels(),
        claims.ssl_features(),
        claims.ssl_streams(),
        claims.ssl_cifar10(),
        claims.ssl_cifar10_features(),
        claims.rehearsal_features(),
        contrastive.contrastive_losses(),
        contrastive.contrastive_streams(),
        online.cler_cifar10(),
        online.cler_cifar10_long(),
        online.cler_ablation(),
        online.kfpf_cifar10(),
        episodes.limit_long(),
        episodes.limit_frozen(),
        episodes.mamlcon_whole_omniglot(),
        speech.spoken_words(),
        speech.mamlcon_words(),
        tasks.cfsl(),
        tasks.picle(),
    )
}
