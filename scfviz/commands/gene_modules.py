"""The commands `modules FILE --group-by COLUMN --out DIR` and `network FILE --out DIR`: tables and graphs."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scfviz.commands.shared import show_report
from scfviz.commands.tasks import TaskRun, add_options
from scfviz.errors import OptionError
from scfviz.tasks.registry import get_task

if TYPE_CHECKING:
    from scfviz.tasks.result import Result

_FILE = "h5ad, zarr, 10x h5 or mtx, loom, csv, tsv"


def add_modules(commands: Any) -> None:
    """Add the commands `modules` and `network`."""
    task = get_task("gene_modules")
    for name, verb, what in (
        ("modules", "find gene modules", "modules.csv, genes.csv, links.csv, enrichment.csv, cells.csv and graphs"),
        ("network", "find targets of transcription factors", "network.csv, activity_by_group.csv and graphs"),
    ):
        parser = commands.add_parser(
            name,
            help=f"{verb}; write tables and graphs into a folder",
            description=f"{task.question} Writes {what}. Beside it stands: {task.baseline}.",
        )
        parser.add_argument("file", type=Path, metavar="FILE", help=_FILE)
        parser.add_argument("--out", type=Path, metavar="DIR", required=True, help="a new folder")
        if name == "network":
            parser.add_argument("--prior", type=Path, metavar="FILE", help="a known network, to mark edges that it has")
        add_options(parser, task)
        parser.set_defaults(run=_modules if name == "modules" else _network)


class _FolderRun(TaskRun):
    """A run whose result is a folder of tables and graphs."""

    def _check_out(self) -> None:
        out = self.args.out
        if out.exists():
            raise OptionError(f"'{out}' exists.", "Results never replace a file.", "Give another name, or move it.")
        if not out.absolute().parent.is_dir():
            raise OptionError(f"There is no folder '{out.absolute().parent}'.", "", "Make it, or give another place.")

    def compute(self) -> "Result":
        """The result; what is done stays for `--resume`."""
        from scfviz.tasks.run import compute

        return compute(self.task, self.options, self.steps())

    def write(self, files: list[Path], result: "Result", text: list[str]) -> int:
        """Say what was written."""
        self.forget()
        names = ", ".join(path.name for path in files)
        told = [f"{self.args.out}: {names}.", *text, *result.notes]
        report = {
            "out": str(self.args.out),
            "files": [path.name for path in files],
            "n_obs": len(result.kept),
            "scores": dict(result.scores),
            "notes": list(result.notes),
        }
        show_report(self.args, told, report)
        return 0


def _modules(args: argparse.Namespace) -> int:
    from scfviz.tasks.gene_modules.export import write_modules

    with _FolderRun(args, get_task("gene_modules")) as run:
        result = run.compute()
        run._check_out()
        args.out.mkdir()
        table = result.tables["modules"]
        text = [
            f"Module {row.module}: {row.name}; {row.n_genes} genes, {row.hubs}." for row in table.head(12).itertuples()
        ]
        return run.write(write_modules(args.out, result), result, text)


def _network(args: argparse.Namespace) -> int:
    from scfviz.tasks.gene_modules.export import write_network
    from scfviz.tasks.gene_modules.prior import mark_known, read_prior

    prior = None if args.prior is None else read_prior(args.prior)  # before anything long
    with _FolderRun(args, get_task("gene_modules")) as run:
        result = run.compute()
        network, text = result.tables["network"], []
        if prior is not None:
            network = mark_known(network, prior)
            text = [*prior.notes, f"{int(network['is_known'].sum()):,} of {len(network):,} edges are known in it."]
        run._check_out()
        args.out.mkdir()
        return run.write(write_network(args.out, result, network), result, text)
