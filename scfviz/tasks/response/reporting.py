"""What is said of a predicted response: the verdict in a sentence, citations, caveats."""

from scfviz.tasks import reporting
from scfviz.tasks.perturbation.card import say_gain, say_weights
from scfviz.tasks.reporting import Answered
from scfviz.tasks.response.learn import ResponseModel
from scfviz.tasks.response.methods import TITLES

_SCGEN = (
    "Lotfollahi M, Wolf FA, Theis FJ (2019). scGen predicts single-cell perturbation responses. Nature Methods 16, "
    "715-721. doi:10.1038/s41592-019-0494-8 (the question: a cell type left out)"
)
_WEAK = 0.95


def verdict(model: ResponseModel) -> str:
    """What a prediction rests on, its error beside that of simple answers, what the model adds."""
    found = model.scores
    views, best = found["views"], found["best"]
    error, mean, single = (views[name]["error_ratio"] for name in ("combination", "mean", best))
    worth = f"On {found['n']} types left out the changes hardly exceed their sampling noise."
    if error is not None:
        worth = (
            f"On {found['n']} types left out the squared error is **{error:.2f}** of that of 'nothing changes'; the "
            f"mean shift of the other types has {'no number' if mean is None else f'{mean:.2f}'}, the best single view "
            f"({TITLES[best].lower()}) {'no number' if single is None else f'{single:.2f}'}."
        )
    weak = ""
    if error is not None and error > _WEAK:
        weak = " **So close to 1, a prediction is hardly better than saying that nothing changes.**"
    covered = f" 90 % intervals held {found['coverage']['measured']:.0%} of the left-out changes."
    gain = say_gain(found["gain_of_model"], "types", "cell")
    return f"It rests on: {say_weights(model.weights, TITLES)}. {worth}{weak}{covered} {gain}"


def citations(answered: Answered) -> tuple[str, ...]:
    """The model, and where the question comes from."""
    return ("scfoundation", _SCGEN)


def caveats(answered: Answered) -> tuple[str, ...]:
    """A prediction that is hardly better than saying that nothing changes."""
    found = list(reporting.caveats(answered))
    views = answered.result.scores.get("views")
    if views:
        error = views["combination"]["error_ratio"]
        if error is not None and error > _WEAK:
            found.append(
                f"Response: predictions of left-out types have {error:.0%} of the squared error of saying that "
                "nothing changes."
            )
        found.append("Response: predictions are changes of population means of a cell type, not of cells.")
    return tuple(found)
