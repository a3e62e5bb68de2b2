"""A teacher's server on a real socket: good, useless, or failing in every way that real ones do."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = (
    "429", "500", "503", "hang", "drip", "cut", "cut-chunks", "no-json", "half-json", "html", "list", "no-choices",
    "null-choices", "no-message", "null-content", "deep", "huge", "reset",
)  # fmt: skip
_WORDS = (
    "apple bridge candle dragon engine forest garden harbour island jacket kettle lantern marble needle "
    "orchard pepper quarry ribbon saddle tunnel umbrella valley window yellow zebra anchor basket copper "
    "daisy ember falcon glacier hammer ivory jungle kitten ladder meadow nickel oyster pillow quiver "
    "rocket silver timber velvet walnut barrel "
)
WORDS = _WORDS.split()


@dataclass
class Seen:
    """One request as the server saw it."""

    at: float
    body: dict[str, Any]
    headers: dict[str, str]
    answered: bool = False

    @property
    def step(self) -> str:
        messages = self.body["messages"]
        if len(messages) > 2:
            return "check"
        return "write" if "brand-new" in messages[1]["content"] else "solve"

    @property
    def text(self) -> str:
        return json.dumps(self.body, sort_keys=True)


Teacher = Callable[[Seen], str]
Fault = Callable[[int, Seen], str | None]


class GoodTeacher:
    """Writes sums about random things and solves them; solves seeds with given answers.

    Of the problems that it writes, each ``puzzling``-th gets another answer whenever it is solved; by count and not by
    chance, because requests come in any order.
    """

    def __init__(self, answers: dict[str, str] | None = None, right: float = 1.0, puzzling: int = 0) -> None:
        self.answers, self.right, self.puzzling = dict(answers or {}), right, puzzling
        self.written: list[str] = []
        self.random = random.Random(0)
        self.lock = threading.Lock()

    def __call__(self, seen: Seen) -> str:
        content = seen.body["messages"][-1]["content"]
        with self.lock:
            if seen.step == "write":
                a, b = self.random.randrange(2, 90), self.random.randrange(2, 90)
                about = " ".join(self.random.sample(WORDS, 9))
                question = f"{about} {a} plus {b} is how many?"
                self.answers[question] = str(a + b)
                self.written.append(question)
                return f"Here it is.\n<problem>\n{question}\n</problem>"
            if seen.step == "check":
                return "<verdict>SOUND</verdict>\n" + seen.body["messages"][2]["content"]
            question = re.findall(r"<problem>\n(.*?)\n</problem>", content, re.DOTALL)[-1]
            answer = self.answers[question]
            if self.random.random() >= self.right or self._is_puzzling(question):
                answer = str(self.random.randrange(10**6, 10**7))
        return f"First I add the numbers.\nThat makes {answer}.\n#### {answer}"

    def _is_puzzling(self, question: str) -> bool:
        return bool(self.puzzling) and question in self.written[self.puzzling - 1 :: self.puzzling]


def rubbish(seen: Seen) -> str:
    return "I like trains. " * 5


@dataclass
class TeacherServer:
    teacher: Teacher
    fault: Fault = lambda number, seen: None
    status: tuple[int, str] | None = None
    usage: bool = True
    seen: list[Seen] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""
    most_at_once: int = 0

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.now = 0

    def answered(self) -> Counter[str]:
        """Completed answers by request body."""
        return Counter(one.text for one in self.seen if one.answered)


@contextmanager
def serving(server: TeacherServer) -> Iterator[TeacherServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            seen = Seen(time.monotonic(), body, {k.lower(): v for k, v in self.headers.items()})
            with server.lock:
                number = len(server.seen)
                server.seen.append(seen)
                server.now += 1
                server.most_at_once = max(server.most_at_once, server.now)
            try:
                self.answer(number, seen)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
            finally:
                with server.lock:
                    server.now -= 1

        def answer(self, number: int, seen: Seen) -> None:
            if server.status is not None:
                self.send(server.status[0], server.status[1].encode())
                return
            fault = server.fault(number, seen)
            if fault is not None:
                self.fail(fault, seen)
                return
            self.send(200, body_of(server.teacher(seen), server.usage), seen=seen)

        def send(self, status: int, content: bytes, seen: Seen | None = None, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if seen is not None:
                seen.answered = True
            self.wfile.write(content)

        def fail(self, fault: str, seen: Seen) -> None:
            name, _, argument = fault.partition(":")
            whole = body_of("cut", True)
            bodies = {
                "no-json": b"<oops>", "half-json": whole[:-20], "list": b"[]", "no-choices": b'{"choices": []}',
                "null-choices": b'{"choices": null}', "no-message": b'{"choices": [{}]}', "deep": b"[" * 100_000,
                "null-content": b'{"choices": [{"message": {"content": null}, "finish_reason": "stop"}]}',
            }  # fmt: skip
            if name in bodies:
                self.send(200, bodies[name])
            elif name == "429":
                self.send(429, b'{"error": "slow down"}', Retry_After=argument or "0")
            elif name in ("400", "500", "503"):
                self.send(int(name), b"\xff\xfe no text at all")
            elif name == "html":
                self.send(200, b"<html>Log in first</html>", Content_Type="text/html")
            elif name == "reset":
                self.close_connection = True
            elif name == "hang":
                server.released.wait(60)
                self.close_connection = True
            else:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header(
                    *(("Transfer-Encoding", "chunked") if name == "cut-chunks" else ("Content-Length", "99999999"))
                )
                self.end_headers()
                self.close_connection = True
                if name == "cut-chunks":
                    self.wfile.write(b"20\r\n" + whole[:32] + b"\r\n")
                elif name == "cut":
                    self.wfile.write(whole[:40])
                elif name == "drip":
                    while not server.released.wait(0.05):
                        self.wfile.write(b" ")
                elif name == "huge":
                    for _ in range(40):
                        self.wfile.write(b" " * 2**20)

        def log_message(self, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

    http = Server(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        http.shutdown()
        http.server_close()
        thread.join()


def body_of(text: str, usage: bool = True, finish: str = "stop") -> bytes:
    found: dict[str, Any] = {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}]
    }
    if usage:
        found["usage"] = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
    return json.dumps(found).encode()
