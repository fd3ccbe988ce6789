"""The dashboard as a real TensorBoard shows it in a real browser."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.browsers import PATIENCE, started_browser
from helpers.dashboards import write_dashboard, write_seeds

from cl_suite.report.console import dashboard_lines

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve two runs of two strategies; yield the address."""
    root = tmp_path_factory.mktemp("runs")
    write_dashboard(root / "demo" / "teen" / "seed0", strategy_name="teen", temperature=16.0)
    write_dashboard(root / "demo" / "lwf" / "seed0", strategy_name="lwf", distillation=0.5)
    write_seeds(root / "demo" / "lwf" / "seeds")
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(root)]
    command += ["--host", "127.0.0.1", "--port", "0", "--load_fast", "false"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        found = (re.search(r"http://127\.0\.0\.1:\d+/", line) for line in server.stderr)
        yield next(match.group() for match in found if match)
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Any]:
    """Yield a browser page once TensorBoard has found all that the dashboards hold."""
    for browser in started_browser():
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.wait_for_function(
            """async () => {
                const plugins = await (await fetch("data/plugins_listing")).json();
                const wanted =
                    ["scalars", "custom_scalars", "images", "projector", "hparams", "text"];
                return wanted.every(name => plugins[name].enabled);
            }""",
            polling=500,
        )
        yield page


def open_tab(page: Any, address: str, name: str) -> None:
    page.goto(f"{address}#{name}")
    page.reload()


def find(scope: Any, text: str) -> None:
    """Wait until this text is to be seen."""
    scope.get_by_text(text, exact=True).locator("visible=true").first.wait_for()


def test_scalars_are_shown(page: Any, address: str) -> None:
    open_tab(page, address, "scalars")
    for tag in ("accuracy/all", "accuracy/base", "accuracy/new", "accuracy/harmonic"):
        find(page, tag)
    find(page, "demo/teen/seed0")


def test_the_address_that_is_printed_has_smoothing_off(page: Any, address: str) -> None:
    for printed in re.findall(r"http://localhost:6006/(\S+)", dashboard_lines(Path("runs"))):
        page.goto(f"{address}{printed}")
        page.reload()
        smoothing = page.locator(".scalars-smoothing input[type=number]")
        smoothing.first.wait_for()
        assert smoothing.first.input_value() == "0"


def test_the_second_address_gives_the_seeds_of_a_strategy_one_colour(
    page: Any, address: str
) -> None:
    printed = dashboard_lines(Path("runs")).rpartition("localhost:6006/")[2]
    page.goto(f"{address}{printed}")
    page.reload()
    dots = page.locator("runs-data-table .color-container button")
    dots.nth(2).wait_for()
    colours = [
        dots.nth(number).evaluate("each => getComputedStyle(each).backgroundColor")
        for number in range(3)
    ]
    # demo/lwf/seed0, demo/lwf/seeds, demo/teen/seed0
    assert colours[0] == colours[1] != colours[2]


def test_the_mean_of_the_seeds_is_shown_with_a_band(page: Any, address: str) -> None:
    open_tab(page, address, "custom_scalars")
    for title in ("Mean of the seeds", "all", "forgetting"):
        find(page, title)
    page.locator("tf-custom-scalar-margin-chart-card path.area").first.wait_for(state="attached")


def test_the_text_card_has_the_command_and_the_table(page: Any, address: str) -> None:
    open_tab(page, address, "text")
    find(page, "cl-suite run demo demo")
    page.locator("table").get_by_text("70.00").first.wait_for()


def test_pictures_are_shown(page: Any, address: str) -> None:
    open_tab(page, address, "images")
    find(page, "matrix/accuracy")
    find(page, "matrix/confusion")
    picture = page.locator("tf-image-loader img").first
    picture.wait_for()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 700


def test_prototypes_are_shown(page: Any, address: str) -> None:
    open_tab(page, address, "projector")
    projector = page.frame_locator("iframe").frame_locator("iframe")
    find(projector, "1 tensor found")
    projector.get_by_text("Points: 4").first.wait_for()
    projector.get_by_text("Dimension: 5").first.wait_for()


def test_hyperparameters_of_all_strategies_are_shown(page: Any, address: str) -> None:
    open_tab(page, address, "hparams")
    for name in ("temperature", "distillation", "strategy_name", "Average accuracy"):
        find(page, name)
