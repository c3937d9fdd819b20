"""A run of the model over a file: its input, its place on the disk, and what is written at the end."""

import argparse
import json
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scfviz.commands.inputs import open_input, read_depth
from scfviz.commands.shared import Progress, show_report
from scfviz.errors import JobError, OptionError

PROGRESS, LOCK = "progress.json", "run.lock"  # of an unfinished run


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
        self.args, self.suffixes, self.notes, self.renamed = args, suffixes, [], {}
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
        if not (self.partial / PROGRESS).exists():
            shutil.rmtree(self.partial, ignore_errors=True)
        self._lock.release()

    def _take_place(self) -> None:
        """Before hours of computing, not after."""
        from scfviz.data.disk import hold

        self._check_out()
        self.partial.mkdir(exist_ok=True)
        self._lock = hold(self.partial / LOCK, f"'{self.args.out}'")
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
        (self.partial / PROGRESS).unlink(missing_ok=True)

    def _check_out(self) -> None:
        refuse_place(self.args.out, self.suffixes)

    @property
    def about(self) -> Path:
        """Beside a bare array: which row is which cell, and where the numbers come from."""
        return beside(self.args.out)

    def _open(self) -> None:
        from scfviz.data.source import dataset_id
        from scfviz.model.checkpoint import checkpoint_info, default_checkpoint, load_checkpoint

        args = self.args
        self.content = dataset_id(args.file)  # before anything is read: compared again when the results are written
        with TemporaryDirectory() as merged:
            folder = args.checkpoint if args.checkpoint is not None else default_checkpoint()
            if args.adapter is not None:
                from scfviz.training.adapters import apply_adapter

                folder = apply_adapter(args.adapter, Path(merged) / "checkpoint", checkpoint=folder)
            self.info = checkpoint_info(folder)
            self.model = load_checkpoint(folder)
        self.input = open_input(args, self.model.genes, self.partial)
        self.notes += self.input.notes
        self.options = {
            **read_depth(args),
            "precision": args.precision,
            "device": args.device,
            "out": self.partial,
            "resume": args.resume,
            "progress": Progress("cells"),
        }
        args.when_stopped = f"What is done is kept in '{self.partial}'; add --resume to the command to go on."

    def refuse_small_disk(self, n_values: int) -> None:
        """Refuse what will not fit: `n_values` float32 results, in the run and in the new file, and the file itself."""
        from scfviz.data.disk import refuse_small_disk
        from scfviz.data.source import take_fingerprint

        needed = 4 * n_values * 2 + (take_fingerprint(self.args.file).size if self.args.out.suffix == ".h5ad" else 0)
        refuse_small_disk(self.args.out.absolute().parent, needed, f"'{self.args.out.name}'")

    def note_depths(self) -> None:
        """Take note of depths far outside the training of the model."""
        import numpy as np

        from scfviz.model.depths import depth_notes

        if self.input.official:  # their totals are no depths
            return
        source = np.asarray(self.input.counts.total_counts)
        target, fold = self.options["target_depth"], self.options["depth_fold"]
        target_depth = source * (fold or 1.0) if target is None else np.full(len(source), target)
        self.notes += depth_notes(self.info.training, source, target_depth)

    def write(self, provenance: dict[str, Any], **results: Any) -> None:
        """Write the user's file with the results and where they come from."""
        from scfviz.data.source import dataset_id, refuse_other_content
        from scfviz.data.write import write_h5ad_with

        self._conclude(provenance)
        beside, content = self.input.path, self.content
        if beside != self.args.file:  # made of a bare matrix, for this run alone
            refuse_other_content(self.args.file, self.content)
            content = dataset_id(beside)
        self.renamed = write_h5ad_with(
            beside, self.args.out, content=content, **results, uns={"scfviz": self.provenance}
        )
        self.forget()

    def write_array(self, provenance: dict[str, Any], **about: Any) -> None:
        """Hand the values out as a bare `.npy`, with a `.json` beside it that says which row is which cell."""
        from scfviz.data.source import refuse_other_content

        self._conclude(provenance)
        refuse_other_content(self.args.file, self.content)
        told = {"cells": list(map(str, self.input.obs.index)), **about, "provenance": self.provenance}
        self.about.write_text(json.dumps(told, default=str) + "\n", encoding="utf-8")
        os.replace(self.partial / "values.npy", self.args.out)
        self.forget()

    def write_new(self, provenance: dict[str, Any], values: Any) -> None:
        """Write values of the model's genes as a dataset of its own, with the table of the cells."""
        from scfviz.data.source import refuse_other_content
        from scfviz.data.write_new import write_new_h5ad

        self._conclude(provenance)
        refuse_other_content(self.args.file, self.content)
        write_new_h5ad(self.args.out, values, self.input.obs, self.model.genes, {"scfviz": self.provenance})
        self.forget()

    def _conclude(self, provenance: dict[str, Any]) -> None:
        self._check_out()
        genes = self.input.gene_report
        self.provenance = provenance | {
            "checkpoint": self.info.name,
            "checkpoint_hash": self.info.hash,
            "dataset_id": self.content,
            "genes_measured": genes.n_measured,
            "genes_of_model": genes.n_model,
            "gene_coverage_percent": genes.model_coverage,
            "counts_from": self.input.counts_from,
        }

    def forget(self) -> None:
        """Remove what a run would go on from: it is done."""
        (self.partial / PROGRESS).unlink(missing_ok=True)

    def show(self, sentence: str) -> int:
        """Say what was written."""
        text = [f"{self.args.out}: {self.input.n_obs:,} cells; {sentence}"]
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
            "n_obs": self.input.n_obs,
            "is_trained": self.info.is_trained,
            "is_sealed": self.info.is_sealed,
            "notes": self.notes,
            "renamed": self.renamed,
            "provenance": self.provenance,
        }
        show_report(self.args, text, report)
        return 0


def beside(out: Path) -> Path:
    """The `.json` of a bare array."""
    return out.with_name(out.name + ".json")


def refuse_place(out: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse a name of a result that has another ending, exists, or lies nowhere."""
    if out.suffix not in suffixes:
        raise OptionError(
            f"The result would be called '{out}'.", f"Its name must end in {' or '.join(suffixes)}.", "Change it."
        )
    for path in (out, beside(out)) if out.suffix == ".npy" else (out,):
        if path.exists():
            raise OptionError(f"'{path}' exists.", "Results never replace a file.", "Give another name, or move it.")
    if not out.absolute().parent.is_dir():
        raise OptionError(f"There is no folder '{out.absolute().parent}'.", "", "Make it, or give another place.")


def share_done(partial: Path) -> str:
    """How much an interrupted run has computed, in words; empty when nothing would be lost with it."""
    path = partial / PROGRESS
    if not path.exists():
        return ""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if "stage" in about:
            return f"its last stage: {about['stage'].lower()}"
        done = int(about["batches_done"])
    except (OSError, ValueError, KeyError, TypeError):
        return "its progress cannot be read"
    return f"{done:,} batches are done" if done else ""
