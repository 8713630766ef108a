#!/usr/bin/env python3
"""A LLaMA-type GGUF with random weights, to measure a peer on the shape that `leafcutter synth` makes. Standard library only.

usage: make_gguf.py OUT.gguf q4_0|q8_0 [--shape llama-1.1b|llama-48x4096]
"""
import argparse
import os
import struct

SHAPES = {"llama-1.1b": (22, 2048, 32, 4, 5632, 32000), "llama-48x4096": (48, 4096, 32, 32, 10240, 30720)}
TYPES = {"f32": (0, 1, 4), "q4_0": (2, 32, 18), "q8_0": (8, 32, 34)}  # ggml id, weights a block, bytes a block
ALIGNMENT = 32


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def metadata(layers, dim, heads, kv_heads, ff, vocab):
    strings = {"general.architecture": "llama", "general.name": "random", "tokenizer.ggml.model": "llama"}
    numbers = {"block_count": layers, "context_length": 2048, "embedding_length": dim, "feed_forward_length": ff, "attention.head_count": heads,
               "attention.head_count_kv": kv_heads, "rope.dimension_count": dim // heads, "vocab_size": vocab}
    floats = {"attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 10000.0}
    pairs = [text(k) + struct.pack("<I", 8) + text(v) for k, v in strings.items()]
    pairs += [text("llama." + k) + struct.pack("<II", 4, v) for k, v in numbers.items()]
    pairs += [text("llama." + k) + struct.pack("<If", 6, v) for k, v in floats.items()]
    pairs += [text("tokenizer.ggml." + k) + struct.pack("<II", 4, v) for k, v in (("bos_token_id", 1), ("eos_token_id", 2), ("unknown_token_id", 0))]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    kinds = [2, 3, 3] + [6] * 256
    tokens += [f"w{i}" for i in range(vocab - len(tokens))]
    kinds += [1] * (vocab - len(kinds))

    def array(name, element_type, data):
        return text("tokenizer.ggml." + name) + struct.pack("<IIQ", 9, element_type, vocab) + data

    pairs.append(array("tokens", 8, b"".join(map(text, tokens))))
    pairs.append(array("scores", 6, struct.pack(f"<{vocab}f", *(-float(i) for i in range(vocab)))))
    pairs.append(array("token_type", 5, struct.pack(f"<{vocab}i", *kinds)))
    return pairs


def tensors(kind, layers, dim, heads, kv_heads, ff, vocab):
    kv = dim // heads * kv_heads
    yield "token_embd.weight", kind, (dim, vocab)
    for layer in range(layers):
        for name, k, n in (("attn_q", dim, dim), ("attn_k", dim, kv), ("attn_v", dim, kv), ("attn_output", dim, dim), ("ffn_gate", dim, ff), ("ffn_up", dim, ff), ("ffn_down", ff, dim)):
            yield f"blk.{layer}.{name}.weight", kind, (k, n)
        yield f"blk.{layer}.attn_norm.weight", "f32", (dim,)
        yield f"blk.{layer}.ffn_norm.weight", "f32", (dim,)
    yield "output_norm.weight", "f32", (dim,)
    yield "output.weight", kind, (dim, vocab)


def size_of(kind, shape):
    _, weights, size = TYPES[kind]
    count = 1
    for n in shape:
        count *= n
    return count // weights * size


def random_blocks(kind):
    """Some megabytes of blocks with scales that keep activations finite; repeated to fill the tensors."""
    _, _, size = TYPES[kind]
    scale = 0.02 / (4.6 if kind == "q4_0" else 74)
    count = 100003
    codes = os.urandom(count * (size - 2))
    step = size - 2
    return b"".join(struct.pack("<e", scale * (0.8 + 0.4 * (i * 7919 % 1000) / 1000)) + codes[i * step:(i + 1) * step] for i in range(count))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("type", choices=("q4_0", "q8_0"))
    parser.add_argument("--shape", choices=SHAPES, default="llama-1.1b")
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    pairs, all_tensors = metadata(*shape), list(tensors(options.type, *shape))
    infos, offset = b"", 0
    for name, kind, dims in all_tensors:
        infos += text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims) + struct.pack("<IQ", TYPES[kind][0], offset)
        offset += -(-size_of(kind, dims) // ALIGNMENT) * ALIGNMENT
    unit = random_blocks(options.type)
    with open(options.out, "wb", buffering=1 << 22) as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, len(all_tensors), len(pairs)) + b"".join(pairs) + infos)
        file.write(b"\0" * (-file.tell() % ALIGNMENT))
        at = 0
        for _, kind, dims in all_tensors:
            left = size_of(kind, dims)
            padding = -left % ALIGNMENT
            if kind == "f32":
                file.write(struct.pack("<f", 1.0) * (left // 4))
            else:
                while left:
                    part = unit[at:at + left]
                    file.write(part)
                    left -= len(part)
                    at = (at + len(part)) % len(unit)
            file.write(b"\0" * padding)


if __name__ == "__main__":
    main()
