"""Model cards: what the hub reads of an exported student or ensemble, and a page for people."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ensemw2s.export.card_use import ensemble_use, student_use
from ensemw2s.export.ensembles.ensemble_record import AnswerEnsemble, EnsembleRecord
from ensemw2s.models.loading.checkpoint import HUB_ID
from ensemw2s.models.loading.fetch import KNOWN
from ensemw2s.names import FEATURES
from ensemw2s.pictures import has_picture
from ensemw2s.results import Results, Row
from ensemw2s.text import markdown, visible

TAGS = ("ensemw2s", "weak-to-strong")
TESTS = {"id_test": "test like the labelled examples", "ood_test": "harder test"}
POINTS = ("What it is", "How it was supervised", "Limits")


def student_card(results: Results, by_library: bool = True, *, classes: str, probabilities: str | None = None) -> str:
    """README.md of the recommended student's folder.

    Args:
        by_library: whether transformers loads the folder by itself.
        classes: what it answers, in words.
        probabilities: how its logits are read; None where it writes answers.
    """
    chosen, words = results.recommendation, _Words(results)
    row, is_generation = results.row(chosen.row), probabilities is None
    settings = results.config["strong"]
    assert isinstance(settings, dict)
    strong = [str(settings["model"])]
    is_on_vectors = strong[0].startswith(FEATURES)
    data = metadata(strong, is_generation=is_generation, by_library=by_library)
    _tag(data, results, strong)
    _measure(data, results, row, words)
    reading = [] if is_generation else [f"The model gives logits; its probabilities are {probabilities}."]
    refit, copied = [], []
    if chosen.refit_on is not None:
        refit = [
            f"After these figures were taken, this student was trained once more, on all {chosen.refit_on:,} labelled "
            "examples of the run, those of its test like the labelled examples among them. The figures are of the "
            "student before that."
        ]
    if not row.condition.is_baseline or row.condition.teacher is not None:
        copied = ["It learned labels that no person checked. Where its supervisors err alike, it errs with them."]
    weak = [] if row.condition.is_baseline else [f"Weak model: {words(results.weak)}.", *_learned(results)]
    sections = {
        "": [words(chosen.headline), words(" ".join(chosen.details))],
        "What it is": [
            *_task(results, words),
            f"Base: {words(results.strong)}.",
            f"Answers: {words(classes)}.",
            *reading,
            _made(results, chosen.seed, words),
        ],
        "How it was supervised": [f"This is the {words(row.label)}.", *weak],
        "Figures": [*_figures(results, row, chosen.seed), *refit],
        "Use": student_use(is_generation=is_generation, by_library=by_library, is_on_vectors=is_on_vectors),
        "Limits": [
            "Its confidence was not calibrated on hard data: see the reliability diagram of the run's report.",
            *copied,
            *_limits(results, strong, words),
        ],
    }
    return card(data, row.label, sections)


def ensemble_card(results: Results, record: EnsembleRecord, row: Row) -> str:
    """README.md of the folder of the best ensemble, whose figures are in `row`."""
    words = _Words(results)
    is_generation = isinstance(record, AnswerEnsemble)
    names = list(dict.fromkeys(config.model for config in (record.weak, *(each.config for each in record.others))))
    data = metadata(names, is_generation=is_generation, by_library=False)
    _tag(data, results, names)
    _measure(data, results, row, words)
    weights = ", ".join(f"{weight:.3g}" for weight in record.expert_weights)
    sections = {
        "What it is": [
            *_task(results, words),
            f"Experts: {len(record.expert_ids)}, with the weights {weights} in their {record.vote} vote.",
            f"Their models: {words(', '.join(names))}. This folder holds what was trained on top of them; the models "
            "themselves are loaded by the names in ensemble.json, and refused where they are others.",
            f"Answers: {'text after the prompt' if is_generation else words(', '.join(record.choices))}.",
            _made(results, record.seed, words),
        ],
        "How it was supervised": _learned(results)[:1],
        "Figures": _figures(results, row, record.seed),
        "Use": ensemble_use(is_on_vectors=any(name.startswith(FEATURES) for name in names)),
        "Limits": [
            "Its confidence was calibrated on easy examples at most, not on hard ones.",
            *_limits(results, names, words),
        ],
    }
    return card(data, row.label, sections)


def metadata(models: Sequence[str], *, is_generation: bool, by_library: bool) -> ModelCardData:
    """What the hub reads at the head of a card, for what was trained on these models."""
    bases, licence = hub_ids(models), licence_of(models)
    return ModelCardData(
        base_model=bases[0] if len(bases) == 1 else bases or None,
        license=None if licence is None else licence.lower(),
        library_name="transformers" if by_library else "ensemw2s",
        pipeline_tag="text-generation" if is_generation else "text-classification",
        metrics=["exact_match" if is_generation else "accuracy"],
        tags=list(TAGS),
    )


def _tag(data: ModelCardData, results: Results, models: Sequence[str]) -> None:
    """Name the task of what reads vectors, and of a run on pictures, whose prompts hold some."""
    example = results.task.easy_example
    if any(name.startswith(FEATURES) for name in models):
        data.pipeline_tag = "tabular-classification"
    elif example is not None and has_picture(example.text):
        data.pipeline_tag = "image-classification"


def card(data: ModelCardData, title: str, sections: dict[str, list[str]]) -> str:
    """A card of metadata, a title and sections.

    Args:
        sections: heading to paragraphs, which are points where the heading is one of `POINTS`; "" is no heading.
    """
    parts = [f"# {markdown(title[:1].upper() + title[1:])}"]
    for heading, paragraphs in sections.items():
        parts += [f"## {heading}"] if heading else []
        parts += ["\n".join(f"- {line}" for line in paragraphs)] if heading in POINTS else filter(None, paragraphs)
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n" + "\n\n".join(parts) + "\n"))


def hub_ids(models: Iterable[str]) -> list[str]:
    """Ids on the hub of those of these models that have one; a folder of one's own has none."""
    ids = [KNOWN[m].hub_id if m in KNOWN else m for m in models]
    on_hub = (each for each in ids if "/" in each and HUB_ID.fullmatch(each) and not Path(each).is_dir())
    return list(dict.fromkeys(on_hub))


def licence_of(models: Sequence[str]) -> str | None:
    """The models' licence, where it is known and one."""
    licences = {KNOWN[m].licence if m in KNOWN else None for m in models}
    return licences.pop() if len(licences) == 1 else None


class _Words:
    """A run's texts as a card shows them: no markup, and no folder of the machine that it ran on."""

    def __init__(self, results: Results):
        self._paths = sorted(_absolute(results.config), key=len, reverse=True)

    def plain(self, text: str) -> str:
        """For the metadata."""
        for path in self._paths:
            text = text.replace(path, Path(path).name)
        return visible(text)

    def __call__(self, text: str) -> str:
        return markdown(self.plain(text))


def _absolute(value: object) -> Iterator[str]:
    """Absolute paths among settings, at any depth."""
    if isinstance(value, str) and Path(path := value.removeprefix(FEATURES)).is_absolute():
        yield path
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        yield from _absolute(part)


def _measure(data: ModelCardData, results: Results, row: Row, words: _Words) -> None:
    """Add the name of the run, the hub's data sets that its task names, and the figures of a row."""
    task = results.config["task"]
    assert isinstance(task, dict)
    assert data.metrics is not None
    assert data.pipeline_tag is not None
    named = [str(value).removeprefix("hub:") for value in task.values() if str(value).startswith("hub:")]
    data.datasets, data.model_name = list(dict.fromkeys(map(visible, named))) or None, words.plain(results.name)
    intervals = {part: row.parts[part]["accuracy"].interval for part in TESTS if part in row.parts}
    found = [
        EvalResult(
            task_type=data.pipeline_tag,
            dataset_type=(data.datasets or [words.plain(results.task.name)])[0],
            dataset_name=words.plain(results.task.name),
            dataset_split=part,
            metric_type=data.metrics[0],
            metric_value=round(interval.mean, 4),
            metric_name=f"{results.metric}, {TESTS[part]}: {_seeds(results)}, 95% interval {interval.low:.3f} to "
            f"{interval.high:.3f}",
        )
        for part, interval in intervals.items()
    ]
    data.eval_results = found or None


def _figures(results: Results, row: Row, seed: int) -> list[str]:
    """The table of figures, and whose they are."""
    lines = [f"| | {results.metric} | 95% interval | this one |", "|---|---|---|---|"]
    place = results.seeds.index(seed)
    for part, name in TESTS.items():
        if part not in row.parts:
            lines.append(f"| {name} | unknown | no such test | |")
            continue
        figure = row.parts[part]["accuracy"]
        mean, low, high = figure.interval.mean, figure.interval.low, figure.interval.high
        lines.append(f"| {name} | {mean:.3f} | {low:.3f} to {high:.3f} | {figure.per_seed[place]:.3f} |")
    return ["\n".join(lines), f"{_seeds(results).capitalize()}; this folder is the one of seed {seed}."]


def _seeds(results: Results) -> str:
    return "one seed" if len(results.seeds) == 1 else f"mean of {len(results.seeds)} seeds"


def _task(results: Results, words: _Words) -> list[str]:
    return [f"Task: {words(results.task.name)}.", f"Data: {words(results.task.source)}."]


def _made(results: Results, seed: int, words: _Words) -> str:
    return (
        f"Made by EnsemW2S {results.versions['ensemw2s']} in the run {words(results.name)} "
        f"(configuration {results.config_hash[:12]}), seed {seed}."
    )


def _learned(results: Results) -> list[str]:
    """Sizes of what there was to learn from, for the weak models and for the student."""
    sizes = results.task.sizes
    lines = [
        f"The weak models learned {sizes['easy_train']:,} labelled easy examples.",
        f"They could label {sizes['hard_unlabelled']:,} hard examples.",
    ]
    if results.voters is not None:
        lines.append(f"Outside voters: {markdown(', '.join(voter.name for voter in results.voters.voters))}.")
    return lines


def _limits(results: Results, models: Sequence[str], words: _Words) -> list[str]:
    licence = licence_of(models)
    base = f"The base model's licence ({licence})" if licence else "The base model's own licence"
    return [
        "The figures are of this task's tests and of no other data.",
        *map(words, results.notes),
        f"{base} and the data's own apply.",
    ]
