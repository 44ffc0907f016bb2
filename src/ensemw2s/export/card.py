"""Model cards: what the hub reads of an exported student or ensemble, and a page for people."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ensemw2s.export.ensemble_folder import AnswerEnsemble, EnsembleRecord
from ensemw2s.models.loading.checkpoint import HUB_ID
from ensemw2s.models.loading.fetch import KNOWN
from ensemw2s.results import Results, Row
from ensemw2s.results.conditions import ensemble
from ensemw2s.text import markdown, visible

TAGS = ["ensemw2s", "weak-to-strong"]
TESTS = {"id_test": "test like the labelled examples", "ood_test": "harder test"}
_USE = """\
`PLACE` is this folder, or its name on the hub.

    ensemw2s {command}"""
_BY_LIBRARY = """\
transformers loads it, too:

    from transformers import {auto}, AutoTokenizer
    model, tokenizer = {auto}.from_pretrained("PLACE"), AutoTokenizer.from_pretrained("PLACE")"""


def student_card(results: Results, by_library: bool = True, *, classes: str, probabilities: str | None = None) -> str:
    """README.md of the recommended student's folder.

    Args:
        by_library: whether transformers loads the folder by itself.
        classes: what it answers, in words.
        probabilities: how its logits are read; None where it writes answers.
    """
    chosen = results.recommendation
    row = results.row(chosen.row)
    is_generation = probabilities is None
    strong = _models(results.config["strong"])
    data = metadata(strong, is_generation=is_generation, by_library=by_library)
    data.model_name, data.eval_results = visible(results.name), _eval_results(results, row, is_generation)
    data.datasets = _datasets(results) or None
    auto = "AutoModelForCausalLM" if is_generation else "AutoModelForSequenceClassification"
    use = _USE.format(command="predict PLACE --input questions.jsonl --output answers.jsonl")
    reading = [] if is_generation else [f"The model gives logits; its probabilities are {probabilities}."]
    refit = []
    if chosen.refit_on is not None:
        refit = [
            f"After these figures were taken, this student was trained once more, on all {chosen.refit_on:,} labelled "
            "examples of the run, those of its test like the labelled examples among them. The figures are of the "
            "student before that."
        ]
    copied = []
    if not row.condition.is_baseline or row.condition.teacher is not None:
        copied = ["It learned labels that no person checked. Where its supervisors err alike, it errs with them."]
    sections = {
        "": [markdown(chosen.headline), markdown(" ".join(chosen.details))],
        "What it is": _bullets(
            [
                f"Task: {markdown(results.task.name)}. {markdown(results.task.source)}.",
                f"Base: {markdown(results.strong)}.",
                f"Answers: {markdown(classes)}.",
                *reading,
                _made(results, chosen.seed),
            ]
        ),
        "How it was supervised": _bullets(
            [
                f"This is the {markdown(row.label)}.",
                *([] if row.condition.is_baseline else [f"Weak model: {markdown(results.weak)}.", *_learned(results)]),
            ]
        ),
        "Figures": [*_figures(results, row, chosen.seed), *refit],
        "Use": [
            use + (_BY_LIBRARY.format(auto=auto) if by_library else ""),
            "Prompts are made as prompting.json says.",
        ],
        "Limits": _bullets(
            [
                "Its confidence was not calibrated on hard data: see the reliability diagram of the run's report.",
                *copied,
                *_limits(results, strong),
            ]
        ),
    }
    return card(data, row.label, sections)


def ensemble_card(results: Results, record: EnsembleRecord) -> str:
    """README.md of the folder of the best ensemble."""
    row = results.row(ensemble(record.method).key)
    is_generation = isinstance(record, AnswerEnsemble)
    names = list(dict.fromkeys(config.model for config in (record.weak, *(each.config for each in record.others))))
    data = metadata(names, is_generation=is_generation, by_library=False)
    data.model_name, data.eval_results = visible(results.name), _eval_results(results, row, is_generation)
    data.datasets = _datasets(results) or None
    weights = ", ".join(f"{weight:.3g}" for weight in record.expert_weights)
    answers = "text after the prompt" if is_generation else ", ".join(record.choices)
    sections = {
        "What it is": _bullets(
            [
                f"Task: {markdown(results.task.name)}. {markdown(results.task.source)}.",
                f"Experts: {len(record.expert_ids)}, with the weights {weights} in their {record.vote} vote.",
                f"Their models: {markdown(', '.join(names))}. This folder holds what was trained on top of them; the "
                "models themselves are loaded by these names, and refused where they are others.",
                f"Answers: {markdown(answers)}.",
                _made(results, record.seed),
            ]
        ),
        "How it was supervised": _bullets(_learned(results)[:1]),
        "Figures": _figures(results, row, record.seed),
        "Use": [_USE.format(command="label --ensemble PLACE --input questions.jsonl --output labels")],
        "Limits": _bullets(
            ["Its confidence was calibrated on easy examples at most, not on hard ones.", *_limits(results, names)]
        ),
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
        tags=[*TAGS, "weak-to-strong-generalization"],
    )


def card(data: ModelCardData, title: str, sections: dict[str, list[str]]) -> str:
    """A card of metadata, a title and sections of paragraphs; what is under no heading is named ""."""
    parts = [f"# {markdown(title)}"]
    for heading, paragraphs in sections.items():
        parts += [*([f"## {heading}"] if heading else []), *filter(None, paragraphs)]
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n" + "\n\n".join(parts) + "\n"))


def hub_ids(models: Iterable[str]) -> list[str]:
    """Ids on the hub of those of these models that have one; a folder of one's own has none."""
    ids = [KNOWN[m].hub_id if m in KNOWN else m for m in models]
    return list(
        dict.fromkeys(each for each in ids if "/" in each and HUB_ID.fullmatch(each) and not Path(each).is_dir())
    )


def licence_of(models: Sequence[str]) -> str | None:
    """The models' licence, where it is known and one."""
    licences = {KNOWN[m].licence if m in KNOWN else None for m in models}
    return licences.pop() if len(licences) == 1 else None


def _models(config: object) -> list[str]:
    assert isinstance(config, dict)
    return [str(config["model"])]


def _datasets(results: Results) -> list[str]:
    """Data sets of the hub that the task names."""
    task = results.config["task"]
    values = [str(value) for value in task.values()] if isinstance(task, dict) else []
    return list(dict.fromkeys(visible(v.removeprefix("hub:")) for v in values if v.startswith("hub:")))


def _eval_results(results: Results, row: Row, is_generation: bool) -> list[EvalResult] | None:
    found: list[EvalResult] = []
    for part, name in TESTS.items():
        if part in row.parts:
            interval = row.parts[part]["accuracy"].interval
            found.append(
                EvalResult(
                    task_type="text-generation" if is_generation else "text-classification",
                    dataset_type=next(iter(_datasets(results)), visible(results.task.name)),
                    dataset_name=visible(results.task.name),
                    dataset_split=part,
                    metric_type="exact_match" if is_generation else "accuracy",
                    metric_value=round(interval.mean, 4),
                    metric_name=f"{results.metric}, {name}: mean of {_seeds(results)}, "
                    f"95% interval {interval.low:.3f} to {interval.high:.3f}",
                )
            )
    return found or None


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
    whose = (
        f"Mean and interval are those of {_seeds(results)}; this folder is the one of seed {seed}, chosen on easy-val."
    )
    return ["\n".join(lines), whose]


def _seeds(results: Results) -> str:
    return "one seed" if len(results.seeds) == 1 else f"{len(results.seeds)} seeds"


def _made(results: Results, seed: int) -> str:
    return (
        f"Made by EnsemW2S {results.versions['ensemw2s']} in the run {markdown(results.name)} "
        f"(configuration {results.config_hash[:12]}), seed {seed}."
    )


def _learned(results: Results) -> list[str]:
    """Sizes of what there was to learn from, for the weak models and for the student."""
    sizes = results.task.sizes
    lines = [f"The weak models learned {sizes.get('easy_train', 0):,} labelled easy examples."]
    if "hard_unlabelled" in sizes:
        lines.append(f"{sizes['hard_unlabelled']:,} hard examples without labels could be labelled by them.")
    if results.voters is not None:
        lines.append(f"Outside voters: {markdown(', '.join(voter.name for voter in results.voters.voters))}.")
    return lines


def _limits(results: Results, models: Sequence[str]) -> list[str]:
    licence = licence_of(models)
    base = f"The base model's licence ({licence})" if licence else "The base model's own licence"
    return [
        "The figures are of this task's tests and of no other data.",
        *(markdown(note) for note in results.notes),
        f"{base} and the data's own apply.",
    ]


def _bullets(lines: Iterable[str]) -> list[str]:
    return ["\n".join(f"- {line}" for line in lines)]
