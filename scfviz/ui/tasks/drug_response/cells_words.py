"""What the tab *Cells* of the page Drug response says, in sentences."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scfviz.tasks.drug_sensitivity.card import CAVEAT
from scfviz.tasks.drug_sensitivity.trust import BADGES

RESEARCH = CAVEAT
_MOSTLY, _HARDLY = 0.5, 0.05
_MUCH, _CLEARLY, _N_NUMBERS = 0.25, 0.15, 3  # depth and two phases
EXPLANATION = """
- **Probability**: how likely a cell line with this cell's expression needs less of the drug than most of the cell lines
  of GDSC2 (or than you chose under *Options*). 0.5 says nothing. Above 0.65 a cell is called *sensitive*, below 0.35
  *resistant*, between is *can't tell*.
- **One cell says little**: its score is the mean over itself and its 15 nearest cells, unless you switched that off.
- **Trust** of a drug is measured on 27 breast cancer lines that a predictor had never seen: over these lines, how well
  do predictions rank the measured responses (Spearman)? With 27 lines it is uncertain by about 0.3.
- **Resistant cells before treatment are a hypothesis**: which cells survive is decided in an experiment.
- What changes *because of* the drug is not predicted: after treatment, stress and cell cycle dominate the picture.
"""


def sentence_of_trust(row: Mapping[str, Any]) -> str:
    """What is known of a drug's predictions."""
    r, low, high = (row[name] for name in ("spearman", "spearman_low", "spearman_high"))
    aim = ", ".join(part for part in (str(row["targets"]), str(row["pathway"])) if part and part != "nan")
    about = f" ({aim})" if aim else ""
    if not np.isfinite(r):
        return f"**{row['drug']}**{about}. Trust: *not measured*, {BADGES['not measured']}."
    return (
        f"**{row['drug']}**{about}. Trust: *{row['trust']}*. Over {int(row['n_lines'])} held-out breast lines, "
        f"predictions and measured responses have a Spearman of **{r:.2f}** (90 % interval {low:.2f} to {high:.2f})."
    )


def sentence_of_explanation(row: Mapping[str, Any], n_clusters: int) -> str:
    """Whether depth or cell cycle alone could explain a drug's map, and what clusters add.

    Parameters
    ----------
    n_clusters
        Of few clusters any three numbers explain much by chance, which is said.
    """
    depth, cycle, both, groups, left = (
        float(row[f"explained_by_{name}"]) for name in ("depth", "cycle", "both", "groups", "groups_left")
    )
    numbers = (
        f"Of what differs between cells, read depth alone explains {depth:.0%}, the cell cycle alone {cycle:.0%}, both "
        f"{both:.0%}; the clusters explain {groups:.0%}, and {left:.0%} beyond depth and cycle."
    )
    chance = groups * min(1.0, _N_NUMBERS / max(n_clusters - 1, 1))
    if chance >= _MUCH:
        numbers += (
            f" With {n_clusters} clusters any three numbers that differ between them explain about {chance:.0%} "
            "by chance."
        )
    if both >= _MOSTLY and both < chance + _CLEARLY:
        return f"**That cannot be told from so few clusters.** {numbers}"
    if both >= _MOSTLY:
        return f"**Yes, largely.** {numbers} This map is mostly one of depth or dividing cells: do not read it as more."
    if left < _HARDLY:
        return f"**There is little else to see.** {numbers} Differences between clusters are those of depth and cycle."
    return f"**No, not alone.** {numbers}"


def sentence_of_cover(drugs: list[str], covered: np.ndarray, least: np.ndarray) -> str:
    """What drugs do together."""
    if not drugs:
        return "No drug of enough trust is predicted to hit any of these groups."
    names = drugs[0] if len(drugs) == 1 else f"{', '.join(drugs[:-1])} and {drugs[-1]}"
    return (
        f"{names}: in the mean over groups the best of them is {covered[-1]:.0%} likely to find sensitive cells, in "
        f"the group that is hit worst {least[-1]:.0%}. Whether they may be combined, or act alike, is not known here."
    )


def drug_title(row: Mapping[str, Any]) -> str:
    """A drug in a list: name, what it aims at, its trust."""
    aim = f" · {str(row['targets'])[:40]}" if row["targets"] else ""
    return f"{row['drug']}{aim} · trust: {row['trust']}"


def order_drugs(drugs: pd.DataFrame) -> list[str]:
    """Drugs of trust first, those that differ most between clusters before others."""
    rank = {name: place for place, name in enumerate(BADGES)}
    spread = (drugs["highest_cluster"] - drugs["lowest_cluster"]).fillna(0.0).round(6)
    order = np.lexsort([drugs["drug"].str.lower(), -spread, drugs["trust"].map(rank)])
    return drugs["drug"].iloc[order].tolist()
