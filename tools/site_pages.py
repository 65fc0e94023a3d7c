"""For mkdocs.yml: the pages of the site that are not in docs/.

README.md is the start page.  The pages of the books, course/ and found/, have the folders that they have in the tree.
Each other file of the tree that a document links to becomes a page below source/, with its text, and the links lead
there.  So the site needs no other place where the tree can be read, and `mkdocs build` finds every dead link.
iframe-worker.js lets the search work in a folder.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

TREE = Path(__file__).resolve().parent.parent
START = "README.md"
BOOKS = ("course/", "found/")
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")

_LANGUAGES = {".c": "c", ".h": "c", ".py": "python", ".pyi": "python", ".toml": "toml", ".js": "javascript"}

#: By the name that mkdocs has for a page: the file or folder of the tree that it shows.
_shown: dict[str, Path] = {}


def _page(path: Path) -> str:
    """The name of the page that shows this file or folder."""
    name = path.relative_to(TREE).as_posix()
    if name == START:
        return "index.md"
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    if name.startswith(BOOKS) and path.suffix == ".md":
        return name
    name = f"source/{name}".replace("/.", "/_")  # mkdocs leaves out what begins with a dot
    return name if path.suffix == ".md" else f"{name}/index.md" if path.is_dir() else f"{name}.md"


def _text(path: Path) -> str:
    name = path.relative_to(TREE).as_posix()
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.suffix in _LANGUAGES)
        return f"# {name}/\n\n" + "".join(f"- [{one.name}]({one.name})\n" for one in files)
    if path.suffix == ".md":
        return path.read_text()
    return f"# {name}\n\n````{_LANGUAGES.get(path.suffix, 'text')}\n{path.read_text()}\n````\n"


def _has_links(path: Path) -> bool:
    return path.suffix == ".md" or path.is_dir()


def _target(path: Path, link: str) -> Path | None:
    """The file or folder of the tree to which a link in that file leads."""
    target = ((path if path.is_dir() else path.parent) / link).resolve()
    return target if target.exists() and target.is_relative_to(TREE) else None


def on_files(files: Files, config: MkDocsConfig) -> None:
    from mkdocs.structure.files import File

    name = "iframe-worker.js"  # of which mkdocs.yml speaks
    files.append(File.generated(config, name, abs_src_path=str(TREE / "tools" / name)))
    known = {Path(file.abs_src_path or "").resolve() for file in files}  # the figures, too
    wanted = [TREE / START, *sorted(path for path in known if path.suffix == ".md")]
    while wanted:
        path = wanted.pop()
        if _page(path) in _shown:
            continue
        _shown[_page(path)] = path
        text = _text(path)
        if _has_links(path):
            wanted += filter(None, (_target(path, link.partition("#")[0]) for link in LINK.findall(text)))
        if path not in known:
            files.append(File.generated(config, _page(path), content=text))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as they are in the tree lead to pages; Markdown inside of <details> is Markdown."""
    path = _shown[page.file.src_uri]

    def lead(link: re.Match[str]) -> str:
        name, at, anchor = link[1].partition("#")
        target = _target(path, name)
        if target is None:
            return link[1]  # which mkdocs reports
        return os.path.relpath(_page(target), os.path.dirname(page.file.src_uri)) + at + anchor

    if _has_links(path):
        markdown = LINK.sub(lead, markdown)
    return markdown.replace("<details>", '<details markdown="1">')
