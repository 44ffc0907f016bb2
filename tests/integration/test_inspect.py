"""inspect_ai on a run's models: for one member equal to inspect's own `hf` provider, sample by sample."""

import asyncio
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from ensemw2s.errors import ConfigError
from ensemw2s.export.opened import open_generator
from tiny_answerers import PROMPT, questions, words_run

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore")]
N_ITEMS = 20
AS_A_CHAT = PROMPT.replace("{{ q }}", "{{ messages[0]['content'] }}")


@pytest.fixture(scope="module", autouse=True)
def registered():
    import_module("ensemw2s.services.serving.inspect_registry")


def evaluated(folder, model, **arguments):
    """Each sample's answer and score."""
    import inspect_ai
    from inspect_ai.dataset import Sample
    from inspect_ai.scorer import includes

    dataset = [Sample(input=text, target="I", id=number) for number, text in enumerate(questions(N_ITEMS))]
    task = inspect_ai.Task(dataset=dataset, scorer=includes())
    (log,) = inspect_ai.eval(
        task, model=model, model_args=arguments, log_dir=str(folder), display="none", max_tokens=12
    )
    assert log.status == "success", log.error
    answers = [sample.output.completion for sample in sorted(log.samples, key=lambda sample: sample.id)]
    return answers, log.results.scores[0].metrics["accuracy"].value


@pytest.mark.parametrize("part", ["student", "ensemble"])
def test_one_member_gets_what_inspect_gives_the_plain_model(tmp_path, part):
    run = words_run(tmp_path / "run", n_experts=1, stop=())
    theirs, their_accuracy = evaluated(
        tmp_path / "logs",
        "hf/student",
        model_path=str(run / "student"),
        device="cpu",
        do_sample=False,
        chat_template=AS_A_CHAT,
        dtype="float32",
    )
    ours, accuracy = evaluated(tmp_path / "logs", f"ensemw2s/{run / part}")
    assert [text.strip() for text in ours] == [text.strip() for text in theirs]
    assert len(set(ours)) > N_ITEMS // 2
    assert accuracy == their_accuracy


def test_an_ensemble_answers_as_it_does_offline_and_its_log_probabilities_are_the_votes(tmp_path):
    from inspect_ai.model import GenerateConfig, get_model

    run = words_run(tmp_path / "run")
    generator = open_generator(run / "ensemble")
    prompts = [PROMPT.replace("{{ q }}", text) for text in questions(6)]
    offline = generator.write(generator.encode(prompts), generator.decoding, prompts)

    async def asked():
        async with get_model(f"ensemw2s/{run / 'ensemble'}") as model:
            config = GenerateConfig(logprobs=True, top_logprobs=2)
            found = await asyncio.gather(*(model.generate(text, config=config) for text in questions(6)))
            with pytest.raises(ConfigError, match="top_k: not supported"):
                await model.generate("Why?", config=GenerateConfig(top_k=3))
            return found

    for output, expected in zip(asyncio.run(asked()), offline, strict=True):
        assert output.completion == expected.text.lstrip()
        assert output.stop_reason == ("stop" if expected.is_finished else "max_tokens")
        assert output.usage.output_tokens == len(expected.log_probs)
        found = [token.logprob for token in output.choices[0].logprobs.content]
        assert found == pytest.approx(list(expected.log_probs[: len(found)]), abs=1e-4)
        assert {len(token.top_logprobs) for token in output.choices[0].logprobs.content} <= {2}


def test_the_entry_point_registers_the_provider():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    module = import_module(project["entry-points"]["inspect_ai"]["ensemw2s"])
    assert callable(module.ensemw2s)
