"""Small data files in the true formats, a way to hurt them, and what the files say of their own items.
In each of them the label can be read off the image, so labels that are shifted are seen."""
import gzip, hashlib, io, json, random, shutil, struct, zipfile
from pathlib import Path

import numpy as np, torch
from checkpoint_helpers import mutated
from PIL import Image
from scipy.io import loadmat, savemat

from mmvae_nb.core import load_torchvision
from mmvae_nb.datasets import birds, digits, faces

def jpeg(grey, size=(89, 109)):
    f = io.BytesIO()
    Image.new("RGB", size, (int(grey),)*3).save(f, "JPEG", quality=90)
    return f.getvalue()

def greys(x): return x.float().mean((1, 2, 3))
def idx(a): return struct.pack(f">HBB{a.ndim}I", 0, 8, a.ndim, *a.shape) + a.tobytes()

def put_mnist(root):
    raw = root/"MNIST"/"raw"; raw.mkdir(parents=True)
    for part, n in [("train", 60), ("t10k", 20)]:
        y = (np.arange(n)*7 % 10).astype(np.uint8)
        x = np.zeros((n, 28, 28), np.uint8); x[:] = y[:, None, None]*20
        for what, a in [("images-idx3", x), ("labels-idx1", y)]:
            (raw/f"{part}-{what}-ubyte.gz").write_bytes(gzip.compress(idx(a), 1))

def read_mnist():
    for s in ("train", "test"):
        x, y = digits.real_mnist(s)
        yield ((greys(x)/20).round() == y).float().mean().item()

def mat(n=60, photos=True):
    y = (np.arange(n)*7 % 10 + 1).astype(np.uint8)
    x = np.zeros((32, 32, 3, n), np.uint8); x[:] = (y % 10)*20
    return {"X": x, "y": y[:, None], **({"photo": (np.arange(n)//3 + 1).astype(np.uint16)[:, None]} if photos else {})}

def put_subset(root):
    (root/"svhn").mkdir(parents=True)
    savemat(root/"svhn"/"test_32x32_first10000.mat", mat(), do_compression=True)

def put_svhn(root):
    (root/"svhn").mkdir(parents=True)
    for part in ("train", "test"): savemat(root/"svhn"/f"{part}_32x32.mat", mat(photos=False), do_compression=True)

def read_svhn():
    "With the MD5 sums of whatever is there: else nothing of it would ever be parsed."
    kind, root = load_torchvision().datasets.SVHN, digits.find_data("svhn")
    before = kind.split_list
    sums = {p: hashlib.md5((root/f"{p}_32x32.mat").read_bytes()).hexdigest() for p in ("train", "test")
            if (root/f"{p}_32x32.mat").is_file()}
    kind.split_list = {p: [*v[:2], sums.get(p, v[2])] for p, v in before.items()}
    try:
        for s in ("train", "test"):
            x, y, _ = digits.real_svhn(s)
            yield ((greys(x)/20).round() == y).float().mean().item()
    finally: kind.split_list = before

CLASSES = [f"{i:03d}.Class_{i}" for i in range(1, 16)]
FILES = [(f"{c}/{c}_{k}.jpg", i, k) for i, c in enumerate(CLASSES) for k in range(2)]
def grey_of(i, k): return 8*(2*i + k)

def put_birds(root):
    cub = root/"CUB_200_2011"; cub.mkdir(parents=True)
    rows = [dict(file=f, class_id=i + 1, class_disjoint_split="test" if i >= 12 else "trainval", has_image=True,
                 captions=[f"a red bird of class {'abcdefghijklmno'[i]}"]*3) for f, i, _ in FILES]
    with gzip.open(cub/"captions_text_c10.jsonl.gz", "wt", 1) as f: f.writelines(json.dumps(r) + "\n" for r in rows)
    with zipfile.ZipFile(cub/"images_100classes_bboxcrop_128.zip", "w") as z:
        for f, i, k in FILES: z.writestr(f"CUB_200_2011/images/{f}", jpeg(grey_of(i, k), (40, 40)))

def put_bird_folder(root):
    cub = root/"CUB_200_2011"; lines, boxes = [], []
    for n, (f, i, k) in enumerate(FILES):
        image, text = cub/"images"/f, (root/"text_c10"/f).with_suffix(".txt")
        for p in (image, text): p.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(jpeg(grey_of(i, k), (60, 50)))
        text.write_text(f"a red bird of class {'abcdefghijklmno'[i]}\na blue bird\n")
        lines.append(f"{n + 1} {f}\n"); boxes.append(f"{n + 1} 10.0 5.0 40.0 40.0\n")
    (cub/"images.txt").write_text("".join(lines)); (cub/"bounding_boxes.txt").write_text("".join(boxes))
    (root/"testclasses.txt").write_text("\n".join(CLASSES[12:]) + "\n")

def read_birds():
    for s in ("train", "test"):
        x, names, captions = birds.real_birds(s)
        said = torch.tensor([8*(2*CLASSES.index(c) + .5) if c in CLASSES else -99 for c in names])
        yield ((greys(x) - said).abs() < 8).float().mean().item()
        assert all(isinstance(c, str) and c for row in captions for c in row)

def put_faces(root, folder=False, n=60):
    celeba = root/"celeba"; celeba.mkdir(parents=True)
    names = [f"{i + 1:06}.jpg" for i in range(n)]
    y = np.random.default_rng(0).random((n, 40)) < .3
    rows = [f"{a} " + " ".join("1" if v else "-1" for v in r) for a, r in zip(names, y)]
    (celeba/"list_attr_celeba.txt").write_text("\n".join([str(n), " ".join(faces.celeba_attributes), *rows, ""]))
    (celeba/"list_eval_partition.txt").write_text("".join(f"{a} {i*3//n}\n" for i, a in enumerate(names)))
    (celeba/"identity_CelebA.txt").write_text("".join(f"{a} {i + 1}\n" for i, a in enumerate(names)))
    if folder:
        (celeba/"img_align_celeba").mkdir()
        for i, a in enumerate(names): (celeba/"img_align_celeba"/a).write_bytes(jpeg(4*i))
    else:
        with zipfile.ZipFile(celeba/"img_align_celeba_first10000_89x109.zip", "w") as z:
            for i, a in enumerate(names): z.writestr(f"img_align_celeba/{a}", jpeg(4*i))

def read_faces():
    for s in ("train", "test"):
        x, y, person, _ = faces.real_faces(s)
        yield ((greys(x)/4).round() + 1 == person).float().mean().item()

READERS = {"mnist": (put_mnist, read_mnist), "svhn subset": (put_subset, lambda: subset()),
           "svhn official": (put_svhn, read_svhn), "cub archive": (put_birds, read_birds),
           "cub folder": (put_bird_folder, read_birds), "celeba archive": (put_faces, read_faces),
           "celeba folder": (lambda root: put_faces(root, folder=True), read_faces)}

def subset():
    for s in ("train", "test"):
        x, y, photo = digits.real_svhn(s)
        assert photo.min() >= 1 and len(photo) == len(y)
        yield ((greys(x)/20).round() == y).float().mean().item()


# ---- hurting what is inside, packed again so that no checksum of the packing tells

def _json(rng, raw):
    "Another value of one field of one row."
    lines = raw.splitlines(keepends=True)
    i = rng.randrange(len(lines))
    row = json.loads(lines[i])
    odd = [None, 1, -1, "abc", "", [], {}, [1], [[]], True, 1e400, "../../../secret.jpg", "/etc/passwd",
           [None], "x"*5000]
    key, value = rng.choice(list(row)), rng.choice(odd)
    how = rng.choice(("value", "gone", "twice", "order", "row"))
    if how == "value": row[key] = value
    elif how == "gone": del row[key]
    elif how == "twice": lines.insert(rng.randrange(len(lines)), lines[i])
    elif how == "order": rng.shuffle(lines); return b"".join(lines)
    lines[i] = (json.dumps(value if how == "row" else row) + "\n").encode()
    return b"".join(lines)

def _lines(rng, raw):
    "Rows that are moved, missing, doubled, or have another word."
    lines = raw.splitlines(keepends=True)
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    how = rng.choice(("swap", "drop", "twice", "word", "names", "numbers"))
    if how == "swap": lines[i], lines[j] = lines[j], lines[i]
    elif how == "drop": del lines[i]
    elif how == "twice": lines.insert(j, lines[i])
    else:
        words = lines[i].split() or [b"x"]
        k = {"names": 0, "numbers": len(words) - 1}.get(how, rng.randrange(len(words)))
        words[k] = rng.choice([b"9"*30, b"-5", b"nan", b"inf", b"1e9", b"../../x.jpg", b"\xff", b"", b"0", b"7",
                               b"x.jpg"])
        lines[i] = b" ".join(words) + b"\n"
    return b"".join(lines)

def _zip(rng, raw):
    "Another member, another name, or other bytes of an image."
    out, members = io.BytesIO(), []
    with zipfile.ZipFile(io.BytesIO(raw)) as z: members = [(n, z.read(n)) for n in z.namelist()]
    i, j = rng.randrange(len(members)), rng.randrange(len(members))
    how = rng.choice(("bytes", "bytes", "name", "gone", "more"))
    name, data = members[i]
    if how == "bytes": members[i] = name, mutated(data, rng)
    elif how == "name": members[i] = rng.choice([name + "x", "../" + name, name.upper(), "x.jpg", members[j][0]]), data
    elif how == "gone": del members[i]
    else: members.append((rng.choice(["x.jpg", "../../x.jpg", "images/", "a/images/b/images/c.jpg"]), data))
    import warnings
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as z:
        warnings.simplefilter("ignore")                      # a name twice
        for n, d in members: z.writestr(n, d)
    return out.getvalue()

def _mat(rng, raw):
    "Another array, type or shape."
    arrays = {k: v for k, v in loadmat(io.BytesIO(raw)).items() if k[0] != "_"}
    k = rng.choice(list(arrays))
    v, how = arrays[k], rng.choice(("gone", "float", "nan", "negative", "text", "cut", "flat", "big", "one", "shuffle"))
    if how == "gone": del arrays[k]
    else:
        wide = v.astype(float)
        if how == "nan": wide.flat[rng.randrange(v.size)] = np.nan
        if how == "negative": wide.flat[rng.randrange(v.size)] = -3
        if how == "big": wide.flat[rng.randrange(v.size)] = 1e300
        arrays[k] = {"text": np.array(["a", "b"]), "cut": v[..., :-1] if v.shape[-1] > 1 else v[:-1], "flat": v.ravel(),
                     "one": v[..., :1], "shuffle": v[::-1].copy() if v.ndim == 2 else v}.get(how, wide)
        if how == "shuffle": return raw                      # nothing in the file could tell
    out = io.BytesIO(); savemat(out, arrays, do_compression=True)
    return out.getvalue()

def hurt(path, rng):
    "The bytes of the file at `path` with one thing wrong; half of the time inside its packing."
    raw = path.read_bytes()
    if rng.random() < .5 or not raw: return mutated(raw or b"\0", rng)
    name = path.name
    if name.endswith(".gz"):
        inside, how = gzip.decompress(raw), _json if "jsonl" in name and rng.random() < .7 else None
        few = min(64, max(1, len(inside)//12))               # other labels, of which no file tells, stay few
        return gzip.compress(how(rng, inside) if how else mutated(inside, rng, few), 1)
    if name.endswith(".zip"): return _zip(rng, raw)
    if name.endswith(".mat"): return _mat(rng, raw)
    if name.endswith(".txt"): return _lines(rng, raw)
    return mutated(raw, rng)

def fresh(reader, root):
    "The files of a reader, made anew."
    shutil.rmtree(root, ignore_errors=True)
    READERS[reader][0](root)
    return sorted(p for p in Path(root).rglob("*") if p.is_file())

def seeded(*names): return random.Random(" ".join(map(str, names)))

def choice(files, rng):
    "One of the files; lists and archives more often than the many images and captions."
    first = [p for p in files if p.suffix != ".jpg" and p.parent.parent.name != "text_c10"]
    return rng.choice(first if rng.random() < .7 else files)
