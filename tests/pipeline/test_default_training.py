"""Learners are trained to the end where nothing else is said: what `solver: auto` stands for."""

import pytest
import torch

from ensemw2s.config import ExperimentConfig, ModelConfig, Recipe, TrainConfig, parse_config
from ensemw2s.core.losses import CrossEntropy, WeakBatch
from ensemw2s.core.seeds import stream
from ensemw2s.hashing import file_sha256
from ensemw2s.models.adapting.head import Head
from ensemw2s.models.inputs import PooledInputs
from ensemw2s.pipeline.run import run
from ensemw2s.services.planning.plan import make_plan
from ensemw2s.services.planning.units import trainings_of
from ensemw2s.tables import LOSSES
from ensemw2s.train.loop import train
from ensemw2s.train.optimum import has_optimum
from ensemw2s.train.samples import Supervision
from ensemw2s.train.supervision import weights_and_pace
from tiny_run import merged, tiny_tree, tiny_words_tree

HEAD = ModelConfig()
DEFAULT = {"solver": "auto", "epochs": 100, "patience": 5, "schedule": "constant", "dropout": 0.0}


@pytest.mark.parametrize(
    ("model", "settings", "recipe", "solver"),
    [
        (HEAD, {}, {}, "lbfgs"),
        (HEAD, {}, {"labels": "hard", "with_easy": True, "weigh_by": "confidence"}, "lbfgs"),
        (HEAD, {}, {"loss": "smoothing"}, "lbfgs"),
        (HEAD, {}, {"curriculum": "confidence"}, "adamw"),
        *((HEAD, {}, {"loss": loss}, "adamw") for loss in sorted(set(LOSSES) - {"xent", "smoothing"})),
        (HEAD, {"dropout": 0.1}, {}, "adamw"),
        (ModelConfig(head_hidden=4), {}, {}, "adamw"),
        *((ModelConfig(adapter=adapter), {}, {}, "adamw") for adapter in ("top", "lora", "full")),
        (HEAD, {"solver": "adamw"}, {}, "adamw"),
        (HEAD, {"solver": "lbfgs"}, {"loss": "logconf"}, "lbfgs"),  # refused by whoever trains it
    ],
)
def test_auto_fits_what_has_an_optimum_and_steps_the_rest(model, settings, recipe, solver):
    recipe = Recipe(**recipe)
    made = TrainConfig(**settings).resolved(model, has_optimum=recipe.has_optimum)
    assert (made.solver, made.is_fitted) == (solver, solver == "lbfgs")
    assert made.patience == (None if solver == "lbfgs" else 5)
    assert made == made.resolved(model, has_optimum=recipe.has_optimum)
    assert made.deciding == TrainConfig(**settings | {"solver": solver}).resolved(model, has_optimum=False).deciding


@pytest.mark.parametrize("curriculum", ["none", "confidence"])
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_a_recipe_and_what_it_trains_on_agree_on_the_optimum(loss, curriculum):
    recipe = Recipe(loss=loss, curriculum=curriculum)
    weights, pace = weights_and_pace(recipe, torch.tensor([0.9, 0.6]), torch.tensor([0.1, 0.2]))
    supervision = Supervision(torch.arange(2), WeakBatch(soft=torch.eye(2)), weights, pace)
    assert has_optimum(recipe.make_loss(), supervision) == recipe.has_optimum


def test_no_training_begins_undecided():
    head, inputs = Head(3, 2, 0, 0.0, 0.02, stream(0, "head")), PooledInputs((torch.rand(2, 3),), torch.ones(2).long())
    supervision = Supervision(torch.arange(2), WeakBatch(soft=torch.eye(2)), torch.ones(2))
    with pytest.raises(AssertionError, match="resolve the training first"):
        train(head, inputs, supervision, CrossEntropy(), TrainConfig(), seed=0)


def test_the_default_experiment_is_trained_to_the_end():
    """Its heads are fitted but for the recipe whose loss is not convex; layers take steps with patience."""
    found = [(name, made.solver, made.patience) for name, made in trainings_of(ExperimentConfig())]
    assert found == [("weak", "lbfgs", None), ("strong", "lbfgs", None), ("strong", "adamw", 5)]
    for adapter in ("top", "lora", "full"):
        layers = ExperimentConfig(weak=ModelConfig(adapter=adapter), strong=ModelConfig(adapter=adapter))
        for name, made in trainings_of(layers):
            assert (made.solver, made.patience, made.schedule, made.min_steps) == ("adamw", 5, "constant", 100), name


def config_of(task_file, training, recipes, students=None):
    changes = {
        "seeds": [0],
        "expert_training": training,
        "student_training": training | (students or {}),
        "ensemble": {"n_rounds": 2, "methods": ["single", "boosting"], "error_source": "folds", "n_folds": 2},
        "students": {"recipes": recipes},
        "deliver": {"refit": True},
    }
    return parse_config(merged(tiny_tree(task_file), changes))


def stored(store) -> dict[str, str]:
    """Every trained thing of a store, by its place, and what it weighs."""
    paths = [path for kind in ("experts", "errors", "students") for path in (store / kind).rglob("*.safetensors")]
    return {str(path.relative_to(store)): file_sha256(path) for path in paths}


CONVEX = [{"with_easy": True}, {"loss": "smoothing"}]
LOGCONF = {"loss": "logconf", "teachers": ["boosting"]}


@pytest.fixture(scope="module")
def mixed(task_file, tmp_path_factory):
    """A run of defaults, in which one recipe is fitted and another steps."""
    folder = tmp_path_factory.mktemp("mixed")
    config = config_of(task_file, DEFAULT, [*CONVEX, LOGCONF])
    return config, run(config, folder / "run", store_root=folder / "store"), folder / "store"


def test_auto_is_the_explicit_solver_key_for_key_and_weight_for_weight(mixed, task_file, tmp_path):
    _, results, store = mixed
    explicit = DEFAULT | {"solver": "lbfgs"}
    fitted = run(config_of(task_file, explicit, CONVEX), tmp_path / "run", store_root=tmp_path / "store")
    ours, theirs = stored(store), stored(tmp_path / "store")
    assert theirs.items() <= ours.items()
    assert [row.parts for row in fitted.rows] == [row.parts for row in results.rows if "logconf" not in row.key]
    # What is left took steps, and is again the explicit training's.
    stepping = config_of(task_file, DEFAULT, [LOGCONF], students={"solver": "adamw"})
    run(stepping, tmp_path / "adamw", store_root=tmp_path / "other")
    left = dict(ours.items() - theirs.items())
    assert len(left) == 1
    assert left.items() <= stored(tmp_path / "other").items()


def test_one_run_fits_one_recipe_and_steps_another(mixed):
    config, results, _ = mixed
    ends = {row.key: row.trainings[-1] for row in results.rows if row.trainings}
    stepped = {key for key, end in ends.items() if end.ended in ("stopped_early", "all_epochs")}
    assert stepped == {key for key in ends if "logconf" in key}
    assert {ends[key].ended for key in ends.keys() - stepped} == {"converged"}
    (key,) = stepped
    assert ends[key].validations == ends[key].epochs > 1
    # Costs and the plan know which is which: a fit reads each text once, steps read it in every epoch.
    steps, fit = (results.row(f"student:boosting:{name}").cost for name in ("logconf-soft", "smoothing-soft"))
    once = fit.training_tokens - results.row("boosting").cost.training_tokens
    assert steps.training_tokens - results.row("boosting").cost.training_tokens == ends[key].epochs * once
    plan = make_plan(config, calibrated=False)
    sizes = [(line.what, line.count) for line in plan.lines if line.what.startswith("a student of")]
    assert sizes == [("a student of 130", 3), ("a student of 70", 3), ("a student of 70", 1)]
    fit, steps = (line.tokens for line in plan.lines if line.what == "a student of 70")
    assert steps == pytest.approx(100 * fit, rel=0.01)
    assert "counted with all their epochs" in plan.notes[0]


def test_a_plan_of_fits_alone_speaks_of_no_patience(task_file):
    assert make_plan(config_of(task_file, DEFAULT, CONVEX), calibrated=False).notes == ()


def test_layers_stop_by_easy_validation_data(task_file, tmp_path):
    quick = {"batch_size": 32, "learning_rate": 0.02, "min_steps": 4, "patience": 1}
    changes = {
        "seeds": [0],
        "ensemble": {"n_rounds": 1, "methods": ["single"]},
        "students": {"recipes": [{"labels": "hard"}]},
    }
    tree = merged(tiny_words_tree(task_file), changes) | {"expert_training": quick, "student_training": quick}
    results = run(parse_config(tree), tmp_path / "run", store_root=tmp_path / "store")
    for end in (end for row in results.rows for end in row.trainings):
        assert end is not None
        assert end.ended == "stopped_early"
        assert end.epochs is not None
        assert 0 < (end.kept_epoch or 0) == end.epochs - 1
    # More epochs than those after which patience ended would be the same training: it is not made again.
    single, long = results.row("single"), results.row("single_long")
    assert (long.parts, long.trainings) == (single.parts, single.trainings)
    assert len(list((tmp_path / "store" / "experts").glob("*/*/record.json"))) == 1
