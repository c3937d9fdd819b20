"""Import of the official `models.ckpt`: one table of names, nothing executed from the file."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from scfviz.errors import CheckpointError
from scfviz.model.checkpoint import save_checkpoint
from scfviz.model.config import ModelConfig
from scfviz.model.scfoundation import ScFoundation

#: Official name -> our name. `{i}` stands for the number of a layer. An empty name on our side is known and not needed.
NAMES: dict[str, str] = {
    "token_emb.mlp.weight": "value_embedding.to_bins.weight",
    "token_emb.mlp.bias": "value_embedding.to_bins.bias",
    "token_emb.mlp2.weight": "value_embedding.mix.weight",
    "token_emb.mlp2.bias": "value_embedding.mix.bias",
    "token_emb.emb.weight": "value_embedding.bins.weight",
    "token_emb.emb_mask.weight": "value_embedding.masked",
    "token_emb.emb_pad.weight": "value_embedding.padded",
    "pos_emb.weight": "gene_embedding.weight",
    "encoder.transformer_encoder.{i}.self_attn.in_proj_weight": "encoder.{i}.qkv.weight",
    "encoder.transformer_encoder.{i}.self_attn.in_proj_bias": "encoder.{i}.qkv.bias",
    "encoder.transformer_encoder.{i}.self_attn.out_proj.weight": "encoder.{i}.out.weight",
    "encoder.transformer_encoder.{i}.self_attn.out_proj.bias": "encoder.{i}.out.bias",
    "encoder.transformer_encoder.{i}.linear1.weight": "encoder.{i}.expand.weight",
    "encoder.transformer_encoder.{i}.linear1.bias": "encoder.{i}.expand.bias",
    "encoder.transformer_encoder.{i}.linear2.weight": "encoder.{i}.contract.weight",
    "encoder.transformer_encoder.{i}.linear2.bias": "encoder.{i}.contract.bias",
    "encoder.transformer_encoder.{i}.norm1.weight": "encoder.{i}.attention_norm.weight",
    "encoder.transformer_encoder.{i}.norm1.bias": "encoder.{i}.attention_norm.bias",
    "encoder.transformer_encoder.{i}.norm2.weight": "encoder.{i}.feed_forward_norm.weight",
    "encoder.transformer_encoder.{i}.norm2.bias": "encoder.{i}.feed_forward_norm.bias",
    "encoder.norm.weight": "encoder_norm.weight",
    "encoder.norm.bias": "encoder_norm.bias",
    "decoder_embed.weight": "to_decoder.weight",
    "decoder_embed.bias": "to_decoder.bias",
    "decoder.performer.calls_since_last_redraw": "",
    "decoder.performer.net.layers.{i}.0.norm.weight": "decoder.{i}.attention_norm.weight",
    "decoder.performer.net.layers.{i}.0.norm.bias": "decoder.{i}.attention_norm.bias",
    "decoder.performer.net.layers.{i}.0.fn.fast_attention.projection_matrix": "decoder.{i}.projection",
    "decoder.performer.net.layers.{i}.0.fn.to_q.weight": "decoder.{i}.q.weight",
    "decoder.performer.net.layers.{i}.0.fn.to_q.bias": "decoder.{i}.q.bias",
    "decoder.performer.net.layers.{i}.0.fn.to_k.weight": "decoder.{i}.k.weight",
    "decoder.performer.net.layers.{i}.0.fn.to_k.bias": "decoder.{i}.k.bias",
    "decoder.performer.net.layers.{i}.0.fn.to_v.weight": "decoder.{i}.v.weight",
    "decoder.performer.net.layers.{i}.0.fn.to_v.bias": "decoder.{i}.v.bias",
    "decoder.performer.net.layers.{i}.0.fn.to_out.weight": "decoder.{i}.out.weight",
    "decoder.performer.net.layers.{i}.0.fn.to_out.bias": "decoder.{i}.out.bias",
    "decoder.performer.net.layers.{i}.1.norm.weight": "decoder.{i}.feed_forward_norm.weight",
    "decoder.performer.net.layers.{i}.1.norm.bias": "decoder.{i}.feed_forward_norm.bias",
    "decoder.performer.net.layers.{i}.1.fn.fn.w1.weight": "decoder.{i}.expand.weight",
    "decoder.performer.net.layers.{i}.1.fn.fn.w1.bias": "decoder.{i}.expand.bias",
    "decoder.performer.net.layers.{i}.1.fn.fn.w2.weight": "decoder.{i}.contract.weight",
    "decoder.performer.net.layers.{i}.1.fn.fn.w2.bias": "decoder.{i}.contract.bias",
    "decoder.norm.weight": "decoder_norm.weight",
    "decoder.norm.bias": "decoder_norm.bias",
    "norm.weight": "norm.weight",
    "norm.bias": "norm.bias",
    "to_final.weight": "to_expression.weight",
    "to_final.bias": "to_expression.bias",
}

#: The three models in the file and what each was trained for.
MODELS = {"cell": "cell embeddings", "gene": "gene embeddings", "rde": "read-depth enhancement"}

LICENCE = """These are the official scFoundation weights of Hao et al. 2024 (doi:10.1038/s41592-024-02305-7), converted
from a file that the user supplied. They are under the authors' model licence, for non-commercial research: read the
licence that came with the download before using or passing on these weights or results made with them. scfviz does
not distribute them."""

_CODE = re.compile(r"GLOBAL ([\w.]+)")
_LAYER = re.compile(r"(?<=\.)\d+(?=\.)")


def import_official(path: Path | str, out: Path | str) -> list[Path]:
    """Convert the official `models.ckpt` into one checkpoint folder per model.

    Parameters
    ----------
    path
        The file as downloaded: a dict with the models `cell`, `gene` and `rde`.
    out
        Folder to create `cell`, `gene` and `rde` in; existing ones are not overwritten.

    Returns
    -------
    list of Path
        The folders written.

    Raises
    ------
    CheckpointError
        The file is missing, needs code to be executed on loading, or does not have the official layout; names that
        are left over on either side are listed.

    Source: names and layout of the released program of Hao et al. 2024, doi:10.1038/s41592-024-02305-7.
    """
    path, out = Path(path), Path(out)
    models = _load_safely(path)
    present = [name for name in MODELS if name in models]
    if not present:
        raise CheckpointError(
            f"'{path.name}' holds {_listed(models)}, none of the official models.",
            "The official file holds 'cell', 'gene' and 'rde'.",
            "Choose the file models.ckpt as downloaded from the scFoundation repository.",
        )
    taken = [str(out / name) for name in present if (out / name).exists()]
    if taken:
        raise CheckpointError(
            f"{', '.join(taken)} already exists.", "", "Choose another folder or remove it; nothing was overwritten."
        )
    converted = {name: _convert(models[name], f"'{path.name}', model '{name}'") for name in present}
    folders = []
    for name, (config, state) in converted.items():
        with torch.device("meta"):
            model = ScFoundation(config, _official_genes(config))
        model.load_state_dict(state, assign=True)
        readme = (
            f"# scFoundation, official weights: {name}\n\nTrained for {MODELS[name]}. Imported from `{path.name}`.\n\n"
            f"## Licence\n\n{LICENCE}\n"
        )
        save_checkpoint(
            model,
            out / name,
            name=f"scFoundation official ({name})",
            licence=LICENCE,
            readme=readme,
            training={"source": "official weights, Hao et al. 2024", "steps": None},
        )
        folders.append(out / name)
    return folders


def _load_safely(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"There is no file '{path}'.", "", "Give the path of models.ckpt.")
    try:
        models = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except Exception as error:  # torch raises UnpicklingError, RuntimeError, EOFError ... by what the file holds
        code = _CODE.search(str(error))
        raise CheckpointError(
            f"'{path.name}' asks to run '{code.group(1)}' on loading."
            if code
            else f"'{path.name}' is damaged, or is no file of PyTorch weights.",
            "Only plain tensors, numbers and texts are loaded; nothing in a file is ever executed.",
            "If this is the official models.ckpt, download it again (about 1.43 GB). Weights from elsewhere can be "
            "saved again as a dict of state dicts alone.",
        ) from error
    if not isinstance(models, Mapping):
        raise CheckpointError(
            f"'{path.name}' holds a {type(models).__name__}.", "A dict of models is needed.", "Choose models.ckpt."
        )
    return models


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _convert(entry: Any, where: str) -> tuple[ModelConfig, dict[str, torch.Tensor]]:
    try:
        config, state = entry["config"], entry["state_dict"]
        kind = config["model"]
        merged = {**config["model_config"][kind], **config["dataset_config"]["rnaseq"]}
        sizes = _read_sizes(merged)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise CheckpointError(
            f"{where}: the configuration lacks or misstates {error}.",
            "The official layout is needed: 'state_dict' and 'config' with 'model_config' and 'dataset_config'.",
            "Choose models.ckpt as downloaded.",
        ) from error
    if kind != "mae_autobin":
        raise CheckpointError(f"{where} is a '{kind}'.", "Only 'mae_autobin' is known.", "Choose the official file.")
    state = {_strip_prefix(name): tensor for name, tensor in state.items()}
    ours: dict[str, torch.Tensor] = {}
    unknown = []
    for name, tensor in state.items():
        number = _LAYER.search(name)
        generic = _LAYER.sub("{i}", name, count=1) if number else name
        new_name = NAMES.get(name, NAMES.get(generic))
        if new_name is None or not isinstance(tensor, torch.Tensor):
            unknown.append(name)
        elif new_name:
            new_name = new_name.replace("{i}", number.group() if number else "")
            ours[new_name] = tensor.squeeze(0) if new_name.endswith(("masked", "padded")) else tensor
    with torch.device("meta"):
        expected = ScFoundation(sizes, _official_genes(sizes)).state_dict()
    missing = sorted(set(expected) - set(ours))
    unknown += sorted(set(ours) - set(expected))
    shapes = [
        f"{name} is {tuple(ours[name].shape)}, not {tuple(expected[name].shape)}"
        for name in expected
        if name in ours and ours[name].shape != expected[name].shape
    ]
    if missing or unknown or shapes:
        raise CheckpointError(
            f"{where}: unknown names {_shortened(unknown)}; missing {_shortened(missing)}; wrong shapes "
            f"{_shortened(shapes)}.",
            "Every weight of the model must be there once, in the size that the configuration says.",
            "Choose the official models.ckpt; if it is, please report this list.",
        )
    return sizes, {name: tensor.float().contiguous() for name, tensor in ours.items()}


def _read_sizes(merged: Mapping[str, Any]) -> ModelConfig:
    encoder, decoder = merged["encoder"], merged["decoder"]
    for part, kind in ((encoder, "transformer"), (decoder, "performer")):
        if part["module_type"] != kind:
            raise ValueError(f"module_type '{part['module_type']}' instead of '{kind}'")
    return ModelConfig(
        n_genes=int(merged["seq_len"]) - 2,
        n_bins=int(merged["bin_num"]),
        bin_alpha=float(merged["bin_alpha"]),
        encoder_width=int(encoder["hidden_dim"]),
        encoder_layers=int(encoder["depth"]),
        encoder_heads=int(encoder["heads"]),
        decoder_width=int(decoder["hidden_dim"]),
        decoder_layers=int(decoder["depth"]),
        decoder_heads=int(decoder["heads"]),
        decoder_head_width=int(decoder["dim_head"]),
    )


def _official_genes(config: ModelConfig) -> list[str]:
    from scfviz.data.genes import load_vocabulary

    genes = list(load_vocabulary().symbols)
    if len(genes) != config.n_genes:
        raise CheckpointError(
            f"The model was made for {config.n_genes:,} genes.",
            f"The official gene list has {len(genes):,}.",
            "Choose the official models.ckpt.",
        )
    return genes


def _strip_prefix(name: str) -> str:
    return name.rsplit("model.", 1)[-1]


def _shortened(names: list[str]) -> str:
    if not names:
        return "none"
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _listed(models: Mapping[str, Any]) -> str:
    return _shortened([repr(str(key)) for key in models]) if models else "nothing"
