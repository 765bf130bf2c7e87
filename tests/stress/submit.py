"""A cluster of one machine: `submit.py FOLDER run|status|cancel ...`, as a queue's own commands would do it.
A job is a process of its own session; its exit code lands in a file of its number."""
import os, signal, subprocess, sys
from pathlib import Path

def run(folder, script):
    number = str(len(list(folder.glob("*.job"))) + 1)
    code = folder/f"{number}.code"
    waits = f'"$0" "{script}" > "{folder}/{number}.log" 2>&1; echo $? > "{code}.tmp"; mv "{code}.tmp" "{code}"'
    job = subprocess.Popen(["sh", "-c", waits, "sh"], start_new_session=True, stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (folder/f"{number}.job").write_text(str(job.pid))
    return number

def status(folder, number):
    code = folder/f"{number}.code"
    if code.exists(): return "success" if code.read_text().strip() == "0" else "failed"
    try: os.kill(int((folder/f"{number}.job").read_text()), 0)
    except ProcessLookupError: return "success" if code.exists() and code.read_text().strip() == "0" else "failed"
    return "running"

def cancel(folder, *numbers):
    for n in numbers:
        try: os.killpg(int((folder/f"{n}.job").read_text()), signal.SIGTERM)
        except ProcessLookupError: pass
    return ""

if __name__ == "__main__":
    folder, what, *words = sys.argv[1:]
    Path(folder).mkdir(exist_ok=True)
    print({"run": run, "status": status, "cancel": cancel}[what](Path(folder), *words))
