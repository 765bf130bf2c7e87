"""Graphs and weights as scripts, because a page opened as a file can load scripts and nothing else.

A weight is rounded to 8 bits, with a scale for each row, and stored once, however many graphs use
it. In a graph its place is named as ONNX names external data: (script, first byte, bytes).
"""
import base64, gzip, hashlib, json

import numpy as np
import torch

SMALL = 1024 # numbers: a shorter tensor stays in its graph as it is

def rows_of(x):
    "A tensor as a matrix: its first axis, and all others."
    return x.reshape(len(x), -1)

def scales_of(x):
    "The step of each row, such that its largest number is 127 steps; (rows, 1)."
    return np.abs(rows_of(x)).max(1, keepdims=True).astype("float32")/np.float32(127) \
        + np.float32(1e-30)

def levels_of(x):
    "int8 numbers and the scales to multiply them by."
    scales = scales_of(x)
    return np.rint(rows_of(x)/scales).astype("int8"), scales

def is_large(x): return x.ndim > 1 and x.size >= SMALL

@torch.no_grad()
def rounded(model):
    "The model itself, its large weights rounded to 8 bits: what the page computes with."
    for p in model.parameters():
        x = p.detach().numpy()
        if not is_large(x): continue
        levels, scales = levels_of(x)
        p.copy_(torch.from_numpy(levels*scales).view_as(p))
    return model

def packed(data):
    "Bytes as text for a script."
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()

def script(name, content):
    "A script that hands `content` to the page under `name`."
    return f"playground.put({json.dumps(name)}, {json.dumps(content, separators=(',', ':'))});\n"


class Packs:
    "Scripts of weights, in the order they are made; what an earlier one has is not repeated."
    def __init__(self): self.place, self.uses = {}, {}

    def script(self, name, graphs): # dict: name -> ONNX model
        "The script of some graphs and of the weights that they bring along."
        levels, scales, shapes, start = [], [], [], 0
        own = {"location": name, "used": set()}
        for tensor in (t for g in graphs.values() for t in g.graph.initializer):
            x = array_of(tensor)
            if x is None: continue
            key = hashlib.sha256(repr(x.shape).encode() + x.tobytes()).hexdigest()
            if key not in self.place:
                some, steps = levels_of(x)
                if not np.allclose(some*steps, rows_of(x), rtol=1e-6, atol=0):
                    raise ValueError(f"{tensor.name}: not rounded")
                self.place[key] = (name, 4*start, 4*x.size)
                levels.append(some.tobytes()); scales.append(steps.tobytes())
                shapes.append(some.shape); start += x.size
            own["used"].add(self.place[key][0])
            put_outside(tensor, *self.place[key])
        content = {"graphs": {n: packed(g.SerializeToString()) for n, g in graphs.items()},
                   "weights": packed(b"".join(levels + scales)), "shapes": shapes}
        self.uses[name] = sorted(own["used"])
        return script(name, content)

def array_of(tensor):
    "A large float tensor of an ONNX model as an array; None for any other."
    from onnx import TensorProto, numpy_helper
    if tensor.data_type != TensorProto.FLOAT: return None
    x = numpy_helper.to_array(tensor)
    return x if is_large(x) else None

def put_outside(tensor, location, offset, length):
    "Let a tensor of an ONNX model lie elsewhere."
    from onnx import TensorProto
    from onnx.external_data_helper import set_external_data
    set_external_data(tensor, location=location, offset=offset, length=length)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
