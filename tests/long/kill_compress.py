"""Kills `leafcutter compress` at random moments: the target stays whole, old or new, and the next run removes what the killed one left.

usage: kill_compress.py LEAFCUTTER [KILLS]
"""
import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time

PROGRAM = os.path.abspath(sys.argv[1])
KILLS = int(sys.argv[2]) if len(sys.argv) > 2 else 200
DIM, FEED_FORWARD, LAYERS, VOCABULARY = 512, 1024, 6, 4096


def write_checkpoint(folder, rng):
    """A LLaMA folder with random f32 weights: random mantissas under exponents of small numbers."""
    shapes = {"model.embed_tokens.weight": (VOCABULARY, DIM), "model.norm.weight": (DIM,)}
    for layer in range(LAYERS):
        name = f"model.layers.{layer}."
        shapes |= {name + part + ".weight": (DIM,) for part in ("input_layernorm", "post_attention_layernorm")}
        shapes |= {name + f"self_attn.{part}_proj.weight": (DIM, DIM) for part in "qkvo"}
        shapes |= {name + f"mlp.{part}_proj.weight": (FEED_FORWARD, DIM) for part in ("gate", "up")}
        shapes[name + "mlp.down_proj.weight"] = (DIM, FEED_FORWARD)
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    data = bytearray(rng.randbytes(at))
    data[3::4] = bytes(0x3C | byte & 0x80 for byte in data[3::4])
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": DIM, "intermediate_size": FEED_FORWARD, "num_hidden_layers": LAYERS,
                   "num_attention_heads": 8, "vocab_size": VOCABULARY, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": True}, file)


def compress(source, target, form):
    return [PROGRAM, "compress", source, "-o", target, "--format", form, "--quiet"]


def bytes_of(path):
    with open(path, "rb") as file:
        return file.read()


def main():
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        source, out = os.path.join(folder, "source"), os.path.join(folder, "out")
        os.mkdir(source)
        os.mkdir(out)
        write_checkpoint(source, rng)
        target = os.path.join(out, "model.leaf")
        whole, longest = {}, 0
        for form in ("q8", "q4"):
            start = time.monotonic()
            subprocess.run(compress(source, target, form), check=True)
            longest = max(longest, time.monotonic() - start)
            whole[bytes_of(target)] = form
        killed = replaced = leftovers = 0
        before = bytes_of(target)
        for run in range(KILLS):
            process = subprocess.Popen(compress(source, target, ("q8", "q4")[run % 2]))
            time.sleep(rng.uniform(0, 1.1 * longest))
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
            beside = [name for name in os.listdir(out) if name != "model.leaf"]
            assert len(beside) <= 1, f"run {run}: the leftovers of earlier runs are still there: {beside}"
            leftovers += len(beside)
            now = bytes_of(target)
            assert now in whole, f"run {run}: the target is neither the old file nor the new one"
            replaced += now != before
            before = now
        subprocess.run([PROGRAM, "verify", target, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(compress(source, target, "q8"), check=True)
        assert os.listdir(out) == ["model.leaf"], os.listdir(out)
        assert whole[bytes_of(target)] == "q8"
        print(f"{KILLS} runs, {killed} killed, target replaced {replaced} times, {leftovers} temporaries left and removed by the next run, 0 damaged")
        assert killed >= KILLS / 4 and leftovers > 0, "too few were killed while they wrote"


if __name__ == "__main__":
    main()
