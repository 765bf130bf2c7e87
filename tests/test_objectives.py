"Lessons 03 to 10: the objectives against independent values."
import itertools, math

import numpy as np, pytest, torch

from mmvae_nb.distillation import Students
from mmvae_nb.distributions import DiagonalGaussian, Mixture, product_of_experts
from mmvae_nb.iterative_inference import refine
from mmvae_nb.jmvae import JMVAE, JVAEWithStudents
from mmvae_nb.mopoe import MoPoE
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.multimodal_iterative import IterativeTeacher
from mmvae_nb.mvtcae import CRMVAE, MVTCAE
from model_helpers import *


# ---- objectives against independent values, on small models with other shapes

THREE = {**SIZES, "c": 2}

def expected_log_p(spec, decoder, x, mean, var):
    "E_q log N(x; W z + b, s^2 I) in closed form, for diagonal q."
    s = spec.likelihood.scale
    miss = ((x - mean@decoder.weight.T - decoder.bias)**2).sum(1) + (var@(decoder.weight**2).T).sum(1)
    return -0.5*miss/s**2 - x.shape[1]*(math.log(s) + 0.5*math.log(2*math.pi))

@torch.no_grad()
def test_the_elbo_is_the_closed_form_of_linear_decoders():
    model, batch = fresh("jvae", vector_specs(), 4), vectors(3)
    model.beta = 1.7
    q = DiagonalGaussian(torch.randn(3, 4, generator=rng(3)), torch.randn(3, 4, generator=rng(4))*0.5 - 1)
    exact = sum(s.weight*expected_log_p(s, model.decoders[n], batch[n], q.mean, q.var)
                for n, s in model.specs.items()) - 1.7*prior_kl(q)
    N = 20000
    many = {n: x.repeat(N, 1) for n, x in batch.items()}
    values = model.elbo(many, DiagonalGaussian(q.mean.repeat(N, 1), q.logvar.repeat(N, 1)), rng(5)).view(N, 3)
    error = values.std(0)/N**0.5
    assert (error < 0.1).all() and ((values.mean(0) - exact).abs() < 4.5*error).all()

@torch.no_grad()
def test_losses_are_elbos_of_their_own_posterior(no_noise):
    batch = vectors()
    for beta in (1.0, 0.3):
        jvae = spread(JVAE(vector_specs(), 4, beta)); q = jvae.infer(batch)
        close(jvae.loss(batch).total, -(log_p(jvae, batch, q.mean) - beta*prior_kl(q)).mean())
        jmvae = spread(JMVAE(vector_specs(), 4, beta, alpha=0.4, warm_up=0)); q = jmvae.infer(batch)
        pull = sum(pair_kl(q, jmvae.infer({n: batch[n]})) for n in SIZES)
        close(jmvae.loss(batch).total, -(log_p(jmvae, batch, q.mean) - beta*prior_kl(q)).mean() + 0.4*pull.mean())

def test_jmvaes_pull_grows_over_the_warm_up(no_noise):
    model, batch = JMVAE(vector_specs(), 4, alpha=0.5, warm_up=4).train(), vectors()
    with torch.no_grad(): totals = [model.loss(batch).total.item() for _ in range(6)]
    pull = model.loss(batch).parts["pull"].item()
    growth = np.diff(totals)
    np.testing.assert_allclose(growth, [0.5*pull/4]*3 + [0, 0], rtol=1e-3, atol=1e-4)
    model.eval()
    for _ in range(3): model.loss(batch)
    assert model.updates_seen.item() == 7                      # evaluation does not count

def products_by_hand(model, batch, mvae=False):
    "Every subset's product of experts, number by number, in float64: subset -> Gaussian."
    experts, out = {n: model.encoders[n](x) for n, x in batch.items()}, {}
    for subset in [s for k in range(1, len(batch) + 1) for s in itertools.combinations(batch, k)]:
        mean, logvar = np.zeros((len(batch["a"]), 4)), np.zeros((len(batch["a"]), 4))
        for i, d in itertools.product(*map(range, mean.shape)):
            taus = [math.exp(-experts[n].logvar[i, d].item()) for n in subset]
            top = sum(t*experts[n].mean[i, d].item() for t, n in zip(taus, subset))
            # N(0, 1) joins the full subset only, in MVAE all
            total = sum(taus) + (1 if mvae or len(subset) == len(batch) else 0)
            mean[i, d], logvar[i, d] = top/total, -math.log(total)
        out[subset] = DiagonalGaussian(torch.tensor(mean).float(), torch.tensor(logvar).float())
    return out

@torch.no_grad()
@pytest.mark.parametrize("sizes", [SIZES, THREE], ids=["two", "three"])
@pytest.mark.parametrize("kind", ["powerset", "full", "singletons"])
def test_mopoes_bound_by_brute_force(kind, sizes, no_noise):
    torch.manual_seed(3)
    model, batch = spread(MoPoE(vector_specs(sizes=sizes), 4, beta=0.6, subsets=kind, exact=True)), vectors(sizes=sizes)
    products = products_by_hand(model, batch, mvae=kind == "full")
    chosen = {"powerset": list(products), "full": [tuple(sizes)], "singletons": [(n,) for n in sizes]}[kind]
    mixed = [products[s] for s in chosen]
    bound = torch.stack([log_p(model, batch, q.mean) - 0.6*prior_kl(q) for q in mixed]).mean()
    close(model.loss(batch).total, -bound, 1e-5, 1e-5)
    for a, b in zip(model.products(batch), mixed): close(a.mean, b.mean); close(a.logvar, b.logvar)
    z = torch.randn(11, 4, generator=rng(2))
    density = torch.stack([normal(q).log_prob(z).sum(1).double().exp() for q in mixed]).mean(0).log()
    close(model.mixture(batch).log_prob(z), density.float(), 1e-4, 1e-4)
    for subset, q in products.items():                         # what is given, whatever was mixed in training
        close(model.infer(part(batch, subset)).mean, q.mean); close(model.infer(part(batch, subset)).logvar, q.logvar)

@torch.no_grad()
@pytest.mark.parametrize("given", [s for k in (1, 2, 3) for s in itertools.combinations(THREE, k)])
def test_mvae_with_the_true_factors_is_the_exact_posterior_of_whatever_is_given(given):
    "z ~ N(0, I), x_m = z + noise; experts are the likelihoods' factors in z, so Bayes' rule says prior times experts."
    noise, batch = {"a": 0.3, "b": 0.5, "c": 0.8}, vectors(5, sizes=dict.fromkeys("abc", 4))
    model = MoPoE(vector_specs(sizes=dict.fromkeys("abc", 4)), 4, subsets="full")
    factor = lambda s: lambda x: DiagonalGaussian(x, torch.full_like(x, 2*math.log(s)))
    for n, s in noise.items(): model.encoders[n].forward = factor(s)
    W, R = np.ones((len(given), 1)), np.diag([noise[n]**2 for n in given])
    gain = W.T@np.linalg.inv(W@W.T + R)                        # of the joint Gaussian of z and what is given
    q = model.infer(part(batch, given))
    weights, data = torch.tensor(gain[0]).float(), torch.stack([batch[n] for n in given])
    close(q.mean, torch.einsum("k,kid->id", weights, data), 1e-5, 1e-5)
    close(q.var, torch.full((5, 4), (1 - gain@W).item()), 1e-5, 1e-5)

@torch.no_grad()
def test_mopoes_random_subset_is_right_on_average(no_noise, monkeypatch):
    torch.manual_seed(3)
    model, batch = spread(MoPoE(vector_specs(), 4)), vectors()
    every = []
    for k in range(3):
        monkeypatch.setattr(Mixture, "pick", lambda self, generator=None, k=k: self.components[k])
        every.append(model.loss(batch).total)
    model.exact = True
    close(model.loss(batch).total, torch.stack(every).mean())
    assert torch.stack(every).std() > 0.01

@torch.no_grad()
@pytest.mark.parametrize("alpha", [0., 0.3, 5/6, 1.])
def test_mvtcaes_loss_by_its_formula_and_by_monte_carlo(alpha):
    "KLs by torch.distributions and by drawing from the product; the weights of terms as the paper has them."
    torch.manual_seed(1)
    model, batch, M = spread(MVTCAE(vector_specs(), 4, beta=1.7, alpha=alpha)), vectors(3), len(SIZES)
    experts = [model.encoders[n](batch[n]) for n in SIZES]
    tau = sum(1/e.var for e in experts)
    mean = sum(e.mean/e.var for e in experts)/tau
    q, D = torch.distributions.Normal(mean, tau**-0.5), torch.distributions
    prior, each = D.Normal(0*mean, 1 + 0*mean), [D.Normal(e.mean, e.std) for e in experts]
    with torch.no_grad():
        z = q.sample((6000,))
        exact = model.beta*((1 - alpha)*D.kl_divergence(q, prior).sum(-1)
                            + alpha/M*sum(D.kl_divergence(q, e).sum(-1) for e in each))
        ratio = lambda p: (q.log_prob(z) - p.log_prob(z)).sum(-1)
        drawn = model.beta*((1 - alpha)*ratio(prior) + alpha/M*sum(map(ratio, each)))
        nll = -(M - alpha)/M*torch.stack([log_p(model, batch, v) for v in z])
        losses = torch.stack([model.loss(batch).total for _ in range(3000)])
    for theirs in ((nll + exact).mean(-1), (nll + drawn).mean(-1)):
        error = (theirs.var()/len(theirs) + losses.var()/len(losses))**0.5
        assert abs(theirs.mean() - losses.mean()) < 3*error

def test_mvtcaes_subsets_are_products_and_its_loss_is_linear_in_alpha(no_noise):
    torch.manual_seed(1)
    make, batch = (lambda a: spread(MVTCAE(vector_specs(), 4, alpha=a))), vectors()
    low = make(0.); losses = []
    for a in (0., 0.25, 1.):
        m = make(a); m.load_state_dict(low.state_dict()); losses.append(m.loss(batch).total)
    close(losses[1], 0.75*losses[0] + 0.25*losses[2])
    alone = [low.infer({n: batch[n]}) for n in SIZES]
    close(low.infer(batch).mean, product_of_experts(alone).mean)
    close(sum(v.mean() for v in low.divergences(batch).values()), low.loss(batch).parts["pull"])

@torch.no_grad()
@pytest.mark.parametrize("sizes", [{"a": 3}, SIZES, THREE], ids=["one", "two", "three"])
def test_crmvaes_loss_is_the_closed_form_of_linear_decoders(sizes):
    "MultiVae's formula as it stands, times M + 1; with one modality it is the negative ELBO."
    torch.manual_seed(1)
    model, batch, M = spread(CRMVAE(vector_specs(sizes=sizes), 4, beta=1.7)), vectors(3, sizes=sizes), len(sizes)
    own = {n: model.encoders[n](batch[n]) for n in sizes}
    tau = sum(1/e.var for e in own.values())
    q = DiagonalGaussian(sum(e.mean/e.var for e in own.values())/tau, -tau.log())
    said = lambda n, p: model.specs[n].weight*expected_log_p(model.specs[n], model.decoders[n], batch[n], p.mean, p.var)
    theirs = (sum(-said(n, q) - said(n, own[n]) for n in sizes)/(2*(M + 1))
              + 1.7*(prior_kl(q) + sum(pair_kl(q, e) for e in own.values()))/(M + 1)).mean()
    losses = torch.stack([model.loss({n: x.repeat(100, 1) for n, x in batch.items()}).total for _ in range(200)])
    error = losses.std()/len(losses)**0.5
    assert error < 0.1 and abs(losses.mean() - (M + 1)*theirs) < 4*error
    if M == 1: close((M + 1)*theirs, (1.7*prior_kl(q) - said("a", q)).mean())

def test_crmvaes_divergences_are_mvtcaes_and_its_encoders_reconstruct_only_themselves(no_noise):
    torch.manual_seed(1)
    model, batch, M = spread(CRMVAE(vector_specs(sizes=THREE), 4)), vectors(sizes=THREE), 3
    other = MVTCAE(vector_specs(sizes=THREE), 4, alpha=M/(M + 1)); other.load_state_dict(model.state_dict())
    a, b = model.loss(batch), other.loss(batch)
    joint = sum(s.weight*b.parts[n] for n, s in model.specs.items())
    close((M + 1)*b.total.detach() - M*joint, (a.total - (joint + a.parts["own"])/2).detach(), 1e-4, 1e-4)
    close(a.parts["kl"], b.parts["kl"]); close(a.parts["pull"], b.parts["pull"])
    model.beta = 0.                                            # what is left are reconstructions
    q = product_of_experts([model.encoders[n](x) for n, x in batch.items()])
    half = -0.5*log_p(model, batch, q.mean).mean()
    for n in THREE:
        own, z = {n: batch[n]}, model.encoders[n](batch[n]).mean
        half = half - 0.5*model.weighted(model.log_likelihoods(own, z)).mean()
    close(model.loss(batch).total, half)

def test_crmvaes_objective_is_no_bound():
    "An item that contradicts itself; decoders are the identity. Evidence by torch, objective by hand (-21.85)."
    model = CRMVAE(vector_specs((1., 1.), (1., 1.), {"a": 1, "b": 1}), 1)
    batch = {"a": torch.tensor([[5.]]), "b": torch.tensor([[-5.]])}
    for n, x in batch.items():
        model.encoders[n].forward = lambda x: DiagonalGaussian(2*x/3, torch.full_like(x, math.log(4)))
        model.decoders[n].weight.data.fill_(1.); model.decoders[n].bias.data.zero_()
    x = torch.cat(list(batch.values()), 1)
    evidence = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2) + 1).log_prob(x).item()
    with torch.no_grad(): value = -model.loss({n: v.repeat(40000, 1) for n, v in batch.items()}).total.item()
    assert abs(value + 21.851) < 0.15 and abs(evidence + 27.387) < 1e-3

def with_students(share, sizes=THREE):
    torch.manual_seed(1)
    return spread(JVAEWithStudents(vector_specs(sizes=sizes), 4, beta=0.8, share=share))

def slopes(model, batch, loss=None, seed=3):
    "Gradients of a loss, by name of parameter; zero where there is none."
    torch.manual_seed(seed)
    loss = model.loss(batch).total if loss is None else loss
    names, parameters = zip(*model.named_parameters())
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return {n: torch.zeros_like(p) if g is None else g for n, p, g in zip(names, parameters, found)}

@pytest.mark.parametrize("share", [0., 0.3, 0.5, 0.9])
@pytest.mark.parametrize("drawn", [0, 2])
def test_who_learns_what_in_a_jvae_with_students(share, drawn, no_noise, monkeypatch):
    "Each group of parameters against its own line of eq. (4), by autograd from the formula."
    model, batch = with_students(share), vectors(sizes=THREE)
    monkeypatch.setattr(Mixture, "pick", lambda self, generator=None: self.components[drawn])
    got = slopes(model, batch)
    q, students = model.encoder(batch), {n: model.encoders[n](x) for n, x in batch.items()}
    elbo = (log_p(model, batch, q.mean) - 0.8*prior_kl(q)).mean()
    joint = slopes(model, batch, -elbo)
    fixed = q.detach()
    pull = slopes(model, batch, sum(pair_kl(fixed, s) for s in students.values()).mean())
    z = list(students.values())[drawn].mean.detach()
    alone = slopes(model, batch, -log_p(model, batch, z).mean())
    for n in got:
        part = n.split(".")[0]
        wanted = {"encoder": joint[n], "encoders": pull[n]}.get(part, (1 - share)*joint[n] + share*alone[n])
        close(got[n], wanted, 1e-4, 1e-5)
    assert any((alone[n] - joint[n]).abs().max() > 0.1 for n in got if n.startswith("decoders"))
    assert all((got[n].abs().sum() > 0) for n in got if n.startswith("encoders") and n.endswith("weight"))

@torch.no_grad()
def test_the_total_of_a_jvae_with_students_is_the_formula_and_all_students_are_drawn(no_noise, monkeypatch):
    model, batch = with_students(0.3), vectors(sizes=THREE)
    q, students = model.infer(batch), [model.infer({n: x}) for n, x in batch.items()]
    joint, pull = log_p(model, batch, q.mean), sum(pair_kl(q, s) for s in students)
    alone, items = torch.stack([log_p(model, batch, s.mean) for s in students]), torch.arange(11)
    drawn = torch.tensor([0, 1, 2, 2, 0, 1, 1, 0, 2, 1, 0])
    monkeypatch.setattr(torch, "randint", lambda *a, **k: drawn)
    loss = model.loss(batch)
    close(loss.total, (0.8*prior_kl(q) + pull - 0.7*joint - 0.3*alone[drawn, items]).mean())
    close(loss.parts["students"], -alone[drawn, items].mean()); close(loss.parts["pull"], pull.mean())

def test_a_mixture_picks_every_component_equally_often_and_whole():
    parts = [DiagonalGaussian(torch.full((6000, 2), float(k)), torch.full((6000, 2), -float(k))) for k in range(3)]
    picked = Mixture(parts).pick(rng(0))
    assert torch.equal(picked.mean, -picked.logvar) and torch.equal(picked.mean[:, 0], picked.mean[:, 1])
    counts = picked.mean[:, 0].long().bincount(minlength=3)
    assert (counts - 2000).abs().max() < 5*math.sqrt(6000*2/9)

@torch.no_grad()
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_students_loss_is_the_sum_of_divergences(direction):
    torch.manual_seed(1)
    teacher, batch = spread(JVAE(vector_specs(), 4)), vectors()
    model = spread(Students(teacher, direction=direction))
    q, own = teacher.infer(batch), {n: model.infer({n: batch[n]}) for n in SIZES}
    by_hand = [(pair_kl(q, s) if direction == "forward" else pair_kl(s, q)).mean() for s in own.values()]
    close(model.loss(batch).total, sum(by_hand))
    assert abs(by_hand[0] - by_hand[1]) > 0.01 and list(model.loss(batch).parts) == list(SIZES)

@torch.no_grad()
@pytest.mark.parametrize("divide", [False, True])
def test_two_students_are_the_product_of_their_gaussians(divide):
    torch.manual_seed(1)
    model, batch = spread(Students(JVAE(vector_specs(), 4), divide_prior=divide)), vectors()
    a, b = (model.infer({n: batch[n]}) for n in SIZES)
    ta, tb = 1/a.var, 1/b.var
    precision = torch.maximum(ta + tb - 1, torch.maximum(ta, tb)) if divide else ta + tb
    q, mean = model.infer(batch), (ta*a.mean + tb*b.mean)/precision
    if divide:                       # one expert wider than the prior: nowhere outside of both
        low, high, wide = torch.minimum(a.mean, b.mean), torch.maximum(a.mean, b.mean), torch.minimum(ta, tb) < 1
        mean = torch.where(wide, torch.minimum(torch.maximum(mean, low), high), mean)
        assert wide.any() and not wide.all()
    close(q.mean, mean); close(q.var, 1/precision)

def trajectory_by_hand(model, batch, q, steps):
    """q_0..q_T, the ELBO of each and what its gradient is divided by on its way to the refiner: own loop, noise
    removed, KL at the sample with q held fixed; only q_0 keeps its graph to the encoders."""
    def log_normal(z, mean, var): return torch.distributions.Normal(mean, var.sqrt()).log_prob(z).sum(-1)
    def elbo(q):
        fixed, z = q.detach(), q.mean
        return log_p(model, batch, z) - model.beta*(log_normal(z, fixed.mean, fixed.var) - log_normal(z, 0*z, 1 + 0*z))
    qs, elbos, sizes, memory = [q], [elbo(q)], [], None
    for _ in range(steps):
        mean = qs[-1].mean.detach().requires_grad_()
        g = torch.autograd.grad(elbo(DiagonalGaussian(mean, qs[-1].logvar.detach())).sum(), mean)[0]
        q, memory = model.refiner(qs[-1].detach(), g, torch.zeros_like(g), memory)
        sizes.append((1 + ((q.std.detach()*g)**2).mean(-1))**0.5)
        qs.append(q); elbos.append(elbo(q))
    return qs, elbos, sizes

@pytest.mark.parametrize("decoders", ["mean", "last", "frozen"])
@pytest.mark.parametrize("refiner", ["ours", "marino"])
def test_the_iterative_loss_and_its_gradients_by_hand(decoders, refiner, no_noise, monkeypatch):
    "Value, and truncated gradients: starts learn from t = 0, a refiner from each step's ELBO, decoders as asked."
    torch.manual_seed(2)
    T, batch = 3, vectors()
    options = dict(beta=0.8, steps=T, refiner=refiner, decoders=decoders, hidden=16)
    model = spread(IterativeTeacher(vector_specs(), 4, **options)).train()
    monkeypatch.setattr(Mixture, "pick", lambda self, generator=None: self.components[0])    # start: "a"
    loss = model.loss(batch)
    model.zero_grad(); loss.total.backward()
    got = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    _, elbos, sizes = trajectory_by_hand(model, batch, model.encoders["a"](batch["a"]), T)
    means = torch.stack([e.mean() for e in elbos])
    quiet = -sum((e/s).mean() for e, s in zip(elbos[1:], sizes))/(T + 1)
    close(loss.total, -means.mean(), 1e-5, 1e-4)
    close(loss.parts["t=0"], -means[0].detach()); close(loss.parts[f"t={T}"], -means[-1].detach())
    names = {n: p for n, p in model.named_parameters() if p.requires_grad}
    wanted = torch.autograd.grad(-means.mean(), list(names.values()), allow_unused=True, retain_graph=True)
    last = torch.autograd.grad(-means[-1]/(T + 1), list(names.values()), allow_unused=True, retain_graph=True)
    for_refiner = torch.autograd.grad(quiet, list(names.values()), allow_unused=True)
    assert decoders != "frozen" or not any(n.startswith("decoders") for n in got)
    for n, mean, final, step in zip(names, wanted, last, for_refiner):
        last = decoders == "last" and n.startswith("decoders")
        expected = step if n.startswith("refiner") else final if last else mean
        if expected is None: assert n.startswith("encoders.b") and (n not in got or got[n].abs().sum() == 0)
        else: close(got[n], expected, 1e-4, 1e-5)

def test_nothing_flows_back_through_earlier_iterations(no_noise, monkeypatch):
    torch.manual_seed(2)
    T, batch = 3, vectors()
    model = spread(IterativeTeacher(vector_specs(), 4, steps=T, hidden=16))
    monkeypatch.setattr(Mixture, "pick", lambda self, generator=None: self.components[0])
    ours = torch.autograd.grad(model.loss(batch).total, list(model.encoders["a"].parameters()))
    q = model.encoders["a"](batch["a"])
    fixed = q.detach()
    # log q - log p at z = mean
    kl_at_mean = 0.5*(q.mean**2 - (q.mean - fixed.mean)**2/fixed.var - fixed.logvar).sum(-1)
    first = -(log_p(model, batch, q.mean) - kl_at_mean).mean()/(T + 1)
    for a, b in zip(ours, torch.autograd.grad(first, list(model.encoders["a"].parameters()))): close(a, b, 1e-4, 1e-6)

def test_starts_are_drawn_per_item(no_noise, monkeypatch):
    torch.manual_seed(0)
    model, batch, seen = spread(IterativeTeacher(vector_specs(), 4, steps=1, hidden=8)), vectors(200), []
    def watched(elbo, start, *more, **named):
        seen.append(start.mean.detach())
        return refine(elbo, start, *more, **named)
    monkeypatch.setattr("mmvae_nb.multimodal_iterative.refine", watched)
    model.loss(batch)
    starts = {n: q.mean.detach() for n, q in model.starts(batch).items()}
    from_a = (seen[0] == starts["a"]).all(1); from_b = (seen[0] == starts["b"]).all(1)
    assert (from_a ^ from_b).all() and 60 < from_a.sum() < 140
