# %% [markdown]
# # On a graphics card
#
# > An update is hundreds of small kernels. Record them once, and launch them with one call.

# %%
#| default_exp recording

# %%
#| export
import torch
from mmvae_nb.core import *
from mmvae_nb.data import MultimodalData


# %%
#| export
def can_record(accelerator, # accelerate's, which knows device and processes
               data, # what batches come from
               how # settings of a training: a dict with `accumulate`
              ) -> bool:
    "Are all updates of this training alike: one process, one CUDA device, complete batches?"
    alike = isinstance(data, MultimodalData) and not data.partial
    alone = accelerator.num_processes == 1 and how["accumulate"] == 1
    return alike and alone and accelerator.device.type == "cuda"


# %%
#| export
def as_recordable(optimiser # whose states lie on the device
                 ):
    "The rate as a number on the device, which a recorded update reads there each time."
    for g in optimiser.param_groups:
        device = g["params"][0].device
        if device.type == "cuda": g["capturable"] = True
        g["lr"] = torch.tensor(float(g["lr"]), dtype=torch.float32, device=device)

def as_unrecorded(optimiser # such as one from a checkpoint
                 ):
    "The rate as a number of Python's."
    for g in optimiser.param_groups:
        if isinstance(g["lr"], torch.Tensor): g["lr"], g["capturable"] = g["lr"].item(), False


# %%
#| export
class Recorded:
    "An update that is done as written a few times, then recorded, then launched as recorded."
    def __init__(self, work, # batch -> (dict of tensors, tensor); with the optimiser's step
                 optimiser, # whose step it is
                 plain=3 # updates before the recording: libraries choose and allocate meanwhile
                ):
        self.work, self.optimiser, self.plain = work, optimiser, plain
        self.stream, self.graph, self.batch, self.made = torch.cuda.Stream(), None, None, None

    def __call__(self, batch # dict: name -> tensor, always of the same shapes
                ): # what `work` gives; tensors that the next call overwrites
        "One update on this batch."
        if self.plain: self.plain -= 1; return self._as_written(batch)
        if self.graph is None: self._record(batch)
        for n, x in batch.items(): self.batch[n].copy_(x)
        self.graph.replay()
        return self.made

    def _as_written(self, batch):
        now = torch.cuda.current_stream()
        self.stream.wait_stream(now)
        with torch.cuda.stream(self.stream):
            made = self.work(batch)
            self.optimiser.zero_grad()
        now.wait_stream(self.stream)
        return made

    def _record(self, batch):
        "Nothing is computed meanwhile; gradients get their place in the recording."
        self.batch, self.graph = {n: x.clone() for n, x in batch.items()}, torch.cuda.CUDAGraph()
        as_recordable(self.optimiser)
        with torch.cuda.graph(self.graph, stream=self.stream): self.made = self.work(self.batch)
