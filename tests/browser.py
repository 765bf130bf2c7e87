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
                 patience=60): # seconds to wait for anything
        self.patience, self.n, self.events = patience, 0, []
        self.process = subprocess.Popen([CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = self.wait(lambda: (Path(folder)/"DevToolsActivePort").read_text().split()[0], OSError, IndexError)
            targets = self.wait(lambda: [t for t in requests.get(f"http://127.0.0.1:{port}/json", timeout=5).json()
                                         if t["type"] == "page"], requests.RequestException)
            self.socket = websocket.create_connection(targets[0]["webSocketDebuggerUrl"], timeout=patience, suppress_origin=True)
            for domain in ["Page", "Runtime", "Log", "Network"]: self.send(f"{domain}.enable")
        except BaseException: self.close(); raise

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
        if "exceptionDetails" in r: raise RuntimeError(r["exceptionDetails"].get("exception", {}).get("description", code))
        return r["result"].get("value")

    def size(self, width, height=900):
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def go(self, url):
        "Open a page and wait until it and its fonts are there."
        self.events.clear()
        self.send("Page.navigate", url=url)
        self.wait(lambda: self.js("document.readyState") == "complete" and self.js("location.href").split("#")[0] == url.split("#")[0], RuntimeError)
        self.js("document.fonts.ready.then(() => true)")

    def errors(self):
        "Errors in the console, exceptions, and requests that failed or left this machine."
        said = []
        for e in self.events:
            p = e.get("params", {})
            if e["method"] == "Runtime.exceptionThrown": said.append(p["exceptionDetails"].get("exception", {}).get("description", "exception"))
            if e["method"] == "Runtime.consoleAPICalled" and p["type"] in ("error", "assert"):
                said.append(" ".join(str(a.get("value", a.get("description"))) for a in p["args"]))
            if e["method"] == "Log.entryAdded" and p["entry"]["level"] == "error": said.append(f"{p['entry']['text']} {p['entry'].get('url', '')}")
            if e["method"] == "Network.requestWillBeSent":
                url = p["request"]["url"]
                if not url.startswith(("http://127.0.0.1:", "data:", "blob:", "about:")): said.append(f"asks the network: {url}")
        return said

    def close(self):
        self.process.terminate()
        try: self.process.wait(10)
        except subprocess.TimeoutExpired: self.process.kill()
