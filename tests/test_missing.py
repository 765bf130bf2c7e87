"Items that lack modalities: what a batch says of them, what each objective makes of them, what is refused."
import itertools, math

import numpy as np
import pytest, torch

from mmvae_nb.core import MmvaeError
from mmvae_nb.data import Modality, PairedByKey, Standardize, TensorData
from mmvae_nb.distillation import Students, distill
from mmvae_nb.jmvae import JMVAE, JVAEWithStudents
from mmvae_nb.missing import PRESENT, infer_each, patterns
from mmvae_nb.mopoe import MMVAE, MVAE, MoPoE
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.multimodal_iterative import IterativeTeacher, StudentsOverT
from mmvae_nb.mvtcae import CRMVAE, MVTCAE
from mmvae_nb.training import fit
from model_helpers import *

M = {"a": 3, "b": 5, "c": 2}
QUIET = dict(progress=False, device="cpu", batch_size=16)
bits = lambda model: [v.clone() for v in model.state_dict().values()]
same = lambda a, b: len(a) == len(b) and all(map(torch.equal, a, b))

def mask(n=40, seed=0, share=.5):
    m = torch.rand(n, 3, generator=rng(seed)) < share
    m[~m.any(1), 0] = True
    m[:7] = torch.tensor([[bool(k >> j & 1) for j in range(3)] for k in range(1, 8)])     # every pattern is there
    return m

def partial(n=40, seed=0, **options):
    x, there = vectors(n, sizes=M), mask(n, seed)
    return TensorData(x, present=there, **options), x, there

def new(kind, seed=0, **options):
    torch.manual_seed(seed)
    return spread(kind(vector_specs(sizes=M), 4, **options)).eval()


# ---- data

def test_a_batch_holds_what_is_there_and_says_what_is_not():
    data, x, there = partial(labels=torch.arange(40))
    batch, y = data.take(40)
    assert list(batch) == [*M, PRESENT] and sorted(y.tolist()) == list(range(40)) and len(data) == 40
    assert torch.equal(batch[PRESENT], there[y])
    for j, n in enumerate(M):
        has = there[y, j]
        assert torch.equal(batch[n][has], x[n][y[has]]) and batch[n][~has].isnan().all()
        assert len(data.items(n)[0]) == there[:, j].sum() and torch.equal(data.items(n)[1], there[:, j].nonzero()[:, 0])
    seen = torch.cat([data.batch(u, 8)["a"] for u in range(5)])                    # an epoch: each item once
    assert torch.equal(seen.nan_to_num().sort(0).values, torch.where(there[:, :1], x["a"], 0.).sort(0).values)
    again = data.batch(3, 8)
    assert all(torch.equal(v.nan_to_num(9.), again[k].nan_to_num(9.)) for k, v in data.batch(3, 8).items())

def test_what_is_missing_is_nothing_that_a_network_takes_for_data():
    images, tokens = torch.full((4, 1, 8, 8), 200, dtype=torch.uint8), torch.ones(4, 4, dtype=torch.int64)
    data = TensorData({"i": images, "t": tokens}, kinds={"t": "text"},
                      present=[[True, True], [True, False], [False, True], [True, True]])
    batch = data.take(4)[0]
    assert (batch["i"][~batch[PRESENT][:, 0]] == 0).all() and (batch["t"][~batch[PRESENT][:, 1]] == -1).all()
    assert batch["i"].dtype == torch.uint8 and (batch["i"][batch[PRESENT][:, 0]] == 200).all()

ROWS = np.arange(8.).reshape(4, 2)
HOLES = [True, False, True, True]
def nan_rows(): x = ROWS.copy(); x[1] = np.nan; return x

@pytest.mark.parametrize("given, present", [
    (nan_rows(), "given"), ([ROWS[0], None, ROWS[2], ROWS[3]], "given"), ([*ROWS], {"a": HOLES}),
    (ROWS, {"a": HOLES}), (ROWS, np.array([HOLES, [True]*4]).T), (nan_rows(), {"a": torch.tensor(HOLES)}),
    ([ROWS[0], None, ROWS[2], ROWS[3]], {"a": np.array(HOLES), "b": [True]*4})])
def test_four_ways_to_say_the_same(given, present):
    data = TensorData({"a": given, "b": ROWS + 1}, present=present)
    batch = data.take(4)[0]
    i = (batch["b"][:, 0] - 1).long()//2
    assert batch[PRESENT].tolist() == [[HOLES[k], True] for k in i]
    for k, row in zip(i, batch["a"]): assert HOLES[k] is False and row.isnan().all() or row.tolist() == ROWS[k].tolist()
    assert data.checksum == TensorData({"a": ROWS, "b": ROWS + 1}, present={"a": HOLES}).checksum

def test_the_checksum_knows_the_mask_and_complete_data_are_as_they_were():
    x = {"a": torch.arange(6.).reshape(3, 2), "b": torch.arange(3.).reshape(3, 1)}
    masks = [[True, True, False], [True, False, True], [False, True, True]]
    sums = {TensorData(x, present={"a": m}).checksum for m in masks}
    whole, said = TensorData(x), TensorData(x, present=np.ones((3, 2), bool))
    assert len(sums | {whole.checksum}) == 4 and said.checksum == whole.checksum == "beacb46188bc"
    assert not said.partial and said.complete() is said and PRESENT not in said.take(3)[0]
    same_rows = {"a": torch.zeros(3, 2), "b": torch.zeros(3, 1)}                 # only the mask differs
    assert len({TensorData(same_rows, present={"a": [*m]}).checksum
                for m in itertools.permutations([True, True, False])}) == 3

@pytest.mark.parametrize("make, words", [
    (lambda: TensorData({"a": ROWS, "b": ROWS}, present={"a": HOLES, "b": HOLES}), ["nothing at all of item 1"]),
    (lambda: TensorData({"a": nan_rows()}, present="given"), ["nothing at all of item 1"]),
    (lambda: TensorData({"a": nan_rows(), "b": ROWS}), ["a: got nan", "present"]),
    (lambda: TensorData({"a": nan_rows(), "b": ROWS}, present={"b": HOLES}), ["a: got nan"]),
    (lambda: TensorData({"a": [ROWS[0], None, *ROWS[2:]], "b": ROWS}, present={"b": HOLES}), ["a: got None", "item 1"]),
    (lambda: TensorData({"a": np.array([[1, np.nan], [1, 2]]), "b": ROWS[:2]}, present="given"), ["a: got nan"]),
    (lambda: TensorData({"a": ROWS, "b": ROWS}, present={"a": HOLES[:3]}), ["present, a: got (3,)", "(4,)"]),
    (lambda: TensorData({"a": ROWS, "b": ROWS}, present={"a": [1, 0, 1, 1]}), ["torch.int64", "torch.bool"]),
    (lambda: TensorData({"a": ROWS, "b": ROWS}, present=np.ones((4, 3), bool)), ["(4, 3)", "(4, 2)"]),
    (lambda: TensorData({"a": ROWS, "b": ROWS}, present={"c": HOLES}), ["present", "'c'"]),
    (lambda: TensorData({"a": ROWS, "b": ROWS}, present="nan"), ["present", "given"]),
    (lambda: TensorData({"a": ROWS, "b": ROWS[:3]}, present="given"), ["'a': 4", "'b': 3"]),
    (lambda: TensorData({"a": ROWS, "b": ROWS}, present={"a": HOLES}, labels=[0, 1, 1]), ["labels of a: got 3", "4"]),
    (lambda: TensorData({"a": ROWS, "b": ROWS}, present={"a": [False]*4}), ["a: got no items"]),
    (lambda: TensorData({"a": ROWS, "b": ROWS}, present=[[True, False], [False, True]]*2).complete(), ["complete"]),
    (lambda: TensorData({"a": [ROWS[0], None, ROWS[0][:1]], "b": ROWS[:3]}, present="given"), ["a: got", "one shape"])])
def test_what_is_no_mask_is_refused(make, words):
    with pytest.raises(MmvaeError) as e: make()
    assert all(w in one_line(e) for w in words)

def test_complete_items():
    data, x, there = partial(labels=torch.arange(40), groups=dict.fromkeys(M, torch.arange(40)))
    whole = data.complete()
    batch, y = whole.take(len(whole))
    assert sorted(y.tolist()) == there.all(1).nonzero()[:, 0].tolist() and not whole.partial
    for n in M: assert torch.equal(batch[n], x[n][y]) and torch.equal(whole.groups[n], whole.labels[n])
    i = there.all(1)
    assert whole.checksum == TensorData({n: v[i] for n, v in x.items()}, labels=torch.arange(40)[i]).checksum

def test_pairs_by_an_id_that_some_modality_lacks():
    ids = {"a": torch.tensor([5, 1, 2, 8]), "b": torch.tensor([2, 2, 7, 5]), "c": torch.tensor([9, 5, 7, 9, 2])}
    pools = {n: i[:, None].float() + torch.arange(len(i))[:, None]/100 for n, i in ids.items()}
    modalities = {n: Modality(n, "vector", (1,)) for n in ids}
    make = lambda **how: PairedByKey("ids", "train", modalities, pools, keys=ids, **how)
    with pytest.raises(MmvaeError, match="partial=True"): make()
    for anchor, rows in [("a", {5: 1, 1: 1, 2: 1, 8: 1, 7: 1, 9: 2}), ("b", {2: 2, 7: 1, 5: 1, 1: 1, 8: 1, 9: 2})]:
        data = make(anchor=anchor, partial=True)
        batch = data.batch(0, len(data))
        there = batch[PRESENT]
        keys = torch.stack([batch[n][:, 0].floor() for n in ids], 1).nan_to_num(-1)
        found = {k: ((keys == k).any(1)).sum().item() for k in rows}
        assert len(data) == sum(rows.values()) and found == rows
        for row, has in zip(keys, there):
            [key] = set(row[has].tolist())
            assert has.tolist() == [key in ids[n].tolist() for n in ids]          # all that has this id is there
        visited = batch[anchor][:, 0]
        assert sorted(visited[~visited.isnan()].tolist()) == sorted(pools[anchor][:, 0].tolist())
        assert len({v.item() for v in batch["c"][:, 0] if v.floor() == 9}) == 2   # both items that nobody else has
        whole = data.complete()
        assert {v.item() for v in whole.take(len(whole))[0]["b"][:, 0].floor()} == {5, 2} and not whole.partial
    assert len({make(anchor=a, partial=True).checksum for a in "ab"}) == 2
    matched = {n: torch.tensor([1, 2, 2]) for n in ids}
    both = [PairedByKey("ids", "train", modalities, {n: pools[n][:3] for n in ids}, keys=matched, partial=p)
            for p in (False, True)]
    assert both[0].checksum == both[1].checksum and not both[1].partial
    assert all(torch.equal(x, both[1].batch(1, 3)[n]) for n, x in both[0].batch(1, 3).items())

def test_a_table_is_standardised_by_the_rows_there_are():
    x = np.random.default_rng(0).normal(5, 3, (50, 2)); holes = x.copy(); holes[::3] = np.nan
    z, keep = Standardize(holes), np.arange(50) % 3 > 0
    close(z(x), Standardize(x[keep])(x)); assert z(holes)[0].isnan().all()


# ---- batches

def test_patterns_take_each_item_once_with_what_it_has():
    data, x, there = partial(labels=torch.arange(40))
    batch, y = data.take(40)
    parts = patterns(batch)
    assert sorted(torch.cat([r for r, _ in parts]).tolist()) == list(range(40)) and len(parts) == 7
    for rows, some in parts:
        for i in y[rows]: assert [*some] == [n for n, t in zip(M, there[i]) if t]
        for n, v in some.items(): assert torch.equal(v, x[n][y[rows]])
    [(rows, all_of_it)] = patterns(x)
    assert all_of_it is x and torch.equal(rows, torch.arange(40))

@pytest.mark.parametrize("bad, words", [
    (torch.ones(8, 2).bool(), "(8, 2)"), (torch.ones(7, 3).bool(), "(7, 3)"), (torch.ones(8, 3), "float32"),
    (torch.tensor([[True]*3]*7 + [[False]*3]), "nothing at all of item 7")])
def test_a_mask_that_does_not_fit_its_batch(bad, words):
    with pytest.raises(MmvaeError) as e: new(MoPoE)({**vectors(8, sizes=M), PRESENT: bad})
    assert words in one_line(e)

def test_no_modality_may_be_called_like_the_mask():
    with pytest.raises(MmvaeError) as e: JVAE(vector_specs(sizes={PRESENT: 2, "b": 3, "c": 2}), 4)
    assert PRESENT in one_line(e)


# ---- objectives, by hand

def poe(qs, prior=False):
    p = sum(torch.exp(-q.logvar) for q in qs) + prior
    return sum(q.mean*torch.exp(-q.logvar) for q in qs)/p, -torch.log(p)

def kl(a, b=None):
    "KL between diagonal Gaussians given as (mean, logvar), one item."
    b = b or (torch.zeros_like(a[0]), torch.zeros_like(a[1]))
    return .5*((a[1] - b[1]).exp() + (a[0] - b[0])**2/b[1].exp() - 1 + b[1] - a[1]).sum()

def log_likelihood(model, item, n, z):
    return torch.distributions.Normal(model.decoders[n](z), model.specs[n].likelihood.scale).log_prob(item[n]).sum(-1)

def by_hand(model, item, kind):
    "The objective of one item with what it has, from the papers' formulas; z is the mean."
    have, w, beta = list(item), {n: s.weight for n, s in model.specs.items()}, model.beta
    e = {n: model.encoders[n](item[n]) for n in have}
    logs = lambda q, names: sum(w[n]*log_likelihood(model, item, n, q[0]) for n in names)
    single = lambda n: (e[n].mean, e[n].logvar)
    if kind in ("mopoe", "mvae", "mmvae"):
        sets = [s for k in range(1, len(have) + 1) for s in itertools.combinations(have, k)]
        if kind == "mvae": sets = [tuple(have)]
        if kind == "mmvae": sets = [(n,) for n in have]
        qs = [poe([e[n] for n in s], kind == "mvae" or len(s) == len(M)) for s in sets]
        return sum(beta*kl(q) - logs(q, have) for q in qs)/len(qs)
    q = poe(list(e.values()))
    pull = sum(kl(q, single(n)) for n in have)
    if kind == "mvtcae":
        a, m = model.alpha, len(have)
        return -(m - a)/m*logs(q, have) + beta*(a/m*pull + (1 - a)*kl(q))
    if kind == "crmvae": return beta*(kl(q) + pull) - (logs(q, have) + sum(logs(single(n), [n]) for n in have))/2
    if len(have) < len(M): return beta*kl(q) - logs(q, have)                      # JMVAE, of a part: its ELBO
    q = model.encoder(item); q = (q.mean, q.logvar)
    return beta*kl(q) - logs(q, have) + model.alpha*sum(kl(q, single(n)) for n in have)

KINDS = {"mopoe": lambda s, z: MoPoE(s, z, 1.7, exact=True), "mvae": lambda s, z: MVAE(s, z, 1.7),
         "mmvae": lambda s, z: MMVAE(s, z, 1.7, exact=True), "mvtcae": lambda s, z: MVTCAE(s, z, 1.7, alpha=.6),
         "crmvae": lambda s, z: CRMVAE(s, z, 1.7), "jmvae": lambda s, z: JMVAE(s, z, 1.7, alpha=.3, warm_up=0)}

@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_mean_of_each_items_own_objective(kind, no_noise):
    model, (_, x, there) = new(KINDS[kind]), partial(16)
    items = [{n: x[n][i:i + 1] for n, t in zip(M, there[i]) if t} for i in range(16)]
    loss = model({**{n: torch.where(t[:, None], v, math.nan) for (n, v), t in zip(x.items(), there.T)}, PRESENT: there})
    wanted = torch.stack([by_hand(model, item, kind) for item in items]).mean()
    close(loss.total, wanted, 1e-5, 1e-4)
    own = torch.autograd.grad(loss.total, model.parameters(), allow_unused=True)
    for a, b in zip(own, torch.autograd.grad(wanted, model.parameters(), allow_unused=True)):
        assert (a is None) == (b is None)
        if a is not None: close(a, b, 1e-4, 1e-4)                                 # and no nan has leaked
    for n, t in zip(M, there.T):                              # a part: the mean over the items that have it
        alone = [model.loss(i).parts[n] for i in items if n in i]
        close(loss.parts[n], sum(alone)/len(alone), 1e-4, 1e-4); assert len(alone) == t.sum()

EVERY = {**KINDS, "jvae_with_students": JVAEWithStudents, "drawn": MoPoE,
         "iterative": lambda s, z: IterativeTeacher(s, z, steps=2, hidden=16, decoders="last"),
         "replay": lambda s, z: IterativeTeacher(s, z, steps=2, hidden=16, replay=.5),
         "students": lambda s, z: Students(new(MVTCAE)), "students_of_refined":
         lambda s, z: Students(IterativeTeacher(s, z, steps=2, hidden=16), starts="all"),
         "over_t": lambda s, z: StudentsOverT(IterativeTeacher(s, z, steps=2, hidden=16), over=(0, 2))}

@pytest.mark.parametrize("kind", EVERY)
def test_every_method_trains_and_resumes_on_items_with_holes(kind, tmp_path):
    data = partial(40)[0]
    def run(updates, model=None, **how):
        model = model or new(EVERY[kind])
        return model, fit(model, data, 6, seed=3, accumulate=2, validation=data, stop_after=updates, **QUIET, **how)
    whole, history = run(6)
    assert np.isfinite(history.total).all() and np.isfinite(history.validation).all()
    assert not same(bits(whole), bits(new(EVERY[kind])))
    run(3, checkpoint=tmp_path)
    assert same(bits(run(6, checkpoint=tmp_path)[0]), bits(whole))
    other = TensorData(vectors(40, sizes=M), present=mask(40, 1))
    with pytest.raises(MmvaeError, match="data"): fit(new(EVERY[kind]), other, 6, checkpoint=tmp_path, seed=3,
                                                      accumulate=2, validation=data, **QUIET)

@pytest.mark.parametrize("kind", ["mopoe", "mvtcae", "jmvae", "replay"])
def test_a_mask_of_all_is_no_mask_to_the_last_bit(kind):
    x, models = vectors(40, sizes=M), []
    for data in (TensorData(x), TensorData(x, present=torch.ones(40, 3).bool())):
        models.append(new(EVERY[kind])); fit(models[-1], data, 5, seed=1, **QUIET)
    assert same(*map(bits, models))

@pytest.mark.parametrize("kind", ["mopoe", "mvtcae", "students"])
def test_a_modality_that_the_whole_batch_lacks_is_an_absent_key(kind, no_noise):
    model, x = new(EVERY[kind]), vectors(8, sizes=M)
    there = torch.tensor([[True, False, True]]*8)
    close(model.loss({n: x[n] for n in "ac"}).total, model({**x, "b": x["b"]*math.nan, PRESENT: there}).total)

def test_data_that_never_show_a_modality_train_no_model_of_it():
    with pytest.raises(MmvaeError) as e: fit(new(MoPoE), TensorData({n: vectors(sizes=M)[n] for n in "ac"}), 2, **QUIET)
    assert "no item with b" in one_line(e)

def test_a_joint_encoder_can_not():
    data = partial(40)[0]
    for train in (lambda: fit(new(JVAE), data, 2, **QUIET), lambda: distill(new(JVAE), data, 2, **QUIET)):
        with pytest.raises(MmvaeError) as e: train()
        assert "JVAE needs" in one_line(e) and "can't do without" in one_line(e)
    for call, way in (("infer", "infer_each"), ("loss", "infer_each"), ("generate", "impute")):     # nor is a mask lost
        with pytest.raises(MmvaeError) as e: getattr(new(MoPoE), call)(data.batch(0, 8))
        assert way in one_line(e)


# ---- the teacher that refines, and students

def test_the_teacher_climbs_the_elbo_of_what_is_there(no_noise):
    teacher, x = new(EVERY["iterative"]), vectors(8, sizes=M)
    some = {n: x[n] for n in "ac"}
    q, memory, path = teacher.encoders["c"](x["c"]), None, teacher.trajectory(some, "c")
    assert len(path) == 3
    for got in path:
        close(got.mean, q.mean, 1e-4, 1e-4); close(got.logvar, q.logvar, 1e-4, 1e-4)
        mean, logvar = (v.detach().clone().requires_grad_() for v in (q.mean, q.logvar))
        fixed, prior = normal(q.detach()), torch.distributions.Normal(0., 1.)
        elbo = sum(teacher.specs[n].weight*log_likelihood(teacher, some, n, mean) for n in "ac")
        elbo = elbo - teacher.beta*(fixed.log_prob(mean) - prior.log_prob(mean)).sum(1) + 0*logvar.sum(1)
        g = torch.autograd.grad(elbo.sum(), [mean, logvar])
        q, memory = teacher.refiner(q.detach(), *g, memory)
    with pytest.raises(MmvaeError, match="start"): teacher.trajectory(some, "b")
    with pytest.raises(MmvaeError, match="needs b too"): teacher.infer(some)
    assert set(teacher.targets(some)) == {"a", "c"}

def test_a_start_is_one_that_is_there(no_noise):
    teacher = new(EVERY["iterative"])
    x = vectors(64, sizes=M)
    elbo = {n: -teacher.elbo({n: x[n]}, teacher.encoders[n](x[n]), path=True).mean() for n in M}
    for n in M: close(teacher.loss({n: x[n]}).parts["t=0"], elbo[n].detach(), 1e-4, 1e-4)

def test_refinements_are_continued_among_items_with_the_same_modalities():
    model, data = new(EVERY["replay"]), partial(40)[0]
    fit(model, data, 8, seed=0, **QUIET)
    stored = {"a b c": model.replay.stored, **{n: r.stored for n, r in model.replay.partial.items()}}
    assert len(stored) > 3 and all(set(batch) == set(n.split()) for n, (batch, _, _) in stored.items())
    assert max(m[:, -1].max() for *_, m in stored.values()) > 2                   # some went on from an earlier update
    for batch, q, _ in stored.values():
        for x in batch.values(): assert len(x) == len(q) and x.isfinite().all()

def test_students_learn_from_what_is_there(no_noise):
    teacher, (_, x, there) = new(MVTCAE), partial(16)
    torch.manual_seed(1); students = spread(Students(teacher))
    total = 0
    for i in range(16):
        item = {n: x[n][i:i + 1] for n, t in zip(M, there[i]) if t}
        mean, logvar = poe([teacher.encoders[n](v) for n, v in item.items()])
        for n, v in item.items():
            s = students.encoders[n](v)
            total += kl((mean, logvar), (s.mean, s.logvar))/16
    close(students({**x, PRESENT: there}).total, total, 1e-4, 1e-4)

def test_posteriors_of_items_with_holes_are_those_of_each_alone():
    model, (data, x, there) = new(MVAE), partial(40, labels=torch.arange(40))
    batch, y = data.take(40)
    q = infer_each(model, batch)
    for k, i in enumerate(y):
        alone = model.infer({n: x[n][i:i + 1] for n, t in zip(M, there[i]) if t})
        close(q.mean[k:k + 1], alone.mean); close(q.logvar[k:k + 1], alone.logvar)
    close(infer_each(model, x).mean, model.infer(x).mean)
