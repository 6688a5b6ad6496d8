"""Trains the demonstration model on what `go run ./lm/demo/training/corpus FOLDER` wrote.

    python3 lm/demo/training/train.py CORPUS OUT [--minutes 40]

OUT becomes a Hugging Face style folder: config.json, generation_config.json,
model.safetensors (bfloat16), tokenizer.json, tokenizer_config.json. It needs PyTorch and
NumPy, nothing else. The schedule follows the clock: the learning rate has come down to
zero when the minutes are over.
"""

import argparse
import json
import math
import pathlib
import shutil
import struct
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

CONFIG = dict(
    architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=1280, hidden_size=160,
    intermediate_size=448, num_hidden_layers=6, num_attention_heads=5, num_key_value_heads=1,
    max_position_embeddings=512, rms_norm_eps=1e-5, rope_theta=10000.0, hidden_act="silu",
    tie_word_embeddings=True, bos_token_id=0, eos_token_id=1, torch_dtype="bfloat16",
)


class Norm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x):
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + CONFIG["rms_norm_eps"])


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        hidden, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
        self.heads, self.groups = CONFIG["num_attention_heads"], CONFIG["num_key_value_heads"]
        self.size = hidden // self.heads
        linear = lambda n, m: nn.Linear(n, m, bias=False)
        self.input_layernorm, self.post_attention_layernorm = Norm(hidden), Norm(hidden)
        self.self_attn = nn.ModuleDict(dict(
            q_proj=linear(hidden, hidden), k_proj=linear(hidden, self.groups * self.size),
            v_proj=linear(hidden, self.groups * self.size), o_proj=linear(hidden, hidden)))
        self.mlp = nn.ModuleDict(dict(
            gate_proj=linear(hidden, inner), up_proj=linear(hidden, inner), down_proj=linear(inner, hidden)))

    def forward(self, x, cos, sin, mask):
        batch, length, _ = x.shape
        y, a = self.input_layernorm(x), self.self_attn
        split = lambda t, n: t.view(batch, length, n, self.size).transpose(1, 2)
        q, k, v = split(a.q_proj(y), self.heads), split(a.k_proj(y), self.groups), split(a.v_proj(y), self.groups)
        turn = lambda t: t * cos + torch.cat((-t[..., self.size // 2:], t[..., :self.size // 2]), -1) * sin
        q, k = turn(q), turn(k)
        repeat = self.heads // self.groups
        k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
        weights = (q @ k.transpose(-1, -2) / math.sqrt(self.size) + mask).softmax(-1)
        x = x + a.o_proj((weights @ v).transpose(1, 2).reshape(batch, length, -1))
        y, m = self.post_attention_layernorm(x), self.mlp
        return x + m.down_proj(F.silu(m.gate_proj(y)) * m.up_proj(y))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        hidden = CONFIG["hidden_size"]
        self.embed_tokens = nn.Embedding(CONFIG["vocab_size"], hidden)
        self.layers = nn.ModuleList(Block() for _ in range(CONFIG["num_hidden_layers"]))
        self.norm = Norm(hidden)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)

    def forward(self, tokens):
        length, size = tokens.shape[1], CONFIG["hidden_size"] // CONFIG["num_attention_heads"]
        frequencies = CONFIG["rope_theta"] ** (-torch.arange(0, size, 2) / size)
        angles = torch.outer(torch.arange(length), frequencies).repeat(1, 2)
        mask = torch.full((length, length), float("-inf")).triu(1)
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, angles.cos(), angles.sin(), mask)
        return self.norm(x) @ self.embed_tokens.weight.T


def texts(path):
    """The texts as rows of equal length, padded with -1; a text ends with token 1."""
    data = np.fromfile(path, dtype="<u2").astype(np.int64)
    ends = np.flatnonzero(data == CONFIG["eos_token_id"]) + 1
    return np.split(data, ends[:-1])


def batches(rows, tokens, generator):
    """Texts of similar length together, about so many tokens at a time."""
    order = generator.permutation(len(rows))
    for chunk in np.array_split(order, max(1, len(order) // 4096)):
        chunk = sorted(chunk, key=lambda i: len(rows[i]))
        groups, group = [], []
        for i in chunk:
            group.append(rows[i])
            if len(group) * len(rows[i]) >= tokens:
                groups.append(group)
                group = []
        generator.shuffle(groups)
        for group in groups:
            out = np.full((len(group), max(map(len, group))), -1)
            for r, row in enumerate(group):
                out[r, :len(row)] = row
            yield torch.from_numpy(out)


def loss_of(model, batch):
    logits = model(batch[:, :-1].clamp(min=0))
    return F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), ignore_index=-1)


def held_out(model, rows):
    model.eval()
    total = count = 0
    with torch.no_grad():
        for batch in batches(rows, 4096, np.random.default_rng(0)):
            n = int((batch[:, 1:] >= 0).sum())
            total, count = total + float(loss_of(model, batch)) * n, count + n
    model.train()
    return total / count


def save(model, corpus, out, notes):
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    (out / "generation_config.json").write_text(json.dumps(dict(eos_token_id=1)) + "\n")
    (out / "tokenizer_config.json").write_text(json.dumps(dict(bos_token="<s>", eos_token="</s>")) + "\n")
    shutil.copy(corpus / "tokenizer.json", out / "tokenizer.json")
    header, data = {"__metadata__": {"format": "pt", **notes}}, b""
    for name, p in sorted(model.named_parameters()):
        bits = p.detach().to(torch.bfloat16).view(torch.int16).numpy().astype("<i2").tobytes()
        header["model." + name] = dict(dtype="BF16", shape=list(p.shape), data_offsets=[len(data), len(data) + len(bits)])
        data += bits
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (out / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--tokens", type=int, default=3000, help="of a batch")
    parser.add_argument("--threads", type=int, default=1, help="more are not faster on few cores")
    options = parser.parse_args()

    torch.manual_seed(1)
    torch.set_num_threads(options.threads)
    model = Model()
    print(sum(p.numel() for p in model.parameters()), "parameters", flush=True)
    train, held = texts(options.corpus / "train.bin"), texts(options.corpus / "heldout.bin")
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [dict(params=matrices, weight_decay=0.05), dict(params=others, weight_decay=0)], lr=0, betas=(0.9, 0.98))
    limit, step, seen, recent = 60 * options.minutes, 0, 0, []
    clock = time.monotonic()
    epoch = 0
    while (share := (time.monotonic() - clock) / limit) < 1:
        for batch in batches(train, options.tokens, np.random.default_rng(epoch)):
            share = (time.monotonic() - clock) / limit
            if share >= 1:
                break
            rate = 3e-3 * min(1, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * share))
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = loss_of(model, batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step, seen = step + 1, seen + int((batch >= 0).sum())
            recent.append(float(loss))
            if step % 100 == 0:
                print(f"{time.monotonic() - clock:6.0f} s, step {step}, {seen} tokens, loss {np.mean(recent[-100:]):.4f}", flush=True)
            if step % 1000 == 0:
                save(model, options.corpus, options.out, {})
        epoch += 1
    loss = held_out(model, held)
    notes = dict(trained_tokens=str(seen), held_out_loss=f"{loss:.4f}", seconds=f"{time.monotonic() - clock:.0f}")
    save(model, options.corpus, options.out, notes)
    print(f"held-out loss {loss:.4f} nats a token after {seen} tokens, {epoch} begun passes", flush=True)


if __name__ == "__main__":
    main()
