"""Whether what a job reads is still what it was asked for: compared before it runs and again when it is done, for every
kind, because its result is kept under the content that was asked for.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from scfviz.errors import CheckpointError, JobError, ScfvizError

CONTENT = re.compile(r"[0-9a-f]{16}|[0-9a-f]{64}")


def refuse_changed_inputs(options: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Compare files with the content that stands for them in the identity of a job.

    Parameters
    ----------
    options, identity
        Of the job, see `scfviz.jobs.kinds`: an option that is a path has its content in `identity` under the same name.

    Raises
    ------
    JobError
        A dataset, a checkpoint or another file changed, or is gone.
    """
    for name, content in identity.items():
        path = options.get(name)
        if path == content or not isinstance(path, str) or not CONTENT.fullmatch(str(content)):
            continue
        if _content_of(Path(path), len(content)) != content:
            raise JobError(
                f"The {name} '{Path(path).name}' has changed since this computation was asked for.",
                "A result must belong to one content.",
                "Start the computation again; it will use the new content.",
            )


def _content_of(path: Path, n_digits: int) -> str | None:
    from scfviz.data.source import dataset_id, sha256
    from scfviz.model.checkpoint import checkpoint_info
    from scfviz.model.checksums import CONFIG

    try:
        if (path / CONFIG).is_file():
            with suppress(CheckpointError):  # a folder of a dataset may hold a file of this name
                return checkpoint_info(path).hash
        return sha256(path) if n_digits == 64 else dataset_id(path)
    except (ScfvizError, OSError):
        return None
