"""What pages of a report are made of: its style, pictures, tables and files inside the page.

Every text that comes from a file is escaped; pictures and files are data inside the page, so nothing is fetched.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_STYLE = """
:root { color-scheme: light; --ink: #16282c; --soft: #4f6266; --line: #d5dddd; --card: #f5f8f8; --back: #fff;
  --accent: #0b6b74; --warn: #fff4e0; --warn-line: #c77700; }
@media screen and (prefers-color-scheme: dark) { :root { color-scheme: dark; --ink: #e7eeee; --soft: #a9b8ba;
  --line: #35474a; --card: #172327; --back: #0f181b; --accent: #6fd0d8; --warn: #33260f; --warn-line: #e0a040; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; line-height: 1.25; margin: 2.6rem 0 .7rem; padding-top: 1rem;
  border-top: 1px solid var(--line); }
p, li, figcaption { max-width: 46rem; overflow-wrap: anywhere; }
a { color: var(--accent); }
.soft, figcaption, caption { color: var(--soft); }
.contents { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; padding: 0; margin: 1.2rem 0; list-style: none; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .8rem;
  margin: 1.2rem 0; padding: 0; }
.facts div { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .9rem; }
.facts dt { color: var(--soft); font-size: .85rem; } .facts dd { margin: 0; font-size: 1.3rem; font-weight: 600; }
figure { margin: 1.2rem 0; } figure .scroll { width: fit-content; max-width: 100%;
  background: #fff; border: 1px solid var(--line); border-radius: .5rem; padding: .3rem; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { font-size: .9rem; margin-top: .4rem; }
.scroll { overflow-x: auto; margin: .6rem 0; } table { border-collapse: collapse; font-size: .9rem; }
.wide { width: 100%; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { text-align: left; padding: .35rem 1.1rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; } thead th { vertical-align: bottom; }
td { overflow-wrap: anywhere; min-width: 4rem; } td:first-child { min-width: 7rem; } .when { white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; min-width: 0; }
thead .number { white-space: normal; }
.warn { background: var(--warn); border-left: 4px solid var(--warn-line); border-radius: .3rem;
  padding: .6rem .9rem; margin: .8rem 0; max-width: none; }
.warn ul { margin: .3rem 0; } .warn li { max-width: 54rem; }
.file { margin: .4rem 0; font-size: .95rem; }
ol, ul { padding-left: 1.3rem; }
@media screen and (max-width: 44rem) { main { padding: 1.4rem 1rem 3rem; } figure img { max-width: none; }
  figure img.large { width: 44rem; }
  .wide { min-width: 36rem; } h1 { font-size: 1.5rem; } .facts { grid-template-columns: 1fr 1fr; } }
@page { margin: 16mm 14mm; }
@media print { body { font-size: 10.5pt; } main { max-width: none; padding: 0; } .contents, .file { display: none; }
  .scroll { overflow: visible; } table { font-size: 7.5pt; } th, td { padding-right: .5rem; }
  td, td:first-child { min-width: 0; }
  h1, h2, caption, .lead { break-after: avoid; } figure, tr, .warn, .facts { break-inside: avoid; }
  figure img { max-height: 21cm; } .facts { grid-template-columns: repeat(4, 1fr); } .facts dd { font-size: 1.1rem; } }
"""
_SMALLEST = {"p": 1e-300, "rate": 0.001}
_LARGE = 9  # inches of a picture that would be unreadable on a phone, so that it is scrolled there


@dataclass(frozen=True)
class Figure:
    """A picture in the report: the bytes of an SVG or PNG file, what it shows, and a caption."""

    content: bytes
    alt: str
    caption: str

    @property
    def address(self) -> str:
        """The picture as text that an HTML page can hold; shown as an image, so nothing in it can run."""
        kind = "png" if self.content.startswith(b"\x89PNG") else "svg+xml"
        return f"data:image/{kind};base64,{base64.b64encode(self.content).decode('ascii')}"


def make_page(title: str, head: str, sections: Sequence[tuple[str, str]]) -> str:
    """The whole page: what stands on top, contents, and sections of (heading as text, HTML)."""
    links = "".join(f"<li><a href='#part-{i}'>{escape(name)}</a></li>" for i, (name, _) in enumerate(sections))
    body = "\n".join(
        f"<section><h2 id='part-{i}'>{escape(name)}</h2>{content}</section>"
        for i, (name, content) in enumerate(sections)
    )
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; img-src data:; style-src "
        "'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>{head}"
        f"<nav aria-label='Contents'><ul class='contents'>{links}</ul></nav>\n{body}</main></body></html>\n"
    )


def figure(picture: Figure) -> str:
    """A picture with its caption."""
    size = " class='large'" if _inches(picture.content) > _LARGE else ""
    image = f"<img{size} src='{picture.address}' alt='{_quoted(picture.alt)}'>"
    return f"<figure>{scroll(image, picture.alt)}<figcaption>{escape(picture.caption)}</figcaption></figure>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, name: str, numbers: Sequence[int] | range = ()) -> str:
    """A table that can be scrolled where it is too wide; `name` is read out, `numbers` are columns of numbers."""

    def line(cells: Sequence[str], tag: str) -> str:
        scope = " scope=col" if tag == "th" else ""
        return "".join(
            f"<{tag}{scope}{' class=number' if i in numbers else ''}>{escape(str(cell))}</{tag}>"
            for i, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    wide = " class=wide" if len(head) > 3 else ""
    return scroll(f"<table{wide}><thead><tr>{line(head, 'th')}</tr></thead><tbody>{body}</tbody></table>", name)


def pairs(rows: dict[str, str], *, name: str) -> str:
    """Names and what they stand for."""
    body = "".join(f"<tr><th scope=row>{escape(str(k))}</th><td>{escape(str(v))}</td></tr>" for k, v in rows.items())
    return scroll(f"<table><tbody>{body}</tbody></table>", name)


def scroll(content: str, name: str) -> str:
    """HTML that can be scrolled sideways, also by keyboard."""
    return f"<div class='scroll' tabindex='0' role='region' aria-label='{_quoted(name)}'>{content}</div>"


def file(content: "pd.DataFrame", name: str, what: str) -> str:
    """A link that saves a table, which lies in the page as CSV."""
    text = content.to_csv(index=False, float_format="%.6g").encode("utf-8")
    size = f"{len(text) / 1e6:.1f} MB" if len(text) >= 1e5 else f"{max(1, round(len(text) / 1e3)):,} kB"
    data = base64.b64encode(text).decode("ascii")
    return (
        f"<p class='file'><a download='{_quoted(name)}.csv' href='data:text/csv;charset=utf-8;base64,{data}'>"
        f"Save {escape(what)} (CSV, {size})</a></p>"
    )


def number(value: object, form: str | None) -> str:
    """A value as a table shows it; a dash where there is none.

    `form` is a format, "percent" for a share, "p" or "rate" for what cannot be zero though it may be too small to be
    told; `None` leaves a text as it is.
    """
    if form is None:
        return str(value)
    found = float(value)  # type: ignore[arg-type]
    if found != found:
        return "–"
    if form in _SMALLEST:
        return f"{found:.2g}" if found >= _SMALLEST[form] else f"< {_SMALLEST[form]:g}"
    return f"{100 * found:.1f}" if form == "percent" else form.format(found)


def _quoted(text: str) -> str:
    return escape(text, quote=True)


def _inches(content: bytes) -> float:
    """The width of an SVG picture as its first lines say it; 0 where they do not."""
    found = re.search(rb'<svg[^>]*? width="([\d.]+)pt"', content[:4000])
    return float(found[1]) / 72 if found else 0.0
