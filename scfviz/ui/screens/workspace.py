"""The workspace on screen: what is kept, whose it is, how large it is, and what can go."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import streamlit as st

from scfviz.data.formats import is_dataset_file
from scfviz.data.open import forget_reports
from scfviz.errors import AccessError, JobError
from scfviz.jobs import JobStatus, Workspace, access, list_jobs, uploads
from scfviz.jobs.kinds import title_of_kind
from scfviz.jobs.workspace import folder_size
from scfviz.ui.frame import describe, job_panel, page, routes, sources, state
from scfviz.ui.frame.text import plain, plural, shorten, size

STATES = {
    "queued": "waiting",
    "running": "running",
    "done": "done",
    "failed": "failed",
    "cancelled": "stopped",
    "interrupted": "interrupted",
}
_AGES = {7: "a week", 30: "a month", 90: "three months"}
_CONFIRM = "scfviz.workspace.confirm"
_LOOK_AGAIN_SECONDS = 2.0


@dataclass(frozen=True)
class Kept:
    """A dataset in the workspace: `path` is what goes when it is deleted."""

    ref: str
    name: str
    origin: str
    path: Path
    n_bytes: int
    changed_at: float
    is_own_upload: bool = False
    is_shared: bool = False
    can_remove: bool = True


def show_place() -> None:
    """Where the folder is, and how large."""
    workspace = Workspace()
    used = sum(_sizes(str(workspace.root)).values())
    with st.container(horizontal=True, vertical_alignment="center", gap="large"):
        st.markdown(f":material/folder: `{str(workspace.root).replace('`', '')}`")
        st.markdown(f"**{size(used)}** in use, {size(shutil.disk_usage(workspace.root).free)} free on this disk")


def show_datasets() -> None:
    """Datasets that lie in the workspace, and what can be done with one."""
    st.markdown("#### Datasets")
    kept = {entry.ref: entry for entry in _datasets()}
    if not kept:
        st.markdown("Nothing yet: open a demo or bring a file on the Dataset page.")
        routes.link("dataset", "Choose a dataset", icon=":material/database:")
        return
    st.dataframe(
        {
            "Name": [entry.name for entry in kept.values()],
            "Where from": [entry.origin for entry in kept.values()],
            "Size (MB)": [entry.n_bytes / 1e6 for entry in kept.values()],
            "Since": [datetime.fromtimestamp(entry.changed_at) for entry in kept.values()],
            "Open now": [_who_has_open(ref) is not None for ref in kept],
        },
        hide_index=True,
        key="ws_datasets",
        column_config=_columns(),
    )
    ref = st.selectbox(
        "Dataset",
        list(kept),
        index=None,
        format_func=lambda ref: f"{shorten(kept[ref].name, 60)} ({kept[ref].origin})",
        placeholder="Choose one to open, share or delete it",
        key="ws_dataset",
    )
    if ref is not None:
        _show_dataset(kept[ref])
    st.caption("Files in the server's own data folders are read where they lie and are never changed or deleted.")


def show_computations() -> None:
    """Computations and their results."""
    st.markdown("#### Computations and results")
    workspace = Workspace()
    everything = list_jobs(workspace)
    jobs = {job.id: job for job in job_panel.visible_jobs()}
    sizes = {job.id: folder_size(workspace.jobs / job.id) for job in everything}
    if not jobs:
        st.markdown("Nothing was computed yet. What you ask for on the other pages appears here with its result.")
    else:
        # only the table is redrawn while it is looked at: a click that meets a redraw is lost
        draw = _follow_table if any(job.is_active for job in jobs.values()) else _show_table
        draw({job.id: job.state for job in jobs.values()}, sizes)
        chosen = st.selectbox(
            "Computation",
            list(jobs),
            index=None,
            format_func=lambda job_id: _title(jobs[job_id]),
            placeholder="Choose one to stop, resume or delete it",
            key="ws_job",
        )
        if chosen is not None:
            _show_job(jobs[chosen], sizes[chosen])
        _show_cleaning(list(jobs.values()), sizes)
    hidden = [job for job in everything if job.id not in jobs]
    if hidden:
        total = size(sum(sizes[job.id] for job in hidden))
        st.caption(f"{plural(len(hidden), 'computation')} on other visitors' uploads ({total}) are not listed.")


def show_session() -> None:
    """Restore a view from a session file."""
    from scfviz.ui.explorer.reporting import session

    st.markdown("#### Restore a saved session")
    session.show_open(None, None)
    st.caption("The Explorer saves one under 'Export'. It is restored where a dataset with the same content is.")


@st.fragment(run_every=_LOOK_AGAIN_SECONDS)
def _follow_table(drawn: dict[str, str], sizes: dict[str, int]) -> None:
    with page.guard():
        _show_table(drawn, sizes)


def _show_table(drawn: dict[str, str], sizes: dict[str, int]) -> None:
    jobs = job_panel.visible_jobs()
    if {job.id: job.state for job in jobs} != drawn:
        st.rerun(scope="app")
    st.dataframe(
        {
            "What": [_kind(job) for job in jobs],
            "Dataset": [_dataset_name(job) for job in jobs],
            "State": [_state(job) for job in jobs],
            "Asked for": [datetime.fromtimestamp(job.created_at) for job in jobs],
            "Size (MB)": [sizes[job.id] / 1e6 for job in jobs],
        },
        hide_index=True,
        key="ws_jobs",
        column_config=_columns(),
    )


def _show_dataset(entry: Kept) -> None:
    busy = any(job.is_active and _is_on(job, entry) for job in list_jobs(Workspace()))
    open_by = _who_has_open(entry.ref)
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Open", icon=":material/play_arrow:", key="ws_open"):
            state.choose_dataset(entry.ref)
            routes.go("dataset")
        if state.dataset() == entry.ref and st.button("Close it", icon=":material/close:", key="ws_close"):
            state.choose_dataset(None)
            st.rerun()
        may_go = entry.can_remove and open_by is None and not busy
        _ask_first(
            f"dataset {entry.ref}",
            "Delete",
            f"'{entry.name}' ({size(entry.n_bytes)}) will be gone.",
            may_go,
            lambda: _remove_dataset(entry),
        )
    if entry.is_own_upload:
        key = f"ws_share_{entry.ref}"
        st.session_state[key] = entry.is_shared  # it may have been shared elsewhere since this was drawn
        st.toggle(
            "Share with everyone on this server",
            key=key,
            on_change=_share,
            args=(entry.ref, key),
            help="Others see it in their list of uploads and may open it; only you can delete it.",
        )
    if not entry.can_remove:
        st.caption("It belongs to another visitor, who shares it; only they can delete it.")
    elif busy:
        st.caption("A computation is using it. Stop that first.")
    elif open_by:
        st.caption(open_by)


def _share(ref: str, key: str) -> None:
    uploads.share_upload(ref, state.visitor(), st.session_state[key])


def _show_job(job: JobStatus, n_bytes: int) -> None:
    is_mine = job_panel.may_change(job)
    if job.is_active:
        job_panel.follow(job.id)
    if job.error:
        st.caption(f":material/error: {plain(job.error['found'])} {plain(job.error['advice'])}")
    with st.container(horizontal=True, vertical_alignment="center"):
        if is_mine and job.is_active:
            job_panel.offer_stop(job.id, key="ws_stop")
        elif is_mine and job.state != "done":
            job_panel.offer_resume(job.id, key="ws_resume")
        in_use = _is_in_use(job, list_jobs(Workspace()))
        what = f"'{_title(job)}' and its result ({size(n_bytes)}) will be gone; it can be computed again."
        may_go = is_mine and not job.is_active and not in_use
        _ask_first(f"job {job.id}", "Delete", what, may_go, lambda: job_panel.remove(job.id))
    if not is_mine:
        st.caption("It is on another visitor's data: only they, or who asked for it, can stop or delete it.")
    elif in_use and not job.is_active:
        st.caption(
            "It is in use: a computation builds on it, or its dataset is open in a browser; close the dataset first."
        )


def _show_cleaning(jobs: list[JobStatus], sizes: dict[str, int]) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        days = st.selectbox("Results older than", list(_AGES), index=1, format_func=_AGES.get, key="ws_age", width=180)
        before = time.time() - days * 86_400
        everything = list_jobs(Workspace())
        old = [
            job
            for job in jobs
            if not job.is_active
            and (job.finished_at or job.created_at) < before
            and job_panel.may_change(job)
            and not _is_in_use(job, everything)
        ]
        total = size(sum(sizes[job.id] for job in old))
        what = f"{plural(len(old), 'old result')} ({total}) will be gone; each can be computed again."
        _ask_first(f"old {days}", "Clean up", what, bool(old), lambda: [job_panel.remove(job.id) for job in old])
        st.caption(f"{plural(len(old), 'result')}, {total}" if old else "There are none.")


def _ask_first(name: str, label: str, warning: str, enabled: bool, act: Callable[[], object]) -> None:
    """A button that deletes only after a second one."""
    if st.session_state.get(_CONFIRM) == name and enabled:
        st.markdown(f":material/warning: {plain(warning)}")
        if st.button("Delete for good", type="primary", icon=":material/delete_forever:", key="ws_confirm"):
            st.session_state.pop(_CONFIRM)
            act()
            _sizes.clear()
            st.rerun(scope="app")
        if st.button("Keep", key="ws_keep"):
            st.session_state.pop(_CONFIRM)
            st.rerun(scope="app")
    elif st.button(label, icon=":material/delete:", disabled=not enabled, key=f"ws_ask_{name}"):
        st.session_state[_CONFIRM] = name
        st.rerun(scope="app")


def _remove_dataset(entry: Kept) -> None:
    if not entry.can_remove:
        raise AccessError("This dataset belongs to another visitor.", "", "Only they can delete it.")
    if any(job.is_active and _is_on(job, entry) for job in list_jobs(Workspace())):
        raise JobError(f"A computation on '{entry.name}' has started meanwhile.", advice="Stop it first.")
    describe.forget(entry.path)
    if entry.is_own_upload:
        uploads.remove_upload(entry.ref, state.visitor())
        return
    forget_reports(Workspace().checks, entry.path)
    if entry.path.is_dir():
        shutil.rmtree(entry.path, ignore_errors=True)
    else:
        entry.path.unlink(missing_ok=True)


def _datasets() -> list[Kept]:
    """Datasets in the workspace that this visitor may know of."""
    from scfviz.data.catalog import DEMOS

    workspace, visitor = Workspace(), state.visitor()
    found = []
    for upload in uploads.list_uploads(visitor):
        whose = "Upload, yours" if upload.is_own else "Upload, shared by another visitor"
        origin = "Upload, yours, shared" if upload.is_own and upload.is_shared else whose
        path = (workspace.uploads / upload.ref.removeprefix("upload:")).parent
        found.append(
            Kept(
                upload.ref,
                upload.name,
                origin,
                path,
                upload.size,
                upload.uploaded_at,
                upload.is_own,
                upload.is_shared,
                upload.is_own,
            )
        )
    for path in workspace.subsets.glob("*/*.h5ad"):
        if access.may_read(workspace, path, state.owner()):
            found.append(_subset(path))
    for path in workspace.gallery.iterdir():
        if path.is_dir():
            matrix = next(path.rglob("matrix.mtx*"), None)
            if matrix is not None:
                below = matrix.parent.relative_to(workspace.gallery).as_posix()
                found.append(_kept(f"gallery:{below}", path.name, "Gallery", path))
        elif is_dataset_file(path.name):
            found.append(_kept(f"gallery:{path.name}", path.name, "Gallery", path))
    demos = {demo: workspace.datasets / f"{demo.name}.h5ad" for demo in DEMOS}
    found += [_kept(f"demo:{demo.name}", demo.title, "Demo", path) for demo, path in demos.items() if path.exists()]
    return found


def _subset(path: Path) -> Kept:
    """A subset goes with a click of whoever asked for it, or whose data it is made of."""
    maker = next((job for job in job_panel.visible_jobs() if job.id == path.parent.name), None)
    grants = access.grants_of(Workspace(), path)
    is_own = not grants or any(state.owner() in grant.owners for grant in grants)
    kept = _kept(f"subset:{path.parent.name}/{path.name}", path.name, "Subset", path.parent)
    return replace(kept, can_remove=is_own or maker is not None and job_panel.may_change(maker))


def _kept(ref: str, name: str, origin: str, path: Path) -> Kept:
    n_bytes = folder_size(path) if path.is_dir() else path.stat().st_size
    return Kept(ref, name, origin, path, n_bytes, path.stat().st_mtime)


def _is_in_use(job: JobStatus, others: list[JobStatus]) -> bool:
    """Whether somebody has the result, or a dataset that it belongs to, on screen, or a computation builds on it."""
    if any(other.is_active and job.id in other.jobs for other in others):
        return True
    uses = _uses_of_job(job)
    return any(job.id in use.jobs or str(_path_of(use.dataset)) in job.datasets for use in uses)


def _uses_of_job(job: JobStatus) -> list[state.Use]:
    """The visits of those who may see the result: a stranger with a link holds nothing."""
    return [use for use in state.uses().values() if access.may_see(Workspace(), job, use.owner)]


def _who_has_open(ref: str) -> str | None:
    """Who has a dataset on screen, in words; `None` for nobody. A stranger with a link to it does not count."""
    path = _path_of(ref)
    visits = {
        name: use
        for name, use in state.uses().items()
        if use.dataset == ref and path is not None and access.may_read(Workspace(), path, use.owner)
    }
    if state.visit() in visits:
        return "It is open: close it first."
    if any(use.owner == state.owner() for use in visits.values()):
        return "You have it open in another tab: close it there first."
    return "Another visitor has it open." if visits else None


def _path_of(ref: str | None) -> Path | None:
    from scfviz.errors import ScfvizError

    try:
        return None if ref is None else sources.locate(ref).path.resolve()
    except (ScfvizError, OSError):
        return None


def _is_on(job: JobStatus, entry: Kept) -> bool:
    return any(Path(path) == entry.path or entry.path in Path(path).parents for path in job.datasets)


def _kind(job: JobStatus) -> str:
    return title_of_kind(job.kind)


def _dataset_name(job: JobStatus) -> str:
    """The dataset itself; what builds on a computation may name another file, of gene sets for example."""
    behind = [path for path in job.datasets if path not in job.options.values()]
    given = job.options.get("dataset") or next(iter([*behind, *job.datasets]), "")
    path = Path(str(given))
    return sources.display_title(f"demo:{path.stem}") if path.parent == Workspace().datasets else path.name


def _state(job: JobStatus) -> str:
    return f"{STATES[job.state]}, {100 * job.fraction:.0f} %" if job.state == "running" else STATES[job.state]


def _title(job: JobStatus) -> str:
    when = datetime.fromtimestamp(job.created_at).strftime("%Y-%m-%d %H:%M")
    return f"{_kind(job)} · {shorten(_dataset_name(job), 40)} · {when} · {STATES[job.state]}"


def _columns() -> dict:
    return {
        "Size (MB)": st.column_config.NumberColumn(format="%.1f", width="small"),
        "Since": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm"),
        "Asked for": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm"),
    }


@st.cache_data(ttl=20, show_spinner=False)
def _sizes(root: str) -> dict[str, int]:
    return Workspace(root).sizes()
