"""One headless Chromium, driven over its DevTools protocol: pages are visited one after the other."""

import contextlib
import itertools
import json
import re
import shutil
import subprocess
import threading
import time

import process

OPTIONS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--remote-debugging-port=0",
]  # fmt: skip


def browser():
    """The path of a Chromium, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


@contextlib.contextmanager
def chromium(profile):
    """A `Page` of a new browser with an empty profile."""
    import websocket

    command = [browser(), *OPTIONS, f"--user-data-dir={profile}"]
    with process.started(command, stdout=subprocess.DEVNULL) as started:
        limit = threading.Timer(process.LIMIT, process.kill_group, (started,))
        limit.start()
        try:
            address = next(
                found[1] for line in started.stderr if (found := re.search(r"listening on (ws://\S+)", line))
            )
        finally:
            limit.cancel()
        socket = websocket.create_connection(address, timeout=process.LIMIT, suppress_origin=True)
        try:
            yield Page(socket)
        finally:
            socket.close()


class Page:
    """A tab: what it loads, logs and requests."""

    def __init__(self, socket):
        self.socket, self.numbers, self.session, self.events = socket, itertools.count(1), None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        """The result of a command; events that come before it are collected."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        self.socket.send(json.dumps(message | ({"sessionId": self.session} if self.session else {})))
        while True:
            answer = self.receive()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def receive(self):
        message = json.loads(self.socket.recv())
        if "method" in message:
            self.events.append(message)
        return message

    def size(self, width, height=900):
        """Set the size of the window."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def open(self, url):
        """Load a page, and wait until all of it is there."""
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.receive()

    def run(self, expression):
        """The value of a JavaScript expression, or of what it promises."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def until(self, expression, seconds=process.LIMIT):
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.run(expression):
            if time.monotonic() > end:
                raise TimeoutError(expression)
            time.sleep(0.05)

    def errors(self):
        """What the page has logged as an error or warning, and exceptions."""
        for event in self.events:
            params = event["params"]
            if event["method"] == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                yield params["entry"]["text"]
            elif event["method"] == "Runtime.consoleAPICalled" and params["type"] in (
                "error",
                "warning",
                "assert",
            ):
                yield str([value.get("value") for value in params["args"]])
            elif event["method"] == "Runtime.exceptionThrown":
                yield params["exceptionDetails"]["text"]

    def requests(self):
        """The addresses that the page has asked for."""
        for event in self.events:
            if event["method"] == "Network.requestWillBeSent":
                yield event["params"]["request"]["url"]
