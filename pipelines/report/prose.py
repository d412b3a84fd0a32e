"""`report.md` of a run, as a part of the page: no HTML of its own, and nothing that is fetched from elsewhere."""

from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from pipelines.report.pictures import Album

FIRST_LEVEL = 4
"""Level of the page's headings that a first heading of the text becomes."""


def pictures_in(file: Path) -> list[Path]:
    """The files of the pictures that a text shows, those beside it or below its folder; none where it is not there."""
    if not file.exists():
        return []
    tokens = _parser().parse(file.read_text(errors="replace"))
    named = [str(token.attrGet("src")) for token in _inside(tokens) if token.type == "image"]
    return [path for name in named if (path := _beside(file, name))]


def rendered(file: Path, album: Album) -> Markup:
    """The text as HTML: its headings below the page's own, its pictures from the album.

    Links that lead into the run's folder are text: the page may lie elsewhere.
    """
    parser = _parser()
    tokens = parser.parse(file.read_text(errors="replace"))
    for token in _inside(tokens):
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, FIRST_LEVEL - 1 + int(token.tag[1]))}"
        elif token.type == "image":
            _show(token, file, album)
        elif token.type == "link_open" and not str(token.attrGet("href")).startswith(("https:", "http:")):
            token.attrs = {}
    return Markup(parser.renderer.render(tokens, parser.options, {}))  # HTML in the text was escaped


def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def _inside(tokens: list[Token]) -> list[Token]:
    return [inner for token in tokens for inner in (token, *(token.children or ()))]


def _show(token: Token, file: Path, album: Album) -> None:
    """Put the picture into the page; one that is not there is the words that stand for it."""
    path = _beside(file, str(token.attrGet("src")))
    if path is not None and path in album:
        picture = album.picture(path)
        token.attrs = {"src": picture.source, "alt": "", "width": picture.width, "height": picture.height}
    else:
        token.type, token.tag, token.nesting = "text", "", 0


def _beside(file: Path, name: str) -> Path | None:
    path = file.parent / name
    return path if path.resolve().is_relative_to(file.parent.resolve()) and path.is_file() else None
