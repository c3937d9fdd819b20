"""The field through which a file comes from the browser: it shows how much has arrived."""

import logging
from pathlib import Path

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

_SCRIPT = Path(__file__).with_name("upload_progress.js")


def show(key: str) -> UploadedFile | None:
    """The field, with the share that has arrived below it."""
    _be_quiet_about_ended_uploads()
    file = st.file_uploader("File", label_visibility="collapsed", key=key)
    st.html(
        f'<p class="upload-progress" role="status"></p><script>{_SCRIPT.read_text(encoding="utf-8")}</script>',
        unsafe_allow_javascript=True,
    )
    return file


class EndedUploads(logging.Filter):
    """Leaves out that a browser went away while it sent a file: somebody pressed cancel, nothing is wrong."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is written."""
        error = record.exc_info[1] if record.exc_info else None
        while error is not None:
            if type(error).__name__ == "ClientDisconnect":
                return False
            error = error.__cause__ or error.__context__
        return True


@st.cache_resource(show_spinner=False)
def _be_quiet_about_ended_uploads() -> None:
    """Once per server."""
    for name in ("uvicorn.error", "starlette"):
        logging.getLogger(name).addFilter(EndedUploads())
