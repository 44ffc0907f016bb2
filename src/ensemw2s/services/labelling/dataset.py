"""The folder of a labelling as a data set: its card names columns and classes, by which `datasets` loads it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ensemw2s.data.answer_table import column_types
from ensemw2s.errors import RunError
from ensemw2s.export.ensemble_folder import ChoiceEnsemble, EnsembleRecord
from ensemw2s.services.labelling.folder import LabelFolder, read_manifest
from ensemw2s.services.labelling.ledger import ShardLedger
from ensemw2s.storage.files import explained, write_atomic
from ensemw2s.text import markdown

CARD = "README.md"
SPLIT = "train"
MEANING = {
    "id": "name of the row",
    "answer": "the ensemble's answer",
    "confidence": "the probability that the ensemble gives it",
    "members": "each expert's own answer",
    "agreement": "weight of the experts that give the ensemble's answer, as a share",
    "filled_prompt": "what the experts read",
    "probability": "of each class",
}


def write_card(folder: Path, record: EnsembleRecord, n_labels: int, n_failed: int) -> None:
    """Write README.md, which `datasets.load_dataset` reads, into the folder of a finished labelling.

    One that is there stays. A class is a ClassLabel with the ensemble's names.

    Raises:
        RunError: the disk refuses.
    """
    if (folder / CARD).exists():
        return
    from datasets import SplitInfo
    from huggingface_hub import DatasetCard, DatasetCardData

    with explained(folder):
        kinds = column_types(_labels(folder))
    data = DatasetCardData(
        configs=[{"config_name": "default", "data_files": [{"split": SPLIT, "path": "labels-*.jsonl"}]}],
        annotations_creators=["machine-generated"],
        tags=["ensemw2s", "weak-to-strong"],
    )
    if kinds and None not in kinds.values():  # of a column of several types `datasets` decides by itself
        size = sum(path.stat().st_size for path in folder.glob("labels-*.jsonl"))
        split = SplitInfo(SPLIT, num_bytes=size, num_examples=n_labels)
        _describe(data, kinds, record.choices if isinstance(record, ChoiceEnsemble) else None, split)
    page = f"---\n{data.to_yaml()}\n---\n" + _page(record, list(kinds), n_labels, n_failed)
    write_atomic(folder / CARD, str(DatasetCard(page)))


def _describe(data: Any, kinds: Mapping[str, Any], choices: Sequence[str] | None, split: Any) -> None:
    """Add features and splits to the metadata of a card."""
    import pyarrow
    from datasets import ClassLabel, DatasetInfo, Features, List, SplitDict
    from datasets.info import DatasetInfosDict

    features = Features.from_arrow_schema(pyarrow.schema(list(kinds.items())))
    if choices is not None:
        classes = ClassLabel(names=list(choices))
        ours = {"answer": classes, "members": List(classes)}
        features.update({name: feature for name, feature in ours.items() if name in features})
    splits = SplitDict({split.name: split})
    DatasetInfosDict({"default": DatasetInfo(features=features, splits=splits)}).to_dataset_card_data(data)


def _page(record: EnsembleRecord, columns: Sequence[str], n_labels: int, n_failed: int) -> str:
    configs = (record.weak, *(each.config for each in record.others))
    # Of a folder its name alone: a card is read elsewhere.
    models = dict.fromkeys(Path(c.model).name if Path(c.model).is_absolute() else c.model for c in configs)
    lines = [
        "# Labels of a weak ensemble",
        "",
        f"{n_labels:,} rows with the answers of {len(record.expert_ids)} experts ({markdown(record.method)}) on "
        f"{markdown(', '.join(models))}, by {record.vote} vote. Rows of the input that have none: {n_failed:,}.",
        "",
        "| column | what it is |",
        "|---|---|",
        *(f"| {markdown(name)} | {MEANING.get(name, 'of the input')} |" for name in columns),
        "",
        "No person checked these labels: they are as right as the ensemble is. The licence of the input applies.",
    ]
    return "\n".join(lines) + "\n"


def label_files(folder: Path) -> tuple[str, ...]:
    """Names of the files that make the data set: the card and the labels.

    Raises:
        RunError: the folder is not that of a finished labelling, or is damaged.
    """
    manifest = read_manifest(folder)
    again = "run the same `ensemw2s label` again, which finishes it"
    if not manifest["finished"]:
        raise RunError(f"{folder}: the labelling is not finished; {again}")
    there, ledger = LabelFolder(folder), ShardLedger(folder, manifest["shards"])
    shards = range(manifest["counts"]["shards"])
    for shard in shards:
        if fault := ledger.fault(shard, there.labels(shard), there.errors(shard)):
            raise RunError(f"{folder}: shard {shard} is damaged ({fault}); {again}")
    if not (folder / CARD).is_file():
        raise RunError(f"{folder}: {CARD} is missing; {again}")
    return (CARD, *(there.labels(shard).name for shard in shards))


def _labels(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("labels-*.jsonl")):
        with path.open("rb") as file:
            yield from map(json.loads, file)
