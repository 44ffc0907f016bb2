"""The decoding engine against the library's own `generate` on a real model."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from ensemw2s.config import DecodingConfig, ModelConfig
from ensemw2s.data.tasks.geo_countries import GeoCountries
from ensemw2s.ensemble.words.decode import decode, pad_left
from ensemw2s.ensemble.words.members import SharedTrunk
from ensemw2s.ensemble.words.separate import SeparateModels
from ensemw2s.models.language import AnswerModel
from ensemw2s.models.loading.load import load_backbone

N_PROMPTS, N_TOKENS = 50, 8


@pytest.mark.slow
def test_one_untrained_member_writes_what_smollm2_generates(smollm2):
    config = ModelConfig(model=str(smollm2), adapter="top", top_layers=2, dtype="float32")
    backbone = load_backbone(config)
    tokenizer, end = backbone.tokenizer, backbone.tokenizer.eos_token_id
    examples = GeoCountries(name="geo-countries", max_per_country=20, n_countries=25).load().examples
    # The untrained model answers with a line break unless its answer has begun.
    texts = [f"{e.prompt} The city lies in" for e in examples[:: len(examples) // N_PROMPTS][:N_PROMPTS]]
    prompts = tokenizer(texts)["input_ids"]
    assert len({tuple(prompt) for prompt in prompts}) == N_PROMPTS
    library = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32).eval()
    expected = []
    for start in range(0, N_PROMPTS, 10):
        ids, mask = pad_left(prompts[start : start + 10], backbone.pad_id)
        with torch.no_grad():
            written = library.generate(
                ids, attention_mask=mask, do_sample=False, max_new_tokens=N_TOKENS, pad_token_id=end
            )[:, ids.shape[1] :]
        expected += [tuple(found[: found.index(end)] if end in found else found) for found in written.tolist()]
    assert len(set(expected)) > 10
    member = AnswerModel(backbone, backbone.unembedding, config, generator=torch.Generator()).eval()
    greedy = DecodingConfig(max_new_tokens=N_TOKENS, stop=())
    for members in (SharedTrunk(backbone, [member]), SeparateModels([library], [tokenizer])):
        ours = decode(members, torch.ones(1), tokenizer, prompts, greedy)
        assert [d.tokens for d in ours] == expected
