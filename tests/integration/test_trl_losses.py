"""TRL's own trainers on ten pairs: their losses are ours."""

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from ensemw2s.config import ModelConfig
from ensemw2s.core.preferences import PairBatch
from ensemw2s.core.preferences.losses import Dpo, Ipo, Orpo
from ensemw2s.core.seeds import stream
from ensemw2s.data.encode import encode, encode_answers
from ensemw2s.models.inputs import IdInputs
from ensemw2s.models.language import AnswerModel
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.loading.tiny import make_tiny
from ensemw2s.train.pairs import answer_log_probs

pytestmark = pytest.mark.integration
pytest.importorskip("trl", reason="the extra `integrations` brings TRL")

N = 10
PAIRS = [(f"Is {i} above {3 * i % 7}?", " yes" * (1 + i % 3), " no, it is not" if i % 2 else " no") for i in range(N)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The student and the reference: two random networks."""
    place = tmp_path_factory.mktemp("trl")
    return [make_tiny(place / str(seed), seed=seed, n_layers=2) for seed in (0, 1)]


@pytest.fixture(scope="module")
def batch(folders):
    """What our losses know of the pairs."""
    sums = []
    for folder in folders:
        config = ModelConfig(model=str(folder), adapter="top", top_layers=1, dtype="float32")
        backbone = load_backbone(config)
        prompts = [prompt for prompt, *_ in PAIRS for _ in range(2)]
        texts = [text[1:] for _, *each in PAIRS for text in each]  # the space before an answer is the encoder's
        ids = encode(backbone.tokenizer, prompts, max_length=64, names=prompts)
        answers = encode_answers(backbone.tokenizer, ids, texts, max_length=64, names=prompts)
        full = config.model_copy(update={"adapter": "full"})
        whole = AnswerModel(backbone, backbone.unembedding, full, generator=stream(0)).double()
        backbone.unembedding.double()
        sums.append(answer_log_probs(whole, IdInputs(answers.read, backbone.pad_id), answers, torch.arange(2 * N)))
    sizes = answers.offsets.diff()
    (ours, reference) = sums
    certain = torch.ones(N).double(), torch.zeros(N).double()
    return PairBatch(ours[::2], ours[1::2], sizes[::2], sizes[1::2], reference[::2], reference[1::2], *certain)


def loaded(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)


@pytest.fixture(scope="module")
def rows():
    columns = ("prompt", "chosen", "rejected")
    return Dataset.from_list([dict(zip(columns, pair, strict=True)) for pair in PAIRS])


COMMON = {"report_to": "none", "per_device_train_batch_size": 1, "use_cpu": True, "bf16": False}


@pytest.mark.parametrize(("name", "loss"), [("sigmoid", Dpo(beta=0.3)), ("ipo", Ipo(beta=0.3))])
def test_the_loss_of_each_pair_is_trls(name, loss, folders, rows, batch, tmp_path):
    from trl import DPOConfig, DPOTrainer

    trainer = DPOTrainer(
        model=loaded(folders[0]),
        ref_model=loaded(folders[1]),
        args=DPOConfig(output_dir=str(tmp_path), loss_type=[name], beta=0.3, **COMMON),
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(folders[0]),
    )
    trainer.model.eval()
    with torch.no_grad():
        batches = [trainer.data_collator([row]) for row in trainer.train_dataset]
        theirs = [float(trainer.compute_loss(trainer.model, each)) for each in batches]
    assert loss(batch).tolist() == pytest.approx(theirs, rel=1e-6, abs=1e-6)


def test_the_odds_of_each_pair_are_trls(folders, rows, batch, tmp_path):
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    trainer = ORPOTrainer(
        model=loaded(folders[0]),
        args=ORPOConfig(output_dir=str(tmp_path), beta=0.2, max_length=64, **COMMON),
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(folders[0]),
    )
    trainer.model.eval()
    theirs = []
    with torch.no_grad():
        for row in trainer.train_dataset:
            chosen, rejected, *_ = trainer.concatenated_forward(trainer.model, trainer.data_collator([row]))
            theirs.append(-float(trainer.odds_ratio_loss(chosen, rejected)[0]))
    # There the chosen answer's own loss runs over the prompt, too; here over the answer alone.
    ours = Orpo(lam=0.2)(batch) + batch.chosen / batch.chosen_tokens
    assert ours.tolist() == pytest.approx(theirs, rel=1e-6, abs=1e-6)
