"""The checkpoint in use on screen, and the import of the official one."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from scfviz.errors import CheckpointError
from scfviz.ui.frame import job_panel, models, sources, state
from scfviz.ui.frame.text import duration, number, plain, plural, short_number

if TYPE_CHECKING:
    import pandas as pd

    from scfviz.model.checkpoint import CheckpointInfo

_SIZES = {
    "n_genes": "Genes",
    "encoder_layers": "Encoder layers",
    "encoder_width": "Encoder width",
    "encoder_heads": "Encoder heads",
    "decoder_layers": "Decoder layers",
    "decoder_width": "Decoder width",
    "decoder_heads": "Decoder heads",
    "decoder_head_width": "Width of a decoder head",
    "n_bins": "Soft bins of a value",
    "bin_alpha": "Weight of the bins' shortcut",
    "dropout": "Dropout in training",
}
_CURVES = {"loss": "training cells", "validation": "held-out cells", "val_loss": "held-out cells"}
_SPACE = (
    "A linear map of the embedding, fitted without labels: cells that are neighbours within a dataset come together. "
    "The model's own map is drawn from it."
)
_OFFICIAL = "https://github.com/biomap-research/scFoundation"


def show_choice() -> None:
    """Which checkpoint to use, where there is more than one."""
    refs = models.references()
    if len(refs) == 1:
        return
    chosen = st.selectbox(
        "Checkpoint in use",
        refs,
        index=refs.index(state.model()) if state.model() in refs else 0,
        width=420,
        format_func=models.title_of,
    )
    if chosen != state.model():
        state.choose_model(chosen)
        st.rerun()


def show_name(info: "CheckpointInfo") -> None:
    """What the checkpoint is called, and whether it was trained."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"#### {plain(info.name)}", width="content")
        if info.is_trained:
            st.badge("trained", icon=":material/check:", color="green")
        else:
            st.badge("untrained", icon=":material/science:", color="orange")


def show_facts(info: "CheckpointInfo") -> None:
    """Sizes, licence and identity of a checkpoint."""
    from scfviz.model.checkpoint import cell_space_of

    config = info.config
    columns = st.columns(4)
    columns[0].metric("Parameters", short_number(info.n_parameters), help=f"{info.n_parameters:,} numbers")
    columns[1].metric("Genes", number(config.n_genes))
    columns[2].metric("Embedding dimensions", number(config.cell_embedding_width), help="Numbers per cell embedding")
    columns[3].metric("Layers", f"{config.encoder_layers} + {config.decoder_layers}", help="encoder + decoder")
    st.markdown(f"**Licence** · {plain(info.licence)}")
    st.markdown(f"**Fingerprint** · `{info.hash}`")
    if (space := cell_space_of(info)) is not None:
        st.markdown(f"**Cell space** · {plain(describe_space(space.about))} · `{space.hash}`", help=_SPACE)
    with st.expander("Configuration", icon=":material/tune:"):
        sizes = dataclasses.asdict(config)
        st.dataframe(
            {"Size": [_SIZES.get(name, name) for name in sizes], "Value": [f"{value:,}" for value in sizes.values()]},
            hide_index=True,
            width=460,
        )


def describe_space(about: Mapping[str, Any]) -> str:
    """What a cell space was fitted on, as far as it was recorded."""
    if not isinstance(about.get("datasets"), list) or not isinstance(about.get("n_cells"), int):
        return "fitted on data that were not recorded"
    return f"fitted on {plural(about['n_cells'], 'cell')} of {plural(len(about['datasets']), 'dataset')}"


def show_training(info: "CheckpointInfo") -> None:
    """How the checkpoint was trained: in a sentence, as a curve where one was recorded, with every setting below."""
    if info.training:
        st.markdown(_describe_training(info.training))
    log = models.training_log(info.folder)
    if log is None:
        st.markdown(
            "No pretraining curve was recorded with this checkpoint."
            if info.training
            else "These weights were never trained, so there is no curve."
        )
    else:
        _show_curves(log)
    if info.training:
        with st.expander("All settings of the training", icon=":material/table_rows:"):
            settings = flatten(info.training)
            st.dataframe(
                {"Setting": list(settings), "Value": list(settings.values())},
                hide_index=True,
                key="training_settings",
            )


def flatten(values: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Nested settings as one table in words: `optimiser: learning rate` beside its value."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        title = f"{above}: {str(name).replace('_', ' ')}" if above else str(name).replace("_", " ")
        if isinstance(value, Mapping):
            flat |= flatten(value, title)
        else:
            flat[title] = _say(value)
    return flat


def _describe_training(training: Mapping[str, Any]) -> str:
    """Steps, cells, time and data of a training, as far as they were recorded."""
    corpus, start = training.get("corpus"), training.get("start_from")
    parts = []
    if "steps" in training:
        parts.append(f"{number(training['steps'])} steps")
    if "cells_seen" in training:
        parts.append(f"{number(training['cells_seen'])} cells seen")
    if "seconds" in training:
        parts.append(duration(training["seconds"]))
    if isinstance(corpus, Mapping) and "datasets" in corpus:
        parts.append(f"{plural(corpus['datasets'], 'dataset')}")
    text = " · ".join(parts)
    if isinstance(start, Mapping) and "steps" in start:
        text += f"\n\nIt continued from a checkpoint of {number(start['steps'])} steps, so its curve begins low."
    return text


def _show_curves(log: "pd.DataFrame") -> None:
    from scfviz.ui.drawing import charts

    losses = {}
    for name, title in _CURVES.items():
        if name in log and len(table := log[["step", name]].dropna().drop_duplicates("step")):
            losses[title] = (table["step"].to_numpy(), table[name].to_numpy())
    if losses:
        st.plotly_chart(
            charts.draw_training(losses, "loss (lower is better)"),
            config=charts.toolbar("pretraining_loss"),
            alt="Loss by training step",
        )
        if any(len(steps) >= charts.FEWEST_SMOOTHED for steps, _ in losses.values()):
            st.caption("Line: running mean over a tenth of the records. Faint points: each record, one batch of cells.")
    if "learning_rate" in log:
        with st.expander("Learning rate", icon=":material/speed:"):
            rate = log[["step", "learning_rate"]].dropna()
            curve = {"learning rate": (rate["step"].to_numpy(), rate["learning_rate"].to_numpy())}
            st.plotly_chart(
                charts.draw_training(curve, "learning rate", smooth=False),
                config=charts.toolbar("learning_rate"),
                alt="Learning rate by training step",
            )


def show_import() -> None:
    """Pick `models.ckpt` in a data folder and import it outside the page."""
    st.markdown(
        f"The weights of the paper ([scFoundation]({_OFFICIAL}), about 100 million parameters) may be used for "
        "research but not redistributed. Accept their licence, download **models.ckpt** (1.4 GB), put it into a data "
        "folder, and import it here. The import reads numbers only; nothing in the file is ever run."
    )
    folders = sources.data_folders()
    place = st.selectbox(
        "Folder", range(len(folders)), format_func=lambda i: str(folders[i]), key="ckpt_folder", width=620
    )
    files = sorted(
        path.relative_to(folders[place]).as_posix()
        for pattern in ("*.ckpt", "*/*.ckpt")
        for path in folders[place].glob(pattern)
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox(
            "File",
            files,
            index=0 if files else None,
            placeholder="no .ckpt file in this folder",
            key="ckpt_file",
            width=480,
        )
        if st.button("Import", type="primary", icon=":material/download:", disabled=name is None, key="import"):
            out = models.folder_of_all() / Path(name).stem
            if out.exists():
                raise CheckpointError(
                    f"There is an import called '{out.name}' already.",
                    "Imports never replace one another.",
                    "Choose it above, or rename the file before importing it.",
                )
            st.session_state["scfviz.import"] = job_panel.ask(
                "import_checkpoint", {"file": str(folders[place] / name), "out": str(out)}
            )
            st.rerun()
    job_id = st.session_state.get("scfviz.import")
    if job_id and job_panel.status_of(job_id).state != "done":
        job_panel.show_progress(job_id, "Importing the official weights")
    elif job_id:
        st.success(
            "Imported. Choose the checkpoint above: `cell` is the one for cell embeddings.",
            icon=":material/check_circle:",
        )


def show_readme(info: "CheckpointInfo") -> None:
    """The checkpoint's own text; it may hold links, but no HTML is drawn."""
    st.markdown(info.readme or "This checkpoint came without a text.", unsafe_allow_html=False)


def _say(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_say, value))
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) or value.is_integer() else f"{value:.4g}"
    return "none" if value is None else str(value)
