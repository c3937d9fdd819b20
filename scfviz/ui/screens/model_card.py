"""The checkpoint in use on screen, and the import of the official one."""

import dataclasses
from pathlib import Path

import streamlit as st

from scfviz.errors import CheckpointError
from scfviz.ui.frame import job_panel, models, sources, state
from scfviz.ui.frame.text import number, plain, short_number

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
        format_func=lambda ref: "the one that came with scfviz" if ref == models.DEFAULT else ref,
    )
    if chosen != state.model():
        state.choose_model(chosen)
        st.rerun()


def show_facts(info) -> None:
    """Name, numbers, sizes and licence of a checkpoint."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plain(info.name)}**", width="content")
        if info.is_trained:
            st.badge("trained", icon=":material/check:", color="green")
        else:
            st.badge("untrained", icon=":material/science:", color="orange")
    config = info.config
    columns = st.columns(4)
    columns[0].metric("Parameters", short_number(info.n_parameters), help=f"{info.n_parameters:,} numbers")
    columns[1].metric("Genes", number(config.n_genes))
    columns[2].metric("Numbers per cell embedding", number(config.cell_embedding_width))
    columns[3].metric("Layers", f"{config.encoder_layers} + {config.decoder_layers}", help="encoder + decoder")
    st.markdown(f"**Licence** · {plain(info.licence)}")
    st.markdown(f"**Fingerprint** · `{info.hash}`")
    with st.expander("Configuration", icon=":material/tune:"):
        sizes = dataclasses.asdict(config)
        st.dataframe(
            {"Size": [_SIZES.get(name, name) for name in sizes], "Value": [f"{value:,}" for value in sizes.values()]},
            hide_index=True,
            width=460,
        )


def show_training(info) -> None:
    """How the checkpoint was trained, with its curve where one was recorded."""
    if info.training:
        st.dataframe(
            {
                "": [str(name).replace("_", " ") for name in info.training],
                "Value": [_say(v) for v in info.training.values()],
            },
            hide_index=True,
            width=620,
        )
    log = models.training_log(info.folder)
    if log is None:
        said = (
            "No pretraining curve was recorded with this checkpoint."
            if info.training
            else ("These weights were never trained, so there is no curve.")
        )
        st.markdown(said)
        return
    from scfviz.ui.drawing import charts

    names = {"loss": "training cells", "val_loss": "held-out cells"}
    losses = {names.get(name, name): log[["step", name]].dropna() for name in log if "loss" in name}
    losses = {
        name: (table["step"].to_numpy(), table.iloc[:, 1].to_numpy()) for name, table in losses.items() if len(table)
    }
    if losses:
        st.plotly_chart(
            charts.draw_training(losses, "loss"), config=charts.toolbar("pretraining_loss"), alt="Loss by step"
        )
    if "learning_rate" in log:
        with st.expander("Learning rate", icon=":material/speed:"):
            rate = log[["step", "learning_rate"]].dropna()
            curve = {"learning rate": (rate["step"].to_numpy(), rate["learning_rate"].to_numpy())}
            st.plotly_chart(
                charts.draw_training(curve, "learning rate"),
                config=charts.toolbar("learning_rate"),
                alt="Learning rate by step",
            )


def show_import() -> None:
    """Pick `models.ckpt` in a data folder and import it outside the page."""
    st.markdown(
        f"The weights of the paper ([scFoundation]({_OFFICIAL}), about 100 million parameters) may be used for "
        "research but not be passed on, so you bring them: accept their licence, download **models.ckpt** (1.4 "
        "GB), put it into a data folder, and import it here. The import reads numbers only; nothing in the file is "
        "ever run."
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


def show_readme(info) -> None:
    """The checkpoint's own text; it may hold links, but no HTML is drawn."""
    st.markdown(info.readme or "This checkpoint came without a text.", unsafe_allow_html=False)


def _say(value: object) -> str:
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
