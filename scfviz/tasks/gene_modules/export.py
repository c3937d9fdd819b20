"""Modules and networks for other programs: networkx, GraphML, Cytoscape JSON, CSV, GMT."""

import json
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd

    from scfviz.tasks.result import Result


def gene_graph(genes: "pd.DataFrame", links: "pd.DataFrame") -> "nx.Graph":
    """The links between genes; see `GeneModules.genes` and `GeneModules.links` for what nodes and edges carry."""
    import networkx as nx

    graph = nx.Graph()
    graph.add_nodes_from((row.pop("gene"), row) for row in _plain(genes))
    graph.add_edges_from((row.pop("source"), row.pop("target"), row) for row in _plain(links))
    return graph


def regulator_graph(genes: "pd.DataFrame", network: "pd.DataFrame") -> "nx.DiGraph":
    """Transcription factors and their targets; edges carry their evidence."""
    import networkx as nx

    graph = nx.DiGraph()
    used = set(network["source"]) | set(network["target"])
    graph.add_nodes_from((row.pop("gene"), row) for row in _plain(genes[genes["gene"].isin(used)]))
    graph.add_edges_from((row.pop("source"), row.pop("target"), row) for row in _plain(network))
    return graph


def graphml_bytes(graph: "nx.Graph") -> bytes:
    """A graph as GraphML, which Cytoscape, Gephi, igraph and yEd read."""
    import networkx as nx

    out = BytesIO()
    nx.write_graphml(graph, out)
    return out.getvalue()


def cytoscape_bytes(graph: "nx.Graph") -> bytes:
    """A graph as Cytoscape JSON (`.cyjs`), with the places of its genes."""
    nodes = []
    for name, about in graph.nodes(data=True):
        node: dict[str, Any] = {"data": {"id": name, "name": name} | about}
        if "x" in about:
            node["position"] = {"x": 60 * about["x"], "y": -60 * about["y"]}
        nodes.append(node)
    edges = [
        {"data": {"id": str(number), "source": source, "target": target} | about}
        for number, (source, target, about) in enumerate(graph.edges(data=True))
    ]
    return json.dumps({"data": {"name": "scfviz"}, "elements": {"nodes": nodes, "edges": edges}}).encode()


def gmt_text(genes: "pd.DataFrame", modules: "pd.DataFrame") -> str:
    """Modules as gene sets, the most connected gene first."""
    lines = []
    for row in modules.itertuples():
        members = genes[genes["module"] == row.module].sort_values("connectivity", ascending=False)
        lines.append("\t".join([f"module_{row.module}", str(row.name) or "unnamed", *members["gene"].astype(str)]))
    return "\n".join(lines) + "\n"


def write_modules(folder: Path, result: "Result") -> list[Path]:
    """Tables, graph and gene sets of modules into an existing folder; which files were written."""
    tables = result.tables
    files: dict[str, bytes] = {
        f"{name}.csv": tables[name].to_csv(index=False).encode()
        for name in ("genes", "modules", "links", "enrichment", "resolutions", "views", "groups")
        if name in tables
    }
    graph = gene_graph(tables["genes"], tables["links"])
    files |= {"modules.graphml": graphml_bytes(graph), "modules.cyjs": cytoscape_bytes(graph)}
    files["modules.gmt"] = gmt_text(tables["genes"], tables["modules"]).encode()
    files["cells.csv"] = result.cells.to_csv().encode()
    return _write(folder, files)


def write_network(folder: Path, result: "Result", network: "pd.DataFrame") -> list[Path]:
    """The network with its evidence, its graph and the activity of regulators into an existing folder."""
    graph = regulator_graph(result.tables["genes"], network)
    files = {
        "network.csv": network.to_csv(index=False).encode(),
        "network.graphml": graphml_bytes(graph),
        "network.cyjs": cytoscape_bytes(graph),
    }
    if "regulators" in result.tables:
        files["activity_by_group.csv"] = result.tables["regulators"].to_csv(index=False).encode()
    return _write(folder, files)


def _write(folder: Path, files: dict[str, bytes]) -> list[Path]:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]


def _plain(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """Rows with values of plain types; what is missing is left out, as GraphML has no word for it."""
    rows = table.to_dict("records")
    return [{name: _value(value) for name, value in row.items() if value == value} for row in rows]


def _value(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return round(value, 5) if isinstance(value, float) else value
