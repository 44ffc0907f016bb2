"""A student on pictures: written, loaded again, and beside the library's own classifier."""

import pytest
import torch
from PIL import Image
from torch import Generator
from transformers import AutoModelForImageClassification

from ensemw2s.config import ModelConfig
from ensemw2s.core.losses import SOFTMAX
from ensemw2s.errors import ModelError
from ensemw2s.export.ensembles.ensemble_record import ChoiceEnsemble
from ensemw2s.export.ensembles.prompt_reader import TEXT_ALONE, PromptReader, Tokens
from ensemw2s.export.opened import open_answerers
from ensemw2s.export.pictures import export_picture_student, load_picture_student
from ensemw2s.export.student import answer_prompts
from ensemw2s.models.adapting.adapters import build_adapter, owned_state
from ensemw2s.models.loading.tiny import byte_tokenizer
from ensemw2s.models.loading.tiny_pictures import make_tiny_multimodal, make_tiny_vision
from ensemw2s.models.pictures.load import open_pictures
from ensemw2s.models.pictures.reading import open_picture_reader
from ensemw2s.pictures import pictures_of, placed

CHOICES = ("low", "high", "none")
IDS = ("a", "b")


@pytest.fixture
def prompts(tmp_path):
    for name, grey in zip(IDS, (30, 200), strict=True):
        Image.linear_gradient("L").resize((20, 12)).point(lambda p, grey=grey: (p + grey) % 256).save(
            tmp_path / f"{name}.png"
        )
    return [placed(f"![]({name}.png)", tmp_path, "row") for name in IDS]


def exported(folder, config):
    """The trunk, a head that was moved, and its log-probabilities."""
    trunk = open_pictures(config)
    head = build_adapter(config, trunk, len(CHOICES), dropout=0.0, init_std=1.0, generator=Generator().manual_seed(0))
    head.scale.copy_(torch.linspace(0.5, 2.0, len(head.scale)))
    export_picture_student(
        folder,
        config=config,
        trunk=trunk,
        state=owned_state(head),
        choices=CHOICES,
        card="# A student",
        template="{{ x }}",
    )
    return trunk, head


@pytest.mark.parametrize(("depth", "pooling", "hidden"), [(2, "cls", 0), (4, "mean", 0), (3, "cls", 5)])
def test_an_exported_student_answers_as_it_was_trained(depth, pooling, hidden, prompts, tmp_path):
    base = make_tiny_vision(tmp_path / "vision")
    config = ModelConfig(model=str(base), n_layers=depth, pooling=pooling, head_hidden=hidden, dtype="float32")
    trunk, head = exported(tmp_path / "student", config)
    features = trunk.features(IDS, prompts, [depth])[depth]
    with torch.no_grad():
        logits = head.classify(features)
    student = load_picture_student(tmp_path / "student")
    torch.testing.assert_close(student.log_probs(prompts), logits.log_softmax(-1))
    assert student.link == SOFTMAX
    answers = list(answer_prompts(tmp_path / "student", [*prompts, "text"]))
    assert [a["answer"] for a in answers[:2]] == [CHOICES[k] for k in logits.argmax(-1)]
    assert answers[2]["answer"] is None
    assert "reads one picture and nothing else" in answers[2]["error"]
    with pytest.raises(ModelError, match="use: ensemw2s predict"):
        open_answerers(tmp_path / "student")
    if (pooling, hidden) == ("cls", 0):
        whole = AutoModelForImageClassification.from_pretrained(tmp_path / "student").eval()
        pictures = [Image.open(pictures_of(prompt)[0][0]) for prompt in prompts]
        with torch.no_grad():
            theirs = whole(**trunk.processor(pictures, return_tensors="pt")).logits
        torch.testing.assert_close(theirs, logits)
        assert whole.config.id2label == dict(enumerate(CHOICES))


def test_a_multimodal_student_is_loaded_again(prompts, tmp_path):
    config = ModelConfig(model=str(make_tiny_multimodal(tmp_path / "base")), n_layers=1, dtype="float32")
    trunk, head = exported(tmp_path / "student", config)
    asked = [f"Is {prompts[0]} high?", "Is it high?"]
    with torch.no_grad():
        expected = head.classify(trunk.features(IDS, asked, [1])[1]).log_softmax(-1)
    torch.testing.assert_close(load_picture_student(tmp_path / "student").log_probs(asked), expected)


def test_prompts_that_cannot_be_read_are_named_before_any_pass(prompts, tmp_path):
    config = ModelConfig(model=str(make_tiny_multimodal(tmp_path / "base")), n_layers=1, max_length=40)
    reader, trunk = open_picture_reader(config), open_pictures(config)
    asked = [f"Is {prompts[0]} high?", f"{prompts[0]}<image>", "x" * 41, ""]
    (size, reason), token, long, empty = reader.sizes(asked)
    assert (size, reason) == (len("Is  high?") + 16, "")
    trunk.features(["a"], asked[:1], [1])
    assert "the model's own token for a picture" in token[1]
    assert "41 tokens, those of its pictures counted" in long[1]
    assert "0 tokens" in empty[1]
    # Beside a model of text, which would read the path as words, no picture is read at all.
    record = ChoiceEnsemble.model_construct(expert_ids=("a",))
    both = PromptReader("f", (Tokens(byte_tokenizer(), False, 1000, 1000),), torch.ones(1), record, pictures=(reader,))
    assert [reason for _, reason in both.sizes([asked[0], "Is it high?"])] == [TEXT_ALONE, ""]
