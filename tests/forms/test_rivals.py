"""Trivial rivals against scikit-learn and by hand."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from ensemw2s.config import parse_config
from ensemw2s.ensemble.learners.tfidf import STRENGTHS, WORDS
from ensemw2s.forms.classification.rivals import class_rivals
from ensemw2s.forms.generation.rivals import answer_rivals
from ensemw2s.forms.prepared import SeedContext
from ensemw2s.pipeline.run import prepare
from ensemw2s.results.conditions import MAJORITY, NEAREST, TFIDF, TFIDF_SELF_TRAINED
from ensemw2s.storage.store import Store
from tiny_run import tiny_words_tree


@pytest.fixture
def made(tiny_config, tmp_path):
    config = tiny_config(seeds=[0])
    prepared = prepare(config, Store(tmp_path / "store"), lambda model, n: None)
    return prepared, SeedContext(0, prepared.split.draw(0), Store(tmp_path / "store"))


def test_tf_idf_and_the_majority_are_those_of_scikit_learn(made):
    prepared, seed = made
    found = class_rivals(prepared, seed)
    prompts = np.array([e.prompt for e in prepared.split.examples])
    train, val, hard = (getattr(seed.draw, n).numpy() for n in ("easy_train", "easy_val", "hard_unlabelled"))
    labels = prepared.split.easy_labels.numpy()
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORDS)
    vectorizer.fit(prompts[np.concatenate([train, hard])])

    def best(rows, truth):
        X = vectorizer.transform(prompts[rows])
        models = [LogisticRegression(C=c, max_iter=1000).fit(X, truth) for c in STRENGTHS]
        asked = vectorizer.transform(prompts[val])
        return min(models, key=lambda m: log_loss(labels[val], m.predict_proba(asked), labels=[0, 1]))

    on_easy = best(train, labels[train])
    guessed = on_easy.predict(vectorizer.transform(prompts[hard]))
    trained = best(np.concatenate([train, hard]), np.concatenate([labels[train], guessed]))
    test = list(prepared.split.pools["ood_test"])
    for condition, model in ((TFIDF, on_easy), (TFIDF_SELF_TRAINED, trained)):
        voters, cost = found[condition]
        expected = torch.from_numpy(model.predict_proba(vectorizer.transform(prompts[test]))).float()
        assert torch.allclose(voters.log_probs["ood_test"].exp(), expected, atol=1e-4)
        assert cost.flops > 0
    voters, cost = found[MAJORITY]
    ((commonest, _),) = Counter(labels[train].tolist()).most_common(1)
    assert set(voters.log_probs["ood_test"].argmax(-1).tolist()) == {commonest}
    assert cost.flops == 0


def test_a_draw_of_one_class_is_answered_with_it(made):
    prepared, seed = made
    rows = torch.tensor([r for r in prepared.split.pools["easy_pool"] if prepared.split.easy_labels[r] == 1])
    seed.draw = SimpleNamespace(**vars(seed.draw) | {"easy_train": rows})
    for voters, _ in class_rivals(prepared, seed).values():
        assert set(voters.log_probs["ood_test"].argmax(-1).tolist()) == {1}


def test_the_nearest_question_s_answer_is_given(task_file, tmp_path):
    prepared = prepare(parse_config(tiny_words_tree(task_file)), Store(tmp_path / "s"), lambda model, n: None)
    draw = prepared.split.draw(0)
    voters, cost = answer_rivals(prepared, SeedContext(0, draw, Store(tmp_path / "s")))[NEAREST]
    prompts = [e.prompt for e in prepared.split.examples]
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORDS)
    easy = vectorizer.fit_transform([prompts[r] for r in draw.easy_train]).toarray()
    for row, answer in zip(prepared.split.pools["ood_test"], voters.texts["ood_test"], strict=True):
        (asked,) = vectorizer.transform([prompts[row]]).toarray()
        nearest = max(range(len(easy)), key=lambda i: float(easy[i] @ asked))
        assert float(easy[nearest] @ asked) == pytest.approx(
            max(
                float(easy[i] @ asked)
                for i, r in enumerate(draw.easy_train.tolist())
                if prepared.split.easy_answers[r] == answer
            )
        )
    assert cost.flops > 0
