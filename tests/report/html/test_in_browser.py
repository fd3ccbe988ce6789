"""A report as a real browser shows it: sorted, pointed at, in the dark, on a phone and printed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from helpers.browsers import PATIENCE, started_browser
from helpers.reports import add_info, streams, write_confidence
from helpers.shown_runs import write_run

from cl_suite.report.html.page import page as page_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a page of three methods, one with a name that is markup."""
    root = tmp_path_factory.mktemp("report")
    rates = {"teen": 0.7, "joint": 0.9, "<script>alert(1)</script>": 0.8}
    for number, (strategy, rate) in enumerate(rates.items()):
        for seed in range(2):
            run = write_run(root / "runs", strategy, seed, base_rate=rate + 0.02 * seed)
            write_confidence(run, [0.1, 0.2, 0.3])
            add_info(run, kept_bytes=number * 1_000_000, seconds_train=10.0**number)
    file = root / "report.html"
    file.write_text(page_of(streams(root / "runs"), ["a note"]), "utf-8")
    return file.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from started_browser()


@pytest.fixture
def said() -> list[str]:
    """What the browser's console said, and what the page asked the network for."""
    return []


def opened(browser: Any, address: str, said: list[str], **options: Any) -> Any:
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("request", lambda request: said.append(request.url))
    page.goto(address)
    return page


def asked_for(said: list[str], address: str) -> list[str]:
    return [line for line in said if line != address and not line.startswith("data:")]


def first_cells(page: Any) -> list[str]:
    return [text.strip() for text in page.locator("table.figures tbody th").all_inner_texts()]


def test_a_click_on_a_heading_sorts(browser: Any, address: str, said: list[str]) -> None:
    page = opened(browser, address, said)
    heading = page.locator("table.figures th").filter(has_text="average")
    heading.locator("button").click()
    assert first_cells(page) == ["joint", "<script>alert(1)</script>", "teen"]
    assert heading.get_attribute("aria-sort") == "descending"
    heading.locator("button").click()
    assert first_cells(page) == ["teen", "<script>alert(1)</script>", "joint"]
    page.locator("table.figures th button").first.click()
    assert first_cells(page)[1:] == ["joint", "teen"]
    assert asked_for(said, address) == []
    page.context.close()


def test_a_method_that_is_chosen_stands_out(browser: Any, address: str, said: list[str]) -> None:
    page = opened(browser, address, said, reduced_motion="reduce")  # at once
    page.locator(".legend button").filter(has_text="joint").first.click()
    chosen = page.locator("svg .series.hot").first
    other = page.locator("svg .series:not(.hot):not(.band)").first
    assert float(chosen.evaluate("element => getComputedStyle(element).opacity")) > 0.9
    assert float(other.evaluate("element => getComputedStyle(element).opacity")) < 0.2
    assert asked_for(said, address) == []
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_in_charts_stands_out_from_the_ground(
    browser: Any, address: str, said: list[str], scheme: str
) -> None:
    page = opened(browser, address, said, color_scheme=scheme)
    ground = page.locator("section.stream").evaluate("e => getComputedStyle(e).backgroundColor")
    inks = page.locator("figure svg text").evaluate_all(
        "texts => texts.slice(0, 30).map(text => getComputedStyle(text).fill)"
    )
    for ink in inks:
        assert abs(brightness(ink) - brightness(ground)) > 90, (ink, ground)
    assert (brightness(ground) > 128) is (scheme == "light")
    page.context.close()


def test_a_phone_scrolls_tables_and_not_the_page(
    browser: Any, address: str, said: list[str]
) -> None:
    page = opened(browser, address, said, viewport={"width": 390, "height": 844}, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.locator(".scroll").first.evaluate("e => e.scrollWidth > e.clientWidth")
    widths = page.locator("figure > svg").evaluate_all("all => all.map(e => e.clientWidth)")
    assert min(widths) > 200
    page.context.close()


def test_paper_is_white_and_shows_what_was_folded(
    browser: Any, address: str, said: list[str]
) -> None:
    page = opened(browser, address, said, color_scheme="dark")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    assert page.locator("table.sessions").is_visible()
    assert not page.locator("details.long").first.is_visible()
    page.context.close()


def brightness(colour: str) -> float:
    numbers = [float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    return sum(numbers) / 3
