"What a user of `fit` met: data that are silently of no use, names that collide, and errors that named somebody else."
import math, types, warnings

import numpy as np, pandas as pd, pytest, torch
from torch import nn
from torch.utils.data import DataLoader

import mmvae_nb
from mmvae_nb import (CRMVAE, JVAE, MoPoE, Modality, MmvaeError, TensorData, default_specs, distill, evaluate, fit,
                      log_likelihood)
from mmvae_nb.missing import RESERVED
from mmvae_nb.multimodal_iterative import IterativeTeacher
from mmvae_nb.training import Stream
from mmvae_nb.using import refined
from mmvae_nb.watching import identity_of
from model_helpers import one_line, vector_spec

g = np.random.default_rng(0)
z = g.normal(size=(120, 2)).astype("float32")
A, B = (z@g.normal(size=(2, 6))).astype("float32"), (z@g.normal(size=(2, 4))).astype("float32")
PAIR = {"a": torch.tensor(A), "b": torch.tensor(B)}
DATA = TensorData(PAIR)
QUIET = dict(progress=False, device="cpu")

def model(latent=3):
    torch.manual_seed(0)
    return MoPoE(default_specs(DATA.modalities), latent)

def refused(call, start, *words):
    with pytest.raises(MmvaeError) as e: call()
    text = one_line(e)
    assert text.startswith(start) and "allowed: " in text and all(w in text for w in words), text

def holed(row, value=math.nan):
    x = A.copy()
    x[row, 1] = value
    return x

def same_start(m): return {k: v.clone() for k, v in m.state_dict().items()}


# ---- held-out items with a hole

@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {n: torch.as_tensor(v) for n, v in x.items()},
     lambda x: {n: pd.DataFrame(v) for n, v in x.items()}], ids=["arrays", "tensors", "frames"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_hole_in_a_held_out_batch_is_refused_before_anything_is_trained(wrap, value):
    m = model()
    before = same_start(m)
    refused(lambda: fit(m, DATA, 20, 16, validation=wrap({"a": holed(17, value), "b": B}), **QUIET),
            "validation: got nan or infinite values in a of item 17")
    assert all(torch.equal(v, before[k]) for k, v in m.state_dict().items())

def test_a_hole_in_a_held_out_loader_is_named_by_its_place_in_the_whole():
    batches = [{"a": holed(50)[i:i + 40], "b": B[i:i + 40]} for i in range(0, 120, 40)]
    refused(lambda: fit(model(), DATA, 20, 16, validation=batches, **QUIET),
            "validation: got nan or infinite values in a of item 50")

def test_a_hole_that_present_tells_of_is_none():
    there = torch.ones(120, 2).bool()
    there[17, 0] = False
    x = torch.tensor(holed(17))
    x[17] = math.nan
    history = fit(model(), DATA, 11, 16, validation={"a": x, "b": PAIR["b"], "present": there}, **QUIET)
    assert history.validation.map(math.isfinite).all()
    there[17], there[18] = True, torch.tensor([False, True])
    refused(lambda: fit(model(), DATA, 11, 16, validation={"a": x, "b": PAIR["b"], "present": there}, **QUIET),
            "validation: got nan or infinite values in a of item 17")


# ---- a modality that never comes

def test_a_loader_of_one_batch_is_refused_before_anything_is_trained():
    m = model()
    before = same_start(m)
    refused(lambda: fit(m, [{"a": PAIR["a"]}], 100, **QUIET), "data: got no item with b", "in some items at least")
    assert all(torch.equal(v, before[k]) for k, v in m.state_dict().items())

class Counted:
    "Batches without a length, that count how many of them were asked for."
    def __init__(self, batches): self.batches, self.asked = batches, 0
    def __iter__(self):
        for b in self.batches: self.asked += 1; yield b

@pytest.mark.parametrize("many, most", [(7, 7), (300, 100)])
def test_after_a_pass_or_a_hundred_batches(many, most):
    data = Counted([{"a": PAIR["a"][:8]}]*many)
    refused(lambda: fit(model(), data, 1000, **QUIET), "data: got no item with b")
    assert data.asked == most

def test_a_loader_may_show_it_late_and_a_mask_counts():
    seen = {"a": PAIR["a"][:8]}
    both = {n: x[:8] for n, x in PAIR.items()}
    mask = lambda *row: torch.tensor([row]*8)
    late = [seen]*3 + [{**both, "present": mask(False, True)}]
    assert len(fit(model(), late, 8, **QUIET)) == 2
    never = [{**both, "present": mask(True, False)}]*4
    refused(lambda: fit(model(), never, 8, **QUIET), "data: got no item with b")
    other_order = [{"b": both["b"], "a": both["a"], "present": mask(True, False)}]*4      # columns as the keys
    refused(lambda: fit(model(), other_order, 8, **QUIET), "data: got no item with a")

def test_a_model_of_ones_own_without_names_takes_what_it_takes():
    class Own(nn.Module):
        def __init__(self): super().__init__(); self.w = nn.Parameter(torch.zeros(6))
        def forward(self, batch): return ((batch["a"] - self.w)**2).mean(), {}
    assert len(fit(Own(), [{"a": PAIR["a"]}], 11, **QUIET)) == 2

@pytest.mark.parametrize("validation", [{"a": A}, TensorData({"a": A}), [{"a": A}], [{"a": A[:60]}, {"a": A[60:]}]],
                         ids=["dict", "data", "list", "two"])
def test_held_out_items_have_all_modalities_of_the_model(validation):
    refused(lambda: fit(model(), DATA, 20, 16, validation=validation, **QUIET),
            "validation: got no item with b", "in some items at least")

def test_held_out_batches_may_share_the_modalities_out():
    history = fit(model(), DATA, 11, 16, validation=[{"a": A}, {"b": B}], **QUIET)
    assert history.validation.map(math.isfinite).all()


# ---- a checkpoint and another loader

def rows(x, y=B): return [{"a": a, "b": b} for a, b in zip(x, y)]

def test_a_checkpoint_refuses_another_loader_and_says_so_in_words(tmp_path):
    how = dict(checkpoint=tmp_path/"ck", schedule="constant", **QUIET)
    loader = lambda x: DataLoader(rows(x), 32, shuffle=True)
    fit(model(), loader(A), 10, **how)
    refused(lambda: fit(model(), loader(A[::-1].copy()*3), 20, **how),
            "data: got another data set than the checkpoint's (checksum DataLoader 4, items ", ", it has DataLoader 4",
            "allowed: the same data set, or another folder than ")
    assert fit(model(), loader(A.copy()), 20, **how)["update"].iloc[-1] == 19
    refused(lambda: fit(model(), DATA, 30, **how), "data: got another data set than the checkpoint's")

def test_data_in_memory_and_held_out_items_differ_in_words(tmp_path):
    how = dict(batch_size=16, checkpoint=tmp_path/"ck", schedule="constant", **QUIET)
    fit(model(), DATA, 10, validation=PAIR, **how)
    other = TensorData({"a": A + 1, "b": B})
    refused(lambda: fit(model(), other, 20, validation=PAIR, **how), "data: got another data set than the checkpoint's "
            f"(checksum {other.checksum}, it has {DATA.checksum})")
    refused(lambda: fit(model(), DATA, 20, validation={"a": A + 1, "b": B}, **how),
            "validation: got another held-out set than the checkpoint's")
    refused(lambda: fit(model(), DATA, 20, **how), "validation: got none, allowed: one, which the checkpoint")
    refused(lambda: fit(model(), DATA, 20, validation=PAIR, optimiser=lambda p, lr: torch.optim.SGD(p, lr), **how),
            "optimiser: got SGD(", "allowed: the default")
    refused(lambda: fit(model(), DATA, 20, validation=PAIR, lr=.1, **how), "lr: got 0.1, allowed: 0.001, which the")

class Drawn(torch.utils.data.Dataset):
    "Items that are drawn anew each time, by the global generator or by one of its own."
    def __init__(self, own=False): self.own = torch.Generator().manual_seed(0) if own else None
    def __len__(self): return 8
    def __getitem__(self, i): return {"a": torch.rand(3, generator=self.own)}

def test_what_the_identity_of_a_loader_knows():
    one = identity_of(DataLoader(rows(A), 32))
    assert one == identity_of(DataLoader(rows(A.copy()), 32, shuffle=True)) and one.startswith("DataLoader 4, items ")
    for other in (rows(A + 1), rows(A.astype("float64")), rows(A[:, :5]), rows(A, B + 1), rows(A[1:], B[1:])):
        assert identity_of(DataLoader(other, 32)) != one
    last = A.copy()
    last[-1] += 1
    assert identity_of(DataLoader(rows(last), 32)) != one
    assert identity_of(DataLoader(rows(A), 32, num_workers=1)) == "DataLoader 4"          # not opened here for them
    assert identity_of(DataLoader(Drawn(own=True), 4)) == "DataLoader 2"                  # no two looks are alike
    assert identity_of(DataLoader(Drawn(), 4)) == identity_of(DataLoader(Drawn(), 4)) != "DataLoader 2"
    assert identity_of(Counted([])) == "Counted" and identity_of([]) == "list 0"

def test_a_look_at_the_items_draws_nothing():
    torch.manual_seed(3); wanted = torch.rand(4)
    torch.manual_seed(3); identity_of(DataLoader(Drawn(), 4))
    assert torch.equal(torch.rand(4), wanted)

def test_a_loader_without_a_checkpoint_is_not_looked_into():
    class Dear(Drawn):
        looks = 0
        def __getitem__(self, i): Dear.looks += 1; return {"a": torch.tensor(A[i]), "b": torch.tensor(B[i])}
    fit(model(), DataLoader(Dear(), 4), 2, **QUIET)
    assert Dear.looks == 8                                                                # one pass, no more

def test_a_loader_that_is_now_read_by_workers_goes_on(tmp_path):
    how = dict(checkpoint=tmp_path/"ck", schedule="constant", **QUIET)
    fit(model(), DataLoader(rows(A), 32), 10, **how)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        history = fit(model(), DataLoader(rows(A), 32, num_workers=1), 20, **how)
    assert history["update"].tolist() == [0, 9, 10, 19]


# ---- names of modalities

@pytest.mark.parametrize("name", RESERVED)
def test_a_name_that_batches_and_histories_need_is_refused(name):
    refused(lambda: TensorData({name: A, "b": B}), f"{name}: got it as the name of a modality", *RESERVED)
    refused(lambda: Modality(name, "vector", (3,)), f"{name}: got")
    refused(lambda: JVAE({name: vector_spec(3), "b": vector_spec(2)}, 2), "", name)        # by hand, without a Modality

def test_the_reserved_words_are_the_columns_of_a_history():
    history = fit(model(), DATA, 11, 16, validation=PAIR, **QUIET)
    assert {*history.columns} - {"a", "b"} == {*RESERVED} - {"present"}

@pytest.mark.parametrize("make, name", [(CRMVAE, "own"), (CRMVAE, "pull"), (mmvae_nb.JMVAE, "pull")])
def test_a_name_that_one_model_has_for_a_part_of_its_loss_is_refused_there(make, name):
    specs = {name: vector_spec(6), "b": vector_spec(4)}
    data = TensorData({name: A, "b": B})
    refused(lambda: fit(make(specs, 2), data, 2, 16, **QUIET), f"{name}: got it as the name of a modality",
            make.__name__)
    assert name in fit(MoPoE(specs, 2), data, 2, 16, **QUIET)                              # others may have it


# ---- words that a call does not have

WRONG = {
    "fit": (lambda: fit(model(), DATA, 2, optimizer=None), "fit: got optimizer", "optimiser"),
    "TensorData": (lambda: TensorData({"a": A}, kind={}), "TensorData: got kind", "kinds"),
    "TensorData, handed on": (lambda: TensorData({"a": A}, class_name=[]), "TensorData: got class_name", "class_names"),
    "distill": (lambda: distill(model(), DATA, 2, student={}), "distill: got student", "students"),
    "distill, handed on": (lambda: distill(model(), DATA, 2, batchsize=3), "distill: got batchsize", "batch_size"),
    "evaluate": (lambda: evaluate(model(), DATA, DATA, probe_point=3), "evaluate: got probe_point", "probe_points"),
    "generate": (lambda: model().generate(PAIR, samples=True), "generate: got samples", "sample"),
    "generate, one": (lambda: mmvae_nb.VAE(vector_spec(6), "a").generate(PAIR, generators=None),
                      "generate: got generators", "generator"),
    "JVAE": (lambda: JVAE({"a": vector_spec(6)}, latents=2), "JVAE: got latents", "latent"),
    "MoPoE": (lambda: MoPoE({"a": vector_spec(6)}, subset="full"), "MoPoE: got subset", "subsets"),
    "VAE": (lambda: mmvae_nb.VAE(vector_spec(6), "a", betta=1.), "VAE: got betta", "beta"),
    "IterativeTeacher": (lambda: IterativeTeacher({"a": vector_spec(6)}, step=2), "IterativeTeacher: got step",
                         "steps"),
    "Students": (lambda: mmvae_nb.Students(model(), warmstart=True), "Students: got warmstart", "warm_start"),
    "PairedByKey": (lambda: mmvae_nb.PairedByKey("x", "train", DATA.modalities, PAIR, label={}),
                    "PairedByKey: got label", "labels"),
}

@pytest.mark.parametrize("name", WRONG)
def test_a_word_that_a_call_does_not_have_is_named_by_that_call(name):
    call, start, meant = WRONG[name]
    refused(call, f"{start}, allowed: ", f"(did you mean {meant}?)")
    with pytest.raises(TypeError): call()                                                 # as Python has it

def test_nothing_is_guessed_that_is_not_near_and_what_is_given_by_the_outer_call_is_not_offered():
    with pytest.raises(MmvaeError) as e: TensorData({"a": A}, xyz=1)
    assert "did you mean" not in one_line(e) and "pools" not in one_line(e) and "split_rule" in one_line(e)
    refused(lambda: TensorData({"a": A}, pools={}), "TensorData: got pools")

def test_a_missing_argument_is_still_pythons():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'data'"): fit(model())

def test_words_that_are_handed_on_still_arrive():
    data = TensorData({"a": A}, labels=torch.arange(120) % 2, class_names=["no", "yes"], split_rule="none")
    assert data.class_names == ["no", "yes"] and data.split_rule == "none"


# ---- seeds and rates

SEEDS = {"fit": lambda s: fit(model(), DATA, 1, 16, seed=s, **QUIET), "batch": lambda s: DATA.batch(0, 4, s),
         "take": lambda s: DATA.take(4, s), "distill": lambda s: distill(model(), DATA, 1, seed=s, **QUIET),
         "log_likelihood": lambda s: log_likelihood(model(), {"a": A[:2]}, samples=2, climb=0, seed=s),
         "refined": lambda s: refined(model(), PAIR, 0, s),
         "evaluate": lambda s: evaluate(model(), DATA, DATA, samples=8, seed=s, tell=lambda **_: None)}

@pytest.mark.parametrize("name", SEEDS)
def test_a_seed_is_refused_alike_everywhere(name):
    refused(lambda: SEEDS[name](-1), "seed: got -1, allowed: a whole number at least 0")

def test_a_teacher_is_not_frozen_by_a_call_that_is_refused():
    teacher = model()
    with pytest.raises(MmvaeError): distill(teacher, DATA, 1, seed=-1, **QUIET)
    assert all(p.requires_grad for p in teacher.parameters())

def test_a_rate_of_nothing_is_refused():
    refused(lambda: fit(model(), DATA, 1, 16, lr=0, **QUIET), "lr: got 0, allowed: ")


# ---- the face

def test_dir_shows_the_public_names_only():
    shown = [n for n in dir(mmvae_nb) if not n.startswith("__")]
    assert shown == sorted(mmvae_nb.__all__) and {"Table", "Standardize"} <= {*shown}
    assert not any(isinstance(getattr(mmvae_nb, n), types.ModuleType) for n in shown)
    assert mmvae_nb.Standardize(A)(A).shape == A.shape and mmvae_nb.Table(pd.DataFrame(B)).columns == ("number",)*4

def test_help_says_in_which_order_the_columns_of_present_are():
    for thing in (fit, Stream): assert "present" in thing.__doc__ and "column" in thing.__doc__
    assert "first and last item" in Stream.checksum.__doc__
