"What a user's own model, likelihood or file says when it is wrong. Defects that a user of the package met."
import numpy as np, pytest, torch

from mmvae_nb.data import TensorData
from mmvae_nb.networks import default_specs
from mmvae_nb.vae import VAE
from model_helpers import *
from test_user_border import A, refused


# ---- VAE: the same door as models of several modalities

def one(kind, shape=(6,), x=None):
    kinds = {} if kind == "vector" else {"a": kind}
    data = TensorData({"a": A if x is None else x}, kinds=kinds)
    return VAE(default_specs(data.modalities)["a"], "a", 2).eval()

FLAGS = (A > 0).astype("uint8")

@pytest.mark.parametrize("make, words, starts", [
    (lambda: one("vector").generate({"a": torch.full((3, 6), torch.nan)}), ["nan"], "a: got nan"),
    (lambda: one("vector").infer({"a": torch.full((3, 6), torch.nan)}), ["nan"], "a: got nan"),
    (lambda: one("vector").generate(torch.full((3, 2), torch.nan)), ["nan"], "latents: got nan"),
    (lambda: one("image", x=np.zeros((9, 1, 8, 8), "uint8")).generate({"a": torch.full((3, 1, 8, 8), 255.)}),
     ["0 to 255", "0 to 1"], "a: got images"),
    (lambda: one("binary", x=FLAGS).infer({"a": torch.tensor(FLAGS)}), ["uint8", "binary"], "a: got"),
    (lambda: one("binary", x=FLAGS).generate({"a": FLAGS + 1}), ["0 to 1"], "values of a: got 2"),
    (lambda: one("counts", x=FLAGS).generate({"a": A}), ["whole"], "counts of a: got"),
    (lambda: one("vector").infer({"a": A}), ["ndarray", "tensor"], "a: got"),
    (lambda: one("vector").loss({"a": A}), ["ndarray", "tensor"], "a: got"),
    (lambda: one("vector").infer({"a": torch.zeros(3, 5)}), ["(3, 5)", "(6,)"], "a: got shape"),
    (lambda: one("vector").infer(torch.zeros(3, 6)), ["dict"], "batch: got a Tensor"),
    (lambda: one("vector").infer({"b": torch.zeros(3, 6)}), ["b", "a"], "batch: got b")])
def test_a_model_of_one_modality_checks_what_it_is_given(make, words, starts):
    refused(make, *words, starts=starts)

def test_a_model_of_one_modality_takes_what_is_right():
    flags = one("binary", x=FLAGS)
    made = [flags.generate({"a": x})["a"] for x in (FLAGS, FLAGS.astype("float32"), torch.tensor(FLAGS))]
    assert [type(x) for x in made] == [np.ndarray, np.ndarray, torch.Tensor]
    np.testing.assert_array_equal(made[0], made[1]); np.testing.assert_array_equal(made[0], made[2].numpy())
    whole = one("vector").generate({"a": A, "b": A})                       # others' modalities are not its own
    assert whole.keys() == {"a"} and whole["a"].shape == (40, 6)
    assert one("vector").generate(A[:, :2])["a"].shape == (40, 6)          # latents
    assert one("vector")({"a": torch.tensor(A)}).total.isfinite()
