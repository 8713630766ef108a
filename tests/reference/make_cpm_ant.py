#!/usr/bin/env python3
"""Tiny CPM-Ant checkpoints with random weights in original file formats, and what a plain implementation in double precision says about them. Needs torch, transformers, safetensors.

usage: make_cpm_ant.py OUT_FOLDER [CASE...]

Each case is a folder with weights, configuration, vocabulary and golden.json:

  source       what the importer is given, relative to the folder: "." or a file
  tolerance    allowed max|d| as a share of max|logit| with f32 weights
  divisors     {"live": ..., "uncut": ...}: only where the two readings of a structurally pruned file differ; then every list below stands under each of the two names in
               "readings", else at the top level
  layers       what each layer has: heads, head_dim and bias_columns (missing: head i reads column i), ff_width
  tensors      [role, layer, rows, inputs, divisor] as a .leaf lists them
  runs         what one step over all slots must give. Before the text stand the prompt slots of `task`: rows task * prompt_length .. of the prompt embedding, segment 0, context.
    ids          of the text
    segments     of the text's slots (missing: 2 for each)
    context      how many of the first ids are context; all for a prompt, 0 for the targets of `eval` and `score`. The others see the context and what lies before them
    positions    indexes into ids whose logits follow
    logits       one row of vocab_size for each position
  batch        runs whose prompts have different lengths, to be computed in one step: the numbers are those of each alone
  greedy       prompt (all context), ids: the arg-max continuation, generated tokens are not context (as with a cache); no bans, no penalty, going on past the end token
  score        prompt (all context), ids, logprobs: log-softmax of each given id behind the prompt and the ids before it
  beams        flavour "cpm-live" or "hf", prompt, beams, penalty, max_tokens, hypotheses: [{ids, score}], best first; the end token is not in ids
                 cpm-live: the first step bans </s> and </n>; penalty over the tokens generated so far, on logits; 2 * beams candidates a step; a hypothesis that ends has the sum with
                 </s> divided by the number of tokens without it; done when `beams` hypotheses are there and the worst is not below best sum / step; up to max_tokens + 1 tokens
                 hf: transformers 5: penalty on log-probabilities, over prompt and generated tokens; no bans; ends count only among the best `beams`; lengths count </s>

Weights are judged with the values that the file holds. Everything is computed twice, by matrices and slot by slot; Hugging Face forms also by transformers.
"""
import collections
import json
import math
import os
import sys

import torch
from safetensors.torch import save_file

PAD, UNK, NEWLINE, BOS, EOS = 0, 1, 4, 6, 7
SPECIALS = ["<pad>", "<unk>", "<mask>", "<sep>", "</n>", "</_>", "<s>", "</s>", "<d>", "</d>"]
REAL = dict(prompt_types=32, prompt_length=32, segment_types=32, buckets=512, max_distance=2048)
SMALL = dict(prompt_types=3, prompt_length=5, segment_types=4, buckets=32, max_distance=128)

# attention, ff: one entry a layer, None where the part was removed; heads of a layer: a number, or the list of kept heads of the uncut model.
CASES = {
    "live": dict(SMALL, dim=32, heads=4, dim_head=8, attention=[4, 4], ff=[48, 48], long=True),
    "live-real-shape": dict(REAL, dim=16, heads=2, dim_head=8, attention=[2, 2], ff=[35, 35], far=True, form="stem"),
    "live-masks": dict(SMALL, dim=40, heads=5, dim_head=8, attention=[5, 5, None, None, 5], ff=[35, None, 35, None, 35], mask=True),
    "live-no-first-attention": dict(SMALL, dim=24, heads=3, dim_head=10, attention=[None, 3, 3], ff=[70, None, 70], mask=True, form="file"),
    "live-odd": dict(SMALL, dim=36, heads=1, dim_head=6, attention=[1, 1, 1], ff=[7, 7, 7], form="stem", vocab=61, max_distance=40, buckets=20),
    "live-missing-parts": dict(SMALL, dim=32, heads=4, dim_head=8, attention=[4, None, 4], ff=[None, 35, 35]),
    "sprune": dict(SMALL, dim=32, heads=5, dim_head=8, uncut_ff=48, attention=[[0, 2, 4], None, [1, 3], [0, 1, 2, 3, 4]], ff=[35, 20, None, 48], form="sprune"),
    "sprune-prefix": dict(SMALL, dim=32, heads=4, dim_head=8, uncut_ff=40, attention=[[0, 1], [0, 1, 2], [0]], ff=[40, 33, 7], form="sprune"),
    "hf-old-keys": dict(SMALL, dim=32, heads=4, dim_head=8, attention=[4, 4], ff=[48, 48], form="hf", keys="old", weights="bin", head="tied"),
    "hf-new-keys-sharded": dict(SMALL, dim=40, heads=5, dim_head=8, attention=[5, 5, 5], ff=[35, 35, 35], form="hf", keys="new", weights="safetensors", shards=3, prefix=True, head="none"),
    "hf-untied-sharded-bin": dict(SMALL, dim=24, heads=3, dim_head=8, attention=[3, 3], ff=[70, 70], form="hf", keys="old", weights="bin", shards=2, prefix=True, head="untied"),
    "hf-head-with-prompt-rows": dict(SMALL, dim=32, heads=2, dim_head=16, attention=[2, 2], ff=[33, 33], form="hf", keys="new", weights="bin", head="long"),
    "hf-equal-bytes": dict(SMALL, dim=32, heads=2, dim_head=16, attention=[2], ff=[40], form="hf", keys="new", weights="safetensors", head="equal"),
    "hf-real-shape": dict(REAL, dim=16, heads=2, dim_head=8, attention=[2, 2], ff=[40, 40], form="hf", keys="old", weights="safetensors", head="none"),
}
LINEARS = {"q": "self_att.self_attention.project_q", "k": "self_att.self_attention.project_k", "v": "self_att.self_attention.project_v", "o": "self_att.self_attention.attention_out",
           "w0": "ffn.ffn.w_in.w_0", "w1": "ffn.ffn.w_in.w_1", "wo": "ffn.ffn.w_out"}


class Ant:
    """What a checkpoint means: tables, and for each layer its parts with their divisors. All in double precision."""

    def __init__(self, case):
        self.case = case
        self.vocab, self.prompt_length, self.segments = case["vocab"], case["prompt_length"], case["segment_types"]
        self.buckets, self.max_distance, self.eps = case["buckets"], case["max_distance"], 1e-6
        self.layers = []

    def bucket(self, q, k):
        """Index of the position bias for a query and a key of the same segment."""
        distance, half = k - q, self.buckets // 2
        base, n, exact = (half if distance > 0 else 0), abs(distance), half // 2
        if n < exact:
            return base + n
        return base + min(half - 1, exact + int(math.log(n / exact) / math.log(self.max_distance / exact) * (half - exact)))

    def slots(self, task, ids, segments):
        rows = [self.prompt[task * self.prompt_length + i] / self.embedding_divisor + self.segment[0] / self.embedding_divisor for i in range(self.prompt_length)]
        rows += [self.embedding[t] / self.embedding_divisor + self.segment[s] / self.embedding_divisor for t, s in zip(ids, segments)]
        return rows, [0] * self.prompt_length + list(segments)

    def norm(self, x, weight):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * weight

    def logits(self, task, ids, context, segments=None):
        segments = [2] * len(ids) if segments is None else segments
        rows, segment = self.slots(task, ids, segments)
        n = len(rows)
        h = torch.stack(rows)
        at = torch.arange(n)
        relative = torch.tensor([self.bucket(0, d) for d in range(-n + 1, n)])[at[None, :] - at[:, None] + n - 1]
        segment = torch.tensor(segment)
        index = torch.where(segment[:, None] == segment[None, :], relative, self.buckets + segment[:, None] * self.segments + segment[None, :])
        is_context = at < self.prompt_length + context
        seen = is_context[None, :] | (~is_context[:, None] & (at[None, :] <= at[:, None]))
        for layer in self.layers:
            if layer["attention"]:
                a = layer["attention"]
                x = self.norm(h, a["norm"])
                q, k, v = (((x @ a[m].T) / a["divisor"]).view(n, a["heads"], a["dim_head"]).transpose(0, 1) for m in "qkv")
                score = q @ k.transpose(1, 2) / a["score_divisor"] + self.bias[index][:, :, a["columns"]].permute(2, 0, 1)
                mixed = score.masked_fill(~seen, -math.inf).softmax(-1) @ v
                h = h + mixed.transpose(0, 1).reshape(n, -1) @ a["o"].T / a["out_divisor"]
            if layer["ff"]:
                f = layer["ff"]
                x = self.norm(h, f["norm"])
                h = h + (torch.nn.functional.gelu(x @ f["w0"].T / f["divisor"]) * (x @ f["w1"].T / f["divisor"])) @ f["wo"].T / f["out_divisor"]
        return self.norm(h, self.output_norm)[self.prompt_length:] / self.head_divisor @ self.head.T

    def slow_logits(self, task, ids, context, segments=None):
        """The same slot by slot and head by head."""
        segments = [2] * len(ids) if segments is None else segments
        rows, segment = self.slots(task, ids, segments)
        for layer in self.layers:
            if layer["attention"]:
                a = layer["attention"]
                x = [self.norm(r, a["norm"]) for r in rows]
                q, k, v = ([m @ y / a["divisor"] for y in x] for m in (a["q"], a["k"], a["v"]))
                added = []
                for i in range(len(rows)):
                    mixed = []
                    for head in range(a["heads"]):
                        part = slice(head * a["dim_head"], (head + 1) * a["dim_head"])
                        weights, values = [], []
                        for j in range(len(rows)):
                            free_i, free_j = (p >= self.prompt_length + context for p in (i, j))
                            if free_j and (not free_i or j > i):
                                continue
                            row = self.bucket(i, j) if segment[i] == segment[j] else self.buckets + segment[i] * self.segments + segment[j]
                            weights.append(math.exp((q[i][part] @ k[j][part]).item() / a["score_divisor"] + self.bias[row, a["columns"][head]].item()))
                            values.append(v[j][part])
                        mixed.append(sum(w * y for w, y in zip(weights, values)) / sum(weights))
                    added.append(a["o"] @ torch.cat(mixed) / a["out_divisor"])
                rows = [r + y for r, y in zip(rows, added)]
            if layer["ff"]:
                f = layer["ff"]
                for i, row in enumerate(rows):
                    x = self.norm(row, f["norm"])
                    gate, up = f["w0"] @ x / f["divisor"], f["w1"] @ x / f["divisor"]
                    rows[i] = row + f["wo"] @ (0.5 * gate * (1 + torch.erf(gate / math.sqrt(2))) * up) / f["out_divisor"]
        return torch.stack([self.head @ (self.norm(r, self.output_norm) / self.head_divisor) for r in rows[self.prompt_length:]])


def make_state(case, live):
    """Random weights under CPM-Live's names, in the precision of the file. live: unscaled; else the divisors are folded in."""
    d, k = case["dim"], case["dim_head"]
    scale = lambda dim_in: 1 if live else math.sqrt(dim_in)
    draw = lambda rows, columns, gain=1.0: torch.randn(rows, columns) * gain / scale(columns)
    store = torch.float16 if live else torch.float32
    state = collections.OrderedDict()
    for i, (attention, ff) in enumerate(zip(case["attention"], case["ff"])):
        name = f"encoder.layers.{i}."
        if attention:
            width = (len(attention) if isinstance(attention, list) else attention) * k
            state[name + "self_att.layernorm_before_attention.weight"] = 1 + 0.2 * torch.randn(d)
            for m in "qkv":
                state[f"{name}{LINEARS[m]}.weight"] = draw(width, d)
            state[f"{name}{LINEARS['o']}.weight"] = draw(d, width)
        if ff:
            state[name + "ffn.layernorm_before_ffn.weight"] = 1 + 0.2 * torch.randn(d)
            for m in ("w0", "w1"):
                state[f"{name}{LINEARS[m]}.weight"] = draw(ff, d)
            state[f"{name}{LINEARS['wo']}.weight"] = draw(d, ff)
    state["encoder.output_layernorm.weight"] = 1 + 0.2 * torch.randn(d)
    prompt, words = draw(case["prompt_types"] * case["prompt_length"], d), draw(case["vocab"], d)
    words[EOS] *= 3  # ends happen
    state["segment_embedding.weight"] = draw(case["segment_types"], d)
    state["position_bias.relative_attention_bias"] = 0.7 * torch.randn(case["segment_types"]**2 + case["buckets"], case["heads"])
    if live:
        state["prompt_embedding.weight"], state["input_embedding.weight"] = prompt, words
    else:
        state["input_embedding.weight"] = torch.cat([words, prompt])
    return collections.OrderedDict((n, w.to(store)) for n, w in state.items())


def understand(case, state, live, uncut=False, head=None):
    ant = Ant(case)
    weights = {n: w.double() for n, w in state.items()}
    d = case["dim"]
    root = lambda n: math.sqrt(n) if live else 1.0
    ant.embedding_divisor = ant.head_divisor = root(d)
    ant.embedding = weights["input_embedding.weight"][:case["vocab"]]
    ant.prompt = weights["prompt_embedding.weight"] if live else weights["input_embedding.weight"][case["vocab"]:]
    ant.head = ant.embedding if head is None else head.double()[:case["vocab"]]
    ant.segment, ant.bias, ant.output_norm = (weights[n] for n in ("segment_embedding.weight", "position_bias.relative_attention_bias", "encoder.output_layernorm.weight"))
    for i, (attention, ff) in enumerate(zip(case["attention"], case["ff"])):
        name, layer = f"encoder.layers.{i}.", dict(attention=None, ff=None)
        if attention:
            columns = attention if isinstance(attention, list) else list(range(attention))
            width = (case["heads"] if uncut else len(columns)) * case["dim_head"]
            layer["attention"] = dict({m: weights[f"{name}{LINEARS[m]}.weight"] for m in "qkvo"}, norm=weights[name + "self_att.layernorm_before_attention.weight"], heads=len(columns),
                                      dim_head=case["dim_head"], columns=columns, divisor=root(d), out_divisor=root(width), score_divisor=math.sqrt(case["dim_head"]))
        if ff:
            layer["ff"] = dict({m: weights[f"{name}{LINEARS[m]}.weight"] for m in ("w0", "w1", "wo")}, norm=weights[name + "ffn.layernorm_before_ffn.weight"], divisor=root(d),
                               out_divisor=root(case["uncut_ff"] if uncut else ff))
        ant.layers.append(layer)
    return ant


def rounded(logits):
    return [[round(float(v), 5) for v in row] for row in logits]


def top_gap(values, count):
    best = torch.topk(values.flatten(), count + 1).values
    return float((best[:-1] - best[1:]).min())


class Close(Exception):
    """Two candidates are so near that single precision might exchange them: another prompt is drawn."""


def greedy(ant, task, prompt, count):
    ids = list(prompt)
    for _ in range(count):
        last = ant.logits(task, ids, len(prompt))[-1]
        if top_gap(last, 1) < 5e-3:
            raise Close
        ids.append(int(last.argmax()))
    return ids[len(prompt):]


def next_logprobs(ant, task, prompt, generated, penalty, flavour, first):
    logits = ant.logits(task, prompt + generated, len(prompt))[-1]
    if flavour == "hf":
        logits = logits.log_softmax(-1)
        for t in set(prompt + generated):
            logits[t] = logits[t] * penalty if logits[t] < 0 else logits[t] / penalty
        return logits
    if first:
        logits[EOS] = logits[NEWLINE] = -math.inf
    for t in set(generated):
        logits[t] = logits[t] * penalty if logits[t] < 0 else logits[t] / penalty
    return logits.log_softmax(-1)


def beam_step(ant, task, prompt, open_beams, penalty, flavour, beams, first):
    """The 2 * beams best continuations: (sum, beam's tokens, token)."""
    table = torch.stack([total + next_logprobs(ant, task, prompt, tokens, penalty, flavour, first) for total, tokens in open_beams])
    if top_gap(table, 2 * beams) < 5e-4:
        raise Close
    found = torch.topk(table.flatten(), 2 * beams)
    return [(float(v), open_beams[int(i) // ant.vocab][1], int(i) % ant.vocab) for v, i in zip(found.values, found.indices)]


def beams_cpm_live(ant, task, prompt, beams, penalty, max_tokens):
    open_beams, done = [(0.0, [])], []
    last = max_tokens + 1
    for step in range(last + 1):
        candidates = beam_step(ant, task, prompt, open_beams, penalty, "cpm-live", beams, step == 0)
        if len(done) == beams:
            margin = min(done)[0] - candidates[0][0] / step
            if abs(margin) < 1e-3:
                raise Close
            if margin >= 0:
                break
        following = []
        for total, tokens, token in candidates:
            if token == EOS or step == last:
                score = total / len(tokens)
                if len(done) < beams or score > min(done)[0]:
                    done.append((score, tokens))
                    if len(done) > beams:
                        done.remove(min(done))
            else:
                following.append((total, tokens + [token]))
            if len(following) == beams:
                break
        open_beams = following
    return sorted(done, reverse=True)


def beams_hf(ant, task, prompt, beams, penalty, max_tokens):
    open_beams, done = [(0.0, [])], []
    for length in range(1, max_tokens + 1):
        candidates = beam_step(ant, task, prompt, open_beams, penalty, "hf", beams, length == 1)
        ends = lambda c: c[2] == EOS or length == max_tokens
        for rank, c in enumerate(candidates):
            if rank < beams and ends(c):
                done.append((c[0] / length, c[1] + ([c[2]] if c[2] != EOS else [])))
        done = sorted(done, reverse=True)[:beams]
        open_beams = [(total, tokens + [token]) for total, tokens, token in candidates if not ends((total, tokens, token))][:beams]
        if not open_beams:
            break
        if len(done) == beams:
            margin = done[-1][0] - open_beams[0][0] / length
            if abs(margin) < 1e-3:
                raise Close
            if margin >= 0:
                break
    return done


def beams_transformers(ant, task, prompt, beams, penalty, max_tokens):
    """What `generate` of transformers makes of our logits."""
    import transformers
    from transformers.modeling_outputs import CausalLMOutput

    class Wrapped(transformers.PreTrainedModel, transformers.GenerationMixin):
        config_class = transformers.PretrainedConfig

        def __init__(self, config):
            super().__init__(config)
            self.unused = torch.nn.Parameter(torch.zeros(1))
            self.post_init()

        def forward(self, input_ids, attention_mask=None, **kwargs):
            return CausalLMOutput(logits=torch.stack([ant.logits(task, row.tolist(), len(prompt)) for row in input_ids]))

        def prepare_inputs_for_generation(self, input_ids, **kwargs):
            return dict(input_ids=input_ids)

    config = transformers.PretrainedConfig(vocab_size=ant.vocab, num_hidden_layers=1, hidden_size=8, num_attention_heads=1)
    out = Wrapped(config).generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), num_beams=beams, repetition_penalty=penalty, max_new_tokens=max_tokens,
                                   num_return_sequences=beams, use_cache=False, eos_token_id=EOS, pad_token_id=PAD, bos_token_id=BOS, do_sample=False, return_dict_in_generate=True, output_scores=True)
    found = []
    for score, row in zip(out.sequences_scores.tolist(), out.sequences.tolist()):
        row = row[len(prompt):]
        cut = [i for i, t in enumerate(row) if t == EOS]
        found.append((score, row[:cut[0]] if cut else row))
    return found


def check_transformers(case, state, head, ant, ids):
    """Prompts (all context, segment 2) against transformers' own CpmAnt."""
    from transformers import CpmAntConfig, CpmAntForCausalLM
    config = CpmAntConfig(vocab_size=case["vocab"], hidden_size=case["dim"], num_attention_heads=case["heads"], dim_head=case["dim_head"], dim_ff=case["ff"][0],
                          num_hidden_layers=len(case["ff"]), position_bias_num_buckets=case["buckets"], position_bias_max_distance=case["max_distance"], prompt_types=case["prompt_types"],
                          prompt_length=case["prompt_length"], segment_types=case["segment_types"], use_cache=False, tie_word_embeddings=head is None)
    model = CpmAntForCausalLM(config).double().eval()
    with torch.no_grad():
        wanted = model.state_dict()
        for name in wanted:
            if name == "lm_head.weight":
                wanted[name].copy_((state["input_embedding.weight"] if head is None else head)[:wanted[name].shape[0]])
            else:
                wanted[name].copy_(state[name.removeprefix("cpmant.")])
        theirs = model(torch.tensor([ids])).logits[0][:, :case["vocab"]]
    ours = ant.logits(2, ids, len(ids))
    assert float((theirs - ours).abs().max()) < 1e-5 * float(ours.abs().max()), "differs from transformers"


def write_text(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def live_config(case):
    removed = [[a is None, f is None] for a, f in zip(case["attention"], case["ff"])]
    widths = [f for f in case["ff"] if f]
    return {"vocab_size": case["vocab"], "dropout_p": 0.0, "eps": 1e-6, "half": True, "mask_modules": removed if case.get("mask") else None, "dim_model": case["dim"],
            "dim_ff": case.get("uncut_ff", widths[0]), "num_layers": len(case["ff"]), "num_heads": case["heads"], "dim_head": case["dim_head"],
            "position_bias_num_buckets": case["buckets"], "position_bias_max_distance": case["max_distance"], "prompt_types": case["prompt_types"], "prompt_length": case["prompt_length"],
            "segment_types": case["segment_types"]}


def write_live(folder, name, case, state):
    form = case.get("form", "config")
    torch.save(state, os.path.join(folder, f"{name}.pt"))
    write_text(os.path.join(folder, "config.json" if form == "config" else f"{name}.json"), json.dumps(live_config(case), indent=1))
    if form == "sprune":
        write_sprune_side_files(folder, name, case, state)
    return f"{name}.pt" if form == "file" else "."


def write_sprune_side_files(folder, name, case, state):
    """What BMCook's structured pruning leaves beside a checkpoint: counts as floats for every module of the uncut model, and the masks it was cut with."""
    layers = range(len(case["ff"]))
    heads = lambda i: float(len(case["attention"][i])) if case["attention"][i] else float(case["heads"])
    ff = lambda i: float(case["ff"][i] or case["uncut_ff"])
    side = {"att": {str(i): True for i in layers if not case["attention"][i]}, "ffn": {str(i): True for i in layers if not case["ff"][i]}, "num_heads": [heads(i) for i in layers],
            "dim_head": [float(case["dim_head"])] * len(layers), "dim_ff": [ff(i) for i in layers]}
    write_text(os.path.join(folder, f"{name}.pt.cnofig.json"), json.dumps(side))
    kept = torch.zeros(len(layers), 1, case["heads"], dtype=torch.float16)
    for i in layers:
        kept[i, 0, case["attention"][i] if case["attention"][i] else slice(None)] = 1
    widths = torch.zeros(len(layers), 1, case["uncut_ff"], dtype=torch.float16)
    for i in layers:
        widths[i, 0, :int(ff(i))] = 1
    torch.save(collections.OrderedDict(num_heads=kept, dim_ff=widths), os.path.join(folder, "masks.pt"))
    # A removed part may come back without its norm.
    for i in layers:
        if not case["attention"][i]:
            state[f"encoder.layers.{i}.{LINEARS['q']}.weight"] = torch.zeros(case["heads"] * case["dim_head"], case["dim"], dtype=torch.float16)
    torch.save(state, os.path.join(folder, f"{name}.pt"))


def write_hf(folder, case, state, head):
    old = {"dim_model": "hidden_size", "num_heads": "num_attention_heads", "num_layers": "num_hidden_layers"}
    config = {"architectures": ["CpmAntForCausalLM"], "model_type": "cpmant", "torch_dtype": "float32", "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD,
              "num_beams": 3, "repetition_penalty": 1.2, "max_new_tokens": 50, "init_std": 1.0, "use_cache": True, "tie_word_embeddings": head is None}
    for key, value in live_config(case).items():
        if key != "half":
            config[old[key] if case["keys"] == "new" and key in old else key] = value
    write_text(os.path.join(folder, "config.json"), json.dumps(config, indent=1))
    prefix = "cpmant." if case.get("prefix") else ""
    tensors = collections.OrderedDict((prefix + n, w) for n, w in state.items())
    embedding = state["input_embedding.weight"]
    if head is not None:
        tensors["lm_head.weight"] = head
    elif case["head"] == "tied":
        tensors["lm_head.weight"] = embedding[:case["vocab"]]  # shares the storage
    elif case["head"] == "long":
        tensors["lm_head.weight"] = embedding
    elif case["head"] == "equal":
        tensors["lm_head.weight"] = embedding[:case["vocab"]].clone()
    stem, extension = ("model", "safetensors") if case["weights"] == "safetensors" else ("pytorch_model", "bin")
    shards, names, where = case.get("shards", 1), sorted(tensors), {}
    for s in range(shards):
        file = f"{stem}.{extension}" if shards == 1 else f"{stem}-{s + 1:05}-of-{shards:05}.{extension}"
        part = collections.OrderedDict((n, tensors[n]) for n in names[s::shards])
        if extension == "bin":
            torch.save(part, os.path.join(folder, file))
        else:
            save_file({n: w.contiguous() for n, w in part.items()}, os.path.join(folder, file), metadata={"format": "pt"})
        where.update({n: file for n in part})
    if shards > 1:
        write_text(os.path.join(folder, f"{stem}.{extension}.index.json"), json.dumps({"metadata": {"total_size": 0}, "weight_map": where}))
    return "."


def index_of(ant):
    """What the index of a .leaf must say."""
    case, d = ant.case, ant.case["dim"]
    layers, matrices, vectors = [], [], []
    for i, layer in enumerate(ant.layers):
        facts, a, f = {}, layer["attention"], layer["ff"]
        if a:
            facts.update(heads=a["heads"], head_dim=a["dim_head"])
            if a["columns"] != list(range(a["heads"])):
                facts["bias_columns"] = a["columns"]
            width = a["heads"] * a["dim_head"]
            matrices += [[f"attention_{m}", i, width, d, a["divisor"]] for m in "qkv"] + [["attention_out", i, d, width, a["out_divisor"]]]
            vectors.append(["attention_norm", i, 1, d, 1])
        if f:
            width = facts["ff_width"] = f["w0"].shape[0]
            matrices += [[f"feed_forward_{m}", i, width, d, f["divisor"]] for m in ("gate", "up")] + [["feed_forward_down", i, d, width, f["out_divisor"]]]
            vectors.append(["feed_forward_norm", i, 1, d, 1])
        layers.append(facts)
    tables = [["embedding", 0, ant.vocab, d, ant.embedding_divisor], ["prompt_embedding", 0, case["prompt_types"] * case["prompt_length"], d, ant.embedding_divisor],
              ["segment_embedding", 0, case["segment_types"], d, ant.embedding_divisor]]
    head = [] if ant.head is ant.embedding else [["head", 0, ant.vocab, d, 1]]
    last = [["output_norm", 0, 1, d, 1], ["position_bias", 0, case["segment_types"]**2 + case["buckets"], case["heads"], 1]]
    return layers, tables + matrices + head + vectors + last


def judge(ant, case, draw):
    """Everything that golden.json says of one reading of a checkpoint."""
    golden = collections.OrderedDict()
    golden["layers"], golden["tensors"] = index_of(ant)
    run = lambda task, ids, context, positions=None, segments=None: dict(
        dict(task=task, ids=ids, context=context, positions=list(range(len(ids))) if positions is None else positions,
             logits=rounded(ant.logits(task, ids, context, segments)[torch.arange(len(ids)) if positions is None else torch.tensor(positions)])), **(dict(segments=segments) if segments else {}))
    prompt = [BOS] + draw(10)
    golden["runs"] = [run(2, prompt, len(prompt)), run(1, prompt, len(prompt)), run(2, [BOS] + draw(12), 0), run(1, [BOS] + draw(9), 4),
                      run(2, [BOS] + draw(9), 6, segments=[1] * 3 + [2] * 4 + [3] * 3), run(0, [BOS], 1)]
    if case.get("long"):
        golden["runs"].append(run(2, [BOS] + draw(299), 300, [0, 1, 40, 150, 298, 299]))
        golden["runs"].append(run(2, [BOS] + draw(299), 0, [0, 150, 299]))
    if case.get("far"):
        golden["runs"].append(run(2, [BOS] + draw(199), 200, [0, 100, 199]))
        golden["runs"].append(run(2, [BOS] + draw(2299), 2300, [0, 1, 130, 1200, 2299]))
        golden["runs"].append(run(2, [BOS] + draw(2299), 2200, [0, 2199, 2200, 2250, 2299]))
    golden["batch"] = [run(2, [BOS] + draw(n), n + 1) for n in (3, 11, 6)]
    for r in (golden["runs"] + golden["batch"])[:6]:
        slow = ant.slow_logits(r["task"], r["ids"], r["context"], r.get("segments"))
        fast = ant.logits(r["task"], r["ids"], r["context"], r.get("segments"))
        assert float((slow - fast).abs().max()) < 1e-9, "the two implementations differ"

    def until_clear(make, wanted=lambda made: True):
        """For the first prompt whose answer is clear and, if 40 tries are enough, as wanted."""
        clear = None
        for tries in range(400):
            if clear and (tries >= 15 or wanted(clear)):
                return clear
            try:
                clear = make([BOS] + draw(7))
            except Close:
                continue
        raise SystemExit("no clear prompt found")

    golden["greedy"] = [until_clear(lambda p, t=task: dict(task=t, prompt=p, ids=greedy(ant, t, p, 16))) for task in (2, 1)]
    answer = [BOS] + draw(6), draw(5)
    rows = ant.logits(1, answer[0] + answer[1], len(answer[0])).log_softmax(-1)
    golden["score"] = [dict(task=1, prompt=answer[0], ids=answer[1], logprobs=[round(float(rows[len(answer[0]) - 1 + i, t]), 6) for i, t in enumerate(answer[1])])]
    golden["beams"] = []

    def beam_case(flavour, prompt, beams, penalty, max_tokens):
        search = beams_cpm_live if flavour == "cpm-live" else beams_hf
        found = search(ant, 2, prompt, beams, penalty, max_tokens)
        if flavour == "hf":
            theirs = beams_transformers(ant, 2, prompt, beams, penalty, max_tokens)
            assert [t for _, t in theirs] == [t for _, t in found] and all(abs(a - b) < 1e-5 for (a, _), (b, _) in zip(theirs, found)), (theirs, found)
        return dict(flavour=flavour, task=2, prompt=prompt, beams=beams, penalty=penalty, max_tokens=max_tokens, hypotheses=[dict(ids=t, score=round(s, 6)) for s, t in found])

    for flavour in ("cpm-live", "hf"):
        for beams, penalty, max_tokens in ((3, 1.2, 12), (3, 1.0, 10), (2, 1.5, 8)):
            ends_early = lambda made: any(0 < len(h["ids"]) < made["max_tokens"] - 2 for h in made["hypotheses"])
            golden["beams"].append(until_clear(lambda p: beam_case(flavour, p, beams, penalty, max_tokens), ends_early))
    return golden


def make_case(out, name, case):
    case = dict(dict(vocab=64), **case)
    torch.manual_seed(list(CASES).index(name) + 100)
    folder = os.path.join(out, name)
    os.makedirs(folder, exist_ok=True)
    live = case.get("form") != "hf"
    state = make_state(case, live)
    head = None
    if case.get("head") == "untied":
        head = torch.randn(case["vocab"], case["dim"]) / math.sqrt(case["dim"])
        head[EOS] *= 2
    ant = understand(case, state, live, head=head)
    draw = lambda n: torch.randint(len(SPECIALS), case["vocab"], (n,)).tolist()
    if not live:
        check_transformers(case, state, head, ant, [BOS] + draw(13))
    golden = dict(source="", tolerance=1e-3)
    if case.get("form") == "sprune":
        golden["readings"] = {"live": judge(ant, case, draw), "uncut": judge(understand(case, state, live, uncut=True), case, draw)}
    else:
        golden.update(judge(ant, case, draw))
    golden["source"] = write_live(folder, name, case, state) if live else write_hf(folder, case, state, head)
    write_text(os.path.join(folder, "ant.txt" if live else "vocab.txt"), "\n".join(SPECIALS + [chr(0x4e00 + 7 * i) for i in range(case["vocab"] - len(SPECIALS))]))
    write_text(os.path.join(folder, "golden.json"), json.dumps(golden, separators=(",", ":")))
    print(name, os.path.getsize(os.path.join(folder, "golden.json")), "bytes of goldens")


def main():
    torch.set_num_threads(1)
    out, names = sys.argv[1], sys.argv[2:] or list(CASES)
    with torch.no_grad():
        for name in names:
            make_case(out, name, CASES[name])


if __name__ == "__main__":
    main()
