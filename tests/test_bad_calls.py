"""Bad values for each argument of the public face and of the command line: one line that names argument, value and
what is allowed. Nothing is taken silently, and nothing ends in another exception.

Every argument is tried with every value of BAD that its kind does not allow."""
import re

import pytest

from bad_values import CALLS, bad_values, found_wrong, heavy
from mmvae_nb.experiments import cli

COMMANDS = {"scale": ["table", "--scale"], "dataset": ["table", "--dataset"],
            **{n: ["reproduce", "--scale", "smoke", f"--{n}"] for n in ("seeds", "methods", "part", "device", "cores")},
            "minutes": ["reproduce", "--scale", "smoke", "--in-process", "--minutes"],
            "seed": ["generate", "mopoe", "--given", "mnist", "--seed"], "command": [], "job": ["job",
                 "--scale", "smoke"]}
WORDS = ["nobody", "-3", "2.5", "nan", "1e9", "a b", "\u2603", "0x"]
FINE = {"minutes": {"2.5", "1e9"}, "seed": {"-3"}}

@pytest.mark.parametrize("call, argument", [pytest.param(*k, id=f"{k[0]}({k[1]}=)") for k in CALLS if not heavy(*k)])
def test_a_bad_value_is_one_line(call, argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = found_wrong(call, argument)
    assert not found, "\n".join(f"{k}: {w}" for k, w in found.items())

@pytest.mark.parametrize("option", COMMANDS)
def test_a_bad_word_on_the_command_line_is_one_line(option, project, capsys):
    *before, last = COMMANDS[option] or [""]
    found = {}
    for word in set(WORDS) - FINE.get(option, set()):
        code = cli.main([*before, f"{last}={word}"] if last.startswith("--") and option != "job" else
                        [*before, last, word][-4:] if last != "" else [word])
        said = capsys.readouterr().err.strip()
        if code != 2 or "\n" in said or not re.search(rf"{option}: got .*allowed", said):
            found[word] = (code, said[:200])
    assert not found

def test_there_are_enough_of_them():
    tried = sum(len(bad_values(call, argument)) for call, argument in CALLS if not heavy(call, argument))
    assert tried + len(COMMANDS)*(len(WORDS) - 2) > 400
