"""Members behind texts of their own: what one pass over text and question gives, token by token and at once."""

import pytest
import torch
from test_decode import CONFIG, GREEDY, WEIGHTS, T, models, scores_of

from ensemw2s.ensemble.words.decode import decode
from ensemw2s.ensemble.words.members import SharedTrunk
from ensemw2s.ensemble.words.prefixes import PrefixMembers
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.passes import pad

PREFIXES = ([5, 40, 41, 42], [], [5, 60])
"""Special token 5 at the start; the second member reads questions alone."""
QUESTIONS = [[5, 70, 71, 72, 73], [5, 80], [5, 90, 91]]


@pytest.fixture(scope="module")
def backbone():
    return load_backbone(CONFIG)


def joined(member, question):
    """The whole text, which has the special token once."""
    return [*PREFIXES[member], *question[1:]] if PREFIXES[member] else question


@pytest.mark.parametrize("kind", ["top", "lora", "tokens"])
def test_what_is_read_behind_a_cached_text_is_what_one_pass_over_both_gives(backbone, kind):
    changes = {"adapter": "lora", "lora_layers": 2} if kind == "lora" else {}
    shared = SharedTrunk(backbone, models(backbone, config=CONFIG.model_copy(update=changes)))
    shared.keeps_memory = kind != "tokens"  # families without such a cache read all of it anew
    members = PrefixMembers(shared, PREFIXES, n_start=1)
    ids, mask = pad(QUESTIONS, members.pad_id)
    at_once = members.read(ids, mask, None)
    written = decode(members, WEIGHTS, backbone.tokenizer, QUESTIONS, GREEDY)
    for t in range(T):
        for row, question in enumerate(QUESTIONS):
            whole = torch.tensor([joined(t, question)])
            expected = shared.alone(t).read(whole, torch.ones_like(whole), None)[0, 0]
            n = len(question) - 1
            torch.testing.assert_close(at_once[t, row, 1 : 1 + n], expected[-n:], rtol=1e-4, atol=1e-4)
        whole = [joined(t, question) for question in QUESTIONS]
        alone = decode(members.alone(t), torch.ones(1), backbone.tokenizer, QUESTIONS, GREEDY)
        plain = decode(shared.alone(t), torch.ones(1), backbone.tokenizer, whole, GREEDY)
        assert [d.tokens for d in alone] == [d.tokens for d in plain]
        assert [d.agrees[t] for d in written] == [d.tokens == a.tokens for d, a in zip(written, alone, strict=True)]
    # An answer depends on no other row, and scored as given it has the probabilities with which it was written.
    one_by_one = decode(members, WEIGHTS, backbone.tokenizer, QUESTIONS, GREEDY.model_copy(update={"batch_rows": 1}))
    assert [d.tokens for d in written] == [d.tokens for d in one_by_one]
    sequences = [[*question, *d.tokens] for question, d in zip(QUESTIONS, written, strict=True)]
    scores = scores_of(members, sequences, [len(question) for question in QUESTIONS])
    for scored, answer in zip(scores.gold[-1].split(scores.sizes.tolist()), written, strict=True):
        assert scored.tolist() == pytest.approx(answer.log_probs[: len(answer.tokens)], abs=1e-4)


def test_one_member_behind_nothing_is_the_plain_model_to_the_bit(backbone):
    shared = SharedTrunk(backbone, models(backbone, 1))
    members = PrefixMembers(shared, [[]])
    ids, mask = pad(QUESTIONS, members.pad_id)
    assert torch.equal(members.read(ids, mask, None), shared.read(ids, mask, None))
    plain, behind = (decode(m, torch.ones(1), backbone.tokenizer, QUESTIONS, GREEDY) for m in (shared, members))
    assert [(d.tokens, d.log_probs) for d in plain] == [(d.tokens, d.log_probs) for d in behind]
