"""Who can open what is on screen, said where a link could be given away; its owner can share it there."""

import streamlit as st

from scfviz.errors import ScfvizError
from scfviz.jobs import Workspace, access, uploads
from scfviz.ui.frame import sources, state


def show(ref: str, place: str) -> None:
    """Say who can open a dataset that somebody brought; nothing for public data, and for what is not there.

    Parameters
    ----------
    place
        Tells several of these on one page apart.
    """
    if ref.startswith("demo:"):  # public, and perhaps not written yet: the frame of a page does not wait for that
        return
    try:
        path = sources.resolve(ref).path
    except ScfvizError:  # the page says so
        return
    grants = access.grants_of(Workspace(), path)
    if not grants:
        return
    if all(grant.is_shared for grant in grants):
        st.caption(":material/group: Shared: everyone on this server can open it, and whoever has its link.")
        return
    st.caption(":material/lock: Not shared: its link opens for you alone. Share it now?")
    st.button(
        "Share it",
        icon=":material/group_add:",
        key=f"share-{place}",
        type="tertiary",
        on_click=_share,
        args=(ref,),
        help="Others see it in their list of uploads and can open it and its results; only you can delete it. The "
        "Workspace page takes it back.",
    )


def _share(ref: str) -> None:
    for upload in uploads.private_uploads(sources.resolve(ref).path, state.visitor()):
        uploads.share_upload(upload, state.visitor(), True)
