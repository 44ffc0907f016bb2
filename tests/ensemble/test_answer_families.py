"""Every family of decoders with every adapter: what it writes is the library's own, or it is refused by name."""

import json

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM

from ensemw2s.config import DecodingConfig, ModelConfig
from ensemw2s.ensemble.probes import check_answerer
from ensemw2s.ensemble.words.decode import decode
from ensemw2s.ensemble.words.members import SharedTrunk
from ensemw2s.ensemble.words.scores import score_answers
from ensemw2s.ensemble.words.separate import SeparateModels
from ensemw2s.errors import ModelError
from ensemw2s.export.answerer import export_language
from ensemw2s.models.adapting.adapters import owned_state
from ensemw2s.models.inputs import IdInputs
from ensemw2s.models.language import AnswerModel, vocabulary_head
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.trunk import pooled_features
from ensemw2s.records import AnswerTokens
from family_table import DECODERS, FAST, make_family

ADAPTERS = {
    "full": {"adapter": "full"},
    "lora": {"adapter": "lora", "lora_rank": 4},
    "lora on upper layers": {"adapter": "lora", "lora_rank": 4, "lora_layers": 2, "n_layers": 3},
    "top": {"adapter": "top", "top_layers": 2},
}
REFUSED = {
    "granite": {"lora on upper layers", "top"},
    "mamba": {"lora", "lora on upper layers"},
    "opt_projected": {"lora on upper layers", "top"},
}
"""Of the families that every test run tries: the adapters that they are refused with. All others must be right."""
DECODING = DecodingConfig(max_new_tokens=6, stop=())
TOKENS = torch.tensor([70, 90, 41])
PROMPTS = [list(range(40, 60)), [50, 51], [60], [90, 91, 92, 93]]
"""Longer than any local window, and a single token; padded on both sides."""
FAMILIES = [f if f in FAST else pytest.param(f, marks=pytest.mark.families) for f in DECODERS]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_family_writes_is_the_librarys_own_or_it_is_refused_by_name(family, tmp_path):
    folder = make_family(tmp_path / family, family)
    refused = {}
    for name, settings in ADAPTERS.items():
        config = ModelConfig(model=str(folder), dtype="float32", **settings)
        try:
            backbone = load_backbone(config)
            check_answerer(backbone, config)
        except ModelError as error:
            refused[name] = str(error)
            continue
        library = AutoModelForCausalLM.from_pretrained(folder, num_hidden_layers=backbone.n_layers).eval()
        same_as_library(backbone, config, library)
        exported_is_itself(backbone, config, tmp_path / "student")
    assert all(str(folder) in message for message in refused.values()), refused
    if family in FAST:
        assert refused.keys() == REFUSED.get(family, set()), refused


def test_an_output_embedding_of_the_files_own_wins_over_a_flag_that_ties_it(tmp_path):
    folder = make_family(tmp_path / "llama", "llama")  # untied
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tie_word_embeddings": True}))
    config = ModelConfig(model=str(folder), dtype="float32", adapter="full")
    backbone = load_backbone(config)
    assert not torch.equal(backbone.unembedding.weight, backbone.model.get_input_embeddings().weight)
    same_as_library(backbone, config, AutoModelForCausalLM.from_pretrained(folder).eval())
    exported_is_itself(backbone, config, tmp_path / "student")


def test_a_checkpoint_without_its_vocabulary_head_is_refused_by_name(tmp_path):
    folder = make_family(tmp_path / "llama", "llama")
    AutoModel.from_pretrained(folder).save_pretrained(folder)
    config = ModelConfig(model=str(folder), dtype="float32", adapter="full")
    with pytest.raises(ModelError, match="this LlamaModel has no vocabulary head that could be applied"):
        check_answerer(load_backbone(config), config)


def test_a_tokenizer_without_an_end_token_is_refused_before_any_work(tmp_path):
    folder = make_family(tmp_path / "llama", "llama")
    config = ModelConfig(model=str(folder), dtype="float32", adapter="full")
    backbone = load_backbone(config)
    backbone.tokenizer.eos_token = None
    with pytest.raises(ModelError, match=r"its tokenizer's end token .* is None.*save the tokenizer again"):
        check_answerer(backbone, config)


def gold_of(members, sequences, prompt_lengths):
    """Log-probabilities of each answer's tokens under a single member."""
    answers = AnswerTokens(tuple(map(tuple, sequences)), tuple(prompt_lengths))
    scores = score_answers(members, IdInputs(answers.read, members.pad_id), answers, torch.arange(len(sequences)))
    return scores.gold[0].split(scores.sizes.tolist())


@torch.no_grad()
def same_as_library(backbone, config, library):
    """Decoding, scoring and zero-shot classes."""
    head = vocabulary_head(backbone)
    members = SharedTrunk(backbone, [AnswerModel(backbone, head, config, generator=torch.Generator()).eval()])
    for ours in (members, SeparateModels([library], [backbone.tokenizer])):
        written = decode(ours, torch.ones(1), backbone.tokenizer, PROMPTS, DECODING)
        sequences = [[*ids, *answer.tokens] for ids, answer in zip(PROMPTS, written, strict=True)]
        scored = gold_of(ours, sequences, [len(ids) for ids in PROMPTS])
        for ids, answer, found in zip(PROMPTS, written, scored, strict=True):
            whole = library(torch.tensor([[*ids, *answer.tokens]])).logits[0].log_softmax(-1)[len(ids) - 1 :]
            n = len(answer.tokens)
            gold = whole[range(n), list(answer.tokens)]
            torch.testing.assert_close(torch.tensor(answer.log_probs[:n]), gold, rtol=0, atol=1e-4)
            torch.testing.assert_close(found, gold, rtol=0, atol=1e-4)
    features = pooled_features(backbone, PROMPTS, [backbone.n_layers], batch_tokens=64)[backbone.n_layers]
    expected = torch.stack([library(torch.tensor([ids])).logits[0, -1, TOKENS] for ids in PROMPTS])
    torch.testing.assert_close(head.of_tokens(features, TOKENS), expected, rtol=0, atol=1e-4)


@torch.no_grad()
def exported_is_itself(backbone, config, out):
    """The adapter with noise in all that it owns, written and read again by the library."""
    head = vocabulary_head(backbone)
    model = AnswerModel(backbone, head, config, init_noise=0.3, generator=torch.Generator().manual_seed(0)).eval()
    state = owned_state(model)
    export_language(
        out, config=config, backbone=backbone, unembedding=head, state=state, decoding=DECODING, card="# A student"
    )
    sequences = [[*ids, 100, 101, 102] for ids in PROMPTS]
    scored = gold_of(SharedTrunk(backbone, [model]), sequences, [1] * len(PROMPTS))
    again, info = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not info["missing_keys"]
    for ids, found in zip(sequences, scored, strict=True):
        whole = again.eval()(torch.tensor([ids])).logits[0].log_softmax(-1)
        torch.testing.assert_close(found, whole[range(len(ids) - 1), ids[1:]], rtol=0, atol=1e-4)
