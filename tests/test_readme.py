"The README's example for one's own modalities is run as it stands, with fewer updates."
import re
from pathlib import Path

import torch

README = Path(__file__).resolve().parent.parent/"README.md"


def test_own_modalities(capfd):
    text = README.read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", text, re.S)
    assert code.count("updates=500") == 2 and code.count("\n") < 30
    assert code.count("mmvae_nb") == 1 and "from mmvae_nb import " in code       # the face, and nothing behind it
    space = {}
    exec(code.replace("updates=500", "updates=3"), space)
    made = space["motion_from_sound"]
    assert made.shape == (5, 6) and torch.isfinite(made).all()
    posterior = space["students"].infer({"sound": space["sound"][:5]})
    assert torch.allclose(made, space["teacher"].decoders["motion"](posterior.mean))
