"The README's example for one's own modalities is run as it stands, and it learns what there is to learn."
import re
from pathlib import Path

import pytest, torch

README = Path(__file__).resolve().parent.parent/"README.md"


def test_own_modalities(capfd, tmp_path, monkeypatch):
    text = README.read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", text, re.S)
    assert code.count("updates=500") == 2 and code.count("\n") < 30
    assert code.count("mmvae_nb") == 1 and "from mmvae_nb import " in code       # the face, and nothing behind it
    space, state = {}, torch.get_rng_state()
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match="lambdas"): exec(code, space)
    torch.set_rng_state(state)
    made, motion = space["motion_from_sound"], space["motion"][1000:]
    assert made.shape == (200, 6) and [p.name for p in tmp_path.iterdir()] == ["students.safetensors"]
    [said] = re.findall(r"explained: (.*)", capfd.readouterr().out)
    [promised] = re.findall(r"about ([\d.]+)", code)
    least_squares = torch.linalg.lstsq(space["sound"][:1000], space["motion"][:1000]).solution
    line = 1 - (space["sound"][1000:] @ least_squares - motion).pow(2).mean()/motion.var()
    assert abs(float(said) - float(promised)) < .03 and line < float(said) < 1     # better than any line
    posterior = space["students"].infer({"sound": space["sound"][1000:]})
    assert torch.allclose(made, space["teacher"].cpu().decoders["motion"](posterior.mean), atol=1e-5)
