"""A run's models over HTTP, asked by OpenAI's own client: equal to what is written offline, and refused by name."""

import contextlib
import copy
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from ensemw2s.export.opened import open_answerers
from ensemw2s.services.serving.worker import Limits
from tiny_answerers import CHOICES, DECODING, classes_run, questions, words_run

pytestmark = pytest.mark.integration
SERVER = [sys.executable, "-m", "ensemw2s", "serve"]


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return open_answerers(words_run(tmp_path_factory.mktemp("words") / "run"))


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    return open_answerers(classes_run(tmp_path_factory.mktemp("classes") / "run"))


@contextlib.contextmanager
def serving(models, *, timeout=60.0, api_key=None, **limits):
    """A client of a server in a thread of this process."""
    import openai
    import uvicorn

    from ensemw2s.services.serving.app import make_app
    from ensemw2s.services.serving.server import Address, listening

    server = uvicorn.Server(
        uvicorn.Config(make_app(models, Limits(**limits), timeout=timeout, api_key=api_key), log_level="error")
    )
    with listening(Address(port=0)) as listener:
        listener.listen(128)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        with openai.OpenAI(base_url=url, api_key=api_key or "none", max_retries=0, timeout=60) as client:
            yield client
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def client(words, classes):
    models = words | {f"class-{name}": model for name, model in classes.items()}
    with serving(models) as client:
        yield client


def prompts_of(texts):
    return [f"Question: {text}\nAnswer:" for text in texts]


@pytest.mark.parametrize("model", ["student", "ensemble"])
def test_many_clients_get_what_is_written_offline_whatever_they_share_a_batch_with(client, words, model):
    asked = questions(40)
    prompts = prompts_of(asked)
    offline = words[model].write(words[model].encode(prompts), DECODING, prompts)

    def ask(place):
        if place % 2:
            return client.completions.create(model=model, prompt=prompts[place], logprobs=0).choices[0]
        messages = [{"role": "user", "content": asked[place]}]
        return client.chat.completions.create(model=model, messages=messages, logprobs=True).choices[0]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(40)))
    assert len({answer.text for answer in offline}) > 20
    for place, (answer, expected) in enumerate(zip(answers, offline, strict=True)):
        assert answer.finish_reason == ("stop" if expected.is_finished else "length")
        text = answer.text if place % 2 else answer.message.content
        assert text == (expected.text if place % 2 else expected.text.lstrip())
        if place % 2:
            found, pieces = answer.logprobs.token_logprobs, answer.logprobs.tokens
        else:
            content = answer.logprobs.content
            found, pieces = [token.logprob for token in content], [token.token for token in content]
        assert found == pytest.approx(list(expected.log_probs)[: len(found)], abs=1e-4)
        assert "".join(pieces) in (expected.text, expected.text.rstrip("�"))


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.0, "top_p": 0.9, "seed": 3, "n": 3}, {"stop": [";;"]}])
def test_a_stream_adds_up_to_the_whole_answer(client, settings):
    asked = {"model": "ensemble", "prompt": prompts_of(questions(5)), "max_tokens": 30, "logprobs": 2} | settings
    whole = client.completions.create(**asked)
    n = len(whole.choices)
    assert n == 5 * settings.get("n", 1)
    texts, tokens, log_probs, reasons = [""] * n, [[] for _ in range(n)], [[] for _ in range(n)], [None] * n
    n_events, usage = 0, None
    for event in client.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        usage = event.usage or usage
        for choice in event.choices:
            n_events += 1
            texts[choice.index] += choice.text
            tokens[choice.index] += choice.logprobs.tokens
            log_probs[choice.index] += choice.logprobs.token_logprobs
            reasons[choice.index] = choice.finish_reason
    assert n_events > 3 * n
    assert texts == [choice.text for choice in whole.choices]
    assert reasons == [choice.finish_reason for choice in whole.choices]
    assert tokens == [choice.logprobs.tokens for choice in whole.choices]
    for found, choice in zip(log_probs, whole.choices, strict=True):
        assert found == pytest.approx(choice.logprobs.token_logprobs, abs=1e-4)
        assert all(len(step) <= 2 for step in choice.logprobs.top_logprobs)
    assert usage == whole.usage
    if "stop" in settings:
        assert "stop" in reasons
        assert not any(";;" in text for text in texts)
    if "n" in settings:
        assert len(set(texts)) > 5
    chat = {"model": "ensemble", "messages": [{"role": "user", "content": questions(3)[2]}]}
    told = list(client.chat.completions.create(**chat, stream=True))
    assert told[0].choices[0].delta.role == "assistant"
    message = client.chat.completions.create(**chat).choices[0].message.content
    assert "".join(event.choices[0].delta.content for event in told) == message


def test_a_class_comes_with_the_votes_behind_it(client, classes):
    asked = questions(20)
    prompts = prompts_of(asked)
    assert {model.id for model in client.models.list()} == {"student", "ensemble", "class-student", "class-ensemble"}
    assert client.models.retrieve("class-student").choices == list(CHOICES)
    for model in ("student", "ensemble"):
        rows = [{"q": text, "other": 1} if place % 2 else text for place, text in enumerate(asked)]
        body = {"model": f"class-{model}", "input": [row for row in rows if isinstance(row, str)]}
        found = client.post("/classify", body=body, cast_to=object)["data"]
        body["input"] = [row for row in rows if isinstance(row, dict)]
        found += client.post("/classify", body=body, cast_to=object)["data"]
        expected = classes[model].label(prompts[::2] + prompts[1::2])
        for one, other in zip(found, expected, strict=True):
            assert (one["answer"], one["members"]) == (other["answer"], other["members"])
            assert one["agreement"] == pytest.approx(other["agreement"])
            assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-5)
            assert max(one["probability"].values()) == one["confidence"]
        if model == "ensemble":
            assert {len(one["members"]) for one in found} == {3}
            assert len({one["agreement"] for one in found}) > 1


@pytest.mark.parametrize(
    ("asked", "status", "reason"),
    [
        ({"model": "boss"}, 404, "there is no 'boss'; there is student, ensemble"),
        ({"model": "class-student"}, 400, "ask it at /v1/classify"),
        ({"prompt": ""}, 400, "1 to 84"),
        ({"prompt": []}, 400, "it is empty"),
        ({"prompt": "x" * 90}, 400, "has 90 tokens, and with 12 for the answer the models read 1 to 84"),
        ({"prompt": [9999]}, 400, "embeddings of 0 to 257 alone"),
        ({"prompt": ["x"] * 20}, 400, "20 answers in one request, and 16 may wait"),
        ({"presence_penalty": 1.0}, 400, "presence_penalty: Input should be less than or equal to 0"),
        ({"extra_body": {"logit_bais": {}}}, 400, "logit_bais: Extra inputs are not permitted"),
        ({"temperature": -1.0}, 400, "temperature"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_name(strict_client, asked, status, reason):
    import openai

    with pytest.raises(openai.APIStatusError) as caught:
        strict_client.completions.create(**({"model": "ensemble", "prompt": "Why?"} | asked))
    assert caught.value.status_code == status
    assert reason in caught.value.body["message"]


@pytest.fixture(scope="module")
def strict_client(words, classes):
    with serving(words | {"class-student": classes["student"]}, waiting=16, api_key="secret") as client:
        yield client


def test_nobody_without_the_key_is_let_in(strict_client):
    import openai

    for key in ("wrong", "secret2", "s"):
        with pytest.raises(openai.AuthenticationError, match="API key is missing or wrong"):
            strict_client.with_options(api_key=key).models.list()
    assert strict_client.completions.create(model="student", prompt="Why?").choices


def test_a_conversation_that_nobody_was_trained_on_is_refused(client):
    import openai

    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    with pytest.raises(openai.BadRequestError, match="trained on single questions"):
        client.chat.completions.create(model="student", messages=turns)


class Slow:
    """A generator whose every step takes a while."""

    def __init__(self, generator, seconds):
        self.members, self.n_reads = copy.copy(generator.members), 0
        self.generator = replace(generator, members=self.members)
        read = generator.members.read

        def slowly(*arguments):
            self.n_reads += 1
            time.sleep(seconds)
            return read(*arguments)

        self.members.read = slowly


def test_a_full_queue_refuses_and_loses_nothing(words):
    import openai

    slow = Slow(words["student"], 0.02)
    with serving({"student": slow.generator}, waiting=4, rows=2) as client:

        def ask(place):
            try:
                return client.completions.create(model="student", prompt=prompts_of(questions(24))[place])
            except openai.RateLimitError as error:
                return error

        with ThreadPoolExecutor(24) as pool:
            found = list(pool.map(ask, range(24)))
        refused = [one for one in found if isinstance(one, openai.RateLimitError)]
        assert 0 < len(refused) < 24
        assert refused[0].response.headers["retry-after"] == "1"
        assert "prompts wait, of 4 at most" in refused[0].body["message"]
        offline = words["student"].write(
            words["student"].encode(prompts_of(questions(24))), DECODING, prompts_of(questions(24))
        )
        for one, expected in zip(found, offline, strict=True):
            assert one in refused or one.choices[0].text == expected.text


def test_a_request_that_takes_too_long_is_given_up_and_its_place_is_free(words):
    import openai

    slow = Slow(words["student"], 0.05)
    with serving({"student": slow.generator}, rows=1, timeout=0.3) as client:
        asked = {"model": "student", "prompt": "Why?", "max_tokens": 80, "stop": ["never"], "temperature": 3.0}
        with pytest.raises(openai.APIStatusError) as caught:
            client.completions.create(**asked)
        assert (caught.value.status_code, "no answer within 0.3 seconds" in caught.value.body["message"]) == (504, True)
        with pytest.raises(openai.APIError, match="no answer within"):
            list(client.completions.create(**asked, stream=True))
        time.sleep(0.2)
        n_reads = slow.n_reads
        time.sleep(0.3)
        assert slow.n_reads == n_reads
        assert client.completions.create(model="student", prompt="Why?", max_tokens=2).choices


def test_a_client_that_goes_away_is_no_longer_worked_for(words):
    slow = Slow(words["student"], 0.05)
    with serving({"student": slow.generator}, rows=1) as client:
        asked = {"model": "student", "prompt": "Why?", "max_tokens": 80, "stop": ["never"], "temperature": 3.0}
        with client.completions.create(**asked, stream=True) as stream:
            next(iter(stream))
        time.sleep(0.3)
        n_reads = slow.n_reads
        time.sleep(0.3)
        assert slow.n_reads == n_reads < 40


def test_a_model_that_fails_says_so_and_the_next_request_is_answered(words):
    import openai

    slow = Slow(words["student"], 0.0)
    with serving({"student": slow.generator}) as client:
        plain = slow.members.read

        def broken(*arguments):
            raise RuntimeError("out of luck")

        slow.members.read = broken
        with pytest.raises(openai.InternalServerError, match=r"the model failed \(RuntimeError\)"):
            client.completions.create(model="student", prompt="Why?")
        slow.members.read = plain
        assert client.completions.create(model="student", prompt="Why?").choices


def test_a_signal_lets_answers_under_way_be_finished(tmp_path):
    import openai

    run = words_run(tmp_path / "run", max_new_tokens=60, stop=())
    environment = os.environ | {"ENSEMW2S_API_KEY": "k"}
    arguments = [*SERVER, str(run), "--port", "0"]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as server:
        line = server.stdout.readline()
        assert line.startswith(f"Serving student and ensemble of {run}: http://127.0.0.1:")
        client = openai.OpenAI(base_url=line.split()[-1], api_key="k", max_retries=0)
        stream = client.completions.create(
            model="ensemble", prompt="Why?", stream=True, temperature=2.0, stop=["never"]
        )
        events = iter(stream)
        first = next(events)
        server.send_signal(signal.SIGTERM)
        rest = list(events)
        _, errors = server.communicate()
    assert first.choices[0].finish_reason is None
    assert rest[-1].choices[0].finish_reason in ("stop", "length")
    assert server.returncode == 143
    assert "Traceback" not in errors
    assert "Stopped; nothing is left half done" in errors


def test_an_address_that_is_taken_is_refused_before_anything_is_loaded(tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = subprocess.run([*SERVER, str(tmp_path), "--port", str(port)], capture_output=True, text=True)
    assert done.returncode == 2
    assert f"--port {port}: cannot listen there (Address already in use)" in done.stderr
    done = subprocess.run([*SERVER, str(tmp_path), "--host", "0.0.0.0", "--port", "0"], capture_output=True, text=True)
    assert done.returncode == 5
    assert "whoever reaches 0.0.0.0 can ask" in done.stderr
    assert "neither a student nor an ensemble is there" in done.stderr
