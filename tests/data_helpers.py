"What the tests of data and judges share."
import torch


def one_line(error, most=600):
    "The text of a caught error, which must be one line and no essay."
    text = str(error.value)
    assert text and "\n" not in text and len(text) < most
    return text


def same_weights(a, b):
    "Are the parameters and buffers of two modules equal bit for bit?"
    one, two = a.state_dict(), b.state_dict()
    return list(one) == list(two) and all(torch.equal(one[k], two[k]) for k in one)
