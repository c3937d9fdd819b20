"""The page of a task: request, progress, result. A task with a screen of its own shows that; the others are alike."""

import streamlit as st

from scfviz.tasks.spec import Task, load
from scfviz.ui.frame import job_panel, opening, page, sources, state
from scfviz.ui.tasks import request


def show(task: Task) -> None:
    """The whole page of a task that has no file in `pages/`."""
    with page.screen(str(task.page), task.question):
        show_task(task, opening.require_dataset())
        with st.expander("How to read this", icon=":material/help:"):
            st.markdown(explanation(task))


def show_task(task: Task, source: sources.Source) -> None:
    """Request, progress or result, whichever it is time for; functions of its screen go first."""
    own = None if task.screen is None else load(task.screen)
    job = request.find_job(task, source)
    if job is None and hasattr(own, "show_request"):
        own.show_request(source)
    elif job is None:
        request.show(task, source)
    elif job.state != "done":
        job_panel.show_progress(job.id, task.title, place=f"-{task.name}", on_leave=lambda: state.ask_again(task.name))
    elif hasattr(own, "show_result"):
        own.show_result(job, source)
    else:
        from scfviz.ui.tasks import result

        result.show(task, job, source)


def explanation(task: Task) -> str:
    """What the task writes and what stands beside it, from its line."""
    lines = [
        f"- **{entry.title}**"
        + (f", in {entry.unit}" if entry.unit else "")
        + (f": `{entry.part}['{entry.key}']` in the h5ad" if entry.key else "")
        for entry in task.writes
    ]
    words = f"**Beside it** stands the simple method: {task.baseline}.\n\n**What it finds of each cell**\n\n"
    return words + "\n".join(lines) + "\n\nThe same can be coloured, selected and compared in the Explorer."
