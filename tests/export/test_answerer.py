"""An answer model as a plain causal language model: the library's own class gives its logits."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from ensemw2s.config import CacheConfig, DecodingConfig, ModelConfig
from ensemw2s.ensemble.words.members import SharedTrunk
from ensemw2s.ensemble.words.scores import score_answers
from ensemw2s.export.answerer import export_language
from ensemw2s.forms.generation.role import load_role
from ensemw2s.models.activations import open_activations
from ensemw2s.models.adapting.adapters import owned_state
from ensemw2s.models.adapting.upper import own_layers
from ensemw2s.models.inputs import IdInputs
from ensemw2s.models.language import AnswerModel, load_answer_model, vocabulary_head
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.records import AnswerTokens
from ensemw2s.train.answers import AnswerSupervision, train_answers
from tiny_run import stepped

ANSWERS = AnswerTokens(((5, 6, 7, 8, 1), (9, 10, 11, 1), (12, 13, 14, 15, 16, 17, 1)), (3, 2, 4))


@pytest.fixture(scope="session")
def untied(tmp_path_factory, tiny):
    """The tiny Llama with an output embedding of its own."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tiny") / "untied"
    model = AutoModelForCausalLM.from_pretrained(tiny)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().flip(0).clone())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(folder)
    return folder


def trained(folder, store, **settings):
    """A model after two epochs: it, its inputs, and what it was built from."""
    config = ModelConfig(model=str(folder), dtype="float32", lora_rank=4, **settings)
    backbone = load_backbone(config)
    unembedding = vocabulary_head(backbone)
    module = AnswerModel(backbone, unembedding, config, init_noise=0.3, generator=torch.Generator().manual_seed(0))
    if config.adapter == "full":
        inputs = IdInputs(ANSWERS.read, backbone.pad_id)
    else:
        below = config.model_copy(update={"adapter": "top", "top_layers": own_layers(config, backbone.n_layers)})
        cache = CacheConfig(trunk_cache="memory")
        inputs = open_activations(backbone, ANSWERS.read, config=below, cache=cache, store=store)
    training = stepped(epochs=2, batch_size=2, learning_rate=0.01)
    supervision = AnswerSupervision(ANSWERS, torch.arange(3), torch.ones(len(ANSWERS.targets)))
    train_answers(module, inputs, supervision, training, seed=0)
    return module, inputs, config, backbone, unembedding


@pytest.mark.parametrize("adapter", ["top", "lora", "full", "full with embeddings"])
@pytest.mark.parametrize("family", ["tiny", "untied"])
def test_the_exported_language_model_scores_as_the_trained_one(family, adapter, request, store, tmp_path):
    adapter, _, embeddings = adapter.partition(" with ")
    settings = {"top": {"top_layers": 1}, "lora": {"lora_layers": 1}, "full": {}}[adapter]
    settings |= {"train_embeddings": bool(embeddings)}
    folder = request.getfixturevalue(family)
    module, inputs, config, backbone, unembedding = trained(folder, store, adapter=adapter, n_layers=3, **settings)
    state = owned_state(module)
    before = [p.clone() for p in backbone.model.parameters()]
    out = tmp_path / "student"
    decoding, card = DecodingConfig(), "# A student"
    export_language(
        out, config=config, backbone=backbone, unembedding=unembedding, state=state, decoding=decoding, card=card
    )
    assert all(torch.equal(a, b) for a, b in zip(before, backbone.model.parameters(), strict=True))
    scores = score_answers([module], inputs, ANSWERS, torch.arange(3))
    library = AutoModelForCausalLM.from_pretrained(out)
    gold = []
    for ids, n in zip(ANSWERS.ids, ANSWERS.prompt_lengths, strict=True):
        with torch.no_grad():
            log_probs = library(torch.tensor([ids])).logits[0].log_softmax(-1)
        gold.append(log_probs[range(n - 1, len(ids) - 1), list(ids[n:])])
    torch.testing.assert_close(scores.gold[0], torch.cat(gold), rtol=1e-4, atol=1e-4)
    other = load_answer_model(backbone, unembedding, config, state)
    assert torch.equal(score_answers([other], inputs, ANSWERS, torch.arange(3)).gold, scores.gold)


@pytest.mark.parametrize("family", ["tiny", "untied"])
def test_full_trains_embeddings_and_head_and_leaves_the_backbone_alone(family, request, store):
    folder = request.getfixturevalue(family)
    module, _, _, backbone, unembedding = trained(folder, store, adapter="full", train_embeddings=True)
    state = owned_state(module)
    assert ("own_head.model.lm_head.weight" in state) == (family == "untied")
    assert not torch.equal(state["upper.embed_tokens.weight"], backbone.model.get_input_embeddings().weight)
    assert not torch.equal(module.unembedding, unembedding.weight)
    fresh = load_backbone(ModelConfig(model=str(folder), dtype="float32"))
    assert all(torch.equal(a, b) for a, b in zip(backbone.model.parameters(), fresh.model.parameters(), strict=True))


@pytest.mark.parametrize("family", ["tiny", "untied"])
def test_full_freezes_a_head_that_is_tied_to_the_embeddings_and_trains_any_other(family, request, store):
    module, _, _, backbone, unembedding = trained(request.getfixturevalue(family), store, adapter="full")
    state, embeddings = owned_state(module), backbone.model.get_input_embeddings().weight
    assert not any("embed_tokens" in name for name in state)
    assert module.upper.get_input_embeddings().weight is embeddings
    fresh = load_backbone(ModelConfig(model=backbone.name, dtype="float32"))
    assert torch.equal(embeddings, fresh.model.get_input_embeddings().weight)
    n_layers = sum(p.numel() for p in backbone.model.parameters()) - embeddings.numel()
    if family == "tiny":
        assert module.head.weight is embeddings
        assert sum(t.numel() for t in state.values()) == n_layers
    else:
        assert not torch.equal(state["own_head.model.lm_head.weight"], unembedding.weight)
        assert sum(t.numel() for t in state.values()) == n_layers + unembedding.weight.numel()


@pytest.mark.parametrize("family", ["tiny", "untied"])
def test_members_of_full_share_what_is_frozen(family, request):
    folder = str(request.getfixturevalue(family))
    n_bytes = {}
    for trains in (False, True):
        config = ModelConfig(model=folder, dtype="float32", adapter="full", train_embeddings=trains)
        backbone = load_backbone(config)
        head = vocabulary_head(backbone)
        models = [AnswerModel(backbone, head, config, generator=torch.Generator().manual_seed(i)) for i in range(3)]
        members = SharedTrunk(backbone, models)
        ids = torch.arange(5, 11).view(2, 3)
        states = members.read(ids, torch.ones_like(ids), None)[:, :, -1]
        alone = torch.cat([members.alone(i).logits(states[[i]]) for i in range(3)])
        torch.testing.assert_close(members.logits(states), alone)
        n_bytes[trains] = members.n_bytes
    table = 4 * backbone.model.get_input_embeddings().weight.numel()
    assert n_bytes[True] - n_bytes[False] == 3 * table  # beside the backbone's own, which all have for reading


@pytest.mark.parametrize("family", ["tiny", "untied"])
@pytest.mark.parametrize("settings", [{"adapter": "lora"}, {"adapter": "full"}, {"train_embeddings": True}])
def test_costs_know_whether_the_vocabulary_head_is_trained(family, settings, request, store):
    folder = str(request.getfixturevalue(family))
    config = ModelConfig(**({"model": folder, "dtype": "float32", "adapter": "full"} | settings))
    role = load_role(config, CacheConfig(), store, lambda *_: None, 0.0)
    (module,) = role.load([])
    assert role.trains_head == any(p.requires_grad for p in module.head.parameters())
    assert role.trains_head == (config.adapter == "full" and (family == "untied" or config.train_embeddings))
