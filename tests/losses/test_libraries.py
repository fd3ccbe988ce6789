"""Equality with other libraries' versions of the same loss.

`pytorch-metric-learning` adds a constant inside its logarithm, and its SupCon averages over the
losses that are not 0. Avalanche's SCRLoss gives NaN where an anchor has no positive and multiplies
by a base temperature. `lightly` has DCL, DCLW and MACL; its many dependencies keep it out of `dev`,
so its test runs where it is installed.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from avalanche.training.losses import SCRLoss
from helpers.contrast_inputs import draw
from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss, SupConLoss

from cl_suite.losses.dcl import dcl_loss
from cl_suite.losses.info_nce import info_nce_loss
from cl_suite.losses.macl import macl_loss
from cl_suite.losses.nt_xent import nt_xent_loss
from cl_suite.losses.supcon import supcon_loss

temperatures = pytest.mark.parametrize("temperature", [0.1, 0.5])
seeds = pytest.mark.parametrize("seed", [0, 1])


@temperatures
@seeds
def test_nt_xent_is_that_of_pytorch_metric_learning(temperature: float, seed: int) -> None:
    z1, z2, _ = draw(7, 5, seed)
    expected = SelfSupervisedLoss(NTXentLoss(temperature=temperature))(z1, z2).item()
    assert nt_xent_loss(z1, z2, temperature=temperature).item() == pytest.approx(expected, rel=1e-6)


@temperatures
@seeds
def test_info_nce_is_that_of_pytorch_metric_learning(temperature: float, seed: int) -> None:
    z1, z2, _ = draw(7, 5, seed)
    one_way = NTXentLoss(temperature=temperature)
    ids = torch.arange(7)
    # of one label tensor it would leave the diagonal out
    expected = one_way(z1, ids, ref_emb=z2, ref_labels=ids.clone()).item()
    value = info_nce_loss(z1, z2, temperature=temperature).item()
    assert value == pytest.approx(expected, rel=1e-6)


@temperatures
@seeds
def test_supcon_is_that_of_pytorch_metric_learning(temperature: float, seed: int) -> None:
    z1, z2, state = draw(7, 5, seed)
    theirs = SupConLoss(temperature=temperature)
    expected = theirs(torch.cat([z1, z2]), state.labels.repeat(2)).item()
    value = supcon_loss(z1, z2, labels=state.labels, temperature=temperature).item()
    assert value == pytest.approx(expected, rel=1e-6)
    alone = theirs(z1, state.labels).item()  # the last sample has no positive
    value = supcon_loss(z1, labels=state.labels, temperature=temperature).item()
    assert value == pytest.approx(alone, rel=1e-6)


@temperatures
@seeds
def test_supcon_and_nt_xent_are_those_of_avalanche(temperature: float, seed: int) -> None:
    z1, z2, state = draw(7, 5, seed)
    theirs = SCRLoss(temperature=temperature, base_temperature=temperature)
    features = torch.stack([F.normalize(z1), F.normalize(z2)], dim=1)
    # it divides a float32 mask, so it is exact to float32 only
    value = supcon_loss(z1, z2, labels=state.labels, temperature=temperature).item()
    assert value == pytest.approx(theirs(features, labels=state.labels).item(), rel=1e-6)
    value = nt_xent_loss(z1, z2, temperature=temperature).item()
    assert value == pytest.approx(theirs(features).item(), rel=1e-6)


@temperatures
@seeds
def test_nt_xent_dcl_and_macl_are_those_of_lightly(temperature: float, seed: int) -> None:
    lightly = pytest.importorskip("lightly.loss")
    z1, z2, _ = draw(7, 5, seed)
    ours = {
        "nt_xent": nt_xent_loss(z1, z2, temperature=temperature),
        "dcl": dcl_loss(z1, z2, temperature=temperature),
        "dclw": dcl_loss(z1, z2, temperature=temperature, weight_sigma=0.5),
        "macl": macl_loss(z1, z2, temperature=temperature),
    }
    theirs = {
        "nt_xent": lightly.NTXentLoss(temperature=temperature),
        "dcl": lightly.DCLLoss(temperature=temperature),
        "dclw": lightly.DCLWLoss(temperature=temperature, sigma=0.5),
        "macl": lightly.MACLLoss(temperature=temperature),
    }
    for name, value in ours.items():
        assert value.item() == pytest.approx(theirs[name](z1, z2).item(), rel=1e-6), name
