# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links of all pages lead somewhere, in a checkout, and in a collection that is installed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
FENCED = re.compile(r"^ {0,3}(```|~~~).*?^ {0,3}\1[`~]*[ ]*$", re.MULTILINE | re.DOTALL)
# [text](target "title"), ![text](target), [text]: target, <scheme:…>, href="target"
LINK = re.compile(
    r"""\]\(\s*<?([^)\s>]*)>?(?:\s+["'(][^)]*)?\)
      | ^\ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)
      | <(\w+:[^\s>]+)>
      | \b(?:href|src)="([^"]*)"
    """,
    re.MULTILINE | re.VERBOSE,
)
NAMED = re.compile(r"\[[^\]]+\]\[([^\]]+)\]")
"""[text][name], for which there has to be a line "[name]: target"."""


def prose(text: str) -> str:
    """A page without its code: neither a heading nor a link is meant there."""
    return re.sub(r"(`+)[^`].*?\1", "", FENCED.sub("", text))


def anchors(text: str) -> set[str]:
    """Of the headings of a page, as forges make them: the second of a name is name-1."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    for heading in re.findall(r"^#+ (.*)", FENCED.sub("", text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w -]", "", plain).strip().lower().replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def problem(root: Path, page: Path, target: str) -> str:
    """What is wrong with a link of a page below `root`, or nothing. Nobody else is asked: of an
    address on the Internet only the form is looked at.
    """
    parts = urlsplit(target)
    if parts.scheme:
        formed = parts.scheme == "https" and "." in (parts.hostname or "")
        return "" if formed else "is no address with https"
    there = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not there.is_relative_to(root):
        return "leads out of the collection"
    if not there.exists():
        return "leads nowhere"
    if parts.fragment and (
        there.suffix != ".md" or parts.fragment not in anchors(there.read_text())
    ):
        return "there is no such heading"
    return ""


def dead(root: Path, page: Path) -> Iterator[str]:
    """A line for each link that does not lead anywhere."""
    text = prose(page.read_text())
    for match in LINK.finditer(text):
        target = next((group for group in match.groups() if group is not None), "")
        if wrong := problem(root, page, target):
            yield f"{page.relative_to(root)}: {target}: {wrong}"
    for name in NAMED.findall(text):
        if f"\n[{name}]:" not in text:
            yield f"{page.relative_to(root)}: [{name}]: leads nowhere"


def pages() -> list[Path]:
    """Those that git tracks, or will."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", "*.md"]
    listed = subprocess.check_output(command, cwd=CHECKOUT, text=True).splitlines()
    return [CHECKOUT / name for name in sorted(listed) if (CHECKOUT / name).exists()]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection as it ships."""
    folder = tmp_path_factory.mktemp("installed").resolve()
    galaxy = [sys.executable, "-m", "ansible.cli.galaxy"]  # ansible-test has no commands on PATH
    build = [*galaxy, "collection", "build", "--output-path", str(folder)]
    subprocess.run(build, cwd=CHECKOUT, check=True, capture_output=True)
    (archive,) = folder.glob("*.tar.gz")
    root = folder / "collection"
    root.mkdir()
    subprocess.run(["tar", "-xf", str(archive), "-C", str(root)], check=True)
    return root


def test_links_of_the_checkout() -> None:
    assert [line for page in pages() for line in dead(CHECKOUT, page)] == []


def test_links_of_an_installed_collection(installed: Path) -> None:
    shipped = sorted(installed.rglob("*.md"))
    assert installed / "README.md" in shipped
    assert [line for page in shipped for line in dead(installed, page)] == []


def test_what_pages_name_is_there() -> None:
    """Files and folders of the checkout that are no links, since some do not ship."""
    tops = "|".join(re.escape(path.name) for path in CHECKOUT.iterdir() if path.is_dir())
    named = re.compile(rf"`((?:{tops})/[\w./-]+)[`: ]")
    gone = [
        f"{page.relative_to(CHECKOUT)}: {name}"
        for page in pages()
        for name in named.findall(page.read_text())
        if not (CHECKOUT / name).exists() and not name.startswith("build/")
    ]
    assert gone == []


PAGE = """# Of `l4lb_stats`, and *more*
## See [there](other.md)
## Twice
## Twice
```console
# No heading
[no link](nowhere.md)
```
"""


def test_anchors() -> None:
    assert anchors(PAGE) == {"of-l4lb_stats-and-more", "see-there", "twice", "twice-1"}


@pytest.mark.parametrize(
    ("link", "told"),
    [
        ("[a](gone.md)", "gone.md: leads nowhere"),
        ("![a](gone.png)", "gone.png: leads nowhere"),
        ('[a](gone.md "title")', "gone.md: leads nowhere"),
        ("[a][b]\n\n[b]: gone.md", "gone.md: leads nowhere"),
        ("[a][b]", "[b]: leads nowhere"),
        ('<a href="gone.md">a</a>', "gone.md: leads nowhere"),
        ("[a](../gone.md)", "../gone.md: leads out of the collection"),
        ("[a](#gone)", "#gone: there is no such heading"),
        ("[a](other.md#gone)", "other.md#gone: there is no such heading"),
        ("[a](other.txt#gone)", "other.txt#gone: there is no such heading"),
        ("[a](http://example.com/)", "http://example.com/: is no address with https"),
        ("<https://localhost/>", "https://localhost/: is no address with https"),
    ],
)
def test_a_dead_link_is_seen(link: str, told: str, tmp_path: Path) -> None:
    assert list(dead(tmp_path, a_page(tmp_path, link))) == [f"page.md: {told}"]


@pytest.mark.parametrize(
    "link",
    [
        "[a](#twice-1)",
        "[`a`](other.md#of-l4lb_stats-and-more)",
        "[a](<other.txt>)",
        "[a](.)",
        "[a][b]\n\n[b]: other.md",
        "<https://example.com/>",
        "`[a](gone.md)`",
    ],
)
def test_a_good_one_is_not(link: str, tmp_path: Path) -> None:
    assert list(dead(tmp_path, a_page(tmp_path, link))) == []


def a_page(folder: Path, link: str) -> Path:
    """One with this link, beside others."""
    (folder / "other.md").write_text(PAGE)
    (folder / "other.txt").write_text("text")
    page = folder / "page.md"
    page.write_text(f"{PAGE}\n{link}\n")
    return page
