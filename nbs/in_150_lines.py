"""Multimodal iterative inference in one file: data, model, refiner, teacher, students, and a check.

    python in_150_lines.py          well under a minute on one core; needs torch and scikit-learn

A handwritten digit is seen in two views: its left and its right half. At the end only one half is
given, and the other is to be drawn.
"""
import itertools, random
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

random.seed(0); torch.manual_seed(0)
LATENT, STEPS, UPDATES, VIEWS = 8, 4, 600, ("left", "right")

# 1. Data: a batch is a dict, view -> (items, 32) pixels in [0, 1]; a missing view is an absent key

pictures = torch.tensor(load_digits().images/16, dtype=torch.float)
pictures = pictures[torch.randperm(len(pictures))]

def halves(pictures):
    return {"left": pictures[:, :, :4].flatten(1), "right": pictures[:, :, 4:].flatten(1)}

train, test = halves(pictures[:1300]), halves(pictures[1300:])

def batches(updates, size=64):
    for _ in range(updates):
        items = torch.randint(len(train["left"]), (size,))
        yield {view: x[items] for view, x in train.items()}

# 2. Bells: a posterior q is a pair (mean, logvar), each (items, LATENT)

def sample(q): return q[0] + (q[1]/2).exp()*torch.randn_like(q[0])

def kl(q, p=(torch.zeros(()), torch.zeros(()))):        # KL(q || p) per item; p: the prior
    return 0.5*(p[1] - q[1] - 1 + (q[1].exp() + (q[0] - p[0])**2)/p[1].exp()).sum(1)

def network(inputs, outputs, hidden=128):
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ELU(), nn.Linear(hidden, outputs))

class Encoder(nn.Module):
    "What is seen -> a bell over z."
    def __init__(self, views=1):
        super().__init__()
        self.net = network(32*views, 2*LATENT)

    def forward(self, *x):
        mean, logvar = self.net(torch.cat(x, 1)).chunk(2, 1)
        return mean, logvar.clamp(-8, 3)

def one_for_each_view(make): return nn.ModuleDict({view: make() for view in VIEWS})

# 3. The model: z makes every view; the ELBO says how well a bell explains all of them

def new_decoders(): return one_for_each_view(lambda: network(LATENT, 32))

def log_likelihood(decoder, x, z):
    return -F.binary_cross_entropy_with_logits(decoder(z), x, reduction="none").sum(1)

def elbo(decoders, batch, q):
    z = sample(q)
    return sum(log_likelihood(decoders[view], x, z) for view, x in batch.items()) - kl(q)

# 4. The refiner: a bell and the gradient of the ELBO of ALL views -> a better bell

class Refiner(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = network(4*LATENT, 2*LATENT)

    def forward(self, q, gradient):
        (mean, logvar), std = q, (q[1]/2).exp()
        gradient = torch.cat([std*gradient[0], gradient[1]], 1)         # in units of the bell
        loud = gradient.sign()*gradient.abs().log1p()                   # from small to very large
        step = self.net(torch.cat([mean, logvar, loud], 1)).tanh()      # bounded
        return mean + 2*std*step[:, :LATENT], (logvar + step[:, LATENT:]).clamp(-8, 3)

def climb(decoders, refiner, batch, q, steps=STEPS):
    "Bells q_0, ..., q_T. What a step is given is detached, so each step learns to gain by itself."
    path = [q]
    for _ in range(steps):
        at = [part.detach().requires_grad_() for part in path[-1]]
        with torch.enable_grad():
            gradient = torch.autograd.grad(elbo(decoders, batch, at).sum(), at)
        path.append(refiner([part.detach() for part in at], gradient))
    return path

# 5. Training: three losses, one loop

def train_by(loss, *modules):
    parameters = list(itertools.chain(*(m.parameters() for m in modules)))
    optimiser = torch.optim.Adam(parameters)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=UPDATES)
    for batch in batches(UPDATES):
        optimiser.zero_grad()
        loss(batch).backward()
        nn.utils.clip_grad_norm_(parameters, 10.)
        optimiser.step(); schedule.step()

def joint_vae():
    "The usual way: one encoder of both halves."
    encoder, decoders = Encoder(views=2), new_decoders()
    infer = lambda batch: encoder(batch["left"], batch["right"])
    train_by(lambda batch: -elbo(decoders, batch, infer(batch)).mean(), encoder, decoders)
    return infer, decoders

def iterative_teacher():
    "Start from ONE view, climb by the ELBO of all; every q_t is trained to be good."
    starts, decoders, refiner = one_for_each_view(Encoder), new_decoders(), Refiner()
    search = lambda batch, view: climb(decoders, refiner, batch, starts[view](batch[view]))
    def loss(batch):
        path = search(batch, random.choice(VIEWS))
        return -torch.stack([elbo(decoders, batch, q).mean() for q in path]).mean()
    train_by(loss, starts, decoders, refiner)
    return search, decoders

def distil(teacher):
    "A student for each view: it sees this view only and copies `teacher(batch, view)`."
    students = one_for_each_view(Encoder)
    def loss(batch):
        view = random.choice(VIEWS)
        with torch.no_grad(): answer = teacher(batch, view)
        return kl(answer, students[view](batch[view])).mean()
    train_by(loss, students)
    return lambda view, x: students[view](x)

# 6. The check: one half is given; how likely is the other half, in nats per picture?

@torch.no_grad()
def other_half(infer, decoders, samples=30):
    nats = [log_likelihood(decoders[other], test[other], sample(infer(view, test[view]))).mean()
            for view, other in [VIEWS, VIEWS[::-1]] for _ in range(samples)]
    return torch.stack(nats).mean().item()

def main():
    joint, decoders = joint_vae()
    filled = lambda view, x: joint({v: x if v == view else torch.zeros_like(x) for v in VIEWS})
    scores = {"joint encoder, hole filled with zeros": other_half(filled, decoders)}
    students = distil(lambda batch, view: joint(batch))
    scores["students of the joint encoder"] = other_half(students, decoders)
    search, decoders = iterative_teacher()
    students = distil(lambda batch, view: search(batch, view)[-1])
    scores["students of the climb"] = other_half(students, decoders)
    path = [elbo(decoders, test, q).mean().item() for q in search(test, "left")]
    print("ELBO along the climb from the left half:", *(f"{nats:.1f}" for nats in path))
    for method, nats in scores.items(): print(f"{nats:8.1f} nats  {method}")
    return scores, path, students, decoders

if __name__ == "__main__": main()
