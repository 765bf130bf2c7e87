"Our masked MoPoE beside the peer's: what is compared is equal but for the objective's code."
import csv, itertools

import pytest, torch

import bench_peer as peer
import missing_peer as tool
from mmvae_nb.core import MmvaeError
from mmvae_nb.missing import PRESENT
from mmvae_nb.mopoe import MoPoE
from model_helpers import *
from site_helpers import ROOT
from test_bench import needs_peer

REPORT = ROOT/"results"/"missing"/"missing_digits_halves.csv"

@pytest.fixture(scope="module")
def task(): return tool.digits_halves()

def test_items_and_holes_are_those_of_the_report(task):
    committed = {(r["missing"], int(r["seed"])): r["data"] for r in csv.DictReader(open(REPORT, newline=""))
                 if r["trained_on"] == "all items"}
    for percent, seed in itertools.product(["0", "50", "40/40/70"], range(3)):
        assert tool.with_holes(task, percent, seed).checksum == committed[percent, seed]

def test_holes_have_their_shares_and_leave_something():
    there = tool.holes("40/40/70", 0, 20000, 3)
    empty = .4*.4*.7                       # of the items, which get one part back
    assert there.any(1).all() and not there.all(1).all()
    assert there.all(1).float().mean() == pytest.approx(.6*.6*.3, abs=.01)
    for column, share in zip(there.T, (.6, .6, .3)):
        assert share - .01 < column.float().mean() < share + empty + .01
    assert not torch.equal(there, tool.holes("40/40/70", 1, 20000, 3)) and tool.holes("0", 0, 50, 3).all()

def test_real_parts_are_read_rightly_and_blank_ones_are_not(task):
    x, _ = task.test
    class Copy:
        def generate(self, given): return x
    class Blank:
        def generate(self, given): return {n: torch.zeros_like(v) for n, v in x.items()}
    real, blank = tool.shares(Copy(), task), tool.shares(Blank(), task)
    assert len(real) == 9 and all(to not in given.split("+") for given, to in real)
    assert min(real.values()) > .75 and max(blank.values()) < .2

def test_what_is_missing_comes_masked_and_as_zeros(task):
    batch = tool.with_holes(task, "40/40/70", 0).batch(0, 64)
    x, masks = tool.masked(batch, task.specs)
    assert list(x) == list(masks) == list(task.specs)
    for n, there in zip(task.specs, batch[PRESENT].T):
        assert torch.equal(masks[n], there) and 0 < there.sum() < 64
        assert (x[n][~there] == 0).all() and torch.equal(x[n][there], batch[n][there])
    whole, none = tool.masked(tool.with_holes(task, "0", 0).batch(0, 64), task.specs)
    assert none is None and PRESENT not in whole

def test_options_and_a_table_that_is_written_whole(tmp_path, monkeypatch):
    how = tool.options([])
    assert (how.seeds, how.updates, how.missing) == (3, [600, 3000], ["0", "40/40/70"])
    tool.write(tmp_path/"a.csv", [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}])
    assert (tmp_path/"a.csv").read_text() == "a,b\n1,x\n2,y\n"
    assert tool.read(tmp_path/"a.csv") == [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}] and tool.read(tmp_path/"c") == []
    monkeypatch.setattr(peer, "library", lambda: None)
    with pytest.raises(MmvaeError, match="multivae: got none, allowed: 1.0.3"):
        tool.main(tool.options(["--out", str(tmp_path/"b.csv")]))
    assert not (tmp_path/"b.csv").exists()

def test_what_is_in_the_table_is_not_trained_again(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(peer, "library", lambda: True)
    monkeypatch.setattr(tool, "trained", lambda who, task, data, updates, seed: asked.append((who, updates, seed)))
    monkeypatch.setattr(tool, "shares", lambda model, task: {("left", "right"): .5})
    run = lambda *more: tool.main(tool.options(["--out", str(tmp_path/"a.csv"), "--who", "ours", "peer", *more]))
    run("--updates", "5", "--seeds", "1", "--missing", "50")
    assert asked == [("ours", 5, 0), ("peer", 5, 0)]
    run("--updates", "5", "7", "--seeds", "1", "--missing", "50")
    assert asked[2:] == [("ours", 7, 0), ("peer", 7, 0)] and len(tool.read(tmp_path/"a.csv")) == 4

def models(task):
    torch.manual_seed(0)
    ours = spread(spread(MoPoE(task.specs, tool.LATENT, exact=True)))   # experts that disagree
    return ours, tool.Peer(ours)

@needs_peer
def test_the_masked_objectives_are_the_same(task, no_noise, monkeypatch):
    """Samples are means. The peer draws one of the subsets that an item has; 21 turns give each item each of
    its 1, 3 or 7 subsets equally often, so their mean is our loss over all subsets."""
    ours, theirs = models(task)
    batch = tool.with_holes(task, "40/40/70", 0).batch(0, 64)
    turn = [0]
    def in_turn(mus, logvars, there):
        pick = [(row > 0).nonzero()[:, 0] for row in there.T]
        pick = torch.stack([p[turn[0] % len(p)] for p in pick])
        return tuple(v[pick, torch.arange(len(pick))] for v in (mus, logvars))
    monkeypatch.setattr(theirs.model, "random_mixture_component_selection", in_turn)
    monkeypatch.setattr(torch.distributions.Normal, "rsample", lambda self, shape=(): self.loc)
    losses = []
    with torch.no_grad():
        mine = ours(batch).total.item()
        for turn[0] in range(21): losses.append(theirs(batch).total.item())
    assert max(losses) > min(losses) + 1                          # nats, or the turns changed nothing
    assert sum(losses)/21 == pytest.approx(mine, rel=1e-5)

@needs_peer
def test_the_peers_weights_draw_the_same_in_our_model(task):
    ours, theirs = models(task)
    fresh, x = theirs.into(MoPoE(task.specs, tool.LATENT)).eval(), {n: v[:9] for n, v in task.test[0].items()}
    items = peer.library().data.MultimodalBaseDataset(x)
    for given in (["left"], ["left", "label"]):
        with torch.no_grad():
            z = theirs.model.eval().encode(items, cond_mod=given, return_mean=True).z
            made = theirs.model.decoders["right"](z).reconstruction
        drawn = fresh.generate({n: x[n] for n in given}, "right")["right"]
        torch.testing.assert_close(drawn, made, rtol=1e-4, atol=1e-4)
