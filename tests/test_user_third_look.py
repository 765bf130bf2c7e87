"What was left of a third user's list: names, kinds of tensors, numbers beyond reason, judges, recordings."
import dataclasses, warnings
from types import SimpleNamespace

import numpy as np, pandas as pd, pytest, torch

from mmvae_nb import MmvaeError, MoPoE, NegativeBinomial, StudentT, Table, TensorData, default_specs
from mmvae_nb import evaluate, fit, impute
from mmvae_nb.distillation import Students
from mmvae_nb.missing import with_present
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.multimodal_iterative import IterativeTeacher, nelbo_over_t
from mmvae_nb.recording import can_record

G = np.random.default_rng(0)
A, B = (torch.as_tensor(G.normal(size=(40, c)), dtype=torch.float32) for c in (6, 4))
DATA = TensorData({"a": A, "b": B})
SPECS = default_specs(DATA.modalities)

def refused(make, *words, starts=""):
    with pytest.raises(MmvaeError) as e: make()
    said = str(e.value)
    assert said.startswith(starts) and "\n" not in said and "got" in said, said
    assert "allowed" in said or "needs" in said, said
    for w in words: assert w in said, f"{w!r} is not in: {said}"

def model(latent=2): return MoPoE(SPECS, latent).eval()


# ---- names

@pytest.mark.parametrize("given", [{"c": torch.zeros(3)}, 3, None], ids=str)
def test_only_the_models_modalities_are_weighted(given):
    refused(lambda: model().weighted(given), starts="log_likelihoods: got")

@pytest.mark.parametrize("start, batch", [("c", {"a": A, "b": B}), ("b", {"a": A})])
def test_a_search_starts_from_a_modality_that_is_there(start, batch):
    teacher = IterativeTeacher(SPECS, 2)
    refused(lambda: nelbo_over_t(teacher, batch, start, 1), starts=f"start: got {start!r}, allowed: a")
    for some in ({"a": A, "b": B}, {"a": A}): assert len(nelbo_over_t(teacher, some, "a", 1)) == 2    # of what is there

def test_an_index_into_another_pool_is_named():
    refused(lambda: with_present({"a": A}, {"b": torch.tensor([0])}), "allowed: a", starts="index: got 'b'")


# ---- kinds of tensors

pytestmark = pytest.mark.filterwarnings("ignore:.*(nested|quantize)")
with warnings.catch_warnings(action="ignore"):
    ODD = {"nested": torch.nested.nested_tensor([torch.zeros(6) for _ in range(40)]),
           "jagged": torch.nested.nested_tensor([torch.zeros(6) for _ in range(40)], layout=torch.jagged),
           "quantized": torch.quantize_per_tensor(A, .1, 0, torch.qint8), "sparse": A.to_sparse(),
           "meta": A.to("meta")}
SAID = {"jagged": "nested", "meta": "without numbers"}

@pytest.mark.parametrize("kind", ODD)
def test_data_are_plain_tensors_with_numbers(kind):
    refused(lambda: TensorData({"a": ODD[kind], "b": B}), SAID.get(kind, kind), starts="a: got a")

@pytest.mark.parametrize("kind", [k for k in ODD if k != "meta"])
def test_a_batch_holds_plain_tensors(kind):
    batch = {"a": ODD[kind], "b": B}
    refused(lambda: model()(batch), SAID.get(kind, kind), starts="a: got a")
    refused(lambda: model().generate(batch), SAID.get(kind, kind), starts="a: got a")
    refused(lambda: impute(model(), batch), SAID.get(kind, kind), starts="a: got a")

def test_labels_behind_a_mask_are_not_told_to_be_nan():
    hidden = np.ma.MaskedArray(np.zeros(40, int), np.arange(40) < 3)
    with pytest.raises(MmvaeError) as e: TensorData({"a": A}, labels=hidden)
    assert str(e.value).startswith("labels: got a masked array") and "nan" not in str(e.value)


# ---- numbers beyond reason

@pytest.mark.parametrize("what", ["hidden", "features"])
def test_widths_that_no_machine_has_are_refused(what):
    refused(lambda: dataclasses.replace(SPECS["a"], **{what: 10**29}), "at most", starts=f"{what}: got 1000")

def test_slices_that_no_machine_has_are_refused():
    refused(lambda: impute(model(), {"a": A, "b": B}, batch_size=10**29), "at most", starts="batch_size: got 1000")


# ---- tables and laws

@pytest.mark.parametrize("cell", [[1, 2], {"a": 1}, {1}], ids=str)
def test_a_table_holds_one_thing_in_a_cell(cell):
    refused(lambda: Table(pd.DataFrame({"u": [1., 2.], "v": [cell, cell]})), type(cell).__name__, starts="v: got a")

@pytest.mark.parametrize("law", [NegativeBinomial, StudentT])
def test_a_law_of_three_columns_draws_no_four(law):
    refused(lambda: law(3).sample(torch.zeros(5, 4)), "3", starts="params: got 4 columns")
    assert law(4).sample(torch.zeros(5, 4)).shape == law().sample(torch.zeros(5, 4)).shape == (5, 4)


# ---- judges

class Judge:
    "Says the same of everything."
    by_chance = ()
    def __init__(self, value): self.value = value
    def scores(self, to, made, batch, labels=None): return {"liking": self.value}

@pytest.mark.parametrize("value", [float("nan"), float("inf"), torch.tensor([1., float("nan")])], ids=str)
def test_a_judges_nan_is_no_result(value):
    few = dict(samples=20, probe_points=20, oracle_items=0)
    refused(lambda: evaluate(model(), DATA, DATA, Judge(value), **few), "from the judge", starts="liking of ")
    rows = evaluate(model(), DATA, DATA, Judge(torch.ones(20)), **few)
    assert any(r["metric"] == "liking" and r["value"] == 1 for r in rows.rows)


def test_features_of_a_judge_are_told_apart_by_modality():
    judge = Judge(1.); judge.features = lambda x: x
    refused(lambda: evaluate(model(), DATA, DATA, judge), "a dict, name ->", starts="judge: got a Judge")


# ---- trainings

def test_a_model_made_without_gradients_for_good_is_not_trained():
    with torch.inference_mode(): made = MoPoE(SPECS, 2)
    refused(lambda: fit(made, DATA, 2, 8, progress=False), "inference_mode", starts="model: got one made under")

@pytest.mark.parametrize("starts, may", [("one", True), ("all", True), ("any", False)])
def test_students_that_draw_in_python_are_not_recorded(starts, may):
    card = SimpleNamespace(num_processes=1, device=torch.device("cuda"))
    students = Students(JVAE(SPECS, 2), starts=starts)
    assert students.draws_in_python is not may
    assert can_record(card, DATA, {"accumulate": 1}, students) is may
    assert can_record(card, DATA, {"accumulate": 1}, model()) is True
