"""Hooks of mkdocs (mkdocs.yml names this file): pages from code, diagrams, and no other host."""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import dirname, normpath
from posixpath import join as join_path
from typing import Any

from protocol.report import MACHINES
from tools.site.diagram import svg
from tools.site.pages import PAGES

ROOT = Path(__file__).parents[2]

_FROM_ROOT = {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}
"""Pages that lie outside docs/, where a forge looks for them, and what they are called in the site."""

_LINK = re.compile(r"(?<!!)\[(?P<words>[^\]]*)\]\((?P<target>(?!https?:|mailto:|#)[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")
_MERMAID = re.compile(r"## (?P<name>\w+): .*?(?P<block>```mermaid\n.*?```)", re.DOTALL)
_DIAGRAM = re.compile(r"<!-- diagram: (?P<name>\w+) -->")
_OTHER_HOST = re.compile(r"https://unpkg\.com/[^\"']+")


def on_config(config: Any) -> Any:
    """Lists every page of the two folders that grow: their own order is their names', the overview first."""
    for title, folder in (("Operating", "operations"), ("Decisions", "decisions")):
        pages = sorted((ROOT / "docs" / folder).glob("*.md"), key=lambda page: (page.name != "README.md", page.name))
        listed = [f"{folder}/{page.name}" for page in pages]
        next(entry for entry in config.nav if title in entry)[title] = listed
    # What docs/performance.md and the like are called is for whoever writes them; they come after the concepts.
    start = next(entry for entry in config.nav if "Start" in entry)["Start"]
    known = str(config.nav)
    start += sorted(page.name for page in (ROOT / "docs").glob("*.md") if f"'{page.name}'" not in known)
    return config


def on_files(files: Any, *, config: Any) -> Any:
    """Adds the pages that are made from code, and those that lie outside docs/."""
    from mkdocs.structure.files import File

    made = {path: write() for path, write in PAGES.items()}
    for name, path in _FROM_ROOT.items():
        made[path] = (ROOT / name).read_text(encoding="utf-8").replace("(docs/", "(").replace("[`docs/", "[`")
    made["index.md"] = "---\nhide: [navigation]\n---\n\n" + made["index.md"]
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, files: Any, **_: Any) -> str:
    """Diagrams for Mermaid's, and links that lead to a page of the site, or are words where there is none."""
    tables = {name: table for name, _about, table in MACHINES}

    def drawn(name: str) -> str:
        return f'<div class="diagram">{svg(name, tables[name])}</div>'

    def replaced(found: re.Match[str]) -> str:
        return found[0].replace(found["block"], drawn(found["name"]))

    def led(found: re.Match[str]) -> str:
        return _link(found, page.file.src_uri, files)

    if page.file.src_uri == "session-machine.md":
        markdown = _MERMAID.sub(replaced, markdown)
    markdown = _DIAGRAM.sub(lambda found: drawn(found["name"]), markdown)
    return _LINK.sub(led, markdown)


def _link(found: re.Match[str], source: str, files: Any) -> str:
    """A link as it is, unless it leaves docs/: to a page that was brought in, or to a file that is only named."""
    target = normpath(join_path(dirname(source), found["target"]))
    if source in _FROM_ROOT.values() and target in _FROM_ROOT:
        target = _FROM_ROOT[target]
    elif target.startswith("../"):
        outside = target.removeprefix("../")
        if outside not in _FROM_ROOT:
            if not (ROOT / outside).exists():
                return found[0]  # mkdocs complains, and its strict mode ends the build
            words = found["words"]
            return words if words.startswith("`") else f"{words} (`{outside}`)"
        target = _FROM_ROOT[outside]
    elif files.get_file_from_path(target) is None and (ROOT / "docs" / target).is_dir():
        inside = sorted(file.src_uri for file in files if file.src_uri.startswith(f"{target}/"))
        overview = f"{target}/README.md"
        target = overview if overview in inside else inside[0]
    else:
        return found[0]
    up = "../" * source.count("/")
    return f"[{found['words']}]({up}{target}{found['anchor'] or ''})"


def on_post_build(config: Any) -> None:
    """Takes out of Material's script the two hosts that it would ask for what this site does not use.

    They are Mermaid, of which no page has any, and a ResizeObserver for browsers without one.
    """
    site = Path(config.site_dir)
    for script in site.glob("assets/javascripts/bundle.*.js"):
        script.write_text(_OTHER_HOST.sub("about:blank", script.read_text(encoding="utf-8")), encoding="utf-8")
    for sources in site.rglob("*.map"):
        sources.unlink()  # they hold other projects' sources, and nothing asks for them
