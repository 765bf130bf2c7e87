"Lesson 00b, plotting: what its own asserts can't hold."
import matplotlib
matplotlib.use("agg")

import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest, torch
from hypothesis import given, settings, strategies as st

from mmvae_nb import plotting as P
from mmvae_nb.core import MmvaeError


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    plt.close("all")


# ---- mosaics

@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 9), columns=st.integers(1, 5), gap=st.integers(0, 3), channels=st.sampled_from([1, 3]),
       h=st.integers(1, 5), w=st.integers(1, 5))
def test_mosaic_holds_every_image_once(n, columns, gap, channels, h, w):
    x = torch.randint(0, 255, (n, channels, h, w), dtype=torch.uint8)
    m = P.mosaic(x, columns, gap)
    rows = -(-n // columns)
    assert m.shape == (rows*(h + gap) - gap, columns*(w + gap) - gap, 3) and m.dtype == np.uint8
    for i in range(n):
        r, c = divmod(i, columns)
        tile = m[r*(h + gap):r*(h + gap) + h, c*(w + gap):c*(w + gap) + w]
        assert np.array_equal(tile, x[i].expand(3, h, w).permute(1, 2, 0).numpy())
    used = n*h*w
    assert (m == 255).all(-1).sum() >= m.shape[0]*m.shape[1] - used   # all the rest is white

def test_mosaic_takes_gradients_half_precision_and_values_out_of_range():
    x = torch.tensor([-1., 0.5, 2., float("nan")], requires_grad=True).view(4, 1, 1, 1)
    assert P.mosaic(x, gap=0)[0, :, 0].tolist() == [0, 128, 255, 0]
    assert P.mosaic(x.detach().half(), gap=0)[0, 1, 0] == 128

@pytest.mark.parametrize("shape", [(28, 28), (2, 4, 8, 8), (1, 2, 3, 8, 8)])
def test_mosaic_refuses_other_shapes(shape):
    with pytest.raises(MmvaeError, match=r"^images: got shape .*, allowed: \(n, 1 or 3, height, width\)$"):
        P.mosaic(torch.zeros(shape))

@pytest.mark.parametrize("columns", [-1, 2.5, "3"])
def test_mosaic_refuses_other_columns(columns):
    with pytest.raises(MmvaeError, match="^columns: got "): P.mosaic(torch.zeros(2, 1, 3, 3), columns)


# ---- grids

def test_generation_grid_draws_special_characters_as_they_are(tmp_path):
    strange = ["$x_1", "a\\b", "", "{%}", "#&~", "<unk> <unk>"]
    fig = P.generation_grid({"given": strange, "mopoe": torch.rand(6, 3, 8, 8)})
    texts = [t.get_text() for t in fig.subfigs[0].axes[0].texts]
    assert texts[0] == "$x_1" and texts[1] == "a\\b" and texts[2] == "·"
    P.save_figure(fig, tmp_path/"grid.png", dpi=50)   # drawing must not stumble over a $

def test_long_captions_are_cut_not_spilled():
    caption = " ".join(["word"]*60)
    fig = P.generation_grid({"given": [caption]*2, "truth": torch.zeros(2, 3, 8, 8)})
    assert fig.subfigs[0].axes[0].texts[0].get_text().count("\n") == 7

def test_four_blocks_in_two_columns():
    block = {"truth": torch.zeros(3, 1, 4, 4), "jvae": torch.ones(3, 1, 4, 4)}
    fig = P.side_by_side({f"b{i}": block for i in range(4)}, title="t", note="data: none")
    assert len(fig.subfigs) == 4 and fig.subfigs[3].axes[1].get_ylabel() == "JVAE (teacher)"
    assert fig.get_supxlabel() == "data: none"

faces, digits = torch.rand(8, 3, 64, 64), torch.rand(10, 1, 28, 28)
captions = ["a bird with a blue belly with a black crown and a black nape"]*8
methods = {"ground truth": digits, "mopoe": digits, "iterative_student": digits}

@pytest.mark.parametrize("styled", [False, True])
@pytest.mark.parametrize("blocks, how", [
    ({"": {"a": faces, "b": faces, "c": faces}}, {}),
    ({"": {"bird": faces[:6], "caption": captions[:6]}}, {}),
    ({"": {"caption": captions, "ground truth": faces, "mopoe": faces, "iterative_student": faces}}, {}),
    ({"A": methods, "B": methods}, dict(columns=1, title="two below one another")),
    ({"A": methods, "B": methods}, dict(columns=2))])
def test_pixels_are_square(blocks, how, styled):
    with plt.rc_context():
        plt.rcdefaults()
        matplotlib.use("agg")
        if styled: P.set_style()
        fig = P.side_by_side(blocks, note="data: none", **how)
        fig.draw_without_rendering()
    strips = [a for part in fig.subfigs for a in part.axes if a.images]
    assert len(strips) == sum(torch.is_tensor(strip) for rows in blocks.values() for strip in rows.values())
    for ax in strips:
        box, (h, w, _) = ax.get_window_extent(), ax.images[0].get_array().shape
        assert abs(box.height/h/(box.width/w) - 1) < 0.02

def test_a_figure_of_texts_alone_keeps_its_height():
    rows = {"given": ["one", "two"], "said": ["two", "two"]}
    assert P.generation_grid(rows).get_figheight() == pytest.approx(P._layout(rows)["height"])

@pytest.mark.parametrize("rows", [{}, {"a": []}, {"a": ["x"], "b": torch.zeros(2, 1, 4, 4)}])
def test_grids_refuse_rows_that_do_not_match(rows):
    with pytest.raises(MmvaeError, match="^rows: got "): P.generation_grid(rows)

def test_side_by_side_refuses_nothing():
    with pytest.raises(MmvaeError, match="^blocks: got none"): P.side_by_side({})

def test_image_grid_draws_into_given_axes():
    ax = plt.subplots()[1]
    assert P.image_grid(torch.zeros(5, 1, 4, 4), 3, "title", ax) is ax and ax.get_title() == "title"


# ---- charts

def test_lines_keep_their_methods_colours():
    x = [1, 2, 4]
    lines = {"jmvae_student": ([1, 2, 3], None), "iterative_student": ([2, 3, 4], [.1, .1, .1])}
    ax = P.line_chart(x, lines, "T", "nats")
    assert [l.get_color() for l in ax.lines] == [P.method_colour(k) for k in ("jmvae_student", "iterative_student")]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["JMVAE student", "Iterative student"]
    assert len(ax.collections) == 1 and (ax.get_xlabel(), ax.get_ylabel()) == ("T", "nats")
    with pytest.raises(MmvaeError, match="^lines: got 2 values for 'mopoe', allowed: 3$"):
        P.line_chart(x, {"mopoe": ([1, 2], None)}, "", "")

def test_lines_of_no_method_share_a_colour_and_differ_in_dash_and_marker():
    ax = P.line_chart([1, 2], {f"start: {n}": ([1, 2], None) for n in "abc"}, "t", "nats", colour="#123456")
    assert {l.get_color() for l in ax.lines} == {"#123456"}
    assert len({l.get_linestyle() for l in ax.lines}) == len({l.get_marker() for l in ax.lines}) == 3

@settings(deadline=None, max_examples=10)
@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(-1000, 0), min_size=2))
def test_gaps_add_up(values):
    ax = P.gap_chart(values)
    gaps = [float(t.get_text()) for t in ax.texts if t.get_text()]
    assert all(g >= 0 for g in gaps) and len(gaps) == len(values) - 1
    assert abs(sum(gaps) - (max(values.values()) - min(values.values()))) <= 0.05*len(gaps) + 1e-6
    plt.close("all")

def test_a_gap_is_never_negative_however_named():
    ax = P.gap_chart({"a": -3, "b": -1}, gaps=[("b", "a")])
    assert [t.get_text() for t in ax.texts if t.get_text()] == ["2.0"]


# ---- tables

def lines(**more):
    return pd.DataFrame([dict(slide=37, dataset="d", metric="fid", condition=c, method=m, talk_value=t, value=v, **more)
                         for c, m, t, v in [("a->b", "mopoe", 200., 50.), ("a->b", "jvae", None, 3.2),
                                            ("b->a", "mopoe", 1., None)]])

def test_own_rows_and_rows_not_run_keep_their_place():
    t = P.talk_table(lines())
    assert list(t.index) == ["MoPoE", "JVAE (teacher)"]
    assert list(t.columns) == [("a->b", "talk"), ("a->b", "ours"), ("b->a", "talk"), ("b->a", "ours")]
    assert np.isnan(t.loc["JVAE (teacher)", ("a->b", "talk")]) and t.loc["JVAE (teacher)", ("a->b", "ours")] == 3.2

def test_a_floor_is_shown_where_there_is_one():
    f = lines(); f["floor"] = [1.5, 1.5, None]
    assert [c for c in P.talk_table(f) if c[1] == "floor"] == [("a->b", "floor")]

def test_table_text_survives_a_round_trip_through_csv(tmp_path):
    f = lines(std=0.5, n_seeds=3, data="rendered", n=500, device="cpu")
    f.to_csv(tmp_path/"talk.csv", index=False)
    text = P.table_text(pd.read_csv(tmp_path/"talk.csv"))
    assert text == P.table_text(f) and text.isascii()
    assert "50.00 +- 0.50" in text and "n: 500; seeds: 3" in text
    widths = {len(l) for l in text.splitlines()[2:-1]}
    assert len(widths) == 1 and widths.pop() <= 100

def test_a_condition_wider_than_its_numbers():
    f = lines().assign(condition=lambda d: d.condition + " a very long condition indeed")
    block = P.table_text(f).splitlines()
    assert all(c in block[1] for c in f.condition.unique()) and len({len(l) for l in block[2:-1]}) == 1

def test_talk_table_names_what_it_can_not_find():
    with pytest.raises(MmvaeError, match="^slide: got 99, allowed: 37$"): P.talk_table(lines(), slide=99)
    with pytest.raises(MmvaeError, match="^frame: got an empty table"): P.talk_table(lines().iloc[:0])

def test_four_conditions_of_the_talk_fit_a_wide_terminal():
    f = pd.DataFrame([dict(slide=37, dataset="d", metric="fid", condition=c, method=m, talk_value=194.49,
                           value=12.3, floor=.5)
                      for c in ("svhn->mnist", "text->mnist", "mnist->svhn", "text->svhn")
                      for m in ("mopoe", "jmvae_student")])
    assert max(map(len, P.table_text(f).splitlines())) <= 120


# ---- files

def test_a_figure_that_can_not_be_written_leaves_nothing(tmp_path):
    fig, ax = plt.subplots()
    ax.set_title(r"$\frac{1$")                         # matplotlib fails on this while drawing
    with pytest.raises(ValueError): P.save_figure(fig, tmp_path/"broken.png")
    assert not list(tmp_path.iterdir())
    (tmp_path/"file").write_text("")
    with pytest.raises(MmvaeError, match="can't be written to"): P.save_figure(plt.figure(), tmp_path/"file"/"x.png")

@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_same_picture_same_bytes(tmp_path, suffix):
    files = []
    for i in range(2):
        ax = P.gap_chart({"a": -3, "b": -1})
        files.append(P.save_figure(ax.figure, tmp_path/f"{i}{suffix}").read_bytes())
    assert files[0] == files[1]

def test_set_style_repairs_what_came_before():
    plt.rcParams["image.cmap"] = "jet"
    P.set_style(72)
    assert plt.rcParams["image.cmap"] == "gray" and plt.rcParams["figure.dpi"] == 72
