"""Labels as TRL reads them: it takes them for prompts and completions, and learns the completions alone."""

import json
import sys

import pytest

from ensemw2s.cli import main
from ensemw2s.models.loading.tiny import make_tiny
from ensemw2s.prompting import FILE
from ensemw2s.services.labelling.trl import trl_row
from tiny_answerers import words_run
from tiny_run import comparison_rows, write_jsonl

pytestmark = pytest.mark.integration
ROWS = [*comparison_rows(5), {"id": "late", "q": None}]


@pytest.fixture
def labelled(tmp_path, monkeypatch):
    """Calls `ensemw2s label --format trl` with the ensemble of a run: its rows as `datasets` loads them."""
    from datasets import load_dataset

    source = write_jsonl(tmp_path / "in.jsonl", ROWS)

    def call(run, name):
        output = tmp_path / name
        arguments = ["label", "--ensemble", run, "--input", source, "--id", "id", "--output", output, "--format", "trl"]
        monkeypatch.setattr(sys, "argv", ["ensemw2s", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        assert not caught.value.code
        kind = {".jsonl": "json", ".parquet": "parquet"}[output.suffix]
        return load_dataset(kind, data_files=str(output), cache_dir=str(tmp_path / "datasets"), split="train")

    return call


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_trl_takes_the_labels_for_prompts_and_completions(suffix, labelled, tmp_path):
    data_utils = pytest.importorskip("trl.data_utils")
    run = words_run(tmp_path / "run")
    plain = labelled(run, f"plain{suffix}")
    assert plain.column_names == ["prompt", "completion", "id", "confidence", "agreement"]
    assert plain["id"][:] == [row["id"] for row in ROWS[:-1]]  # one had no question
    assert not data_utils.is_conversational(plain[0])
    assert plain[0]["prompt"] == f"Question: {ROWS[0]['q']}\nAnswer:"
    assert plain[0]["completion"].startswith(" ")
    (run / "student" / FILE).write_text(json.dumps({"template": "{{ q }}", "chat": True}))
    chat = labelled(run, f"chat{suffix}")
    assert data_utils.is_conversational(chat[0])
    assert [turn["role"] for turn in (*chat[0]["prompt"], *chat[0]["completion"])] == ["user", "assistant"]
    assert [row["completion"][0]["content"] for row in chat] == [text.removeprefix(" ") for text in plain["completion"]]


@pytest.mark.parametrize("chat", [False, True], ids=["standard", "conversational"])
def test_the_sft_trainer_learns_the_completions(chat, tmp_path):
    trl = pytest.importorskip("trl")
    from datasets import Dataset
    from transformers import AutoTokenizer

    folder = make_tiny(tmp_path / "tiny")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    tokenizer.chat_template += "{% if add_generation_prompt %}<assistant>{% endif %}"
    said = {"confidence": 0.9, "agreement": 1.0}
    labels = [
        {"id": f"q{i}", "filled_prompt": f"Is {i} above 3?", "answer": answer, **said}
        for i, answer in enumerate(["no", "yes", "yes"])
    ]
    rows = [trl_row(label, chat=chat) for label in labels]
    settings = trl.SFTConfig(
        output_dir=str(tmp_path / "out"),
        max_steps=1,
        per_device_train_batch_size=3,
        report_to=[],
        use_cpu=True,
        bf16=False,
        save_strategy="no",
        gradient_checkpointing=False,
    )
    trainer = trl.SFTTrainer(
        model=str(folder), args=settings, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
    )
    batch = next(iter(trainer.get_train_dataloader()))
    learned = {
        tokenizer.decode([int(t) for t in labels[labels >= 0]], skip_special_tokens=True).strip()
        for labels in batch["labels"]
    }
    assert learned == {"no", "yes"}
    assert trainer.train().global_step == 1
