"""Metrics, charts and tables in the hands of somebody who has only the package: what would be a wrong number, or an
error of somebody else's, is one line; what is sound is taken."""
import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest, torch

from mmvae_nb import metrics as M, plotting as P
from mmvae_nb.core import MmvaeError, in_range, one_of
from mmvae_nb.distributions import DiagonalGaussian, Laplace

g = torch.Generator().manual_seed(0)
rand = lambda *shape: torch.randn(*shape, generator=g)
Q, P5 = (DiagonalGaussian(rand(5, 3), rand(5, 3)) for _ in range(2))
IMAGES, Y = torch.rand(5, 1, 8, 8, generator=g), torch.arange(5) % 3
Z, LABELS = rand(30, 4), torch.arange(30) % 3
FRAME, SERIES = pd.DataFrame(Z.numpy()), pd.Series(LABELS.numpy())
TURNED, SHUFFLED = FRAME[::-1], SERIES.sample(frac=1, random_state=0)
TABLE = pd.DataFrame(dict(slide=1, dataset="d", metric="m", condition="c", method=["a", "b"], value=[1., 2.]))
flat = lambda x: x.flatten(1)
joint = lambda z: z.sum(-1)

class Judge:
    def __init__(self, says): self.says = says
    def predict(self, x): return self.says

def judged(says, x=IMAGES): return lambda: M.coherence(x, Y, Judge(says))
def chart(x, **how): return lambda: P.line_chart(x, {"a": ([1, 2], None)}, "", "", **how)
def tables(**changed): return lambda: P.talk_table(TABLE.assign(**changed))
def texts(**changed): return lambda: P.table_text(TABLE.assign(**changed))

def refused(call, *words, starts=""):
    with pytest.raises(MmvaeError) as e: call()
    text = str(e.value)
    assert text.startswith(starts) and "allowed" in text and "\n" not in text and len(text) < 400, text
    for w in words: assert w in text, text

@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    plt.close("all")

REFUSED = {                                                              # name -> (call, how the line starts)
    "names of columns for differences": (lambda: M.seed_interval(pd.DataFrame(rand(4, 6).numpy())), "differences: got"),
    "a set of differences": (lambda: M.seed_interval({1., 2.}), "differences: got {"),
    "imaginary differences": (lambda: M.seed_interval(np.array([1 + 1j, 2])), "differences: got"),
    "imaginary differences of torch": (lambda: M.seed_interval(torch.tensor([1 + 1j, 2])), "differences: got"),
    "a table's columns for texts": (lambda: M.text_scores(pd.DataFrame({"a": ["x"]}), ["a"]), "generated: got"),
    "labels in another order": (lambda: M.linear_probe(FRAME, SHUFFLED, Z, LABELS, 20), "train_labels: got a table"),
    "test labels in another order": (lambda: M.linear_probe(Z, LABELS, FRAME, SHUFFLED, 9), "test_labels: got a"),
    "pairs in another order": (lambda: M.CanonicalCorrelation(FRAME, TURNED, 2), "b: got a table with another index"),
    "pairs to compare": (lambda: M.CanonicalCorrelation(FRAME, FRAME, 2).cosine(FRAME, TURNED), "b: got a table"),
    "classes in another order": (lambda: M.coherence(FRAME, SHUFFLED, Judge(LABELS)), "labels: got a table"),
    "words in another order": (lambda: M.text_scores(pd.Series(["a", "b"]), pd.Series(["a", "b"], [1, 0])), "words"),
    "more points than there are": (lambda: M.linear_probe(Z, LABELS, Z, LABELS, 5000), "points: got 5000"),
    "images from -1 to 1": (lambda: M.fid(IMAGES, IMAGES*2 - 1, flat), "generated: got images of floats from -0.9"),
    "images up to 16": (lambda: M.fid(IMAGES*16, IMAGES, flat), "real: got images of floats from 0.0"),
    "features from -1 to 1": (lambda: M.extract_features(IMAGES*2 - 1, flat), "images: got images of floats"),
    "a picture from -1 to 1": (lambda: P.mosaic(IMAGES*2 - 1), "images: got images of floats from -0.9"),
    "a picture up to 16": (lambda: P.mosaic(IMAGES*16), "images: got images of floats from"),
    "probabilities for classes": (judged(torch.rand(5)), "classifier: got numbers that are not whole"),
    "names for classes": (judged(np.array(list("abcde"))), "classifier: got array"),
    "things for classes": (judged(np.array([object()]*5)), "classifier: got array"),
    "too few classes": (judged([0, 1]), "classifier: got 2 for 5 items"),
    "no items": (judged(Y, torch.tensor(1.)), "generated: got a Tensor"),
    "a posterior without batch": (lambda: M.importance_log_likelihood(lambda z: z, Q[0], 10), "posterior: got"),
    "its slices": (lambda: M.importance_log_likelihood(joint, Q[0], 10, chunk=2), "posterior: got draws of shape (3,)"),
    "a log joint of NumPy's": (lambda: M.importance_log_likelihood(lambda z: joint(z).numpy(), Q, 9), "log_joint: got"),
    "a teacher without batch": (lambda: M.teacher_student_kl(Q[0], P5[0]), "teacher: got shape (3,)"),
    "several seeds": (lambda: P.talk_table(pd.concat([TABLE, TABLE])), "frame: got several lines of a in c"),
    "several seeds as text": (lambda: P.table_text(pd.concat([TABLE, TABLE])), "frame: got several lines of a in c"),
    "no condition": (tables(condition=np.nan), "frame: got no condition"),
    "no dataset": (texts(dataset=np.nan), "frame: got no dataset"),
    "words for values": (tables(value=["x", "y"]), "value of frame: got a str"),
    "words for deviations": (texts(std=["x", "y"]), "std of frame: got a str"),
    "positions of several lengths": (chart([[1], [1, 2]]), "x: got [[1], [1, 2]]"),
    "a list for a title": (lambda: P.generation_grid({"a": ["x"]}, title=["x"]), "title: got a list")}

@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_a_wrong_number_is_one_line(name): refused(REFUSED[name][0], starts=REFUSED[name][1])

NET = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))

@pytest.mark.parametrize("call", [
    lambda: in_range("n", rand(2, 2)), lambda: one_of("n", rand(2, 2), ["a"]), lambda: one_of("n", NET, ["a"]),
    lambda: in_range("n", NET), lambda: Laplace(rand(2, 2)), lambda: Q[rand(2, 2)], chart(rand(2, 2)),
    lambda: M.text_scores(pd.Series([1, 2]), ["a"])])
def test_what_is_quoted_fits_on_one_line(call): refused(call)

def test_a_colour_that_is_refused_leaves_the_name_alone():
    refused(lambda: P.name_method("of-a-test", "Mine", "red"), starts="colour: got 'red'")
    assert "of-a-test" not in P.METHOD_NAMES

def test_a_judge_may_say_it_in_a_list(): assert judged(Y.tolist())() == judged(Y.double())() == 1

def test_texts_may_come_one_by_one(): assert M.text_scores(map(str, [1, 2]), iter("12"))["exact"] == 1

def test_a_probe_takes_all_there_are_up_to_5000():
    assert M.linear_probe(Z, LABELS, Z, LABELS) == M.linear_probe(Z, LABELS, Z, LABELS, points=30)
    assert M.linear_probe(FRAME, SERIES, FRAME, SERIES) == M.linear_probe(Z, LABELS, Z, LABELS)

def test_pixels_drawn_around_images_are_images(recwarn):
    x = Laplace().sample(IMAGES, g)
    assert x.min() < -1 and x.max() > 2 and M.extract_features(x, flat).shape == (5, 64)
    assert P.mosaic(x).shape == (8, 44, 3)

def test_positions_may_have_a_gradient():
    x = torch.arange(2.).requires_grad_()
    assert P.line_chart(x, {"a": (x*2, x*0)}, "", "").lines[0].get_ydata().tolist() == [0, 2]

def test_tables_take_numbers_for_names():
    text = P.table_text(TABLE.assign(slide="s", metric=3, condition=5)).splitlines()
    assert text[0] == "slide s, d, 3" and text[1].split() == ["5"]
    assert P.table_text(TABLE.assign(slide=None)).startswith("d, m\n")
