"""The pages of `demo createthread --html` and `tls --html`: what they say, and how a browser shows them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import browser, in_browser
from conftest import TREE, Environment, lwp, refusal

PAGES: dict[str, tuple[str, ...]] = {"life": ("demo", "createthread"), "map": ("tls",)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    """Each page, and the facts that it was made of."""
    folder = tmp_path_factory.mktemp("pages")

    def make(name: str) -> tuple[Path, Any]:
        page, facts = folder / f"{name}.html", folder / f"{name}.json"
        if not page.exists():
            done = lwp(*PAGES[name], "--html", page, "--json", facts)
            assert done.stdout == done.stderr == ""
        return page, json.loads(facts.read_text())

    return make


def data_of(page: Path) -> Any:
    found = re.search(r'<script type="application/json" id="steps">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    return json.loads(found[1])


@pytest.mark.parametrize("name", PAGES)
def test_a_page_needs_no_network(name: str, made: Callable[[str], tuple[Path, Any]]) -> None:
    text = made(name)[0].read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.findall(r"//\w|\burl\(|\bsrc=|<link|@import", re.sub(r"(?m)^// .*", "", text))


def test_a_life_is_told_step_by_step(made: Callable[[str], tuple[Path, Any]]) -> None:
    page, facts = made("life")
    data = data_of(page)
    assert [step["what"] for step in data["steps"]] == [step["what"] for step in facts["steps"]]
    after = {fact["name"]: step["states"] for fact, step in zip(facts["steps"], data["steps"], strict=True)}

    def seen(part: str, *names: str) -> list[str]:
        return [after[name][part][0] for name in names]

    assert seen("guard", "map", "guard") == ["mapped", "there"]
    assert seen("pthread", "guard", "tcb", "recycled") == ["mapped", "there", "mapped"]
    assert seen("tls", "tcb", "tls", "exit") == ["mapped", "there", "there"]
    assert seen("task", "tls", "clone", "born", "unlist", "exit") == ["absent", "mapped", "there", "there", "gone"]
    assert seen("list", "tcb", "list", "destructors", "unlist") == ["absent", "there", "there", "gone"]
    assert seen("tstate", "unmask", "python", "target", "returned") == ["absent", "there", "there", "gone"]
    assert [after[name]["word"][1] for name in ("tls", "clone", "exit", "cleared")] == ["", "1", "1", "0"]
    assert after["born"]["task"][1] == f"tid {facts['tid']}"


def test_each_step_of_a_life_names_its_section(made: Callable[[str], tuple[Path, Any]]) -> None:
    headings = re.findall(r"^## (.*)", (TREE / "docs/runtime/how-a-thread-is-made.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-"): heading for heading in headings}
    page, facts = made("life")
    for fact, step in zip(facts["steps"], data_of(page)["steps"], strict=True):
        heading = anchors[step["more"].partition("docs/runtime/how-a-thread-is-made.md#")[2]]
        numbers = [int(number) for number in re.findall(r"\d+", heading.partition(":")[2])]
        if fact["name"] not in ("robust", "rseq") and numbers:  # where there is no rseq, later lines have other numbers
            assert min(numbers) <= fact["line"] <= max(numbers) + 1, (fact["name"], heading)


def test_the_map_has_a_step_for_each_part_and_field(made: Callable[[str], tuple[Path, Any]]) -> None:
    page, facts = made("map")
    said = [step["what"] for step in data_of(page)["steps"]]
    static = [Path(module["name"]).name for module in facts["layout"]["modules"] if module["offset"] is not None]
    assert {re.sub(r"\.(cpython-[^.]*|abi3)\.so$", ".so", name) for name in static if name} <= {*said}
    fields = [field["name"] for field in (*facts["tcb"], *facts["pthread"])]
    assert [text.partition(" = ")[0] for text in said if " = " in text] == fields
    assert {"guard", "stack", "stack, used so far", "TCB", "struct pthread"} <= {*said}


def test_beside_pthread_there_is_no_page(tmp_path: Path) -> None:
    done = lwp("demo", "createthread", "--beside", "pthread", "--html", tmp_path / "x.html", status=2)
    assert "--beside" in refusal(done)
    assert not (tmp_path / "x.html").exists()


def test_an_installed_package_makes_pages(tmp_path: Path, installed: Environment) -> None:
    for name, command in PAGES.items():
        page = tmp_path / f"{name}.html"
        assert installed.run("-m", "runtime", *command, "--html", page.name, cwd=tmp_path).returncode == 0
        assert data_of(page)["steps"]


# ---- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=[(400, False), (1280, True)], ids=["400 px, light", "1280 px, dark"])
def shown(request: pytest.FixtureRequest, made: Callable[[str], tuple[Path, Any]]) -> Iterator[Callable[..., Any]]:
    """Opens a page, then runs scripts in it."""
    width, dark = request.param

    def run(script: str, *arguments: Any, opens: str = "") -> Any:
        if opens:
            driver.get(made(opens)[0].as_uri())
        return driver.execute_script(script, *arguments)

    with browser(width, 800, dark) as driver:
        yield run


# The texts that leave their figure.
OUTSIDE = """
const leaves = text => {
  const { x, width } = text.getBBox();
  return x < 0 || x + width > text.closest("svg").viewBox.baseVal.width;
};
return [...document.querySelectorAll("svg text")].filter(leaves).map(text => text.textContent)
"""
CLICK = "dispatchEvent(new MouseEvent('click', { bubbles: true })); return at"


@in_browser
@pytest.mark.slow
def test_a_page_goes_back_and_forward_and_fits_its_window(shown: Callable[..., Any]) -> None:
    key = "document.dispatchEvent(new KeyboardEvent('keydown', { key: arguments[0], cancelable: true })); return at"
    for name in PAGES:
        last = shown("return steps.length - 1", opens=name)
        assert shown("return document.documentElement.scrollWidth <= innerWidth")
        assert shown("return [at, $('back').disabled, $('forward').disabled]") == [0, True, False]
        assert [shown("$('forward').click(); return at") for _ in range(2)] == [1, 2]
        assert shown("$('back').click(); return at") == 1
        assert [shown(key, name) for name in ("ArrowRight", "End", "ArrowRight", "Home", "ArrowLeft")] == [
            *(2, last, last, 0, 0)
        ]
        assert shown("show(5); return $('what').textContent === steps[5].what")
        # The step that is shown can be seen, and no text leaves its figure.
        assert shown(
            "go(steps.length - 1);"
            "const { top, bottom } = document.querySelector('.figure .now').getBoundingClientRect();"
            "return top >= 0 && bottom <= innerHeight"
        )
        assert not shown(OUTSIDE)


@in_browser
@pytest.mark.slow
def test_a_part_says_what_it_is_and_leads_to_its_steps(shown: Callable[..., Any]) -> None:
    part = "const part = document.querySelector('[data-part=word]');"
    shown(part + "part.dispatchEvent(new PointerEvent('pointerover', { bubbles: true }))", opens="life")
    assert "the word that the kernel clears" in shown("return $('part').textContent")
    touching = shown("return [...document.querySelectorAll('.touching')].map(row => Number(row.dataset.step))")
    assert touching == shown("return steps.flatMap((step, at) => step.states.word[2] ? [at] : [])")
    clicks = [shown(f"{part} part.{CLICK}") for _ in "1234"]
    assert clicks == [*touching, touching[0]]
    assert shown(f"document.querySelector('[data-step=\"3\"]').{CLICK}") == 3
