"""Upstream stages on other machines: a tf.data service, and the datasets that run there.

    python -m pipelines.service --address=HOST:5050        on a machine that reads, decodes and augments; until stopped

Figures' commands use it with --data-service=HOST:5050. HOST is how trainers reach the machine. It listens on the port
given, where it shows that it lives, and on the next two, those of a dispatcher and its one worker. One worker gives a
dataset's items in their order, so batches are the same as without a service; several services share out the parts of
the input. Files are read there, under the same paths, and sources that run Python of this process (`slow`, `remote`)
cannot be. It runs whatever a client sends it, without asking who that is: docs/security.md.
"""

import contextlib
import os
import queue
import signal
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from pipelines.command_line import Parser

GREETING = b"data-echoing input service\n"
SIGN_SECONDS = 5.0
SILENT_SECONDS = 60.0
"""A service that shows no sign of life for so long is lost."""
KEPT_MILLISECONDS = 30_000
"""How long a service keeps a dataset, and what its buffers hold, that nobody reads any more."""
VARIABLE = "DATA_ECHOING_SERVICES"
"""Environment variable of a process that trains: the services it uses, separated by commas."""


class ServiceLost(ConnectionError):
    """An input service cannot be reached, or has ended while it was needed; the message says which."""


def named() -> tuple[str, ...]:
    """The services that this process uses."""
    return tuple(filter(None, os.environ.get(VARIABLE, "").split(",")))


def use(names: str | None) -> None:
    """Has this process, and those that it starts, use these services, separated by commas.

    Raises:
      ServiceLost: one of them does not answer.
    """
    if names is not None:
        for name in names.split(","):
            Line(name).close()
        os.environ[VARIABLE] = names


def address(text: str) -> tuple[str, int]:
    """Host and port; of the ports above it two more are taken.

    Raises:
      ValueError: it is no HOST:PORT.
    """
    host, _, port = text.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) <= 65_533):
        raise ValueError(f"an input service is named HOST:PORT, PORT 1 to 65533, got {text!r}")
    return host, int(port)


class Line:
    """A connection to a service that shows whether it lives; closed with the process."""

    def __init__(self, name: str) -> None:
        """Connects.

        Raises:
          ServiceLost: nobody answers, or something else.
        """
        self.name = name
        try:
            self._socket = socket.create_connection(address(name), timeout=10)
            heard = b""
            while len(heard) < len(GREETING) and (more := self._socket.recv(len(GREETING) - len(heard))):
                heard += more
        except OSError as error:
            raise ServiceLost(
                f"no input service answers at {name} ({error}); is `python -m pipelines.service` running there?"
            ) from None
        if heard != GREETING:
            raise ServiceLost(f"what answers at {name} is no input service; `python -m pipelines.service` starts one")
        self._socket.setblocking(False)
        self._heard = time.monotonic()

    def check(self) -> None:
        """Does nothing while the service lives.

        Raises:
          ServiceLost: it has ended, or has been silent for SILENT_SECONDS.
        """
        ended = False
        try:
            while not ended:
                ended = not self._socket.recv(4096)
                self._heard = time.monotonic()
        except BlockingIOError:
            pass
        except OSError:
            ended = True
        if ended:
            raise ServiceLost(f"the input service at {self.name} has ended")
        silent = time.monotonic() - self._heard
        if silent > SILENT_SECONDS:
            raise ServiceLost(f"the input service at {self.name} has been silent for {silent:.0f} s")

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()


def elsewhere(items: Any, name: str, together: int = 1) -> Any:
    """A dataset with the same items in the same order, made by the service of that name.

    So many items travel together, if they have one shape.
    """
    import tensorflow as tf

    from pipelines.echoing.tfdata.datasets import as_set
    from pipelines.echoing.tfdata.echo import has_fixed_shapes

    host, port = address(name)
    service = tf.data.experimental.service
    moved = service.distribute(service.ShardingPolicy.OFF, f"grpc://{host}:{port + 1}", compression=None)
    if together > 1 and has_fixed_shapes(items):
        return as_set(items.batch(together)).apply(moved).unbatch()
    return as_set(items).apply(moved)


def watched(items: Iterator[Any], names: Sequence[str]) -> Iterator[Any]:
    """The same items; waiting for one ends with the service that it waits for, which TensorFlow would outwait.

    Raises:
      ServiceLost: a service cannot be reached, has ended or is silent.
    """
    lines = [Line(name) for name in names]
    wanted: queue.SimpleQueue[bool] = queue.SimpleQueue()
    made: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def make() -> None:
        while wanted.get():
            try:
                made.put((True, next(items)))
            except BaseException as error:
                made.put((False, error))

    threading.Thread(target=make, daemon=True).start()
    try:
        while True:
            wanted.put(True)
            there, item = _awaited(made, lines)
            if isinstance(item, StopIteration):
                return
            if not there:
                raise item
            yield item
    finally:
        wanted.put(False)
        for line in lines:
            line.close()


def _awaited(made: "queue.SimpleQueue[Any]", lines: Sequence[Line]) -> Any:
    while True:
        with contextlib.suppress(queue.Empty):
            return made.get(timeout=SIGN_SECONDS)
        for line in lines:
            line.check()


class _Lifeline(socketserver.ThreadingTCPServer):
    """Greets whoever connects, then shows every SIGN_SECONDS that this process lives."""

    daemon_threads = allow_reuse_address = True


class _Signs(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        try:
            self.request.sendall(GREETING)
            while True:
                time.sleep(SIGN_SECONDS)
                self.request.sendall(b".")
        except OSError:
            return


def serve(name: str) -> list[Any]:
    """Starts a service in this process; it lives as long as what is returned.

    Raises:
      ServiceLost: one of its ports is taken.
    """
    import tensorflow as tf

    host, port = address(name)
    service = tf.data.experimental.service
    try:
        lifeline = _Lifeline(("", port), _Signs)
        dispatcher = service.DispatchServer(
            service.DispatcherConfig(
                port=port + 1, job_gc_check_interval_ms=KEPT_MILLISECONDS // 3, job_gc_timeout_ms=KEPT_MILLISECONDS
            )
        )
        worker = service.WorkerServer(
            service.WorkerConfig(
                dispatcher_address=f"localhost:{port + 1}", worker_address=f"{host}:{port + 2}", port=port + 2
            )
        )
    except (OSError, tf.errors.OpError) as error:
        raise ServiceLost(f"ports {port} to {port + 2} are wanted for an input service: {error}") from None
    threading.Thread(target=lifeline.serve_forever, daemon=True).start()
    return [lifeline, dispatcher, worker]


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = Parser(__doc__)
    parser.add_argument("--address", metavar="HOST:PORT", required=True, help="how trainers reach this machine")
    flags = parser.parse_args(argv)
    try:
        address(flags.address)
    except ValueError as error:
        parser.error(str(error))
    # Devices are the trainer's; the rest is for TensorFlow to be quiet.
    os.environ.update({"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"})
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        kept = serve(flags.address)
    except ServiceLost as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"input service at {flags.address}", flush=True)
    stopped.wait()
    del kept
    os._exit(0)  # its servers would wait for clients that are gone


if __name__ == "__main__":
    sys.exit(main())
