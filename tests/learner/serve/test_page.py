"""The page as a real browser shows it: drop, teach, predict, undo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.browsers import PATIENCE, started_browser
from helpers.learners import photo_folder
from helpers.served import TOKEN, app_of, png, server_in_thread, write_classifier

from cl_suite.learner.learner import Learner

DROP = """([contents, names]) => {
    const data = new DataTransfer();
    contents.forEach((content, row) => {
        const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
        data.items.add(new File([bytes], names[row], { type: "image/png" }));
    });
    dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from started_browser()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_classifier(tmp_path / "a.clm")


@pytest.fixture
def address(path: Path, tmp_path: Path) -> Iterator[str]:
    """A server whose held-out folder has two known classes, and one to be taught."""
    folder = photo_folder(tmp_path / "held", 3, 3, seed=60)
    for number in range(3):
        (folder / f"class{number}").rename(folder / f"класс {number}")
    with server_in_thread(app_of(path, held_out=folder)) as address:
        yield address


@pytest.fixture
def said() -> list[str]:
    """What the browser's console said."""
    return []


@pytest.fixture
def page(browser: Any, address: str, said: list[str]) -> Iterator[Any]:
    page = new_page(browser, said)
    page.goto(f"{address}#token={TOKEN}")
    page.get_by_text("2 classes").wait_for()
    yield page
    page.context.close()


def new_page(browser: Any, said: list[str], **options: Any) -> Any:
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    return page


def problems(said: list[str]) -> list[str]:
    return [line for line in said if line.startswith(("error", "warning"))]


def drop(page: Any, *contents: bytes) -> None:
    from base64 import b64encode

    names = [f"{row}.png" for row in range(len(contents))]
    page.evaluate(DROP, [[b64encode(each).decode() for each in contents], names])
    page.locator("#cards .card").nth(len(contents) - 1).wait_for()
    settle(page)


def settle(page: Any) -> None:
    """Wait until no picture waits for its classes."""
    page.locator("#cards [aria-busy=true]").first.wait_for(state="detached")


def test_drop_teach_predict_undo(page: Any, path: Path, said: list[str]) -> None:
    drop(page, png(2, 1), png(2, 2), png(1, 9))
    verdicts = page.locator("#cards .verdict")
    verdicts.nth(2).get_by_text("класс 1").wait_for()
    assert page.locator("#cards .nearest img").count() == 15
    page.get_by_label("Select 2.png").uncheck()
    page.get_by_label("Teach 2 pictures as").fill("новый")
    page.get_by_role("button", name="Teach").click()
    page.get_by_text("Learned 2 pictures of 'новый'").wait_for()
    verdicts.nth(0).get_by_text("новый").wait_for()
    assert Learner.load(path).counts["новый"] == 2
    page.locator("#classes").get_by_text("новый").wait_for()
    page.locator("#history").get_by_text("новый: 2 pictures learned").wait_for()

    page.get_by_role("button", name="Undo last step").click()
    page.get_by_text("Undone: learn новый").wait_for()
    page.get_by_text("2 classes").wait_for()
    assert Learner.load(path).labels == ("класс 0", "класс 1")
    assert page.get_by_role("button", name="Undo last step").is_disabled()
    assert problems(said) == []


def test_the_held_out_accuracy_follows(page: Any, said: list[str]) -> None:
    page.get_by_text("6 of 6 pictures right").wait_for()
    drop(page, png(2, 1), png(2, 2), png(2, 3))
    page.get_by_label("Teach 3 pictures as").fill("класс 2")
    page.keyboard.press("Enter")
    page.get_by_text("9 of 9 pictures right").wait_for()
    assert problems(said) == []


def test_rename_and_forget_ask_first(page: Any, path: Path, said: list[str]) -> None:
    page.get_by_role("button", name="Rename класс 0").click()
    page.get_by_label("New name").fill("ноль")
    page.get_by_role("button", name="Rename", exact=True).click()
    page.locator("#classes").get_by_text("ноль").wait_for()
    page.get_by_role("button", name="Forget ноль").click()
    page.get_by_role("button", name="Cancel").click()
    assert Learner.load(path).labels == ("ноль", "класс 1")
    page.get_by_role("button", name="Forget ноль").click()
    page.get_by_role("button", name="Forget", exact=True).click()
    page.get_by_text("1 class ·").wait_for()
    assert Learner.load(path).labels == ("класс 1",)
    assert problems(said) == []


def test_a_file_that_is_no_picture_is_said_at_its_place(page: Any) -> None:
    drop(page, b"no picture", png(1, 9))
    page.locator("#cards .card").nth(0).get_by_text("'0.png' is no picture").wait_for()
    page.locator("#cards .card").nth(1).get_by_text("класс 1").first.wait_for()
    page.get_by_text("2 pictures, 1 selected").wait_for()


def test_a_name_with_markup_is_shown_as_it_is(page: Any, said: list[str]) -> None:
    name = "<img src=x onerror=alert(1)>"
    drop(page, png(2, 1))
    page.get_by_label("Teach 1 picture as").fill(name)
    page.keyboard.press("Enter")
    page.locator("#classes").get_by_text(name).wait_for()
    assert page.locator("#classes img").count() == 0
    assert problems(said) == []


def test_the_token_leaves_the_address_and_stays_in_the_tab(page: Any) -> None:
    assert "#" not in page.url
    page.reload()
    page.get_by_text("2 classes").wait_for()
    assert not page.locator("#unlock").is_visible()


def test_without_the_token_the_page_may_only_look(
    browser: Any, address: str, path: Path, said: list[str]
) -> None:
    page = new_page(browser, said)
    page.goto(address)
    drop(page, png(1, 9))
    page.locator("#cards").get_by_text("класс 1").first.wait_for()
    assert not page.get_by_role("button", name="Teach").is_visible()
    page.get_by_label("This page may only look").fill(TOKEN)
    page.get_by_role("button", name="Use it").click()
    page.get_by_role("button", name="Teach").wait_for()
    assert problems(said) == []
    page.context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(
    browser: Any, address: str, said: list[str], width: int
) -> None:
    page = new_page(browser, said, viewport={"width": width, "height": 800})
    page.goto(f"{address}#token={TOKEN}")
    drop(page, png(2, 1), png(1, 2))
    page.get_by_label("Teach 2 pictures as").fill("W" * 200)
    page.keyboard.press("Enter")
    page.locator("#classes").get_by_text("W" * 200).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.context.close()


def test_the_keyboard_alone_is_enough(page: Any, path: Path) -> None:
    drop(page, png(2, 1))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "chooser"
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "name":
            break
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    page.get_by_text("Learned 1 picture of 'two'").wait_for()
    assert Learner.load(path).counts["two"] == 1


def test_every_control_has_a_name(page: Any) -> None:
    drop(page, png(1, 1))
    for control in page.locator("button:visible, input:visible").all():
        words = control.evaluate(
            "e => [e.getAttribute('aria-label'), e.textContent, ...[...(e.labels ?? [])]"
            ".map((label) => label.textContent)].join('').trim()"
        )
        assert words, control.evaluate("e => e.outerHTML")
