"""Models of the package as graphs that a browser can run: ONNX, weights apart.

`Imagine` infers from every set of modalities by the model's own `infer` and generates all of them;
`Starts` and `Step` are the iterative teacher, one step at a time. The gradient that a step needs is
traced from the package's own `elbo_gradient`, so it is a part of the graph like everything else.
"""
import contextlib, copy, io, itertools, logging, warnings

import torch
from torch import nn
from torch._decomp import core_aten_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from mmvae_nb.core import MmvaeError
from mmvae_nb.distributions import Categorical, DiagonalGaussian
from mmvae_nb.iterative_inference import elbo_gradient
from mmvae_nb.vae import path_kl

aten = torch.ops.aten


def subsets(names):
    "All non-empty sets of modalities, the small ones first: the order of `Imagine`'s rows."
    return [s for k in range(1, len(names) + 1) for s in itertools.combinations(names, k)]

class Once(nn.Module):
    "An encoder that is run once for an input, however often it is asked."
    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.seen = encoder, (None, None)
    def forward(self, x):
        if self.seen[0] is not x: self.seen = (x, self.encoder(x))
        return self.seen[1]
    def forget(self): self.seen = (None, None)

def shown(model, name, z):
    "What is shown of a modality at z: a picture; of a text, tokens and how sure each of them is."
    params, likelihood = model.decode(z, name), model.specs[name].likelihood
    said = [likelihood.mean(params)]
    return said + [params.softmax(-1).amax(-1)] if isinstance(likelihood, Categorical) else said

def outputs_of(model):
    "Names of what `shown` returns, for all modalities."
    sure = lambda n: isinstance(model.specs[n].likelihood, Categorical)
    return [f"new_{o}" for n in model.names for o in ([n, f"{n}_sure"] if sure(n) else [n])]


# ---- what is computed

class Imagine(nn.Module):
    "(set, noise, x_1, ..., x_M) -> mean and log-variance of q given that set, and all generations."
    def __init__(self, model):
        super().__init__()
        self.model = copy.copy(model)
        self.model._modules = dict(model._modules)
        encoders = {n: Once(e) for n, e in model.encoders.items()}
        self.model.encoders = nn.ModuleDict(encoders)
    def forward(self, row, noise, *given):
        for e in self.model.encoders.values(): e.forget()
        batch = dict(zip(self.model.names, given))
        qs = [self.model.infer({n: batch[n] for n in s}) for s in subsets(self.model.names)]
        mean, logvar = (torch.cat(v).index_select(0, row) for v in
                        ([q.mean for q in qs], [q.logvar for q in qs]))
        z = mean + torch.exp(0.5*logvar)*noise
        return mean, logvar, *(v for n in self.model.names for v in shown(self.model, n, z))
    def inputs(self): return ["row", "noise", *self.model.names]
    def outputs(self): return ["mean", "logvar", *outputs_of(self.model)]

class Starts(nn.Module):
    "x_1, ..., x_M -> q_0 from each of them: means and log-variances, (M, latent)."
    def __init__(self, teacher):
        super().__init__()
        self.model = teacher
    def forward(self, *given):
        q = DiagonalGaussian.cat(self.model.starts(dict(zip(self.model.names, given))).values())
        return q.mean, q.logvar
    def inputs(self): return self.model.names
    def outputs(self): return ["mean", "logvar"]

class Step(nn.Module):
    """One step of refinement from M starts side by side, and what stands at each of them before it.

    `on` is 1 for a modality that is given and 0 for one that is not: its term is no part of the
    ELBO, as if it were left out of the batch.
    """
    def __init__(self, teacher):
        super().__init__()
        self.model = teacher

    def bound(self, batch, on, z, kl):
        "The ELBO of the modalities that are given, by one sample."
        logs = self.model.log_likelihoods(batch, z)
        return self.model.weighted({n: o*logs[n] for n, o in zip(self.model.names, on)}) \
            - self.model.beta*kl

    def nelbo(self, given, on, q, look):
        "The negative ELBO at q, (M,): the mean over the samples of z that the noise `look` makes."
        z = (q.mean + q.std*look[:, None]).flatten(0, 1)
        batch = {n: x.expand(len(z), *x.shape[1:]) for n, x in zip(self.model.names, given)}
        kl = q.kl().repeat(len(look))
        return -self.bound(batch, on, z, kl).view(len(look), -1).mean(0)

    def forward(self, mean, logvar, memory, noise, look, view, on, *given):
        q, on = DiagonalGaussian(mean, logvar), on.unbind(0)
        batch = {n: x.expand(len(mean), *x.shape[1:]) for n, x in zip(self.model.names, given)}
        def elbo(q):
            z = q.mean + q.std*noise
            return self.bound(batch, on, z, path_kl(q, z))
        _, g_mean, g_logvar = elbo_gradient(elbo, q)
        new, after = self.model.refiner(q, g_mean, g_logvar, memory)
        made = [v for n in self.model.names for v in shown(self.model, n, q.mean + q.std*view)]
        return self.nelbo(given, on, q, look), new.mean, new.logvar, after, g_mean, g_logvar, *made

    def inputs(self):
        return ["mean", "logvar", "memory", "noise", "look", "view", "on", *self.model.names]
    def outputs(self):
        return ["nelbo", "next_mean", "next_logvar", "next_memory", "g_mean", "g_logvar",
                *outputs_of(self.model)]


# ---- as ONNX

def convolution_backward(above, x, weight, bias_sizes, stride, padding, dilation, transposed,
                         output_padding, groups, mask):
    "The gradient of a convolution in its input, which is a convolution of the other kind."
    if list(mask) != [True, False, False]: return NotImplemented
    rest = [0]*len(stride)
    if not transposed:
        back = lambda i: (above.shape[2 + i] - 1)*stride[i] - 2*padding[i] \
            + dilation[i]*(weight.shape[2 + i] - 1) + 1
        rest = [x.shape[2 + i] - back(i) for i in range(len(stride))]
    made = aten.convolution(above, weight, None, stride, padding, dilation, not transposed, rest,
                            groups)
    return made, None, None

def traced(module, args):
    "The operations of a module's forward pass, and of the gradients it asks for, as a graph."
    table = {**core_aten_decompositions(),
             aten.convolution_backward.default: convolution_backward}
    graph = make_fx(module.forward, decomposition_table=table)(*args)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph.eval()

def to_onnx(module, args):
    "A module as an ONNX model with named inputs and outputs; small constants are folded."
    try: import onnxscript
    except ImportError as e:
        raise MmvaeError(f"{e.name}: not installed, and it makes the page's graphs, allowed: "
                         "`make playground`, which installs it apart") from e
    graph, quiet = traced(module, args), io.StringIO()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(quiet):
        warnings.simplefilter("ignore")
        made = torch.onnx.export(graph, args, dynamo=True, optimize=False, verbose=False,
                                 input_names=module.inputs(), output_names=module.outputs())
    large = lambda node: any(v is not None and v.const_value is not None
                             and v.const_value.size >= 256 for v in node.inputs)
    onnxscript.optimizer.optimize_ir(made.model, output_size_limit=4096,
                                     should_fold=lambda node: False if large(node) else None)
    return made.model_proto
