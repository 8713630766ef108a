"""CPM-Ant in PyTorch, for training and measuring: prompt slots, segments, one table of position biases for all layers, gated GELU, tied head.

The divisors 1/sqrt(inputs) are folded into the parameters; `to_live` and `from_live` go to and from the state dict that CPM-Live keeps, where they are not.
"""
import collections
import math

import torch
import torch.nn.functional as F

PROMPT_TASK, TEXT_SEGMENT = 2, 2  # text generation


def relative_buckets(n, buckets, max_distance):
    half, exact = buckets // 2, buckets // 4
    distance = torch.arange(n)[None, :] - torch.arange(n)[:, None]
    far = exact + (torch.log(distance.abs().clamp(min=1).double() / exact) / math.log(max_distance / exact) * (half - exact)).long()
    return torch.where(distance > 0, half, 0) + torch.where(distance.abs() < exact, distance.abs(), far.clamp(max=half - 1))


class Norm(torch.nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.weight, self.eps = torch.nn.Parameter(torch.ones(dim)), eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


class Layer(torch.nn.Module):
    """Pre-norm attention and gated feed-forward part. Matrices are named as in LIVE_NAMES."""

    def __init__(self, config):
        super().__init__()
        dim, inner, ff = config["dim_model"], config["num_heads"] * config["dim_head"], config["dim_ff"]
        matrix = lambda rows, columns, gain=1.0: torch.nn.Parameter(torch.randn(rows, columns) * 0.5 * gain / math.sqrt(columns))
        small = 1 / math.sqrt(2 * config["num_layers"])
        self.heads, self.norm1, self.norm2 = config["num_heads"], Norm(dim, config["eps"]), Norm(dim, config["eps"])
        self.q, self.k, self.v, self.out = matrix(inner, dim), matrix(inner, dim), matrix(inner, dim), matrix(dim, inner, small)
        self.gate, self.up, self.down = matrix(ff, dim), matrix(ff, dim), matrix(dim, ff, small)

    def forward(self, h, bias):
        x = self.norm1(h)
        q, k, v = ((x @ w.T).unflatten(-1, (self.heads, -1)).transpose(-2, -3) for w in (self.q, self.k, self.v))
        h = h + F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(-2, -3).flatten(-2) @ self.out.T
        x = self.norm2(h)
        return h + (F.gelu(x @ self.gate.T) * (x @ self.up.T)) @ self.down.T


class Ant(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, dim = config, config["dim_model"]
        table = lambda rows: torch.nn.Parameter(torch.randn(rows, dim) / math.sqrt(dim))
        self.words, self.prompts, self.segments = table(config["vocab_size"]), table(config["prompt_types"] * config["prompt_length"]), table(config["segment_types"])
        self.bias = torch.nn.Parameter(0.1 * torch.randn(config["segment_types"]**2 + config["position_bias_num_buckets"], config["num_heads"]))
        self.layers = torch.nn.ModuleList(Layer(config) for _ in range(config["num_layers"]))
        self.norm = Norm(dim, config["eps"])

    def forward(self, ids, context):
        """Hidden states of the text. ids: (batch, n); the first context[b] ids of row b see each other, the others what lies before them."""
        c, (batch, count) = self.config, ids.shape
        slots, n = c["prompt_length"], c["prompt_length"] + count
        segment = torch.tensor([0] * slots + [TEXT_SEGMENT] * count)
        prompt = self.prompts[PROMPT_TASK * slots:(PROMPT_TASK + 1) * slots].expand(batch, slots, -1)
        h = torch.cat([prompt, self.words[ids]], 1) + self.segments[segment]
        near = relative_buckets(n, c["position_bias_num_buckets"], c["position_bias_max_distance"])
        across = c["position_bias_num_buckets"] + segment[:, None] * c["segment_types"] + segment[None, :]
        at = torch.arange(n)
        free = at[None, :] >= slots + context[:, None]
        seen = ~free[:, None, :] | (free[:, :, None] & (at[None, :] <= at[:, None]))
        bias = self.bias[torch.where(segment[:, None] == segment[None, :], near, across)].permute(2, 0, 1)
        bias = bias[None] + torch.where(seen, 0.0, -math.inf)[:, None]
        for layer in self.layers:
            h = layer(h, bias)
        return self.norm(h)[:, slots:]

    def logits(self, hidden):
        return hidden @ self.words.T


LIVE_NAMES = {"q": "self_att.self_attention.project_q", "k": "self_att.self_attention.project_k", "v": "self_att.self_attention.project_v", "out": "self_att.self_attention.attention_out",
              "gate": "ffn.ffn.w_in.w_0", "up": "ffn.ffn.w_in.w_1", "down": "ffn.ffn.w_out"}


def live_parameters(model):
    """(CPM-Live's name, parameter, what it is multiplied with on the way there)."""
    for i, layer in enumerate(model.layers):
        prefix = f"encoder.layers.{i}."
        yield prefix + "self_att.layernorm_before_attention.weight", layer.norm1.weight, 1
        yield prefix + "ffn.layernorm_before_ffn.weight", layer.norm2.weight, 1
        for own, name in LIVE_NAMES.items():
            weight = getattr(layer, own)
            yield f"{prefix}{name}.weight", weight, math.sqrt(weight.shape[1])
    root = math.sqrt(model.config["dim_model"])
    yield "encoder.output_layernorm.weight", model.norm.weight, 1
    yield "prompt_embedding.weight", model.prompts, root
    yield "segment_embedding.weight", model.segments, root
    yield "input_embedding.weight", model.words, root
    yield "position_bias.relative_attention_bias", model.bias, 1


def to_live(model):
    return collections.OrderedDict((name, (weight.detach() * scale).half().contiguous()) for name, weight, scale in live_parameters(model))


def from_live(state, config):
    model = Ant(config)
    with torch.no_grad():
        for name, weight, scale in live_parameters(model):
            weight.copy_(state[name].float() / scale)
    return model
