"What a second user of the package met: slips that passed in silence, or met somebody else's exception."
import numpy as np, pytest, torch

from mmvae_nb import MmvaeError, MoPoE, Modality, Standardize, TensorData, default_specs, impute
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.multimodal_iterative import StudentsOverT

G = np.random.default_rng(0)
A, B = G.normal(size=(40, 6)).astype("float32"), G.integers(0, 3, size=(40, 1))
DATA = TensorData({"a": A, "k": B}, kinds={"k": "categories"})

def refused(make, *words, starts=""):
    with pytest.raises(MmvaeError) as e: make()
    said = str(e.value)
    assert said.startswith(starts) and "\n" not in said and "got" in said and "allowed" in said, said
    for w in words: assert w in said, f"{w!r} is not in: {said}"

def model(data=DATA, latent=2): return MoPoE(default_specs(data.modalities), latent).eval()


# ---- impute

def test_a_column_without_its_axis_is_named():
    refused(lambda: impute(model(), {"a": A, "k": B[:, 0]}), "(40,)", "k[:, None]", starts="k: got shape")

@pytest.mark.parametrize("a", [torch.tensor(A).bfloat16(), torch.tensor(A, requires_grad=True)], ids=["bf16", "grad"])
def test_tensors_beside_arrays_come_back_as_arrays(a):
    made = impute(model(), {"a": a, "k": B}, there={"k": np.arange(40) > 3})
    assert all(isinstance(x, np.ndarray) for x in made.values())
    np.testing.assert_allclose(made["a"], a.detach().float().numpy())      # nothing was missing there


# ---- models that speak as others

@pytest.mark.parametrize("other", [lambda: model(latent=3), lambda: model(TensorData({"a": A}))],
                         ids=["latent", "names"])
def test_a_model_of_other_modalities_is_no_voice(other):
    refused(lambda: model().speak_as(other()), "a, k with 2 latent", starts="other: got a model of")

def test_latents_that_are_none_are_named():
    for z in ("z", [0., 1.], np.zeros((3, 2))): refused(lambda z=z: model().decode(z, "a"), starts="z: got a")

def test_students_over_t_need_a_teacher_that_refines():
    refused(lambda: StudentsOverT(JVAE(default_specs(DATA.modalities), 2)), starts="teacher: got a JVAE")


# ---- data

@pytest.mark.parametrize("said, start", [
    ({"class_names": "abc"}, "class_names: got 'abc'"), ({"class_names": [1, 2, 3]}, "class_names: got [1"),
    ({"class_names": ["x", "x"]}, "class_names: got"), ({"provenance": "me"}, "provenance: got 'me'"),
    ({"provenance": {"z": "me"}}, "provenance: got 'z'"), ({"terms": 3}, "terms: got 3"),
    ({"real": "yes"}, "real: got 'yes'"), ({"split_rule": 3}, "split_rule: got 3")], ids=str)
def test_what_is_said_of_data_is_in_its_form(said, start):
    refused(lambda: TensorData({"a": A}, **said), starts=start)

def test_groups_are_a_dict():
    refused(lambda: TensorData({"a": A}, groups=np.arange(40)), starts="groups: got a ndarray")

@pytest.mark.parametrize("kind", ["counts", "binary"])
def test_whole_numbers_are_what_a_modality_says(kind):
    x = G.integers(0, 2, size=(40, 3))
    said = TensorData({"c": x}, modalities=[Modality("c", kind, (3,))])
    assert said.pools["c"].dtype == torch.float32 and torch.equal(said.pools["c"], torch.tensor(x).float())

def test_only_text_and_categories_have_tokens():
    refused(lambda: Modality("x", "vector", (4,)).encode(["a"]), "text", starts="kind of x: got 'vector'")
    word = Modality("w", "text", (4,), "ab ")
    refused(lambda: word.encode(torch.tensor(3.)), starts="w: got")

def test_columns_that_are_all_the_same_and_far_away_warn():
    with pytest.warns(UserWarning, match="a: its columns"): TensorData({"a": np.full((40, 2), 300.)})

@pytest.mark.parametrize("index, word", [
    ({"a": torch.tensor([-1]), "k": torch.tensor([0])}, "index of a: got -1"),
    ({"a": torch.arange(3), "k": torch.arange(2)}, "index: got {'a': 3, 'k': 2}")], ids=["negative", "unequal"])
def test_an_index_does_not_count_back_and_is_one_for_all(index, word):
    refused(lambda: DATA.gather(index), starts=word)

@pytest.mark.parametrize("x", [np.ones(6), np.full((3, 6), np.inf)], ids=["one row", "infinite"])
def test_standardize_takes_finite_items(x): refused(lambda: Standardize(A)(x), starts="x: got")
