"""A throw-away task in one folder and one line: the share of mitochondrial counts, through every generic path."""

from scfviz.tasks.spec import Task, Written

MITO_SHARE = Task(
    name="mito_share",
    title="Mitochondrial share",
    verb="Measure the mitochondrial share",
    question="How much of each cell's counts lies on mitochondrial genes?",
    options="mito_share.options:MitoOptions",
    run="mito_share.run:run",
    version=1,
    writes=(
        Written("obs", "pct_mito", "pct_mito", "Share of mitochondrial counts", "% of counts"),
        Written("obs", "mito_level", "mito_level", "Mitochondrial level"),
        Written("layers", "pct_mito_of_gene", "pct_mito_of_gene", "Share of each mitochondrial gene", "% of counts"),
    ),
    baseline="the mean of all cells",
    needs_model=False,
    lane="quick",
    memory="mito_share.run:memory",
    functions=("mito_share.run:measure_mito_share",),
    command="mito-share",
    page="mito_share",
)
