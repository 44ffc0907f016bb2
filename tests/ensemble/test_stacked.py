"""Many adapters of one base in one pass, against each of them merged into a model of its own."""

import copy

import pytest
import torch
from peft.tuners.lora import Linear as LoraLinear
from transformers import AutoModelForCausalLM

from ensemw2s.config import DecodingConfig, ModelConfig
from ensemw2s.core.seeds import stream
from ensemw2s.ensemble.words.decode import decode
from ensemw2s.ensemble.words.members import SharedTrunk
from ensemw2s.ensemble.words.separate import SeparateModels
from ensemw2s.models.adapting.stacked import StackedUpper
from ensemw2s.models.language import AnswerModel
from ensemw2s.models.loading.checkpoint import checkpoint_folder
from ensemw2s.models.loading.load import load_backbone

CONFIG = ModelConfig(model="tiny", adapter="lora", lora_rank=4)
WEIGHTS = torch.tensor([1.0, 0.5, 2.0, 1.5])
T = len(WEIGHTS)


@pytest.fixture(scope="module")
def backbone():
    return load_backbone(CONFIG)


def models(backbone, config=CONFIG) -> list[AnswerModel]:
    """Members that differ much: without noise B is zero and all are the base."""
    return [
        AnswerModel(backbone, backbone.unembedding, config, init_noise=2.0, generator=stream(i, "noise")).eval()
        for i in range(T)
    ]


def merged(members):
    """As many whole models of the library, each with one adapter added to its weights."""
    found = []
    for member in members:
        whole = AutoModelForCausalLM.from_pretrained(checkpoint_folder(CONFIG)).eval()
        for name, module in member.upper.named_modules():
            if isinstance(module, LoraLinear):
                with torch.no_grad():
                    whole.model.get_submodule(name).weight += module.get_delta_weight("default")
        found.append(whole)
    return found


def test_logits_and_texts_are_those_of_merged_separate_models(backbone):
    texts = ["Is 9 above 3?" * (1 + i % 3) + "x" * (i * 7 % 13) + str(i) for i in range(200)]
    prompts = backbone.tokenizer(texts)["input_ids"]
    each = models(backbone)
    separate = SeparateModels(merged(each), [backbone.tokenizer] * T)
    together = SharedTrunk(backbone, each)
    ids = torch.tensor([prompts[0], prompts[3][: len(prompts[0])]])
    ones = torch.ones_like(ids)
    ours = together.logits(together.read(ids, ones, None).flatten(1, 2))
    theirs = separate.logits(separate.read(ids, ones, None).flatten(1, 2))
    assert (ours[0] - ours[1]).abs().max() > 0.1
    assert torch.allclose(ours, theirs, atol=1e-4)
    config = DecodingConfig(max_new_tokens=12, stop=())
    found = decode(together, WEIGHTS, backbone.tokenizer, prompts, config)
    expected = decode(separate, WEIGHTS, backbone.tokenizer, prompts, config)
    assert [d.tokens for d in found] == [d.tokens for d in expected]
    assert [d.agrees for d in found] == [d.agrees for d in expected]
    assert len({d.tokens for d in found}) > 20


@pytest.mark.parametrize("changes", [{"lora_layers": 2}, {"lora_targets": ("q_proj", "down_proj")}])
def test_together_is_each_alone(backbone, changes):
    each = models(backbone, CONFIG.model_copy(update=changes))
    alone = [SharedTrunk(backbone, [copy.deepcopy(model)]) for model in each]
    together = SharedTrunk(backbone, each)
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
    mask = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])
    ours = together.read(ids, mask, together.start())
    for t, one in enumerate(alone):
        theirs = one.read(ids, mask, one.start())[0]
        assert torch.allclose(ours[t][mask.bool()], theirs[mask.bool()], atol=1e-5)
        again = together.alone(t)
        assert torch.equal(again.read(ids, mask, again.start())[0], theirs)


def test_a_row_that_ends_leaves_every_members_memory(backbone):
    members = SharedTrunk(backbone, models(backbone))
    ids = torch.tensor([[5, 6, 7], [9, 10, 11], [12, 13, 14]])
    step, one = torch.tensor([[20], [21]]), torch.ones(2, 1, dtype=torch.long)
    reading = members.start()
    members.read(ids, torch.ones_like(ids), reading)
    reading.keep(torch.tensor([0, 2]))
    found = members.read(step, one, reading)
    fresh = members.start()
    members.read(ids[[0, 2]], torch.ones(2, 3, dtype=torch.long), fresh)
    assert torch.allclose(found, members.read(step, one, fresh), atol=1e-5)


def test_no_weight_is_kept_twice(backbone):
    each = models(backbone)
    adapters = sum(p.numel() * p.itemsize for model in each for p in model.parameters() if p.requires_grad)
    base = SharedTrunk(backbone, [models(backbone)[0]])
    one = adapters // T
    assert SharedTrunk(backbone, each).n_bytes == base.n_bytes + adapters - one


def test_copies_of_layers_are_not_stacked(backbone):
    top = models(backbone, ModelConfig(model="tiny", adapter="top", top_layers=1))
    assert not StackedUpper.fits([model.upper for model in top])
    assert not StackedUpper.fits([models(backbone)[0].upper])
