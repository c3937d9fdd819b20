"""Folders of fitted parameters that a page offers, and their cards."""

from pathlib import Path

from scfviz.tasks.parameters import FolderKind
from scfviz.ui.frame import sources

_MOST_FOLDERS, _MOST_CARD = 50, 40_000


def list_folders(kind: FolderKind) -> dict[str, Path]:
    """Folders that ship, and those in the server's data folders, by their names."""
    about, found = kind.about, kind.shipped()
    for root in sources.data_folders():
        below = [path for pattern in (f"*/{about}", f"*/*/{about}") for path in sorted(root.glob(pattern))]
        for path in below[:_MOST_FOLDERS]:
            place = path.parent.relative_to(root).as_posix()
            if not any(part.startswith(".") for part in Path(place).parts) and path.resolve().is_relative_to(root):
                found[f"{place} (data folder)"] = path.parent
    return found


def plain_card(path: Path) -> str:
    """A card as Markdown without HTML, images and links, wherever it comes from."""
    try:
        text = path.read_text(encoding="utf-8")[:_MOST_CARD]
    except (OSError, UnicodeDecodeError):
        return "It has no card."
    return text.replace("<", "&lt;").replace("![", "!\\[").replace("](", "]\\(")
