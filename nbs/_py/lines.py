# %% [markdown]
# # How many lines?
#
# > What a task takes here and with multivae; both are shown, and counted by the same code.
#
# Each entry is run on this page, on two small tables, with a few updates each. Its partner is the same task by the documentation of multivae 1.0.3, which this page does not install: its lines are shown
# and counted, not run. Imports and the making of arrays are left out on both sides. The table at the end counts both, in lines; where multivae has no way, it says so.

# %%
import os, tempfile
import numpy as np, pandas as pd, torch
from mmvae_nb import *
from mmvae_nb.using import refined

torch.manual_seed(0)
z = torch.randn(64, 2)
x = {"a": z @ torch.randn(2, 4), "b": z @ torch.randn(2, 3), "c": z @ torch.randn(2, 5)}
test = {n: v[:5] for n, v in x.items()}
counts, flags = torch.poisson(x["a"].exp().clamp(max=9)), (x["b"] > 0).float()
holes = {n: v.clone() for n, v in x.items()}; holes["a"][:9] = torch.nan
class_of = {n: (z[:, 0] > 0).long() for n in x}
quick = dict(updates=3, batch_size=16, device="cpu", progress=False)
home = os.getcwd(); os.chdir(tempfile.mkdtemp())

# %%
tasks = {}   # task -> (ours, multivae's)
tasks["train on three modalities, generate one"] = ("""
data = TensorData(x)
model = MoPoE(default_specs(data.modalities), latent=2)
fit(model, data, **quick)
made = model.generate({"a": test["a"]}, to="b")["b"]
""", """
data = MultimodalBaseDataset(data=x)
config = MoPoEConfig(n_modalities=3, input_dims={"a": (4,), "b": (3,), "c": (5,)}, latent_dim=2)
model = MoPoE(config)
BaseTrainer(model, data, training_config=BaseTrainerConfig(num_epochs=1)).train()
made = model.predict(test_data, cond_mod="a", gen_mod="b")["b"]
""")
tasks["the same for five methods"] = ("""
specs = default_specs(data.modalities)
models = [m(specs, latent=2) for m in (JVAE, JMVAE, MoPoE, MVTCAE, IterativeTeacher)]
for m in models: fit(m, data, **quick)
""", """
how = dict(n_modalities=3, input_dims={"a": (4,), "b": (3,), "c": (5,)}, latent_dim=2)
pairs = [(JMVAE, JMVAEConfig), (MoPoE, MoPoEConfig), (MVTCAE, MVTCAEConfig), (MVAE, MVAEConfig), (MMVAE, MMVAEConfig)]
models = [model(config(**how)) for model, config in pairs]
for m in models: BaseTrainer(m, data, training_config=BaseTrainerConfig(num_epochs=1)).train()
""")
tasks["modalities that share a class, paired anew each epoch"] = ("""
paired = PairedByKey("toys", "train", data.modalities, x, class_of)
""", "")
tasks["counts and yes or no"] = ("""
odd = TensorData({"counts": counts, "flags": flags}, kinds={"counts": "counts", "flags": "binary"})
fit(MoPoE(default_specs(odd.modalities), latent=2), odd, **quick)
""", "")
tasks["train where modalities are missing"] = ("""
fit(model, TensorData(holes, present="given"), **quick)
""", """
data = IncompleteDataset(data=filled, masks=masks)
BaseTrainer(model, data, training_config=BaseTrainerConfig(num_epochs=1)).train()
""")
tasks["200 draws for each item"] = ("""
many = model.generate({"a": test["a"]}, to="b", n=200)["b"]
""", """
many = model.predict(test_data, cond_mod="a", gen_mod="b", N=200)["b"]
""")
tasks["draws of x, not only of z"] = ("""
drawn = model.generate({"a": test["a"]}, to="b", n=200, sample="x")["b"]
""", "")
tasks["fill other holes in each item"] = ("""
filled = impute(model, holes)
""", "")
tasks["save, and load elsewhere"] = ("""
save(model, "model.safetensors")
again = load("model.safetensors")
""", """
model.save("model")
again = AutoModel.load_from_folder("model")
""")
tasks["held-out loss, best weights kept, an early end"] = ("""
fit(model, data, validation=test, patience=3, **quick)
""", "")
tasks["log p(x), with its error"] = ("""
nats, error = log_likelihood(model, test, samples=9, climb=3).mean()
""", """
nll = model.compute_joint_nll(test_data, K=1000)
""")
tasks["log p(b | a)"] = ("""
nats, error = log_likelihood(model, {"b": test["b"]}, {"a": test["a"]}, samples=9, climb=3).mean()
""", "")
tasks["refine at test time with what is there"] = ("""
q = refined(model, {"a": test["a"]}, steps=9)
""", "")


# %%
def lines(code): return sum(bool(l.strip()) for l in code.splitlines())

space = dict(globals())
for ours, _ in tasks.values(): exec(ours, space)
os.chdir(home)
counted = pd.DataFrame({t: {"mmvae_nb": lines(ours), "multivae": lines(theirs) or "no way"}
                        for t, (ours, theirs) in tasks.items()}).T
counted

# %% [markdown]
# Early stopping: multivae keeps the best weights by itself when it is given `eval_dataset`, but does not end early. Its `compute_cond_nll` is a mean over its encoder's posterior, not $p(x_b \mid x_a)$, and so is no entry here. What
# multivae has and this package has not: many more models, some with normalising flows, and trackers of experiments.
