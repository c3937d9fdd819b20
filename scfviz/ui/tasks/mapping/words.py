"""What the scores of a mapping mean, in sentences."""

from scfviz.ui.frame.text import plain


def sentence_of_power(scores: dict[str, float], false_rate: float) -> str:
    """What a missing type would need to be noticed, in one sentence."""
    n_labels, n_noticed = int(scores.get("n_labels_left_out", 0)), int(scores.get("n_labels_noticed", 0))
    if not n_labels:
        return "No label of the reference has ten cells or more: whether a missing type would be noticed is not known."
    rate = f"at a false rate of {false_rate:.1%}"
    if "noticed_from" in scores:
        return (
            f"A missing type of **{int(scores['noticed_from']):,} cells or more** would have been noticed, as "
            f"{n_noticed} of {n_labels} labels were when each was left out of the reference, {rate}."
        )
    return (
        f"**Many missing types would not be noticed:** only {n_noticed} of {n_labels} labels were, when each was left "
        f"out of the reference, however many of its cells there were, {rate}."
    )


def sentence_of_model(scores: dict[str, float]) -> str:
    """What the model adds over the projection of principal components, in one sentence."""
    gain, low = scores.get("model_gain", 0.0), scores.get("model_gain_low", 0.0)
    high = scores.get("model_gain_high", 0.0)
    interval = f"(95 % interval {low:+.0%} to {high:+.0%})"
    if low > 0:
        return f"**The model adds to the PCA projection:** the labels' loss is {gain:.0%} lower with it {interval}."
    if high < 0:
        return f"**The model does not help here:** the labels' loss is {-gain:.0%} higher with it {interval}."
    return f"**What the model adds to the PCA projection is not clear:** {gain:+.0%} of the labels' loss {interval}."


def sentence_of_platform(scores: dict[str, float]) -> str:
    """What all cells have in common of the distance, in one sentence; nothing where that is little."""
    farther = scores.get("platform_distance", 1.0)
    if farther < 1.05:
        return ""
    return (
        f"Your clusters that fit all lie {farther:.2g} times as far as the reference's own cells: that is taken for "
        "the platform, and out of the test for what has no counterpart."
    )


def sentence_of_many_new(share: float, distance: float, unlike: float) -> str:
    """What it means that most cells have no counterpart."""
    many = f"{share:.0%} of your cells have no counterpart"
    if unlike > 0.5:
        return (
            f"{many}: {unlike:.0%} are in clusters that differ from each other in other genes than their neighbours in "
            "the reference do. This looks like another tissue."
        )
    return (
        f"{many}; half of them all lie {distance:.2g} times as far as the reference's cells do from each other. This "
        "may be another tissue, or another platform. If the labels are probable and the clusters fall on one label "
        "each, it is the platform: then compare the clusters' relative distances below."
    )


def sentence_of_control(scores: dict[str, float]) -> str:
    """Whether cells of no tissue are noticed, in one sentence."""
    from scfviz.tasks.mapping.power import CONTROL

    share = scores.get("control_no_counterpart")
    if share is None:
        return ""
    verdict = "as it should be" if share > 0.8 else "**too few: this mapping may not notice a wrong tissue**"
    return f"Control: {share:.0%} of {plain(CONTROL)} get no counterpart, {verdict}."
