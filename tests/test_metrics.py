"Lesson 03a, metrics: what its own asserts can't hold. Nothing here needs a network."
import importlib.util, os, sys

import numpy as np, pytest, scipy.stats, torch
from hypothesis import given, settings, strategies as st

from data_helpers import same_weights
from mmvae_nb import metrics as M
from mmvae_nb.core import MmvaeError
from mmvae_nb.data import Modality, TensorData, as_float
from mmvae_nb.datasets.digits import mnist_svhn_text
from mmvae_nb.distributions import DiagonalGaussian
from mmvae_nb.judges import classes as J

rng = lambda seed=0: torch.Generator().manual_seed(seed)


class Data:
    "As much of a MultimodalData as a judge needs: two kinds of tiny image, bright above or below, and text."
    name, class_names = "toy", ["above", "below"]
    def __init__(self, seed=0):
        g = rng(seed)
        self.modalities = {"picture": Modality("picture", "image", (1, 8, 8)),
                           "text": Modality("text", "text", (4,), "ab ")}
        self.y = torch.randint(2, (200,), generator=g)
        x = torch.randint(0, 80, (200, 1, 8, 8), generator=g)
        for i, k in enumerate(self.y): x[i, 0, 4*k:4*k + 4] += 150
        words = torch.where(self.y[:, None] == 0, 0, 1).expand(-1, 4).contiguous()
        self.pools = {"picture": x.to(torch.uint8), "text": words}
        self.checksum = f"toy{seed}"
    def items(self, modality): return self.pools[modality], self.y

@pytest.fixture(scope="module")
def judge():
    d = Data()
    return J.train_classifier(*d.items("picture"), 2, updates=40)

@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMVAE_CACHE", str(tmp_path/"cache"))
    return tmp_path/"cache"/"classifiers"


# ---- the judge

def test_the_judge_learns(judge):
    x, y = Data(seed=1).items("picture")
    assert M.coherence(x, y, judge) > 0.97 and M.coherence(x, 1 - y, judge) < 0.03

def test_no_item_depends_on_its_neighbours(judge):
    x, _ = Data(seed=1).items("picture")
    apart = torch.cat([judge.features(x[i:i+1]) for i in range(20)])
    torch.testing.assert_close(judge.features(x)[:20], apart, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(judge.features(x, batch_size=7), judge.features(x), atol=1e-4, rtol=1e-4)

def test_dropout_is_off_even_if_somebody_called_train(judge):
    x, _ = Data(seed=1).items("picture")
    expected = judge.features(x)
    judge.train()
    try: assert torch.equal(judge.features(x), expected) and judge.training
    finally: judge.eval()

def test_a_judge_has_no_gradients_and_ends_in_evaluation_mode(judge):
    assert not judge.training and not any(p.requires_grad for p in judge.parameters())
    assert judge.predict(torch.zeros(0, 1, 8, 8)).shape == (0,)

def test_training_is_repeatable_and_leaves_the_random_state_alone():
    x, y = Data().items("picture")
    torch.manual_seed(5); before = torch.get_rng_state()
    a, b, c = (J.train_classifier(x, y, 2, updates=5, seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    same = lambda p, q: all(torch.equal(u, v) for u, v in zip(p.parameters(), q.parameters()))
    assert same(a, b) and not same(a, c)

def test_bytes_and_fractions_get_the_same_verdict(judge):
    x, _ = Data(seed=2).items("picture")
    assert torch.equal(judge.predict(x), judge.predict(x.double().div(255).float()))

@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 64, 64), (1, 5, 7), (3, 64, 48)])
def test_images_of_any_size(shape):
    net = J.Classifier(shape, 7)
    assert net.features(torch.zeros(2, *shape)).shape == (2, 64) == (2, net.num_features)
    assert net(torch.zeros(2, *shape)).shape == (2, 7) and net.name.endswith("(64)")

@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32), st.integers(0, 3))
def test_shifting_moves_but_does_not_invent(seed, most):
    x = torch.rand(6, 2, 9, 7, generator=rng(seed))
    moved = J.shifted(x, rng(seed), most)
    assert moved.shape == x.shape
    for before, after in zip(x, moved): assert set(after.flatten().tolist()) <= set(before.flatten().tolist())
    if most == 0: assert torch.equal(moved, x)

@pytest.mark.parametrize("change, message", [
    (dict(labels=torch.tensor([0, 1])), "labels: got 2, allowed: 200, one per item"),
    (dict(labels=torch.full((200,), 2)), "labels: got 2 to 2, allowed: 0 to 1"),
    (dict(num_classes=1), "num_classes: got 1, allowed: a whole number at least 2"),
    (dict(updates=0), "updates: got 0, allowed: a whole number at least 1"),
    (dict(kind="sound"), "kind: got 'sound', allowed: image, text"),
    (dict(kind="text"), "num_tokens: got None, allowed: a whole number at least 1"),
    (dict(width=12), "width: got 12, allowed for images: a multiple of 8"),
    (dict(width=0), "width: got 0, allowed: a whole number at least 1"),
    (dict(device="tpu"), "device: got 'tpu'")])
def test_bad_input_for_training(change, message):
    x, y = Data().items("picture")
    given = {**dict(x=x, labels=y, num_classes=2, updates=1), **change}
    with pytest.raises(MmvaeError) as e: J.train_classifier(**given)
    assert str(e.value).startswith(message) and "\n" not in str(e.value)

def test_items_of_another_shape_are_refused(judge):
    with pytest.raises(MmvaeError, match=r"^x: got items of shape \(3, 8, 8\), allowed: \(1, 8, 8\)$"):
        judge.predict(torch.zeros(2, 3, 8, 8))


# ---- the cache

def test_a_hit_gives_the_same_weights_without_training(cache, monkeypatch):
    first = J.cached_classifier(Data(), "picture", updates=5)
    files = list(cache.iterdir())
    assert len(files) == 1 and files[0].suffix == ".safetensors"
    monkeypatch.setattr(J, "train_classifier", lambda *a, **k: pytest.fail("trained again"))
    again = J.cached_classifier(Data(), "picture", updates=5)
    assert same_weights(first, again) and again.name == first.name == "picture classifier (64)"
    assert not again.training and not any(p.requires_grad for p in again.parameters())

def test_other_settings_or_other_data_miss(cache):
    for change in [{}, dict(updates=3), dict(seed=1), dict(width=8)]:
        J.cached_classifier(Data(), "picture", **{**dict(updates=2), **change})
    J.cached_classifier(Data(seed=1), "picture", updates=2)
    J.cached_classifier(Data(), "text", updates=2)
    assert len(list(cache.iterdir())) == 6

def test_a_damaged_file_is_replaced(cache):
    first = J.cached_classifier(Data(), "text", updates=3)
    file = next(cache.iterdir())
    file.write_bytes(file.read_bytes()[:100])
    with pytest.warns(UserWarning, match="not usable"): again = J.cached_classifier(Data(), "text", updates=3)
    assert same_weights(first, again) and same_weights(again, J.cached_classifier(Data(), "text", updates=3))

def test_an_interrupted_training_leaves_no_file(cache, monkeypatch):
    def stop(*a, **k): raise KeyboardInterrupt
    monkeypatch.setattr(J, "fit_judge", stop)
    with pytest.raises(KeyboardInterrupt): J.cached_classifier(Data(), "text", updates=3)
    assert not list(cache.glob("*"))

def test_an_unknown_modality_is_named(cache):
    with pytest.raises(MmvaeError, match="^modality: got 'sound', allowed: picture, text$"):
        J.cached_classifier(Data(), "sound")


# ---- the Fréchet distance

def cloud(seed, n=60, d=4): return torch.randn(n, d, generator=rng(seed), dtype=torch.float64)

@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.floats(0.1, 10), st.floats(-5, 5))
def test_frechet_distance_is_a_symmetric_distance(seed, scale, shift):
    a, b = cloud(seed), cloud(seed + 1)*scale + shift
    d = M.frechet_distance(a, b)
    assert d >= 0 and np.isclose(d, M.frechet_distance(b, a), rtol=1e-6, atol=1e-8)
    assert M.frechet_distance(a, a) < 1e-7
    assert np.isclose(M.frechet_distance(3*a, 3*b), 9*d, rtol=1e-6, atol=1e-7)
    assert np.isclose(M.frechet_distance(a + 100, b + 100), d, rtol=1e-6, atol=1e-7)

@settings(deadline=None, max_examples=10)
@given(st.floats(0.1, 5), st.floats(0.1, 5), st.floats(-3, 3))
def test_in_one_dimension_it_is_the_known_formula(s, t, m):
    "(m1 - m2)^2 + (s1 - s2)^2, with sample moments made exact."
    x = torch.linspace(-1, 1, 50, dtype=torch.float64)[:, None]
    x = x / x.std()
    assert np.isclose(M.frechet_distance(s*x, t*x + m), m**2 + (s - t)**2, atol=1e-6)

def test_large_features_do_not_lose_digits():
    a, b = cloud(0, 500), cloud(1, 500)
    assert np.isclose(M.frechet_distance(a + 1e6, b + 1e6), M.frechet_distance(a, b), rtol=1e-4)

def test_fewer_samples_than_features_still_give_a_number():
    assert 0 < M.frechet_distance(cloud(0, 10, 30), cloud(1, 10, 30)) < float("inf")

@pytest.mark.parametrize("a, b, message", [
    (torch.zeros(1, 3), torch.zeros(5, 3), "a: got (1, 3), allowed: (2 or more, 3)"),
    (torch.zeros(5, 3), torch.zeros(5, 4), "b: got (5, 4), allowed: (2 or more, 3)"),
    (torch.zeros(5, 3), torch.full((5, 3), float("nan")), "b: got nan or infinite values, allowed: finite numbers")])
def test_bad_features(a, b, message):
    with pytest.raises(MmvaeError) as e: M.frechet_distance(a, b)
    assert str(e.value) == message

def test_fid_takes_bytes_fractions_functions_and_judges(judge):
    x, _ = Data(1).items("picture")
    y, _ = Data(2).items("picture")
    d = M.fid(x, y, judge)
    assert np.isclose(d, M.fid(x/255, y, judge, batch_size=33), rtol=1e-3, atol=1e-6)
    flat = lambda v: as_float(v).flatten(1)[:, :5]
    assert np.isclose(M.fid(x, y, flat), M.frechet_distance(flat(x), flat(y)), rtol=1e-6)
    assert M.extract_features(x, judge).dtype == torch.float64
    with pytest.raises(MmvaeError, match="^generated: got 1, allowed: at least 2$"): M.fid(x, y[:1], judge)

def test_fid_against_torchmetrics_fed_directly(judge):
    from mmvae_nb.core import load_torchvision
    load_torchvision()
    from torchmetrics.image.fid import FrechetInceptionDistance
    class Eye(torch.nn.Module):
        num_features = 64
        def forward(self, x): return judge.features(x).double()
    (x, _), (y, _) = Data(1).items("picture"), Data(2).items("picture")
    metric = FrechetInceptionDistance(Eye(), input_img_size=(1, 8, 8))
    metric.update(x, real=True); metric.update(y, real=False)
    assert np.isclose(metric.compute().item(), M.fid(x, y, judge), rtol=1e-4, atol=1e-6)

def test_the_order_of_images_does_not_matter(judge):
    (x, _), (y, _) = Data(1).items("picture"), Data(2).items("picture")
    assert np.isclose(M.fid(x, y, judge), M.fid(x, y.flip(0), judge), rtol=1e-5, atol=1e-8)

def test_a_floor_wants_equally_many(judge):
    x, _ = Data(1).items("picture")
    assert M.fid_floor(x[:100], x[100:], judge) == M.fid(x[:100], x[100:], judge)
    with pytest.raises(MmvaeError, match="^real_b: got 50 images, allowed: 100, as in real_a$"):
        M.fid_floor(x[:100], x[100:150], judge)


# ---- Inception

has_fidelity = importlib.util.find_spec("torch_fidelity") is not None

def one_line(call):
    with pytest.raises(MmvaeError) as e: call()
    assert "\n" not in str(e.value)
    return str(e.value)

def test_without_weights_one_line_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("MMVAE_DATA", str(tmp_path)); monkeypatch.chdir(tmp_path)
    assert M.INCEPTION_FILE in one_line(M.inception_features)
    assert "elsewhere.pth" in one_line(lambda: M.inception_features("elsewhere.pth"))

def test_without_torch_fidelity_one_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("MMVAE_DATA", str(tmp_path))
    file = tmp_path/M.INCEPTION_FILE
    file.parent.mkdir(); file.write_bytes(b"weights")
    for name in [m for m in sys.modules if m.split(".")[0] == "torch_fidelity"]: monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)       # import raises ImportError
    assert "torch-fidelity" in one_line(M.inception_features)

@pytest.mark.skipif(not has_fidelity, reason="torch-fidelity is not installed")
def test_a_damaged_weights_file_is_one_line(tmp_path):
    file = tmp_path/"w.pth"
    for content in [b"", b"not weights"]:
        file.write_bytes(content)
        assert "not usable as Inception weights" in one_line(lambda: M.inception_features(file))
    torch.save({"a": torch.zeros(1)}, file)
    assert "not usable as Inception weights" in one_line(lambda: M.inception_features(file))

class Shell:
    "A pickle that would run a command when loaded."
    def __reduce__(self): return os.mkdir, (self.folder,)

@pytest.mark.skipif(not has_fidelity, reason="torch-fidelity is not installed")
def test_a_weights_file_can_not_run_code(tmp_path):
    bomb = Shell(); bomb.folder = str(tmp_path/"ran")
    torch.save({"a": bomb}, tmp_path/"w.pth")
    assert "not usable" in one_line(lambda: M.inception_features(tmp_path/"w.pth"))
    assert not (tmp_path/"ran").exists()

@pytest.mark.slow
@pytest.mark.skipif(not has_fidelity, reason="torch-fidelity is not installed")
def test_a_weights_file_of_the_true_format_works(tmp_path, monkeypatch):
    from mmvae_nb.core import load_torchvision
    load_torchvision()
    from torch_fidelity import feature_extractor_inceptionv3 as F3
    with monkeypatch.context() as m:                                 # random weights in the true format
        m.setattr(F3, "load_state_dict_from_url", lambda *a, **k: {})
        m.setattr(F3.FeatureExtractorInceptionV3, "load_state_dict", lambda *a, **k: None)
        net = F3.FeatureExtractorInceptionV3("random", ["2048"])
    file = tmp_path/M.INCEPTION_FILE
    file.parent.mkdir()
    torch.save(net.state_dict(), file)
    monkeypatch.setenv("MMVAE_DATA", str(tmp_path))
    eye = M.inception_features()
    assert eye.num_features == 2048 and eye.name.startswith("Inception-v3 pool (2048), weights ")
    grey = torch.randint(0, 256, (4, 1, 28, 28), generator=rng(), dtype=torch.uint8)
    seen = eye.features(grey)
    assert seen.shape == (4, 2048) and seen.std() > 0
    torch.testing.assert_close(seen, eye.features(grey.expand(-1, 3, -1, -1)))       # grey is three equal colours
    torch.testing.assert_close(seen, eye.features(grey/255))                         # fractions are bytes
    torch.testing.assert_close(seen[1:2], eye.features(grey[1:2]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(seen, net(grey.expand(-1, 3, -1, -1))[0])


# ---- probe, KL, likelihood, text

def test_probe_is_seeded_and_uses_only_the_points_asked_for():
    z, y = torch.randn(300, 5, generator=rng()), torch.randint(3, (300,), generator=rng(1))
    a, b = (M.linear_probe(z[:200], y[:200], z[200:], y[200:], points=50, seed=s) for s in (0, 0))
    assert a == b and 0 <= a <= 1
    many = {M.linear_probe(z[:200], y[:200], z[200:], y[200:], points=20, seed=s) for s in range(8)}
    assert len(many) > 1

@settings(deadline=None, max_examples=10)
@given(st.integers(2, 6), st.integers(0, 1000))
def test_probe_is_perfect_on_separate_blobs(classes, seed):
    y = torch.arange(60*classes) % classes
    z = 20*torch.nn.functional.one_hot(y, classes) + torch.rand(len(y), classes, generator=rng(seed))
    assert M.linear_probe(z[:30*classes], y[:30*classes], z[30*classes:], y[30*classes:], points=30*classes) == 1

def test_predictions_of_the_probe_have_its_accuracy():
    z, y = torch.randn(300, 5, generator=rng()), torch.randint(3, (300,), generator=rng(1))
    z[:, 0] += 2*y
    args = (z[:200], y[:200], z[200:], y[200:])
    found = M.linear_probe(*args, points=100, predictions=True)
    assert found.shape == (100,) and (found == y[200:].numpy()).mean() == M.linear_probe(*args, points=100)

@given(st.lists(st.floats(-100, 100), min_size=2, max_size=9), st.sampled_from([0.8, 0.95, 0.99]))
@settings(deadline=None, max_examples=40)
def test_a_seed_interval_is_scipys_interval_of_student_t(means, share):
    mean, low, high, n = M.seed_interval(means, share)
    scale = scipy.stats.sem(means)
    wanted = scipy.stats.t.interval(share, len(means) - 1, np.mean(means), scale) if scale else [mean]*2
    assert n == len(means) and mean == pytest.approx(np.mean(means))
    assert (low, high) == pytest.approx(tuple(wanted), abs=1e-9)

def test_a_seed_interval_takes_means_per_seed_and_not_items():
    g = np.random.default_rng(0)
    items = g.normal(size=(3, 1000)) + np.array([[-1.], [0.], [1.]])
    assert M.seed_interval(items) == M.seed_interval(items.mean(1)) == M.seed_interval([list(i) for i in items])
    ragged = [np.ones(3), np.zeros(2)]                  # seeds need not have the same items
    assert M.seed_interval(ragged)[0] == .5
    few, many = M.seed_interval(items[:, :10]), M.seed_interval(np.repeat(items[:, :10], 100, 1))
    assert few == pytest.approx(many)                   # more items are no more seeds

def test_a_seed_interval_covers_the_truth_as_often_as_it_says():
    g = np.random.default_rng(0)
    hits = [low <= 0.2 <= high for _, low, high, _ in (M.seed_interval(g.normal(.2, 1, 3)) for _ in range(1500))]
    assert 0.93 < np.mean(hits) < 0.97

def test_one_seed_has_a_mean_and_no_interval_and_nothing_is_refused():
    mean, low, high, n = M.seed_interval([0.25])
    assert (mean, n) == (.25, 1) and np.isnan(low) and np.isnan(high)
    for bad in ([], [np.nan, 1.], [[], [1.]], [np.inf]):
        with pytest.raises(MmvaeError, match="differences: got none or not finite"): M.seed_interval(bad)

def test_probe_on_labels_without_meaning_is_at_chance():
    z, y = torch.randn(6000, 3, generator=rng()), torch.randint(2, (6000,), generator=rng(1))
    assert abs(M.linear_probe(z[:3000], y[:3000], z[3000:], y[3000:], points=3000) - 0.5) < 0.05

def test_probe_refuses_in_one_line():
    z, y = torch.randn(100, 3, generator=rng()), torch.zeros(100).long()
    with pytest.raises(MmvaeError, match="^points: got 5000, allowed: a whole number at least 2 and at most 100$"):
        M.linear_probe(z, y, z, y, points=5000)
    with pytest.raises(MmvaeError, match="all of one class"): M.linear_probe(z, y, z, y, points=50)
    with pytest.raises(MmvaeError, match="^test_z: got nan or infinite values, allowed: finite"):
        M.linear_probe(z, y, z/0, y, points=50)

@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.integers(1, 8))
def test_kl_of_teacher_and_student(seed, latent):
    m, v, n, w = (torch.randn(5, latent, generator=rng(seed + i)) for i in range(4))
    q, s = DiagonalGaussian(m, v), DiagonalGaussian(n, w)
    normal = lambda p: torch.distributions.Normal(p.mean.double(), p.std.double())
    expected = torch.distributions.kl_divergence(normal(q), normal(s)).sum(1).mean().item()
    assert np.isclose(M.teacher_student_kl(q, s), expected, rtol=1e-4) and M.teacher_student_kl(q, s) >= 0
    assert abs(M.teacher_student_kl(q, q)) < 1e-5

def test_importance_estimate_rises_towards_the_exact_value():
    "x = z + noise in one dimension: log p(x) is that of a normal with variance 1 + noise^2."
    x = torch.linspace(-2, 2, 40)[:, None]
    normal = torch.distributions.Normal
    joint = lambda z: (normal(0., 1.).log_prob(z) + normal(z, .5).log_prob(x.repeat(len(z)//40, 1)))[:, 0]
    exact = normal(0., 1.25**.5).log_prob(x)[:, 0]
    prior = DiagonalGaussian.standard(40, 1)
    few, many = (M.importance_log_likelihood(joint, prior, n, rng(), chunk=500) for n in (2, 20_000))
    assert many.shape == (40,) and many.dtype == torch.float64
    assert (many - exact).abs().max() < 0.1 and few.mean() < exact.mean() - 0.1

@pytest.mark.parametrize("chunk", [1, 3, 10, 64])
def test_importance_estimate_does_not_depend_on_the_chunk(chunk):
    joint = lambda z: -z.square().sum(1)
    q = DiagonalGaussian.standard(6, 3)
    a, b = (M.importance_log_likelihood(joint, q, 10, rng(), chunk=c) for c in (1, chunk))
    torch.testing.assert_close(a, b)

def test_importance_estimate_stays_finite_where_probabilities_underflow():
    q = DiagonalGaussian.standard(3, 2)
    v = M.importance_log_likelihood(lambda z: q.log_prob(z) - 5000., q, 7, rng())
    torch.testing.assert_close(v, torch.full((3,), -5000., dtype=torch.float64))
    for bad in (dict(samples=0), dict(chunk=0)):
        with pytest.raises(MmvaeError): M.importance_log_likelihood(lambda z: z[:, 0], q, **bad)

words = st.text("abc", min_size=1, max_size=5)

@settings(max_examples=60)
@given(words, words, words)
def test_edit_distance_is_a_metric(a, b, c):
    d = M._edit_distance
    assert d(a, a) == 0 and d(a, b) == d(b, a) and d(a, c) <= d(a, b) + d(b, c)
    assert abs(len(a) - len(b)) <= d(a, b) <= max(len(a), len(b))

@settings(max_examples=40)
@given(words, st.integers(0, 3), st.integers(0, 7))
def test_text_scores_find_a_word_at_any_offset(word, offset, hit):
    text = (" "*offset + word).ljust(8)
    assert M.text_scores([text], [word]) == dict(exact=1.0, distance=0.0)
    typo = text[:hit] + "X" + text[hit+1:]
    assert M.text_scores([typo], [word]) == dict(exact=0.0, distance=1.0)

def test_text_scores_and_coherence_want_one_label_each(judge):
    with pytest.raises(MmvaeError, match="^words: got 1 for 2 texts"): M.text_scores(["a", "b"], ["a"])
    with pytest.raises(MmvaeError, match="^labels: got 0 for 0 items"):
        M.coherence(torch.zeros(0, 1, 8, 8), torch.zeros(0).long(), judge)


# ---- canonical correlation, judges with labels of their own, a judge of classes

def two_views(n, seed=0):
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 2))
    one = np.c_[hidden + 0.3*rng.normal(size=(n, 2)), rng.normal(size=(n, 3))]
    return one, np.c_[rng.normal(size=(n, 2)), hidden + 0.3*rng.normal(size=(n, 2))]

def test_canonical_directions_have_the_correlations_of_the_whitened_covariance():
    a, b = two_views(4000)
    cca = M.CanonicalCorrelation(a, b, components=2)
    u, v = cca.cca.transform(cca.sides[0].transform(a), cca.sides[1].transform(b))
    found = sorted(abs(np.corrcoef(u[:, i], v[:, i])[0, 1]) for i in range(2))
    white = lambda x: np.linalg.svd(x - x.mean(0), full_matrices=False)[0]
    expected = sorted(np.linalg.svd(white(a).T@white(b))[1][:2])
    np.testing.assert_allclose(found, expected, atol=1e-3)

def test_the_cosine_of_partners_of_strangers_and_after_a_linear_map():
    a, b = two_views(3000)
    test_a, test_b = two_views(1000, seed=1)
    cca = M.CanonicalCorrelation(a, b, components=2)
    partners, strangers = cca.cosine(test_a, test_b), cca.cosine(test_a, test_b[::-1])
    assert partners.shape == (1000,) and partners.mean() > 0.8 and abs(strangers.mean()) < 0.08
    assert (abs(partners) <= 1 + 1e-9).all()
    mix = np.random.default_rng(2).normal(size=(5, 5))
    again = M.CanonicalCorrelation(a@mix, b, components=2).cosine(test_a@mix, test_b)
    np.testing.assert_allclose(again, partners, atol=0.02)
    with pytest.raises(MmvaeError, match="b: got 10 items, allowed: 3000"): M.CanonicalCorrelation(a, b[:10])

def test_a_judge_with_labels_of_its_own_leaves_items_out(tmp_path, monkeypatch):
    "Items marked -1 carry wrong colours; the judge never sees them, and is another than the one of all items."
    monkeypatch.setenv("MMVAE_CACHE", str(tmp_path))
    g = torch.Generator().manual_seed(0)
    bright = torch.randint(2, (200,), generator=g)
    x = (bright[:, None, None, None]*120 + torch.randint(0, 60, (200, 1, 8, 8), generator=g)).to(torch.uint8)
    data = TensorData({"x": x}, labels=torch.zeros(200))
    wrong = torch.arange(200) % 2 == 0
    net = J.cached_classifier(data, "x", updates=60, width=8, labels=torch.where(wrong, -1, bright), what="brightness")
    assert (net.predict(x) == bright).float().mean() > 0.98 and "brightness" in net.name
    mistaken = torch.where(wrong, 1 - bright, bright)
    bad = J.cached_classifier(data, "x", updates=60, width=8, labels=mistaken, what="brightness")
    assert (bad.predict(x) == bright).float().mean() < 0.9
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2

def test_a_judge_of_text_wants_the_words_of_the_classes(tmp_path, monkeypatch):
    monkeypatch.setenv("MMVAE_CACHE", str(tmp_path))
    tokens, y = torch.arange(2).repeat(10)[:, None].repeat(1, 6), torch.arange(2).repeat(10)
    letters = [Modality("note", "text", (6,), "ab")]
    make = lambda **names: J.ClassJudge(TensorData({"note": tokens}, y, letters, "mine", **names), updates=2, width=8)
    wanted = "class_names: mine has none, allowed: .* note"
    with pytest.raises(MmvaeError, match=wanted): make().scores("note", tokens, {}, y)
    scores = make(class_names=["aaaaaa", "bbbbbb"]).scores("note", tokens, {}, y)
    assert scores["text_exact"] == 1 and scores["text_edit_distance"] == 0

def test_a_judge_of_classes_says_what_its_parts_say():
    train, test = mnist_svhn_text("train", items=200), mnist_svhn_text("test", items=60)
    judge = J.ClassJudge(train, test, updates=20, width=8)
    batch, labels = test.take(60)
    assert list(judge.features) == ["mnist", "svhn"] and judge.by_chance == ()
    for n in batch:
        scores = judge.scores(n, batch[n], batch, labels)
        assert abs(scores["coherence"].mean().item() - M.coherence(batch[n], labels, judge.nets[n])) < 1e-6
    assert scores["text_exact"] == 1 and scores["text_edit_distance"] == 0
    facts = judge.facts()
    x, y = test.items("svhn")
    assert facts["accuracy, svhn"] == (judge.nets["svhn"].predict(x) == y).float().mean().item()
    with pytest.raises(MmvaeError, match="validation: got None"): J.ClassJudge(train, updates=20, width=8).facts()
