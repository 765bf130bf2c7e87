"All of it in 150 lines: the file that the page shows, run as it stands."
import ast, importlib.util

import pytest, torch

from site_helpers import ROOT, markdown, outputs

FILE = ROOT/"nbs"/"in_150_lines.py"
SOURCE = FILE.read_text(encoding="utf-8")

@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("in_150_lines", FILE)
    module = importlib.util.module_from_spec(spec)
    state = torch.get_rng_state()
    spec.loader.exec_module(module)
    yield module
    torch.set_rng_state(state)

def test_it_is_short_and_stands_alone():
    lines = SOURCE.splitlines()
    assert len(lines) <= 150 and max(map(len, lines)) <= 100
    used = {a.name.split(".")[0] for n in ast.walk(ast.parse(SOURCE)) if isinstance(n, ast.Import) for a in n.names}
    used |= {n.module.split(".")[0] for n in ast.walk(ast.parse(SOURCE)) if isinstance(n, ast.ImportFrom)}
    assert used == {"itertools", "random", "torch", "sklearn"}

def test_the_page_shows_this_very_file():
    shown = [m for o in outputs(ROOT/"nbs"/"in_150_lines.ipynb") if (m := markdown(o))]
    assert shown == [f"```python\n{SOURCE}```"], "run: make execute NB=nbs/in_150_lines.ipynb"

def test_the_kl_is_torchs(program):
    q, p = ((torch.randn(5, 8), torch.randn(5, 8)) for _ in range(2))
    as_torch = lambda b: torch.distributions.Normal(b[0], (b[1]/2).exp())
    there = lambda a, b: torch.distributions.kl_divergence(a, b).sum(1)
    assert torch.allclose(program.kl(q, p), there(as_torch(q), as_torch(p)), rtol=1e-4)
    assert torch.allclose(program.kl(q), there(as_torch(q), torch.distributions.Normal(0., 1.)), rtol=1e-4)

def test_the_other_view_enters_through_the_gradient_only(program):
    "With decoders that are deaf to z there is no gradient of the data, and the climb can't see the other half."
    batch = {v: x[:4] for v, x in program.test.items()}
    decoders, refiner, start = program.new_decoders(), program.Refiner(), program.Encoder()(batch["left"])
    other = {**batch, "right": 1 - batch["right"]}
    def end(batch):
        torch.manual_seed(1)
        return program.climb(decoders, refiner, batch, start)[-1][0]
    assert not torch.allclose(end(batch), end(other))
    for d in decoders.values(): d[0].weight.data.zero_()
    assert torch.equal(end(batch), end(other))

def test_students_beat_a_filled_hole_and_the_climb_climbs(program):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try: scores, path, *_ = program.main()
    finally: torch.set_num_threads(threads)
    filled, of_joint, of_climb = scores.values()
    assert of_climb > filled + 1 and of_joint > filled + 1          # nats per picture; measured: about 2
    assert path[-1] > path[0] + .3                                  # and the ELBO of both halves went up
