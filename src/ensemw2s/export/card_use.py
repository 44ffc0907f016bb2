"""What a model card says of how its folder is used."""

PLACE = "`PLACE` is this folder, or its name on the hub."
BY_LIBRARY = """\
transformers loads it, too:

    from transformers import {auto}, AutoTokenizer
    model, tokenizer = {auto}.from_pretrained("PLACE"), AutoTokenizer.from_pretrained("PLACE")"""
BY_ARRAY = """\
An array of them, a row for each example, is answered in Python:

    from ensemw2s import Student
    answers = Student.load("PLACE").predict(vectors)"""
VECTORS = (
    "It reads vectors and not what they were made of. `new.safetensors` holds those of the rows by their ids, made by "
    "the encoder that it was trained on."
)
BY_ID = " --id id --features new.safetensors"


def student_use(*, is_generation: bool, by_library: bool, is_on_vectors: bool) -> list[str]:
    """How a student is asked.

    Args:
        by_library: whether transformers loads the folder by itself.
    """
    asked = "    ensemw2s predict PLACE --input questions.jsonl --output answers.jsonl"
    if is_on_vectors:
        return [PLACE, asked + BY_ID, VECTORS, BY_ARRAY]
    auto = "AutoModelForCausalLM" if is_generation else "AutoModelForSequenceClassification"
    by_itself = [BY_LIBRARY.format(auto=auto)] if by_library else []
    return [PLACE, asked, *by_itself, "Prompts are made as prompting.json says."]


def ensemble_use(*, is_on_vectors: bool) -> list[str]:
    """How an ensemble labels."""
    asked = "    ensemw2s label --ensemble PLACE --input questions.jsonl --output labels"
    return [PLACE, asked + BY_ID, VECTORS] if is_on_vectors else [PLACE, asked]
