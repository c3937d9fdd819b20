"""A run of the model over a file: its input, its place on the disk, and what is written at the end."""

import argparse
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scfviz.commands.shared import Progress, show_report
from scfviz.errors import DatasetError, JobError, OptionError

if TYPE_CHECKING:
    import numpy as np

    from scfviz.data.align import AlignedCounts


class FileRun:
    """What commands with a model share: input, model, a folder for what is done so far, the file at the end.

    A context: what is done stays in the folder, and the folder goes when there is nothing in it to go on from.

    Parameters
    ----------
    args
        Of a command with the arguments of `inference.add_inference`.
    suffixes
        Endings that the output may have.
    """

    def __init__(self, args: argparse.Namespace, suffixes: tuple[str, ...] = (".h5ad",)):
        self.args, self.suffixes, self.notes = args, suffixes, []
        self.partial = args.out.with_name(args.out.name + ".partial")
        self._lock = None

    def __enter__(self) -> "FileRun":
        try:
            self._take_place()
            self._open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is None:
            return
        if not (self.partial / "progress.json").exists():
            shutil.rmtree(self.partial, ignore_errors=True)
        self._lock.release()

    def _take_place(self) -> None:
        """Before hours of computing, not after."""
        from scfviz.data.disk import hold

        self._check_out()
        self.partial.mkdir(exist_ok=True)
        self._lock = hold(self.partial / "run.lock", f"'{self.args.out}'")
        self._check_out()  # the run that held it until now may have finished
        if self.args.resume:
            return
        if (done := share_done(self.partial)) and not self.args.start_over:
            kept, self._lock = self._lock, None
            kept.release()
            raise JobError(
                f"An interrupted run for '{self.args.out}' is kept in '{self.partial}' ({done}).",
                "It is not deleted unless you say so.",
                "Add --resume to go on with it, or --start-over to delete it and begin again.",
            )
        (self.partial / "progress.json").unlink(missing_ok=True)

    def _check_out(self) -> None:
        out = self.args.out
        if out.suffix not in self.suffixes:
            raise OptionError(
                f"The result would be called '{out}'.",
                f"Its name must end in {' or '.join(self.suffixes)}.",
                "Change it.",
            )
        if out.exists():
            raise OptionError(f"'{out}' exists.", "Results never replace a file.", "Give another name, or move it.")
        if not out.absolute().parent.is_dir():
            raise OptionError(f"There is no folder '{out.absolute().parent}'.", "", "Make it, or give another place.")

    def _open(self) -> None:
        from scfviz.data.align import align_genes
        from scfviz.data.read import read_dataset
        from scfviz.data.source import dataset_id
        from scfviz.model.checkpoint import checkpoint_info, default_checkpoint, load_checkpoint

        args = self.args
        self.content = dataset_id(args.file)  # before anything is read: compared again when the results are written
        self.adata = read_dataset(args.file)
        folder = args.checkpoint if args.checkpoint is not None else default_checkpoint()
        self.info, self.model = checkpoint_info(folder), load_checkpoint(folder)
        aligned = align_genes(self.adata, genes=self.model.genes, column=args.gene_column, counts=args.counts)
        self.aligned, self.kept = self._filter(aligned)
        self.options = {
            **{name: getattr(args, name) for name in ("target_depth", "depth_fold", "precision", "device")},
            "out": self.partial,
            "resume": args.resume,
            "progress": Progress("cells"),
        }
        args.when_stopped = f"What is done is kept in '{self.partial}'; add --resume to the command to go on."

    def _filter(self, aligned: "AlignedCounts") -> tuple["AlignedCounts", "np.ndarray"]:
        """The cells to compute, and their rows in the file; cells that the model cannot read go only with a filter."""
        import numpy as np

        from scfviz.data.qc import filter_cells, qc_metrics, refuse_unusable

        limits = {name: getattr(self.args, name) for name in ("min_counts", "min_genes")}
        if all(limit is None for limit in limits.values()):
            refuse_unusable(aligned)
            return aligned, np.arange(aligned.n_obs)
        kept = np.flatnonzero(filter_cells(qc_metrics(aligned), **limits))
        if not len(kept):
            raise DatasetError(
                f"The filters remove all {aligned.n_obs:,} cells.", "At least one must remain.", "Loosen the filters."
            )
        if left := aligned.n_obs - len(kept):
            self.notes.append(f"{left:,} of {aligned.n_obs:,} cells were left out by the filters; their rows are NaN.")
        return aligned.subset(kept), kept

    def rows(self, values: "np.ndarray") -> Any:
        """Results of the computed cells as one row for each cell of the file."""
        import numpy as np

        from scfviz.data.write import SomeRows

        if len(self.kept) == self.adata.n_obs:
            return values
        place = np.full(self.adata.n_obs, -1, dtype=np.int64)
        place[self.kept] = np.arange(len(self.kept))
        return SomeRows(values, place)

    def refuse_small_disk(self, n_values: int) -> None:
        """Refuse what will not fit: `n_values` float32 results, in the run and in the new file, and the file itself."""
        from scfviz.data.disk import refuse_small_disk
        from scfviz.data.source import take_fingerprint

        needed = 4 * n_values * 2 + (take_fingerprint(self.args.file).size if self.args.out.suffix == ".h5ad" else 0)
        refuse_small_disk(self.args.out.absolute().parent, needed, f"'{self.args.out.name}'")

    def note_depths(self, source: Any, target: Any) -> None:
        """Take note of depths far outside the training of the model."""
        from scfviz.model.depths import depth_notes

        self.notes += depth_notes(self.info.training, source, target)

    def write(self, provenance: dict[str, Any], **results: Any) -> None:
        """Write the user's file with the results and where they come from."""
        from scfviz.data.write import write_h5ad_with

        self.provenance = self.full_provenance(provenance)
        self._check_out()
        self.renamed = write_h5ad_with(
            self.args.file, self.args.out, content=self.content, **results, uns={"scfviz": self.provenance}
        )
        self.forget()

    def full_provenance(self, provenance: dict[str, Any]) -> dict[str, Any]:
        """What was computed, with which checkpoint, on what."""
        genes = self.aligned.gene_report
        return provenance | {
            "checkpoint": self.info.name,
            "checkpoint_hash": self.info.hash,
            "dataset_id": self.content,
            "genes_measured": genes.n_measured,
            "genes_of_model": genes.n_model,
            "gene_coverage_percent": genes.model_coverage,
            "counts_from": self.aligned.counts_report.location,
        }

    def forget(self) -> None:
        """Remove what a run would go on from: it is done."""
        (self.partial / "progress.json").unlink(missing_ok=True)

    def show(self, sentence: str) -> int:
        """Say what was written."""
        text = [f"{self.args.out}: {self.aligned.n_obs:,} cells; {sentence}"]
        text += [f"Your file holds {old} already; ours is called {new}." for old, new in self.renamed.items()]
        text += [f"Attention: {note}" for note in self.notes]
        if not self.info.is_trained:
            text.append("Attention: the model is untrained. These numbers say nothing about the cells.")
        if not self.info.is_sealed:
            text.append(
                "Attention: the checkpoint has no checksums (an earlier version saved it), so damage may go unnoticed. "
                "Save or import it again."
            )
        report = {
            "out": str(self.args.out),
            "n_obs": self.aligned.n_obs,
            "is_trained": self.info.is_trained,
            "is_sealed": self.info.is_sealed,
            "notes": self.notes,
            "renamed": self.renamed,
            "provenance": self.provenance,
        }
        show_report(self.args, text, report)
        return 0


def share_done(partial: Path) -> str:
    """How much an interrupted run has computed, in words; empty when nothing would be lost with it."""
    path = partial / "progress.json"
    if not path.exists():
        return ""
    try:
        done = int(json.loads(path.read_text(encoding="utf-8"))["batches_done"])
    except (OSError, ValueError, KeyError, TypeError):
        return "its progress cannot be read"
    return f"{done:,} batches are done" if done else ""
