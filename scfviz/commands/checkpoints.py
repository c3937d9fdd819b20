"""The command `import-checkpoint`."""

import argparse
from pathlib import Path
from typing import Any

from scfviz.commands.shared import add_json, show_report


def add_import_checkpoint(commands: Any) -> None:
    """Add the command `import-checkpoint`."""
    parser = commands.add_parser(
        "import-checkpoint", help="turn the official models.ckpt into checkpoint folders (cell, gene, rde)"
    )
    parser.add_argument("file", type=Path, metavar="models.ckpt")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write them into")
    add_json(parser)
    parser.set_defaults(run=_import_checkpoint)


def _import_checkpoint(args: argparse.Namespace) -> int:
    from scfviz.model.checkpoint import checkpoint_info
    from scfviz.model.official import import_official

    infos = [checkpoint_info(folder) for folder in import_official(args.file, args.out)]
    show_report(
        args,
        [f"{info.folder}: {info.name}, {info.n_parameters:,} parameters, licence: {info.licence}" for info in infos],
        {
            "checkpoints": [
                {"folder": str(info.folder), "name": info.name, "hash": info.hash, "n_parameters": info.n_parameters}
                for info in infos
            ]
        },
    )
    return 0
