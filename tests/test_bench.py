"`make bench`: what it times is what it says it times."
import ast, contextlib, copy, csv, re, time

import pytest, torch
from torch import nn

import bench
import bench_cases as cases
import bench_clock as clock
import bench_peer as peer
from mmvae_nb.core import MmvaeError
from mmvae_nb.data import TensorData
from model_helpers import *
from site_helpers import ROOT, cells, text
from site_results import BESIDE, Results

WHERE = "no multivae here: after `make bench`, .venv-bench/bin/python -m pytest tests/test_bench.py"
needs_peer = pytest.mark.skipif(peer.library() is None, reason=WHERE)
every_floor = pytest.mark.parametrize("method", [m for m in cases.METHODS if cases.has_floor(m)])
every_objective = pytest.mark.parametrize("method", list(peer.OBJECTIVES))

@pytest.fixture(scope="module")
def data():
    "Modalities of the digits' shapes, filled with noise."
    bytes_of = lambda *shape: torch.randint(0, 256, (64, *shape), dtype=torch.uint8, generator=rng(0))
    words = torch.randint(0, 27, (64, 8), generator=rng(1))
    pools = {"mnist": bytes_of(1, 28, 28), "svhn": bytes_of(3, 32, 32), "text": words}
    return TensorData(pools, kinds={"text": "text"})


# ---- the command line and the tables

def test_sizes_and_options():
    quick, full = bench.options(["--quick"]), bench.options([])
    assert quick.batches == [64] and full.batches == [64, 256, 1024]
    assert quick.out != full.out == ROOT/"results"/"bench"            # a quick run spoils no full one
    assert full.only == list(bench.BLOCKS) and full.precisions == ["float32", "auto"]
    some = bench.options(["--quick", "--only", "fit", "--batches", "8", "--precisions", "bf16", "--device", "cpu"])
    assert (some.only, some.batches, some.precisions, some.devices) == (["fit"], [8], ["bf16"], ["cpu"])
    for bad in (["--only", "nothing"], ["--methods", "gan"]):
        with pytest.raises(SystemExit): bench.options(bad)

def test_methods_of_blocks_exist():
    for size in (bench.QUICK_METHODS, bench.FULL_METHODS):
        for block, methods in size.items(): assert block in bench.BLOCKS and set(methods) <= set(cases.METHODS)

def test_a_table_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setitem(bench.BLOCKS, "steps", lambda how: iter([{"a": 1, "device": how.device}, {"a": 2, "b": "x"}]))
    how = bench.options(["--device", "cpu", "--precisions", "float32", "--out", str(tmp_path)])
    bench.measure("steps", how)
    rows = list(csv.DictReader(open(tmp_path/"steps.csv", newline="")))
    assert [(r["a"], r["b"], r["device"]) for r in rows] == [("1", "", "cpu"), ("2", "x", "cpu")]
    assert all(r["cpu"] and r["torch"] == torch.__version__ and r["threads"] for r in rows)
    def broken(how):
        yield {"a": 3}
        raise RuntimeError("interrupted")
    monkeypatch.setitem(bench.BLOCKS, "steps", broken)
    with pytest.raises(RuntimeError): bench.measure("steps", how)
    assert [r["a"] for r in csv.DictReader(open(tmp_path/"steps.csv", newline=""))] == ["1", "2"]
    assert [p.name for p in tmp_path.iterdir()] == ["steps.csv"]

def test_a_table_of_a_card_is_kept_where_there_is_none(tmp_path, capsys):
    (tmp_path/"cuda.csv").write_text("measured elsewhere")
    bench.measure("cuda", bench.options(["--device", "cpu", "--out", str(tmp_path)]))
    assert (tmp_path/"cuda.csv").read_text() == "measured elsewhere" and "nothing of it" in capsys.readouterr().out

def test_an_update_on_a_card_is_timed_between_looks_at_the_loss(data, monkeypatch):
    "On the processor, where nothing is recorded: the number is the clock's, and what comes before it does not count."
    import bench_cuda
    now, fit, found = [0.], bench_cuda.fit, {}
    def timed(model, data, updates, *args, callbacks, record, **how):
        found.update(updates=updates, record=record)
        def tick(run): now[0] += 900. if run.update < 30 else .05; callbacks[0](run)
        return fit(model, data, updates, *args, callbacks=[tick], record=record, **how)
    monkeypatch.setattr(bench_cuda, "fit", timed)
    monkeypatch.setattr(bench_cuda.time, "perf_counter", lambda: now[0])
    row = bench_cuda.speed("mvae", data, 4, "float32", True, 20, "cpu")
    assert row == {"ms": 5.263, "gb": ""} and found == {"updates": 50, "record": True}     # 2 x 50 ms for 19 updates

def test_cases_of_a_card_are_those_asked_for(monkeypatch):
    import bench_cuda
    asked = []
    monkeypatch.setattr(bench_cuda, "speed", lambda *a: asked.append((a[0], *a[2:])) or {"ms": 1., "gb": 1.})
    how = bench.options(["--quick", "--precisions", "float32", "--methods", "jvae", "mopoe"])
    how.device = "cuda"
    rows = list(bench_cuda.recorded(how))
    assert asked == [(m, 64, "float32", r, n, "cuda") for m in ("jvae", "mopoe")
                     for r, n in ((False, 25), (True, 100))]
    assert [(r["method"], r["recorded"]) for r in rows] == [(a[0], a[3]) for a in asked]
    how = bench.options(["--precisions", "float32,bf16"]); how.device = "cuda"
    assert {(r["method"], r["batch"], r["precision"]) for r in bench_cuda.recorded(how)} == set(bench_cuda.CASES)

def test_a_precision_is_measured_once_and_only_where_it_is_fast(monkeypatch):
    for amx in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda amx=amx: {"amx_bf16": amx})
        assert bench.usable(["float32", "auto"], "cpu") == ["float32", "bf16"][:1 + amx]

def test_the_peer_is_pinned_and_torch_is_not_installed_again():
    pins = [l for l in text("tools/bench-requirements.txt").splitlines() if not l.startswith("#")]
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", p) for p in pins) and "multivae==1.0.3" in pins
    assert not any(p.startswith("torch") for p in pins) and "--no-deps -r tools/bench-requirements" in text("Makefile")


def test_the_folder_of_the_tables_is_no_scale_of_the_experiments(tmp_path):
    for name in ("bench", "quick"): (tmp_path/"results"/name).mkdir(parents=True)
    assert list(Results(tmp_path, {}).shown) == ["quick"] and bench.options([]).out.name in BESIDE

@pytest.mark.parametrize("measured", [False, True])
def test_the_page_runs_with_and_without_tables(measured, tmp_path, monkeypatch):
    (tmp_path/"nbs").mkdir()
    monkeypatch.chdir(tmp_path/"nbs")
    if measured: write_tables(tmp_path/"results"/"bench")
    shown, names = [], {}
    for source in (c.source for c in cells(ROOT/"nbs"/"bench.ipynb")):
        *body, last = ast.parse(source).body
        called = isinstance(last, ast.Expr)
        exec(compile(ast.Module(body + [last]*(not called), []), "bench", "exec"), names)
        if called: shown.append(eval(compile(ast.Expression(last.value), "bench", "eval"), names))
    said = [s.data for s in shown if s is not None]
    if not measured: assert said.count(names["ABSENT"]) == len(said) - 1 == 9 and "make bench" in names["ABSENT"]
    else:
        assert names["ABSENT"] not in said and len(said) == 8     # and two figures
        assert "| 64 | MoPoE | 20 | 10 | 25 | 0.80 | 16 | 1.25 | 0.50 |" in said[1]
        assert "| MoPoE | drawn digits | 64 | float32 | 9.00 | 2.00 | 4.50 | 1.33 |" in said[-1]
        assert "| JVAE (teacher) | drawn digits | 256 | bf16 |  | 3.00 |  | 2.00 |" in said[-1]
        assert "0.80 to 0.80 of the peer's (median 0.80, 1 cases) and 1.25" in said[2]

def write_tables(folder):
    "One case of each block, with round numbers."
    ms = {("ours", "float32"): 20, ("ours", "bf16"): 10, ("floor", "float32"): 16, ("peer", "float32"): 25}
    def rows(method, **more):
        return [{"method": method, "batch": 64, "who": w, "precision": p, "median_ms": v, "repetitions": 4,
                 **more, **clock.machine("cpu")} for (w, p), v in ms.items()]
    steps = rows("mopoe") + [r for r in rows("iterative_t2") if r["who"] != "peer"]
    tables = {"steps": steps, "fit": rows("mopoe", updates=62), "modalities": rows("mopoe", data="made_up_2"),
              "birds": rows("jvae"), "memory": rows("jvae", before_mb=300, peak_mb=400)}
    card = [("mopoe", 64, "float32", False, 9.), ("mopoe", 64, "float32", True, 2.), ("jvae", 256, "bf16", True, 3.)]
    tables["cuda"] = [dict(zip(("method", "batch", "precision", "recorded", "ms"), c), data="drawn digits", gb="",
                           **clock.machine("cpu")) for c in card]
    for name, found in tables.items(): bench.write(folder/f"{name}.csv", found)


# ---- the clock

def test_subjects_run_in_turn_and_back():
    ran = []
    took = clock.alternate({who: lambda u, who=who: ran.append(who) for who in "abc"}, 4, 5.)
    assert "".join(ran) == "abc" + "abccba"*2 and {k: len(v) for k, v in took.items()} == dict.fromkeys("abc", 4)

def test_long_steps_are_repeated_less_and_always_evenly():
    assert [clock.rounds(12, 8., one) for one in (.01, 1.1, 1.9, 60.)] == [12, 6, 4, 2]

def test_the_clock_counts_work_not_waiting():
    def work():
        end = time.process_time() + 0.05
        while time.process_time() < end: pass
    assert clock.seconds(lambda: time.sleep(0.05)) < 0.02 < 0.05 <= clock.seconds(work)

def test_peak_memory_is_that_of_this_process():
    clock.forget_peak()
    before = clock.most_memory()
    held = torch.ones(10_000_000)                               # 40 MB
    assert 35 < clock.most_memory() - before < 80 and len(held)


# ---- our step, and the floor

def test_runs_side_by_side_keep_their_precision(data):
    seen, model = {}, cases.model_of("jvae", data)
    with contextlib.ExitStack() as stack:
        steps = {}
        for p in ("float32", "bf16"):
            own = copy.deepcopy(model)
            linear = next(m for m in own.modules() if isinstance(m, nn.Linear))
            linear.register_forward_hook(lambda m, i, o, p=p: seen.setdefault(p, []).append(o.dtype))
            steps[p] = cases.our_step(stack, own, data, 8, p)
        for u in range(2): rows = {p: step(u) for p, step in steps.items()}
    assert seen == {"float32": [torch.float32]*2, "bf16": [torch.bfloat16]*2}
    assert rows["float32"]["total"].item() == pytest.approx(rows["bf16"]["total"].item(), rel=0.02)

@every_floor
def test_floor_has_every_trained_network_as_often_as_the_objective(method, data):
    model = cases.model_of(method, data)
    calls = {}
    for name, m in model.named_modules():
        if any(p.requires_grad for p in m.parameters(recurse=False)):
            m.register_forward_hook(lambda *_, name=name: calls.update({name: calls.get(name, 0) + 1}))
    cases.floor_step(model, data.batch(0, 4))(0)
    steps = model.steps if model.refines else 0
    expected = {"decoders": steps + 1, "refiner": steps}
    assert calls and calls == {n: expected.get(n.split(".")[0], 1) for n in calls}
    trained = {n.rpartition(".")[0] for n, p in model.named_parameters() if p.requires_grad}
    assert set(calls) == trained

@every_floor
def test_floor_trains_every_parameter(method, data, monkeypatch):
    model, had = cases.model_of(method, data), []
    def look(self, *args, **kwargs):
        had.extend(self.param_groups[0]["params"])
        assert all(p.grad is not None and p.grad.isfinite().all() for p in had)
    monkeypatch.setattr(torch.optim.Adam, "step", look)
    cases.floor_step(model, data.batch(0, 4))(0)
    wanted = [id(p) for p in model.parameters() if p.requires_grad]
    assert [id(p) for p in had] == wanted and len(set(wanted)) == len(wanted)


# ---- the peer

@needs_peer
@every_objective
def test_the_peer_has_our_networks_and_trains_all_of_them(method, data):
    ours = cases.model_of(method, data).eval()
    theirs, batch = peer.peer_model(method, ours).eval(), data.batch(0, 5)
    count = lambda m: sum(p.numel() for p in m.parameters() if p.requires_grad)
    assert count(theirs) == count(ours)
    items, z = peer.peer_items(batch, ours.specs), torch.randn(5, ours.latent)
    same = lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    for n in ours.names:
        q, out = ours.encoders[n](batch[n]), theirs.encoders[n](items[n])
        same(out.embedding, q.mean); same(out.log_covariance, q.logvar)
        same(theirs.decoders[n](z).reconstruction, ours.decoders[n](z))
        a, b = (f(z) for f in (ours.decoders[n], lambda z, n=n: theirs.decoders[n](z).reconstruction))
        likelihood = theirs.recon_log_probs[n](b, items[n]).flatten(1).sum(1)
        torch.testing.assert_close(likelihood, ours.specs[n].likelihood.log_prob(batch[n], a), rtol=1e-4, atol=1e-3)
    if method == "jmvae": same(theirs.joint_encoder(items).embedding, ours.encoder(batch).mean)
    theirs.train()(peer.library().data.MultimodalBaseDataset(items), epoch=1).loss.backward()
    assert all(p.grad is not None for p in theirs.parameters())

@needs_peer
@every_objective
def test_the_objectives_are_the_same(method, data, no_noise, monkeypatch):
    """Samples are means, so the losses are equal but for rounding.

    MoPoE's mixture: the peer cuts a batch into one part for each of 7 subsets. Seven turns of 14 items by 2
    bring every item to every subset, whose mean is our loss over all of them.
    """
    options = {"jmvae": {"warm_up": 0}, "mopoe": {"exact": True}}.get(method, {})
    torch.manual_seed(0)
    ours = spread(spread(cases.METHODS[method](cases.default_specs(data.modalities), 20, **options))).train()
    theirs, batch = peer.peer_model(method, ours), data.batch(0, 14)
    monkeypatch.setattr(torch.distributions.Normal, "rsample", lambda self, shape=(): self.loc)
    items = peer.peer_items(batch, ours.specs)
    turned = lambda k: peer.library().data.MultimodalBaseDataset({n: x.roll(2*k, 0) for n, x in items.items()})
    with torch.no_grad():
        mine, parts = ours.loss(batch)
        losses = [theirs(turned(k), epoch=1).loss.item() for k in range(7)]
    assert parts["kl"] > 0.5 and parts.get("pull", 1) > 0.5       # or nothing would depend on beta and alpha
    assert sum(losses)/7 == pytest.approx(mine.item(), rel=1e-5)

def test_without_the_peer_the_rest_is_measured(data, monkeypatch):
    monkeypatch.setattr(peer, "library", lambda: None)
    with contextlib.ExitStack() as stack:
        found = bench.subjects(stack, "mopoe", data, 4, ["float32"], "cpu")
    assert list(found) == [("ours", "float32"), ("floor", "float32")]

def test_a_mistake_in_the_settings_is_said(data):
    with pytest.raises(MmvaeError, match="batch_size"):
        cases.settings(cases.model_of("jvae", data), data, 0, "float32")
