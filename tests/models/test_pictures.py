"""Models that read pictures, against the library's own; and what they refuse before any weight is loaded."""

import pytest
import torch
from PIL import Image
from transformers import AutoModel, LlavaForConditionalGeneration

from ensemw2s.config import ModelConfig
from ensemw2s.errors import DataError, ModelError
from ensemw2s.models.loading.tiny_pictures import make_tiny_multimodal, make_tiny_vision
from ensemw2s.models.pictures.kind import check_prompts
from ensemw2s.models.pictures.multimodal import load_multimodal
from ensemw2s.models.pictures.vision import load_vision
from ensemw2s.pictures import placed

IDS = ("a", "b", "c")


@pytest.fixture(scope="module")
def vision(tmp_path_factory):
    return make_tiny_vision(tmp_path_factory.mktemp("vision") / "model")


@pytest.fixture(scope="module")
def multimodal(tmp_path_factory):
    return make_tiny_multimodal(tmp_path_factory.mktemp("multimodal") / "model")


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    """Three pictures of other shapes, written as prompts."""
    folder = tmp_path_factory.mktemp("pictures")
    drawn = torch.randint(0, 256, (3, 12, 20), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    for name, pixels in zip(IDS, drawn, strict=True):
        Image.fromarray(pixels.numpy()).crop((0, 0, 12 + 4 * IDS.index(name), 12)).save(folder / f"{name}.png")
    return [placed(f"![]({name}.png)", folder, "row") for name in IDS]


def config(folder, **changes):
    return ModelConfig(model=str(folder), dtype="float32", **changes)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_each_depth_is_the_librarys_own_model_of_so_many_layers(vision, prompts, pooling):
    trunk = load_vision(config(vision, pooling=pooling))
    trunk.prove([1, 2, 4])
    got = trunk.features(IDS, prompts, [1, 3, 4])
    for depth, features in got.items():
        library = AutoModel.from_pretrained(vision, num_hidden_layers=depth, add_pooling_layer=False).eval()
        for prompt, feature in zip(prompts, features, strict=True):
            pixels = trunk.processor(Image.open(prompt[4:].split("#")[0]), return_tensors="pt")["pixel_values"]
            with torch.no_grad():
                states = library(pixels).last_hidden_state[0]
            torch.testing.assert_close(feature, states[0] if pooling == "cls" else states[1:].mean(0))
    again = trunk.features(IDS[::-1], prompts[::-1], [3])[3].flip(0)
    torch.testing.assert_close(again, got[3])
    assert load_vision(config(vision, pooling=pooling, n_layers=3)).feature_size == 32


def test_a_multimodal_model_reads_text_as_its_language_part_does_and_sees_pictures(multimodal, prompts):
    trunk = load_multimodal(config(multimodal))
    trunk.prove([1, 2])
    asked = ["Is it a 7?", f"Is {prompts[0]} a 7?", f"Is {prompts[1]} a 7?"]
    got = trunk.features(IDS, asked, [1, 2])
    language = LlavaForConditionalGeneration.from_pretrained(multimodal).model.language_model.eval()
    ids = trunk.processor.tokenizer("Is it a 7?", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(got[2][0], language(ids).last_hidden_state[0, -1])
    assert (got[2][1] - got[2][2]).abs().max() > 1e-2
    torch.testing.assert_close(trunk.features(IDS[::-1], asked[::-1], [1])[1].flip(0), got[1])
    with pytest.raises(DataError, match="'b' has 24 tokens, those of its pictures counted"):
        load_multimodal(config(multimodal, max_length=20)).features(IDS, asked, [1])


def test_what_a_model_does_not_read_is_refused_by_name(tiny, vision, multimodal, prompts):
    with pytest.raises(ModelError, match=r"the example 'b' holds a picture \(!\[\]\(a.png#.{8}\)\), and this model"):
        check_prompts(config(tiny), IDS, ["text", prompts[0], "text"])
    with pytest.raises(DataError, match="the example 'c' is 'text', and a vision model reads one picture"):
        check_prompts(config(vision), IDS, [*prompts[:2], "text"])
    for changes, reason in (({"adapter": "lora"}, "adapter: lora"), ({"pooling": "last"}, "pooling: last")):
        with pytest.raises(ModelError, match=f"{reason}.* of a vision model"):
            check_prompts(config(vision, **changes), IDS, prompts)
    with pytest.raises(ModelError, match="chat: true"):
        check_prompts(config(multimodal, chat=True), IDS, ["text", *prompts[:2]])
    check_prompts(config(multimodal), IDS, ["text", *prompts[:2]])
    with pytest.raises(ModelError, match="n_layers is 9, and the model has 4 layers"):
        load_vision(config(vision, n_layers=9))


def test_a_picture_that_changed_or_is_none_is_refused_before_it_is_read(vision, prompts, tmp_path):
    trunk = load_vision(config(vision))
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    prompt = placed("![](a.png)", tmp_path, "row 1")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"'a': the picture .* has changed since"):
        trunk.features(["a"], [prompt], [4])
    for content, reason in ((whole[:45], "no picture that can be opened"), (b"text", "no picture that can be opened")):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(DataError, match=reason):
            trunk.features(["a"], [placed("![](a.png)", tmp_path, "row 1")], [4])


def test_a_family_that_does_more_after_its_last_layer_is_refused(vision, monkeypatch):
    kind = type(load_vision(config(vision)).model)
    monkeypatch.setattr(kind, "forward", _shifted(kind.forward))
    with pytest.raises(ModelError, match="ViTModel family does something after its last layer"):
        load_vision(config(vision))


def _shifted(forward):
    def run(self, *args, **kwargs):
        output = forward(self, *args, **kwargs)
        output.last_hidden_state = output.last_hidden_state + 1
        return output

    return run
