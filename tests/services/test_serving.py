"""The thread that runs the models of a server, without HTTP: what shares a batch, what is refused, what is lost."""

import queue
import threading

import pytest

from ensemw2s.cli import main
from ensemw2s.config import DecodingConfig, ModelConfig
from ensemw2s.ensemble.words.decode import Row
from ensemw2s.errors import ModelError, RunError
from ensemw2s.export.opened import ENSEMBLE, STUDENT, open_answerers, open_generator
from ensemw2s.models.loading.tokenizer import load_tokenizer
from ensemw2s.prompting import Prompting
from ensemw2s.services.serving.pieces import Pieces
from ensemw2s.services.serving.worker import Job, Limits, Refused, Worker, Written
from tiny_answerers import PROMPT, classes_run, words_run


class Fake:
    """A classifier whose batches wait until they are let go."""

    choices, prompting = ("a", "b"), Prompting()

    def __init__(self):
        self.batches, self.begun, self.go = [], threading.Event(), threading.Event()

    def sizes(self, prompts):
        return [(len(prompt), "") for prompt in prompts]

    def label(self, prompts):
        self.begun.set()
        self.go.wait(10)
        if "broken" in prompts:
            raise ValueError("broken")
        self.batches.append(list(prompts))
        return [{"answer": prompt[::-1]} for prompt in prompts]


@pytest.fixture
def fake():
    return Fake()


def asked(prompts, told):
    def tell(prompt):
        return lambda event: told.put((prompt, event))

    return [Job(prompt, len(prompt), tell(prompt)) for prompt in prompts]


def test_waiting_prompts_of_similar_length_are_read_together_and_each_hears_its_own(fake):
    worker, told = Worker({"m": fake}, Limits(tokens=20)), queue.Queue()
    worker.submit("m", asked(["first"], told))
    assert fake.begun.wait(10)
    prompts = ["x" * 9, "yy", "zzz", "w" * 10, "broken", "v" * 30]
    jobs = asked(prompts, told)
    worker.submit("m", jobs)
    jobs[2].is_dropped = True
    fake.go.set()
    worker.close()
    heard = dict(told.get_nowait() for _ in range(6))
    assert isinstance(heard.pop("broken"), ValueError)
    assert isinstance(heard.pop("yy"), ValueError)
    assert heard == {prompt: {"answer": prompt[::-1]} for prompt in ("first", "x" * 9, "w" * 10, "v" * 30)}
    assert fake.batches == [["first"], ["x" * 9, "w" * 10], ["v" * 30]]


def test_more_than_may_wait_are_refused_and_none_of_them_is_taken(fake):
    worker, told = Worker({"m": fake}, Limits(waiting=3)), queue.Queue()
    worker.submit("m", asked(["first"], told))
    assert fake.begun.wait(10)
    worker.submit("m", asked(["a", "b"], told))
    with pytest.raises(Refused, match="2 prompts wait, of 3 at most") as caught:
        worker.submit("m", asked(["c", "d"], told))
    assert caught.value.status == 429
    with pytest.raises(Refused, match="4 answers in one request"):
        worker.submit("m", asked("wxyz", told))
    worker.submit("m", asked(["e"], told))
    fake.go.set()
    worker.close()
    assert {told.get_nowait()[0] for _ in range(4)} == {"first", "a", "b", "e"}
    with pytest.raises(Refused, match="the server is stopping"):
        worker.submit("m", asked(["f"], told))


def test_an_answer_joins_those_under_way_and_is_the_one_written_alone(tmp_path):
    generator = open_generator(words_run(tmp_path / "run") / ENSEMBLE)
    worker, told = Worker({"m": generator}, Limits(rows=3, tokens=300)), queue.Queue()
    how = DecodingConfig(max_new_tokens=20, stop=())
    prompts = [f"Is {i} above 3{' or so' * (i % 5)}?" for i in range(20)]
    ids = generator.encode(prompts)
    rows = [Row(one, prompt, how) for one, prompt in zip(ids, prompts, strict=True)]
    for place, row in enumerate(rows):
        job = Job(row, len(row.prompt) + 20, lambda event, place=place: told.put((place, event)), place == 4)
        worker.submit("m", [job])
    worker.close()
    heard = [told.get_nowait() for _ in range(told.qsize())]
    offline = generator.write(ids, how, prompts)
    last = dict(heard)
    assert [last[place].ending[0] for place in range(20)] == [answer.text for answer in offline]
    assert len([None for place, _ in heard if place == 4]) == len(offline[4].log_probs)
    assert len(heard) == 19 + len(offline[4].log_probs)


def test_a_folder_gives_what_is_in_it(tmp_path):
    words, classes = words_run(tmp_path / "words"), classes_run(tmp_path / "classes")
    both = open_answerers(words)
    assert list(both) == [STUDENT, ENSEMBLE]
    assert both[ENSEMBLE].prompting == both[STUDENT].prompting == Prompting(PROMPT)
    assert (both[STUDENT].members.n_members, both[ENSEMBLE].members.n_members) == (1, 3)
    assert both[STUDENT].longest == both[ENSEMBLE].longest == 96
    assert open_generator(words).members.n_members == 1
    assert list(open_answerers(classes / STUDENT)) == [STUDENT]
    (found,) = open_answerers(classes / ENSEMBLE).values()
    (label,) = found.label(["Why?"])
    assert (len(label["members"]), label["confidence"]) == (3, max(label["probability"].values()))
    with pytest.raises(ModelError, match="answers by a class"):
        open_generator(classes)
    with pytest.raises(RunError, match="neither a student nor an ensemble"):
        open_answerers(tmp_path)


@pytest.fixture(scope="module")
def letters():
    """A tokenizer of bytes: half of a character is shown as the sign for it."""
    return load_tokenizer(ModelConfig(model="tiny"))


@pytest.mark.parametrize("text", ["plain", "naïve – ün", "stop: here; st", " ", ""])
def test_pieces_add_up_and_hold_back_half_a_character_and_what_may_be_a_stop(letters, text):
    tokens, stops = letters(text)["input_ids"], ["; stop", "here!"]
    pieces = Pieces(letters, stops)
    told, n_tokens = "", 0
    for n in range(len(tokens) + 1):
        is_last = n == len(tokens)
        log_probs = tuple(-float(i) for i in range(n))
        new = pieces.next(Written(tuple(tokens[:n]), log_probs, (), (text, True) if is_last else None))
        assert [token.log_prob for token in new.tokens] == [-float(n_tokens + i) for i in range(len(new.tokens))]
        told, n_tokens = told + new.text, n_tokens + len(new.tokens)
        assert text.startswith(told)
        so_far = letters.decode(tokens[:n]).rstrip("�")
        held = max(k for stop in stops for k in range(len(stop)) if so_far.endswith(stop[:k]))
        assert is_last or told == so_far[: len(so_far) - held]
    assert (told, n_tokens) == (text, len(tokens))


def test_without_the_extra_the_mend_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    monkeypatch.setattr("sys.argv", ["ensemw2s", "serve", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "uvicorn is not installed; install it with: pip install 'ensemw2s[serve]'" in capsys.readouterr().err
