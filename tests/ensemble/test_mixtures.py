"""The distributions behind written tokens: those of a pass over the finished text, and targets made of them by hand."""

import pytest
import torch
from test_decode import CONFIG, GREEDY, WEIGHTS, models

from ensemw2s.core.voting import combine
from ensemw2s.ensemble.words.decode import decode
from ensemw2s.ensemble.words.members import SharedTrunk
from ensemw2s.ensemble.words.mixtures import Mixtures
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.records import AnswerTokens


def test_what_is_kept_are_the_likeliest_tokens_of_a_pass_over_the_finished_text():
    backbone = load_backbone(CONFIG)
    members = SharedTrunk(backbone, models(backbone))
    prompts = backbone.tokenizer(["Is 3 above 3?", "Is 12 above 7? Now", "a"])["input_ids"]
    config = GREEDY.model_copy(update={"batch_rows": 2})
    decoded = decode(members, WEIGHTS, backbone.tokenizer, prompts, config, n_likeliest=9)
    found = Mixtures.of(decoded)
    for i, (prompt, answer) in enumerate(zip(prompts, decoded, strict=True)):
        ids = torch.tensor([[*prompt, *answer.tokens]])
        states = members.read(ids, torch.ones_like(ids), None)[:, 0, len(prompt) - 1 :][:, : len(answer.log_probs)]
        whole = combine(members.logits(states).log_softmax(-1), WEIGHTS, dtype=torch.float32)
        steps = slice(int(found.offsets[i]), int(found.offsets[i + 1]))
        torch.testing.assert_close(found.log_probs[steps], whole.topk(9).values, rtol=1e-4, atol=1e-4)
        assert torch.equal(found.tokens[steps, 0].long(), whole.argmax(-1))
        assert found.written[steps].tolist()[: len(answer.tokens)] == list(answer.tokens)
    kept = found.log_probs.double().exp().sum(-1)
    expected = {"top": 9, "kept_mass": pytest.approx(float(kept.mean())), "least_kept_mass": pytest.approx(kept.min())}
    assert found.record == expected
    assert 0 < found.record["least_kept_mass"] < 1
    again = Mixtures.read(found.tensors)
    assert all(torch.equal(tensor, getattr(again, name)) for name, tensor in vars(found).items())
    assert Mixtures.read({}) is None


END = 9


def test_targets_mix_what_was_written_with_what_was_thought_as_long_as_both_read_the_same():
    # Two answers were written: "1 2 end" and "3 4", which the limit of length cut.
    probabilities = torch.tensor([[0.5, 0.3], [0.6, 0.2], [0.8, 0.1], [0.4, 0.4], [0.7, 0.1]])
    tokens = torch.tensor([[1, 5], [2, 6], [END, 7], [3, 5], [4, 77]], dtype=torch.int32)
    written = torch.tensor([1, 2, -1, 3, 4], dtype=torch.int32)
    mixtures = Mixtures(written, tokens, probabilities.log(), torch.tensor([0, 3, 5]))
    # Learned are: the first as it is, the second with its end, the first changed at its second token, and a true one.
    prompt = (0, 0)
    answers = AnswerTokens(
        tuple((*prompt, *each) for each in ((1, 2, END), (3, 4, END), (1, 8, END), (5, END))), (2, 2, 2, 2)
    )
    found = mixtures.targets(answers, [0, 1, 0, None], share=0.2, n_tokens=50)
    dense = torch.zeros(len(answers.targets), 100).scatter_add_(1, found.tokens.long(), found.probabilities)
    torch.testing.assert_close(dense.sum(1), torch.ones(len(dense)))
    certain = torch.nn.functional.one_hot(answers.targets, 100).float()
    share = 0.2
    expected = certain.clone()
    for place, mixture in {
        0: {1: 5 / 8, 5: 3 / 8},
        1: {2: 3 / 4, 6: 1 / 4},
        2: {END: 8 / 9, 7: 1 / 9},
        3: {3: 1 / 2, 5: 1 / 2},
        4: {4: 1.0},  # token 77 is none of the student's
        6: {1: 5 / 8, 5: 3 / 8},
        7: {2: 3 / 4, 6: 1 / 4},  # written after the same token, though 8 is learned
    }.items():
        expected[place] *= 1 - share
        for token, probability in mixture.items():
            expected[place, token] += share * probability
    torch.testing.assert_close(dense, expected)
