"A headless Chromium, driven by its DevTools protocol: what the pages of the site do in a real browser."
import json, shutil, subprocess, time
from pathlib import Path

import requests
import websocket   # websocket-client

CHROMIUM = next((p for p in map(shutil.which, ["chromium", "chromium-browser", "google-chrome"]) if p), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage",
         "--no-first-run", "--hide-scrollbars", "--remote-debugging-port=0"]


class Browser:
    "One tab; `events` holds what it reported since the last `go`."
    def __init__(self, folder, # for the profile: a new one, so nothing is remembered
                 patience=300): # seconds to wait for anything
        self.patience, self.n, self.events = patience, 0, []
        self.process = subprocess.Popen([CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            said = Path(folder)/"DevToolsActivePort"
            port = self.wait(lambda: said.read_text().split()[0], OSError, IndexError)
            self.socket = websocket.create_connection(self.tab(port), timeout=patience, suppress_origin=True)
            for domain in ["Page", "Runtime", "Log", "Network"]: self.send(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def tab(self, port):
        "The address of the first tab."
        def pages():
            targets = requests.get(f"http://127.0.0.1:{port}/json", timeout=5).json()
            return [t["webSocketDebuggerUrl"] for t in targets if t["type"] == "page"]
        return self.wait(pages, requests.RequestException)[0]

    def wait(self, fn, *errors):
        "What `fn` returns once it is true; `errors` mean not yet."
        end = time.time() + self.patience
        while True:
            try:
                if got := fn(): return got
            except errors: pass
            if time.time() > end: raise TimeoutError(f"nothing after {self.patience} s")
            time.sleep(.05)

    def send(self, method, **params):
        "Call a method of the protocol; its result. Events that come first are kept."
        self.n += 1
        self.socket.send(json.dumps({"id": self.n, "method": method, "params": params}))
        while (got := json.loads(self.socket.recv())).get("id") != self.n: self.events.append(got)
        if "error" in got: raise RuntimeError(f"{method}: {got['error']['message']}")
        return got["result"]

    def js(self, code):
        "The value of an expression, awaited if it is a promise."
        r = self.send("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in r:
            raise RuntimeError(r["exceptionDetails"].get("exception", {}).get("description", code))
        return r["result"].get("value")

    def size(self, width, height=900):
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=False)

    def go(self, url):
        "Open a page and wait until it and its fonts are there."
        self.events.clear()
        self.send("Page.navigate", url=url)
        there = lambda: self.js("location.href").split("#")[0] == url.split("#")[0]
        self.wait(lambda: self.js("document.readyState") == "complete" and there(), RuntimeError)
        self.js("document.fonts.ready.then(() => true)")

    def errors(self):
        "Errors in the console, exceptions, and requests that failed or left this machine."
        return [said for e in self.events if (said := wrong(e["method"], e.get("params", {})))]

    def close(self):
        self.process.terminate()
        try: self.process.wait(10)
        except subprocess.TimeoutExpired: self.process.kill()


LOCAL = ("http://127.0.0.1:", "data:", "blob:", "about:")

def wrong(method, p):
    "What is wrong with an event of the protocol, or None."
    if method == "Runtime.exceptionThrown":
        return p["exceptionDetails"].get("exception", {}).get("description", "exception")
    if method == "Runtime.consoleAPICalled" and p["type"] in ("error", "assert"):
        return " ".join(str(a.get("value", a.get("description"))) for a in p["args"])
    if method == "Log.entryAdded" and p["entry"]["level"] == "error":
        return f"{p['entry']['text']} {p['entry'].get('url', '')}"
    if method == "Network.requestWillBeSent" and not p["request"]["url"].startswith(LOCAL):
        return f"asks the network: {p['request']['url']}"
