"""The report: one HTML file that needs no network and no script, made of what was really done.

Every text that comes from a file is escaped by the templates; pictures and files are data inside the page.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from scfviz.reporting import sections
from scfviz.reporting.methods import caveats, citations, methods_paragraph, steps, version, versions
from scfviz.reporting.record import AnalysisRecord
from scfviz.tasks.fragments import Items, Pairs, Picture, Section, Text

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class Pictures:
    """What the report shows: the maps as they are coloured now, one picture of each comparison, and what else there is.

    `enriched`, `pictured` and `composed` belong to the parts of `AnalysisRecord` with these names.
    """

    maps: Sequence[bytes]
    map_captions: Sequence[str]
    comparisons: Sequence[bytes] = ()
    enriched: bytes | None = None
    pictured: bytes | None = None
    composed: bytes | None = None


def write_report(
    record: AnalysisRecord,
    pictures: Pictures,
    *,
    scores: Sequence[dict] = (),
    more: Sequence[Section] = (),
    author: str = "",
) -> str:
    """The whole report as HTML.

    Parameters
    ----------
    scores
        What the model is good for, from its own scores: by question `score`, `metric`, `ahead`, `behind`,
        `no clear difference` (numbers of datasets, beside the best of several simple methods).
    more
        What tasks found, in the order of the report; it stands before the facts about dataset and model.
    author
        Who exports the report, if they said so.
    """
    return write_sections(
        record.title,
        _sections(record, pictures, scores, more),
        facts=sections.facts(record),
        caveats=caveats(record),
        author=author,
    )


def write_sections(
    title: str,
    parts: Sequence[Section],
    *,
    facts: Mapping[str, str],
    caveats: Sequence[str] = (),
    author: str = "",
) -> str:
    """A report of ready sections as HTML.

    Parameters
    ----------
    facts
        The numbers that stand on top, by name.
    caveats
        What a reader must know first.
    """
    return (
        _templates()
        .get_template("page.html")
        .render(
            title=title,
            version=version("scfviz"),
            made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            author=author.strip(),
            facts=facts,
            caveats=caveats,
            sections=parts,
        )
    )


def _sections(
    record: AnalysisRecord, pictures: Pictures, scores: Sequence[dict], more: Sequence[Section]
) -> list[Section]:
    done = [(what, f"{when} UTC" if when else "") for when, what in steps(record)]
    found = [Section("Analysis record", [Items(done, is_numbered=True)])]
    if pictures.maps:
        maps = zip(pictures.maps, pictures.map_captions, strict=True)
        found.append(Section("Maps", [Picture(content, caption, caption) for content, caption in maps]))
    if record.named or record.current is not None:
        found.append(sections.selections(record))
    if record.labels:
        found.append(sections.labels(record))
    for compared, volcano in zip(record.comparisons, pictures.comparisons, strict=True):
        found.append(sections.comparison(compared, volcano))
    if record.enriched is not None:
        of = record.comparisons[record.enriched.of]
        found.append(sections.enrichment(record.enriched, of, pictures.enriched))
    if record.pictured is not None:
        found.append(sections.expression(record.pictured, record.n_shown, pictures.pictured))
    if record.composed is not None:
        found.append(sections.composition(record.composed, record.n_shown, pictures.composed))
    for task in record.tasks:
        found += task.sections
    found += [*more, sections.dataset(record)]
    if record.maps is not None:
        *first, last = record.maps.sections
        found += [*first, Section(last.title, [*last.blocks, *sections.scores(scores)])]
    return [
        *found,
        Section("Methods", [Text(methods_paragraph(record))]),
        Section("Please cite", [Items([(text, "") for text in citations(record)])]),
        Section("Versions", [Pairs(versions(record), name="Versions")]),
    ]


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader("scfviz.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["base64"] = lambda content: base64.b64encode(content).decode("ascii")
    found.filters["filesize"] = _file_size
    return found


def _file_size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes >= 1e5 else f"{max(1, round(n_bytes / 1e3)):,} kB"
