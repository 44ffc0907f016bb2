"""Labels as a data set: a folder that `datasets.load_dataset` reads, with a card that names columns and classes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ensemw2s.data.answer_table import table_format, write_table
from ensemw2s.errors import ConfigError, DataError, RunError
from ensemw2s.export.ensembles.ensemble_record import ChoiceEnsemble, EnsembleRecord
from ensemw2s.export.exported import CARD
from ensemw2s.storage import checksums
from ensemw2s.storage.files import new_folder
from ensemw2s.text import markdown

SPLIT = "train"
DATA = f"{SPLIT}.parquet"
MEANING = {
    "id": "name of the row",
    "answer": "the ensemble's answer",
    "confidence": "the probability that the ensemble gives it",
    "members": "each expert's own answer",
    "agreement": "weight of the experts that give the ensemble's answer, as a share",
    "filled_prompt": "what the experts read",
    "probability": "of each class",
}


def check_dataset(output: Path) -> None:
    """Raises ConfigError where a data set can be no folder there, or another folder would be replaced."""
    if table_format(output) is not None:
        raise ConfigError(f"--output {output}: --format dataset writes a folder; give a name without {output.suffix}")
    ours = {CARD, DATA, checksums.FILE}
    if output.exists() and not (output.is_dir() and {path.name for path in output.iterdir()} <= ours):
        raise ConfigError(f"--output {output}: something else is there; choose another name for the data set")


def write_dataset(
    output: Path, rows: Callable[[], Iterable[Mapping[str, Any]]], record: EnsembleRecord, n_labels: int, n_failed: int
) -> None:
    """Write labelled rows as Parquet, with a card and checksums; an older data set there is replaced.

    Classes are numbers in the file, which the card gives their names, as `datasets` itself keeps them.

    Args:
        rows: asked twice.
        record: of the ensemble that labelled them.

    Raises:
        DataError: there is no labelled row.
        RunError: the disk refuses.
    """
    if not n_labels:
        raise DataError(
            f"{output}: none of {n_failed:,} rows has a label, and a data set needs one; see why in errors-*"
        )
    import pyarrow.parquet
    from datasets import ClassLabel, DatasetInfo, Features, List, SplitDict, SplitInfo
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCard, DatasetCardData

    with new_folder(output) as folder:
        classes = ClassLabel(names=list(record.choices)) if isinstance(record, ChoiceEnsemble) else None
        write_table(folder / DATA, rows if classes is None else lambda: (_numbered(row, classes) for row in rows()))
        features = Features.from_arrow_schema(pyarrow.parquet.read_schema(folder / DATA))
        if classes is not None:
            named = {"answer": classes, "members": List(classes)}
            features.update({column: feature for column, feature in named.items() if column in features})
        split = SplitInfo(SPLIT, num_bytes=(folder / DATA).stat().st_size, num_examples=n_labels)
        data = DatasetCardData(
            configs=[{"config_name": "default", "data_files": [{"split": SPLIT, "path": DATA}]}],
            annotations_creators=["machine-generated"],
            tags=["ensemw2s", "weak-to-strong"],
        )
        info = DatasetInfo(features=features, splits=SplitDict({SPLIT: split}))
        DatasetInfosDict({"default": info}).to_dataset_card_data(data)
        page = f"---\n{data.to_yaml()}\n---\n" + _page(record, list(features), n_labels, n_failed)
        (folder / CARD).write_text(str(DatasetCard(page)), encoding="utf-8")
        (folder / checksums.FILE).write_text(checksums.checksums_of(folder, (DATA,)), encoding="utf-8")


def _numbered(row: Mapping[str, Any], classes: Any) -> dict[str, Any]:
    """The row with numbers of classes."""
    return {**row, **{column: classes.str2int(row[column]) for column in ("answer", "members") if column in row}}


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


def dataset_files(folder: Path) -> tuple[str, ...]:
    """Names of the files of a data set.

    Raises:
        RunError: the folder is not one that `write_dataset` wrote, or is damaged.
    """
    if not (folder / DATA).exists():
        raise RunError(
            f"{folder}: no data set of labels there ({DATA} is missing); write one with: "
            "ensemw2s label --format dataset --output FOLDER"
        )
    if fault := checksums.folder_fault(folder, required=(DATA,)):
        raise RunError(f"{folder}: the data set is damaged ({fault}); run the same `ensemw2s label` again")
    return (CARD, checksums.FILE, DATA) if (folder / CARD).is_file() else (checksums.FILE, DATA)
