"""What an annotation is asked with."""

from dataclasses import dataclass

from scfviz.tasks.spec import ModelOptions, option

FINE_TUNED = "model_finetuned"
METHODS = {
    "auto": "Automatic",
    "combination": "Combination",
    "genes_logistic": "Logistic regression on variable genes",
    "genes_knn": "Nearest neighbours in the genes' components",
    "model_probe": "Linear probe of the model's embedding",
    "model_prototype": "Nearest prototype in the model's embedding",
    "model_knn": "Nearest neighbours in the model's embedding",
    "model_head": "Small head on the model's embedding",
    FINE_TUNED: "Fine-tuned last layer, and a small head",
}


@dataclass(frozen=True)
class AnnotationOptions(ModelOptions):
    """Options of an annotation."""

    reference: str | None = option(
        None,
        kind="dataset",
        help="a labelled file, or the folder of a fitted classifier; the classifier that ships when left out",
    )
    label: str | None = option(
        None,
        help="column of obs with the types: of the reference, or of the file itself where no reference is given; found "
        "when left out",
    )
    labels_file: str | None = option(
        None, kind="dataset", in_form=False, help="user-defined labels of the app for some of these cells, a .npz file"
    )
    unit: str | None = option(
        None,
        in_form=False,
        help="column of the reference with donors or batches: what scores hold out; found when left out",
    )
    method: str = option(
        "auto",
        choices=METHODS,
        help="what the labels come from; auto: the combination, or logistic regression on genes where the reference is "
        "of one batch and the dataset another file; model_finetuned: the encoder's last layer learns the types first "
        "(8 parts of the labelled cells in 10), which takes minutes",
    )
    coverage: float = option(
        0.9, low=0.5, high=0.99, help="how often the set of a cell's possible types should hold the right one"
    )
    all_scores: bool = option(False, help="the probability of every type for every cell, as a table")
