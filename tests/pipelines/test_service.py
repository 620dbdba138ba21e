"""Upstream stages in a tf.data service: the same batches, and an end when the service ends."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from small_studies import tiny

from experiments import command_line, figure3
from experiments.protocol import trial
from experiments.protocol.study import ConfigError, EngineError
from experiments.protocol.training import Training, pipeline_errors
from pipelines import service

POINT = {"learning_rate": 0.1, "momentum": 0.9}


def free_port():
    """Of three in a row that nobody has."""
    for port in range(20_000, 60_000, 7):
        with contextlib.ExitStack() as stack:
            try:
                for each in range(port, port + 3):
                    stack.enter_context(socket.socket()).bind(("", each))
            except OSError:
                continue
            return port
    raise AssertionError


@contextlib.contextmanager
def serving():
    name = f"localhost:{free_port()}"
    command = [sys.executable, "-m", "pipelines.service", f"--address={name}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == f"input service at {name}\n"
            yield name, process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def name():
    with serving() as (name, _):
        yield name


def trained(study):
    measured = []
    result = trial.run(study, 0, 0, POINT, bound_steps=lambda: None, record=measured.append)
    return result.sgd_steps, result.steps_to_target, result.examples_read, measured


VARIANTS = [("baseline", 1, {}), ("batch", 2.5, {"repeated_batch_buffer": 4}), ("example", 2, {})]


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "factor", "changes"), VARIANTS)
@pytest.mark.parametrize("parts", [1, 2])
def test_a_trial_has_the_numbers_that_it_has_without(monkeypatch, name, variant, factor, changes, parts):
    if parts > 1 and factor % 1:
        pytest.skip("a fraction of a part")
    study = tiny(variant, factor, {"input_parts": str(parts)}, **changes)
    alone = trained(study)
    monkeypatch.setenv(service.VARIABLE, name)
    assert trained(study) == alone


@pytest.mark.slow
def test_a_service_that_is_killed_ends_the_trial_in_one_line(monkeypatch):
    study = tiny(overrides={"target": "0.1"}, budget_steps=100_000)
    with serving() as (name, process):
        monkeypatch.setenv(service.VARIABLE, name)
        monkeypatch.setattr(service, "SIGN_SECONDS", 0.5)
        threading.Timer(5, process.kill).start()
        started = time.monotonic()
        words = f"the input service at {name} has ended; finished trials"
        with pytest.raises(EngineError, match=words), pipeline_errors(study):
            trained(study)
    assert time.monotonic() - started < 30


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_ends_when_it_is_told_to(number):
    with serving() as (_, process):
        process.send_signal(number)
        assert process.wait(60) == 0  # TensorFlow takes its time where tests run beside it


def test_a_silent_service_is_lost(monkeypatch):
    monkeypatch.setattr(service, "SILENT_SECONDS", 0.1)
    with socket.create_server(("localhost", 0)) as server:
        accepted = []

        def answer():
            accepted.append(server.accept()[0])
            accepted[0].sendall(service.GREETING)

        threading.Thread(target=answer, daemon=True).start()
        line = service.Line(f"localhost:{server.getsockname()[1]}")
        line.check()
        time.sleep(0.2)
        with pytest.raises(service.ServiceLost, match="has been silent for 0 s"):
            line.check()
        accepted[0].close()


def test_a_stranger_is_not_taken_for_a_service():
    with socket.create_server(("localhost", 0)) as server:

        def answer():
            connection, _ = server.accept()
            connection.sendall(b"SSH-2.0-OpenSSH_9.6 and more of its words\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(service.ServiceLost, match="is no input service"):
            service.Line(f"localhost:{server.getsockname()[1]}")


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":5050", "host:0", "host:65534", "host:x", "a:5050,b", "a:5050,"]
)
def test_a_name_that_is_none_is_one_line(capsys, text):
    with pytest.raises(SystemExit) as exit:
        command_line.main(figure3.EXPERIMENT, ["--scale=smoke", f"--data-service={text}"])
    assert exit.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_nobody_there_is_said_before_anything_runs(capsys, tmp_path):
    command = ["--scale=smoke", f"--data-service=localhost:{free_port()}", "--engine=inline", f"--runs={tmp_path}"]
    assert command_line.main(figure3.EXPERIMENT, command) == 1
    assert "no input service answers" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_more_services_than_parts_are_refused(monkeypatch):
    monkeypatch.setenv(service.VARIABLE, "a:5050,b:5050")
    with pytest.raises(ConfigError, match=r"2 input services share out the parts of the input"):
        Training(tiny())


@pytest.mark.slow
def test_a_port_that_is_taken_is_one_line():
    with serving() as (name, _):
        command = [sys.executable, "-m", "pipelines.service", f"--address={name}"]
        second = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ)
    assert second.returncode == 1
    assert second.stderr.splitlines()[-1].startswith("error: ports")
    assert "Traceback" not in second.stderr
