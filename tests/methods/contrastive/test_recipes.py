"""Recipes: their papers' settings, which keys stay, when samples are grouped, and how."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cl_suite.losses.ascl import ascl_loss
from cl_suite.losses.mcl import mcl_loss
from cl_suite.losses.nt_xent import nt_xent_loss
from cl_suite.losses.supcon import supcon_loss
from cl_suite.methods.contrastive.keys import no_memory, remember
from cl_suite.methods.contrastive.recipe import ContrastBatch, KeyedRecipe
from cl_suite.methods.contrastive.recipes import RECIPES, make_recipe

COUNTS = torch.tensor([6, 3, 1])


def normal(seed: int, num: int = 6) -> Tensor:
    return torch.randn(num, 4, generator=torch.Generator().manual_seed(seed))


def batch_of(**parts: Any) -> ContrastBatch:
    given: dict[str, Any] = {
        "z": (normal(0), normal(1)),
        "labels": torch.arange(6) // 2,
        "log_prior": (COUNTS / 10).log(),
    }
    return ContrastBatch(**{**given, **parts})


def keyed(**parts: Any) -> ContrastBatch:
    keys = normal(2), normal(3)
    memory = {"keys": normal(4), "labels": torch.arange(6) // 2, "rows": torch.arange(6)}
    return batch_of(**{"keys": keys, "memory": memory, **parts})


@pytest.mark.parametrize(
    ("loss", "temperature"),
    [
        ("supcon", 0.1),
        ("sbcl", 0.1),
        ("nt_xent", 0.5),
        ("mcl", 0.5),
        ("dcl", 0.1),
        ("macl", 0.1),
        ("moco", 0.2),
        ("ascl", 0.1),
        ("cwcl", 0.07),
        ("info_nce", 0.07),
        ("nonnegative", 0.2),
    ],
)
def test_a_temperature_is_its_papers(loss: str, temperature: float) -> None:
    recipe: Any = make_recipe(loss, {})  # not every loss has a temperature
    assert recipe.temperature == temperature


def test_losses_that_read_labels_say_so() -> None:
    found = {name for name in RECIPES if make_recipe(name, {}).supervised}
    assert found == {"supcon", "class_mean", "nspt", "sbcl", "gml"}
    assert make_recipe("decoupled_uniformity", {"prior": "labels"}).supervised


@pytest.mark.parametrize("name", [n for n in RECIPES if not make_recipe(n, {}).supervised])
def test_labels_do_not_matter_to_the_others(name: str) -> None:
    recipe = make_recipe(name, {})
    extras = recipe.make_extras(4)
    found = [
        recipe.loss(keyed(labels=labels, extras=extras, frozen=normal(5), progress=1.0)).item()
        for labels in (torch.arange(6) // 2, torch.tensor([5, 0, 2, 2, 1, 0]))
    ]
    assert found[0] == found[1]


def test_a_loss_with_keys_is_the_mean_over_both_ways() -> None:
    batch = keyed()
    assert batch.keys is not None
    (z1, z2), (keys1, keys2) = batch.z, batch.keys
    queue = batch.memory["keys"]
    expected = ascl_loss(z1, keys2, queue=queue) + ascl_loss(z2, keys1, queue=queue)
    assert make_recipe("ascl", {}).loss(batch).item() == pytest.approx(expected.item() / 2)


def test_a_queue_is_first_in_first_out_and_never_larger_than_the_session() -> None:
    recipe = make_recipe("moco", {"queue_size": 4})
    assert isinstance(recipe, KeyedRecipe)
    assert recipe.kept(torch.zeros(7), COUNTS).tolist() == [3, 4, 5, 6]
    recipe = make_recipe("moco", {})
    assert isinstance(recipe, KeyedRecipe)
    assert len(recipe.kept(torch.zeros(70), COUNTS)) == 10


def test_gmls_queue_has_a_floor_for_rare_classes() -> None:
    recipe = make_recipe("gml", {"floor": 2, "queue_size": 10})
    assert isinstance(recipe, KeyedRecipe)
    labels = torch.tensor([2] * 5 + [0] * 20)
    kept = labels[recipe.kept(labels, COUNTS)]
    assert kept.bincount().tolist() == [8, 0, 3]


def test_a_batch_is_remembered_after_the_keys_of_earlier_ones() -> None:
    recipe = make_recipe("gml", {})
    assert isinstance(recipe, KeyedRecipe)
    keys = normal(2), normal(3)
    first = batch_of(keys=keys, memory=no_memory(keys), rows=torch.arange(6) + 10)
    memory = remember(first, recipe, COUNTS)
    assert memory["keys"].equal(torch.cat(keys))
    assert memory["labels"].tolist() == [0, 0, 1, 1, 2, 2] * 2
    assert memory["rows"].tolist() == [*range(10, 16)] * 2
    second = remember(batch_of(keys=keys, memory=memory, rows=torch.arange(6)), recipe, COUNTS)
    assert second["rows"][-12:].tolist() == [*range(6)] * 2
    # class 2 may keep 5 keys and its tenth of ten
    assert second["labels"].bincount().tolist() == [8, 8, 6]


def test_mcl_groups_at_the_start_of_each_stage_but_the_first() -> None:
    recipe = make_recipe("mcl", {"stages": 3})
    assert [e for e in range(12) if recipe.regroups(e, 12)] == [4, 8]
    assert not any(make_recipe("mcl", {"stages": 1}).regroups(e, 12) for e in range(12))


def test_mcls_groups_are_cut_further_by_each_stage_and_reach_the_loss() -> None:
    recipe = make_recipe("mcl", {"num_clusters": 2})
    features = torch.eye(4)[torch.tensor([0, 0, 1, 1, 1, 0])]
    labels = torch.zeros(6).long()
    first = recipe.grouped(features, labels, {}, 4)
    second = recipe.grouped(features[:, [1, 0, 2, 3]].flip(0), labels, first, 8)
    assert len(first["groups"].unique()) == 2
    assert len(second["groups"].unique()) > 2
    batch = batch_of(rows=torch.arange(6), groups=first)
    expected = mcl_loss(*batch.z, groups=first["groups"], temperature=0.5)
    assert recipe.loss(batch).item() == pytest.approx(expected.item())
    plain = nt_xent_loss(*batch.z, temperature=0.5)
    assert recipe.loss(batch_of()).item() == pytest.approx(plain.item())


def test_sbcl_is_supcon_until_classes_are_cut_and_cuts_them_again_and_again() -> None:
    recipe = make_recipe("sbcl", {})
    assert [e for e in range(35) if recipe.regroups(e, 35)] == [10, 20, 30]
    batch = batch_of()
    expected = supcon_loss(*batch.z, labels=batch.labels, temperature=0.1)
    assert recipe.loss(batch).item() == pytest.approx(expected.item())


def test_fassls_frequencies_follow_the_assignments_in_its_first_part_alone() -> None:
    recipe = make_recipe("fassl", {"num_prototypes": 3, "kept_frequency": 0.5})
    extras = recipe.make_extras(4)
    assert extras is not None
    before = extras.frequencies.clone()
    recipe.loss(batch_of(extras=extras, progress=0.5))
    assert extras.frequencies.equal(before)
    recipe.loss(batch_of(extras=extras, progress=0.4))
    assert not extras.frequencies.equal(before)
    assert extras.frequencies.sum().item() == pytest.approx(1)


def test_decoupled_uniformity_may_know_the_labels() -> None:
    recipe = make_recipe("decoupled_uniformity", {"prior": "labels"})
    one, other = torch.arange(6) // 2, torch.arange(6) // 3
    assert recipe.loss(batch_of(labels=one)) != recipe.loss(batch_of(labels=other))
