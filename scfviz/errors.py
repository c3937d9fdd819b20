"""Foreseeable trouble, in words: what was found, what was needed, what to do."""

from collections.abc import Sequence


class ScfvizError(Exception):
    """Base of every error that a user can cause and mend.

    Parameters
    ----------
    found
        What was found, with the name of the file, gene, cell or option.
    needed
        What would have been accepted.
    advice
        What to do next.
    """

    title = "Something needs your attention"

    def __init__(self, found: str, needed: str = "", advice: str = ""):
        self.found, self.needed, self.advice = found, needed, advice
        super().__init__(" ".join(part for part in (found, needed, advice) if part))

    def as_dict(self) -> dict[str, str]:
        """The error as plain text fields, for job files and `--json` reports."""
        return {"kind": type(self).__name__, "found": self.found, "needed": self.needed, "advice": self.advice}


class DatasetError(ScfvizError):
    """A data file cannot be read, or holds values that are no counts."""

    title = "This dataset cannot be used as it is"


class ChoiceError(DatasetError):
    """A file or folder holds several datasets; `choices` are the paths that open one each."""

    title = "Several datasets are in here: choose one"

    def __init__(
        self, found: str, needed: str = "", advice: str = "", choices: tuple[str, ...] = (), title: str | None = None
    ):
        super().__init__(found, needed, advice)
        self.choices = choices
        self.title = title or self.title


class GeneError(ScfvizError):
    """The genes of a file and the genes of the model do not meet."""

    title = "The genes could not be matched"


class GeneNameError(GeneError):
    """A name that somebody typed stands for no gene of a dataset, or for several.

    Parameters
    ----------
    found, needed, advice
        As in `ScfvizError`.
    candidates
        Genes of the dataset that may be meant, by the names that it shows them under; the likeliest first.
    """

    def __init__(self, found: str, needed: str = "", advice: str = "", *, candidates: Sequence[str] = ()):
        super().__init__(found, needed, advice)
        self.candidates = tuple(candidates)


class CheckpointError(ScfvizError):
    """A checkpoint file or folder is incomplete, unsafe or disagrees with itself."""

    title = "This checkpoint cannot be used"


class OptionError(ScfvizError):
    """An option has a value that makes no sense."""

    title = "An option does not fit"


class JobError(ScfvizError):
    """A computation outside the page could not start or go on."""

    title = "The computation stopped"


class AccessError(DatasetError, JobError):
    """Data, or a computation on them, belong to somebody who has not shared them: for others they are not there."""

    title = "This is not shared"


class Stopped(Exception):
    """A long computation was asked to stop, and does; what it has written stays."""
