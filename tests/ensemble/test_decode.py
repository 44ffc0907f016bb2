"""The decoding engine against the library's own `generate`, and against itself in other batches."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from ensemw2s.config import DecodingConfig, ModelConfig
from ensemw2s.core.seeds import stream
from ensemw2s.ensemble.words.decode import Decoding, Row, decode
from ensemw2s.ensemble.words.members import SharedTrunk
from ensemw2s.ensemble.words.scores import score_answers
from ensemw2s.ensemble.words.separate import SeparateModels, same_tokenizer
from ensemw2s.errors import ModelError
from ensemw2s.models.inputs import IdInputs
from ensemw2s.models.language import AnswerModel
from ensemw2s.models.loading.checkpoint import checkpoint_folder
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.records import AnswerTokens

CONFIG = ModelConfig(model="tiny", adapter="top", top_layers=2)
GREEDY = DecodingConfig(max_new_tokens=12, stop=())
T = 3


@pytest.fixture(scope="module")
def backbone():
    return load_backbone(CONFIG)


@pytest.fixture(scope="module")
def prompts(backbone):
    texts = ["Is 9 above 3?" * (1 + i % 3) + "x" * (i * 7 % 13) + str(i) for i in range(200)]
    return backbone.tokenizer(texts)["input_ids"]


def models(backbone, n=T, config=CONFIG, noise=0.5):
    """Members that differ: noisy copies of the upper layers."""
    return [
        AnswerModel(backbone, backbone.unembedding, config, init_noise=noise, generator=stream(i, "noise")).eval()
        for i in range(n)
    ]


@pytest.fixture(scope="module")
def members(backbone):
    return SharedTrunk(backbone, models(backbone))


WEIGHTS = torch.tensor([1.0, 0.5, 2.0])


def scores_of(members, sequences, lengths, vote="soft"):
    answers = AnswerTokens(tuple(map(tuple, sequences)), tuple(lengths))
    inputs = IdInputs(answers.read, members.pad_id)
    return score_answers(members, inputs, answers, torch.arange(len(sequences)), weights=WEIGHTS, vote=vote)


def test_one_untrained_member_writes_what_the_library_generates(backbone, prompts):
    library = AutoModelForCausalLM.from_pretrained(checkpoint_folder(CONFIG)).eval()
    ours = decode(
        SharedTrunk(backbone, models(backbone, 1, noise=0.0)), torch.ones(1), backbone.tokenizer, prompts, GREEDY
    )
    whole = decode(SeparateModels([library], [backbone.tokenizer]), torch.ones(1), backbone.tokenizer, prompts, GREEDY)
    assert len({d.tokens for d in ours}) > 20
    for prompt, one, other in zip(prompts, ours, whole, strict=True):
        ids = torch.tensor([prompt])
        with torch.no_grad():
            found = library.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12, use_cache=True
            )[0, len(prompt) :].tolist()
        expected = tuple(found[: found.index(1)] if 1 in found else found)
        assert one.tokens == other.tokens == expected
        assert one.is_finished == (1 in found)


@pytest.mark.parametrize("config", [GREEDY, DecodingConfig(max_new_tokens=8, stop=(), temperature=0.9, top_p=0.8)])
def test_a_row_gets_the_same_answer_alone_and_in_any_batch(members, backbone, prompts, config):
    names = [f"q{i}" for i in range(40)]
    rows = prompts[:40]
    found = decode(members, WEIGHTS, backbone.tokenizer, rows, config, row_ids=names)
    small = config.model_copy(update={"batch_rows": 7})
    again = decode(members, WEIGHTS, backbone.tokenizer, rows[::-1], small, row_ids=names[::-1])[::-1]
    assert [a.tokens for a in found] == [a.tokens for a in again]
    for i in range(0, 40, 5):
        alone = decode(members, WEIGHTS, backbone.tokenizer, rows[i : i + 1], config, row_ids=names[i : i + 1])[0]
        assert alone.tokens == found[i].tokens
        assert alone.log_probs == pytest.approx(found[i].log_probs, abs=1e-4)
    if config.temperature:
        assert [a.tokens for a in found] != [
            a.tokens for a in decode(members, WEIGHTS, backbone.tokenizer, rows, config, row_ids=names[::-1])
        ]


@pytest.mark.parametrize("vote", ["soft", "log"])
def test_the_likelihood_is_that_of_the_mixture_of_separate_runs(backbone, members, prompts, vote):
    sequences = [[*p, *backbone.tokenizer(" yes, it is")["input_ids"], 1] for p in prompts[:20]]
    lengths = [len(p) for p in prompts[:20]]
    scores = scores_of(members, sequences, lengths, vote=vote)
    parts = [t.split(scores.sizes.tolist(), dim=-1) for t in (scores.gold, scores.wrong, scores.member_gold)]
    found = zip(*parts, strict=True)
    each = models(backbone)
    share = WEIGHTS / WEIGHTS.sum()
    for sequence, length, (gold, wrong, member_gold) in zip(sequences, lengths, found, strict=True):
        logits = []
        for model in each:
            one = SharedTrunk(backbone, [model])
            ids = torch.tensor([sequence[:-1]])
            logits.append(one.logits(one.read(ids, torch.ones_like(ids), None)[:, 0, length - 1 :])[0].double())
        log_probs = torch.stack(logits).log_softmax(-1)
        weights = share.double().view(-1, 1, 1)
        expected = (
            (log_probs.exp() * weights).sum(0).log() if vote == "soft" else (log_probs * weights).sum(0).log_softmax(-1)
        )
        targets = torch.tensor(sequence[length:])
        assert torch.allclose(gold[-1].double(), expected.gather(-1, targets[:, None])[:, 0], atol=1e-5)
        assert torch.equal(wrong[-1], expected.argmax(-1) != targets)
        own = log_probs.gather(-1, targets.expand(T, -1).unsqueeze(-1))[..., 0]
        assert torch.allclose(member_gold.double(), own, atol=1e-5)


def test_the_answers_own_likelihood_is_what_decoding_kept(backbone, members, prompts):
    found = decode(members, WEIGHTS, backbone.tokenizer, prompts[:10], GREEDY)
    sequences = [[*p, *d.tokens] for p, d in zip(prompts[:10], found, strict=True)]
    scores = scores_of(members, sequences, [len(p) for p in prompts[:10]])
    for d, gold in zip(found, scores.gold[-1].split(scores.sizes.tolist()), strict=True):
        assert torch.allclose(gold, torch.tensor(d.log_probs[: len(gold)]), atol=1e-4)
    assert not scores.wrong[-1].any()


def test_agreement_is_whether_the_members_own_answer_is_the_ensembles(backbone, members, prompts):
    found = decode(members, WEIGHTS, backbone.tokenizer, prompts[:30], GREEDY)
    for t, model in enumerate(models(backbone)):
        own = decode(SharedTrunk(backbone, [model]), torch.ones(1), backbone.tokenizer, prompts[:30], GREEDY)
        assert [a.tokens == b.tokens and a.is_finished == b.is_finished for a, b in zip(own, found, strict=True)] == [
            d.agrees[t] for d in found
        ]
    assert len({d.agrees for d in found}) > 1


def test_a_stop_string_ends_an_answer_and_is_cut_off(backbone, members, prompts):
    plain = decode(members, WEIGHTS, backbone.tokenizer, prompts[:20], GREEDY)
    text = next(d.text for d in plain if len(d.text) > 4)
    stop = text[2:4]
    stopped = decode(members, WEIGHTS, backbone.tokenizer, prompts[:20], GREEDY.model_copy(update={"stop": (stop,)}))
    for a, b in zip(plain, stopped, strict=True):
        place = a.text.find(stop)
        assert b.text == (a.text if place < 0 else a.text[:place])
        assert place < 0 or b.is_finished


@pytest.mark.parametrize("changes", [{"adapter": "lora", "lora_layers": 1}, {"adapter": "lora"}, {"top_layers": 3}])
def test_every_kind_of_own_layers_decodes_as_a_whole_model(prompts, changes):
    config = CONFIG.model_copy(update=changes)
    backbone = load_backbone(config)
    found, plain = (
        decode(
            SharedTrunk(backbone, models(backbone, 1, c, noise=0.0)),
            torch.ones(1),
            backbone.tokenizer,
            prompts[:10],
            GREEDY,
        )
        for c in (config, CONFIG)
    )
    assert [a.tokens for a in found] == [a.tokens for a in plain]


def test_other_tokenizers_are_refused_with_the_first_difference(backbone):
    other = load_backbone(CONFIG).tokenizer
    same_tokenizer([backbone.tokenizer, other])
    other.add_tokens(["<new>"])
    with pytest.raises(ModelError, match=r"'<new>' is \d+ and not None.*cannot be mixed"):
        same_tokenizer([backbone.tokenizer, other])


@pytest.mark.parametrize("adapter", ["top", "lora", "separate", "tokens"])
def test_rows_that_join_and_leave_on_the_way_get_what_they_would_get_alone(backbone, prompts, adapter):
    library = AutoModelForCausalLM.from_pretrained(checkpoint_folder(CONFIG)).eval()
    lora = CONFIG.model_copy(update={"adapter": "lora", "lora_layers": 2})
    together = {
        "top": lambda: SharedTrunk(backbone, models(backbone)),
        "lora": lambda: SharedTrunk(backbone, models(backbone, config=lora)),
        "separate": lambda: SeparateModels([library] * T, [backbone.tokenizer] * T),
        "tokens": lambda: SharedTrunk(backbone, models(backbone)),
    }[adapter]()
    assert together.keeps_memory
    together.keeps_memory = adapter != "tokens"
    drawn = GREEDY.model_copy(update={"temperature": 0.9, "top_p": 0.8, "max_new_tokens": 20})
    configs = [GREEDY, drawn, GREEDY.model_copy(update={"max_new_tokens": 2}), GREEDY]
    rows = [Row(prompt, f"q{i}", configs[i % 4], i % 3) for i, prompt in enumerate(prompts[:16])]
    decoding, dropped = Decoding(together, WEIGHTS, backbone.tokenizer), rows[7]
    waiting = [rows[:1], rows[1:2], [], rows[2:9], [], [], rows[9:12], *([] for _ in range(30)), rows[12:]]
    for number, new in enumerate(waiting):
        if new:
            assert decoding.can_be_joined
            decoding.join(new)
        if number == 6:
            decoding.drop(dropped)
        if decoding.rows:
            decoding.step()
    while decoding.rows:
        decoding.step()
    assert dropped.ending is None
    for row in rows:
        if row is not dropped:
            (alone,) = decode(together, WEIGHTS, backbone.tokenizer, [row.prompt], row.config, row_ids=[row.name])
            found = row.decoded()
            assert found.tokens == alone.tokens
            assert (found.agrees, found.text, found.is_finished) == (alone.agrees, alone.text, alone.is_finished)
            assert found.log_probs == pytest.approx(alone.log_probs, abs=1e-4)
            if row.n_likeliest:
                assert {len(step) for step in row.likeliest} == {row.n_likeliest}
                assert len(row.likeliest) == len(row.log_probs)
            if row.n_likeliest and row.config.temperature == 0:
                assert [step[0][1] for step in row.likeliest] == row.log_probs
                assert [step[0][0] for step in row.likeliest][: len(row.tokens)] == row.tokens
