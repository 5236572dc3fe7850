#!/usr/bin/env python3
"""Families of models against Hugging Face transformers in float32: tiny random folders, some as
GGUF files too, the same greedy tokens, and the log-probabilities of the 20 best at each. Prompts are
longer than what rope scaling calls the original context, than windows, and than a chunk of a prompt.

usage: test_families.py SPECD         ($SPECD_FAMILIES_PYTHON has torch and transformers)
       test_families.py SPECD cuda    sizes by layer alone, on a device that computes with bf16
"""
import copy
import json
import math
import os
import sys
import tempfile

import oracle

try:
    import torch
    import transformers
    from gguf import GGMLQuantizationType, GGUFWriter, MODEL_ARCH_NAMES, dequantize, get_tensor_name_map
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
except ImportError as e:
    oracle.skip(e)

Server = oracle.specd_server(sys.argv[1])

VOCAB, PROMPT, ANSWER, TOP = 300, 90, 12, 20
CUDA = sys.argv[2:] == ["cuda"]
# Of a log-probability, where sums in another order are 1e-5 off, and roundings to bf16 .1.
TOLERANCE = 0.2 if CUDA else 2e-4

YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32}
PLAIN = {"rope_type": "default", "rope_theta": 1e4}


TWO_TABLES = {"full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
              "sliding_attention": PLAIN}


QWEN2MOE = "qwen2moe, a dense layer between, experts apart"
QWEN3MOE = "qwen3moe, stacked experts"
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LONGROPE = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0 + i / 8 for i in range(8)],
            "long_factor": [1.5 + i for i in range(8)]}
GRANITE = {"embedding_multiplier": 12.0, "residual_multiplier": 0.22, "attention_multiplier": 0.4,
           "logits_scaling": 1.6}


def case(name, family, rope=PLAIN, **more):
    return name, family, {"rope_parameters": rope, **more}


PHI3 = "phi3, fused tensors, three quarters of a head rotate"
CASES = [
    case("llama", "Llama"),
    case("llama, yarn", "Llama", YARN),
    case("llama, yarn with a magnitude and ends between pairs", "Llama",
         {**YARN, "attention_factor": 1.4, "beta_fast": 8, "beta_slow": 2, "truncate": False}),
    case("mistral", "Mistral", sliding_window=None),
    case("mistral, windows", "Mistral", sliding_window=8),
    case("qwen2, yarn", "Qwen2", YARN),
    case("qwen2, windows from a layer on", "Qwen2", use_sliding_window=True, sliding_window=24,
         max_window_layers=1),
    case("qwen3, windows from a layer on", "Qwen3", head_dim=24, use_sliding_window=True, sliding_window=9,
         max_window_layers=2),
    case("qwen3, yarn", "Qwen3", YARN, head_dim=24),
    case("smollm3", "SmolLM3", no_rope_layers=[1, 1, 0], pad_token_id=0),
    case(PHI3, "Phi3",
         {**PLAIN, "partial_rotary_factor": 0.75}, pad_token_id=0),
    case("phi3, windows", "Phi3", pad_token_id=0, sliding_window=11),
    case("phi3, longrope", "Phi3", LONGROPE, pad_token_id=0, original_max_position_embeddings=32),
    case("phi3, longrope of short texts", "Phi3", LONGROPE, pad_token_id=0, context=104,
         original_max_position_embeddings=104),
    case("llama, biases", "Llama", attention_bias=True, mlp_bias=True),
    case("granite", "Granite", **GRANITE),
    case("granite, biases", "Granite", attention_bias=True, mlp_bias=True, **GRANITE),
    case("olmo2", "Olmo2", pad_token_id=0),
    case("olmo2, biases", "Olmo2", pad_token_id=0, attention_bias=True),
    case(QWEN2MOE, "Qwen2Moe", shared_expert_intermediate_size=48,
         decoder_sparse_step=2, **EXPERTS),
    case(QWEN3MOE, "Qwen3Moe", norm_topk_prob=True, mlp_only_layers=[1], **EXPERTS),
    case("gemma3", "Gemma3", TWO_TABLES, num_hidden_layers=7, head_dim=32, query_pre_attn_scalar=24,
         sliding_window=8),
]
# From 4B on: the text model lies in one that sees pictures. As the hub has it, and as it is in memory.
CASES += [case(f"gemma3 with pictures, {names}", "Gemma3Pictures", TWO_TABLES, num_hidden_layers=7, head_dim=32,
               query_pre_attn_scalar=24, sliding_window=8) for names in ("as published", "later names")]
# As GGUF files, which cannot say everything that folders can.
GGUF_CASES = [
    case("mistral, windows, GGUF", "Mistral", sliding_window=8),
    case("phi3, windows, longrope, GGUF", "Phi3", {**LONGROPE, "partial_rotary_factor": 0.5, "short_factor": [1.0, 1.1, 1.3, 1.9], "long_factor": [1.5, 2.5, 4.0, 9.0]}, pad_token_id=0,
         sliding_window=40, original_max_position_embeddings=32),
    case("llama, biases, GGUF", "Llama", attention_bias=True, mlp_bias=True),
    case("granite, GGUF", "Granite", attention_bias=True, mlp_bias=True, **GRANITE),
    case("olmo2, GGUF", "Olmo2", pad_token_id=0),
    case("qwen2moe, GGUF", "Qwen2Moe", shared_expert_intermediate_size=48, **EXPERTS),
    case("qwen3moe, GGUF", "Qwen3Moe", norm_topk_prob=True, **EXPERTS),
    case("llama, sizes by layer, GGUF", "Llama", by_layer={
        "intermediate_size": [40, 128, 72], "num_attention_heads": [4, 6, 2], "num_key_value_heads": [2, 1, 2]}),
    case("qwen3, sizes by layer, windows in some, tied, GGUF", "Qwen3", head_dim=24, tie_word_embeddings=True,
         use_sliding_window=True, sliding_window=9, num_hidden_layers=4,
         layer_types=["full_attention", "sliding_attention", "sliding_attention", "full_attention"], by_layer={
             "intermediate_size": [96, 8, 200, 64], "num_attention_heads": [8, 3, 6, 4],
             "num_key_value_heads": [2, 3, 1, 4]}),
    case("gemma3, GGUF", "Gemma3", TWO_TABLES, num_hidden_layers=7, head_dim=32, query_pre_attn_scalar=32,
         sliding_window=8),
]
# Blocks of nvfp4 beside floats, and scales of matrices and experts beside both.
GGUF_CASES += [
    case("llama, biases, nvfp4, GGUF", "Llama", attention_bias=True, mlp_bias=True, intermediate_size=128),
    case("qwen2moe, nvfp4, GGUF", "Qwen2Moe", shared_expert_intermediate_size=64,
         **{**EXPERTS, "moe_intermediate_size": 64}),
]
# Of a family, the architecture; and of a configuration, what the file says beside sizes.
GGUF = {
    "Llama": ("llama", lambda c: {}),
    "Qwen3": ("qwen3", lambda c: {
        "attention.key_length": c.head_dim, "attention.value_length": c.head_dim,
        "attention.sliding_window": c.sliding_window,
        "attention.sliding_window_pattern": [t == "sliding_attention" for t in c.layer_types]}),
    "Mistral": ("llama", lambda c: {"attention.sliding_window": c.sliding_window}),
    "Phi3": ("phi3", lambda c: {
        "attention.sliding_window": c.sliding_window, "rope.dimension_count": 8,
        "rope.scaling.original_context_length": 32,
        "rope.scaling.attn_factor": (1 + math.log(4) / math.log(32)) ** 0.5}),
    "Granite": ("granite", lambda c: {
        "embedding_scale": c.embedding_multiplier, "residual_scale": c.residual_multiplier,
        "attention.scale": c.attention_multiplier, "logit_scale": c.logits_scaling}),
    "Olmo2": ("olmo2", lambda c: {}),
    "Gemma3": ("gemma3", lambda c: {
        "attention.key_length": c.head_dim, "attention.value_length": c.head_dim,
        "attention.sliding_window": c.sliding_window, "rope.freq_base": 1e6, "rope.scaling.type": "linear",
        "rope.scaling.factor": 8.0}),
    "Qwen2Moe": ("qwen2moe", lambda c: {
        "expert_count": c.num_experts, "expert_used_count": c.num_experts_per_tok,
        "expert_feed_forward_length": c.moe_intermediate_size,
        "expert_shared_feed_forward_length": c.shared_expert_intermediate_size}),
    "Qwen3Moe": ("qwen3moe", lambda c: {
        "attention.key_length": 16, "attention.value_length": 16, "expert_count": c.num_experts,
        "expert_used_count": c.num_experts_per_tok, "expert_feed_forward_length": c.moe_intermediate_size}),
}


PAIRS = ("llama", "granite")  # whose files have the elements that rotate together side by side


def named(name):
    return next(c for c in CASES + GGUF_CASES if c[0] == name)


def other_base(config, weights):
    config["rope_parameters"]["rope_theta"] *= 1.1


def gate_for_up(config, weights):
    for name in weights:
        if "gate_up_proj" in name:
            weights[name] = weights[name].roll(weights[name].shape[0] // 2, 0)


def other_factor(config, weights):
    config["rope_parameters"]["factor"] *= 2


def all_rotate(config, weights):
    config["no_rope_layers"] = [1, 1, 1]


def gate_is_up(config, weights):
    for name in weights:
        if "gate_proj" in name:
            up = name.replace("gate_proj", "up_proj")
            weights[name], weights[up] = weights[up], weights[name]


def other_window(config, weights):
    config["sliding_window"] += 1


def other_pattern(config, weights):
    config["layer_types"] = config["layer_types"][1:] + config["layer_types"][:1]


def one_base(config, weights):
    config["rope_parameters"]["sliding_attention"] = config["rope_parameters"]["full_attention"]


def experts_gate_for_up(config, weights):
    for name in weights:
        if "experts.gate_up_proj" in name:
            weights[name] = weights[name].roll(weights[name].shape[1] // 2, 1)


def not_normed(config, weights):
    config["norm_topk_prob"] = not config["norm_topk_prob"]


def one_more_expert(config, weights):
    config["num_experts_per_tok"] += 1


def no_shared_gate(config, weights):
    for name in weights:
        if "shared_expert_gate" in name:
            weights[name] = weights[name] * 0


PLANTED = [(named("smollm3"), all_rotate), (named("llama"), other_base), (named(PHI3), gate_for_up),
           (named("llama, yarn"), other_factor)]
PLANTED += [(named("gemma3"), plant) for plant in (gate_is_up, other_window, other_pattern, one_base)]


def other_first(config, weights):
    config["max_window_layers"] += 1
    del config["layer_types"]


def other_original(config, weights):
    config["original_max_position_embeddings"] *= 2


def factors_exchanged(config, weights):
    rope = config["rope_parameters"]
    rope["short_factor"], rope["long_factor"] = rope["long_factor"], rope["short_factor"]


def no_residual(config, weights):
    config["residual_multiplier"] = 1.0


def other_logits(config, weights):
    config["logits_scaling"] *= 1.1


def other_scores(config, weights):
    config["attention_multiplier"] *= 1.1


def other_embedding(config, weights):
    config["embedding_multiplier"] *= 1.1


def norms_exchanged(config, weights):
    for name in weights:
        if "post_attention_layernorm" in name:
            other = name.replace("attention", "feedforward")
            weights[name], weights[other] = weights[other], weights[name]


PLANTED += [(named("mistral, windows"), plant) for plant in (other_window, other_base, gate_is_up)]
PLANTED += [(named("qwen2, windows from a layer on"), plant) for plant in (other_window, other_first)]
PLANTED += [(named("phi3, windows"), plant) for plant in (other_window, other_base, gate_for_up)]
PLANTED += [(named("phi3, longrope"), plant) for plant in (other_original, factors_exchanged)]
PLANTED += [(named("granite"), plant) for plant in
            (no_residual, other_logits, other_scores, other_embedding, gate_is_up, other_base)]
PLANTED += [(named("olmo2"), plant) for plant in (norms_exchanged, gate_is_up, other_base)]
PLANTED += [(named(QWEN2MOE), plant) for plant in (gate_is_up, not_normed, one_more_expert, no_shared_gate)]
PLANTED += [(named(QWEN3MOE), plant) for plant in (experts_gate_for_up, not_normed)]


def next_experts_scales(kept, biases):
    for blocks in kept.values():
        for part in blocks:
            part["scale"] = part["scale"].roll(1)


def biases_scaled(kept, biases):
    for name in biases:
        biases[name] = biases[name] * kept[name.replace("bias", "weight")][0]["scale"]


def lone_scale(kept, biases):
    kept["lm_head.weight"][0]["scale"] *= 1.01


PLANTED += [(named("llama, biases, nvfp4, GGUF"), plant) for plant in (biases_scaled, lone_scale)]
PLANTED += [(named("qwen2moe, nvfp4, GGUF"), next_experts_scales)]


def layer_config(model, i, by_layer):
    """The model's, with the sizes of its layer i."""
    config = copy.deepcopy(model.config)
    for key, sizes in by_layer.items():
        setattr(config, key, sizes[i])
    return config


def make(family, more, by_layer):
    gemma = family in ("Gemma3", "Gemma3Pictures")
    sizes = dict(
        vocab_size=VOCAB, hidden_size=64, intermediate_size=96, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
        tie_word_embeddings=gemma, bos_token_id=None, eos_token_id=VOCAB - 1)
    if family == "Gemma3Pictures":
        vision = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
                      image_size=28, patch_size=14)
        config = transformers.Gemma3Config(text_config={**sizes, **more}, vision_config=vision,
                                           mm_tokens_per_image=4, eos_token_id=VOCAB - 1)
        kind = transformers.Gemma3ForConditionalGeneration
    else:
        config = getattr(transformers, family + ("TextConfig" if gemma else "Config"))(**{**sizes, **more})
        kind = getattr(transformers, family + "ForCausalLM")
    model = kind._from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    for i, layer in enumerate(model.model.layers if by_layer else ()):
        model.model.layers[i] = type(layer)(layer_config(model, i, by_layer), i).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() > 1:
                p.normal_(0, 1 if "embed" in name else p.shape[-1] ** -0.5)
            elif name.endswith("bias"):
                p.normal_(0, 0.3)
            elif "vision" in name:
                pass
            else:
                p.normal_(0 if gemma else 1, 0.2)
        if config.tie_word_embeddings and not gemma:
            model.model.norm.weight.mul_(0.4)
        elif gemma:
            getattr(model.model, "language_model", model.model).norm.weight.sub_(0.6)  # of a tied output: laws that are not sharp
        else:
            model.lm_head.weight.mul_(3)
    return model


NVFP4 = GGMLQuantizationType.NVFP4


def random_blocks(shape):
    """Four scales, and 64 numbers, a block. Numbers are 2^power wide, about, their scales within an octave and a half."""
    power = int(torch.randint(-4, 2, ()))
    blocks = torch.randint(0, 256, (*shape[:-1], shape[-1] // 64, 36), dtype=torch.uint8)
    blocks[..., :4] = 8 * (power + 5) + blocks[..., :4] % 16
    return power, blocks.reshape(*shape[:-1], -1)


def quantise(model):
    """Weights become what random blocks of nvfp4, in lm_head floats, stand for times numbers far from 1, one of
    each matrix or expert. Returns these by name, of the two halves of fused ones apart."""
    kept = {}
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() < 2 or "embed" in name or "mlp.gate." in name or "shared_expert_gate" in name:
                continue
            kept[name] = []
            for part in p.chunk(2, 1) if "experts.gate_up_proj" in name else [p]:
                scale = 2 ** (torch.rand(len(p) if p.dim() == 3 else 1) * 2 - 1)
                if name != "lm_head.weight":
                    power, data = random_blocks(part.shape)
                    values = torch.from_numpy(dequantize(data.numpy(), NVFP4))
                    scale *= part.shape[-1] ** -0.5 * 2.0 ** (-power - 1)
                else:
                    values = data = part / scale * 100
                    scale /= 100
                part.copy_(values * (scale.reshape(-1, 1, 1) if p.dim() == 3 else scale))
                kept[name].append({"data": data, "scale": scale})
    return kept


def save_gguf(model, family, path, by_layer, kept, biases):
    """As the family's converter writes it: names, and norms as what multiplies. kept: of quantise; biases: in
    place of the model's."""

    def put(name, values, scale):
        blocks = {"raw_dtype": NVFP4} if values.dtype == torch.uint8 else {}
        writer.add_tensor(name, values.contiguous().numpy(), **blocks)
        if scale is not None:
            writer.add_tensor(name.replace(".weight", ".scale"), scale.numpy())

    config, (arch, more) = model.config, GGUF[family]
    layers = [layer_config(model, i, by_layer) for i in range(config.num_hidden_layers)]
    ff, heads, kv_heads = ([getattr(c, key) for c in layers] if key in by_layer else getattr(config, key)
                           for key in ("intermediate_size", "num_attention_heads", "num_key_value_heads"))
    writer = GGUFWriter(path, arch)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(ff)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    for key, value in more(config).items():
        {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string,
         list: writer.add_array}[type(value)](f"{arch}.{key}", value)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"<{i}>" for i in range(VOCAB)])
    writer.add_token_scores([-float(i) for i in range(VOCAB)])
    writer.add_token_types([1] * VOCAB)
    writer.add_add_bos_token(False)
    kind = next(k for k, name in MODEL_ARCH_NAMES.items() if name == arch)
    names = get_tensor_name_map(kind, config.num_hidden_layers)
    for name, values in {**model.state_dict(), **biases}.items():
        parts = kept.get(name, [{"data": part, "scale": None} for part in (
            values.chunk(2, 1) if "experts.gate_up_proj" in name else [values])])
        values, scale = parts[0]["data"], parts[0]["scale"]
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = values + 1 if "norm" in name and family == "Gemma3" else values
        if "experts.gate_up_proj" in name:
            for part, half in zip(("gate", "up"), parts):
                layer = name.split(".")[2]
                put(f"blk.{layer}.ffn_{part}_exps.weight", half["data"], half["scale"])
            continue
        name = name + ".weight" if name.endswith("experts.down_proj") else name
        values = values[0] if "shared_expert_gate" in name else values
        if arch in PAIRS and ("q_proj" in name or "k_proj" in name):
            of = layers[int(name.split(".")[2])]
            n = of.num_attention_heads if "q_proj" in name else of.num_key_value_heads
            values = values.reshape(n, 2, -1, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
        put(names.get_name(name, try_suffixes=(".weight", ".bias")), values, scale)
    for kind in ("long", "short"):
        if config.rope_parameters.get(f"{kind}_factor"):
            factors = torch.tensor(config.rope_parameters[f"{kind}_factor"])
            writer.add_tensor(f"rope_factors_{kind}.weight", factors.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def take_experts_apart(weights):
    """As folders had them before transformers 5: each expert's matrices by themselves."""
    for name in [n for n in weights if ".experts." in n]:
        for e, both in enumerate(weights.pop(name)):
            prefix = name.rsplit(".", 1)[0] + f".{e}."
            if "gate_up" in name:
                weights[prefix + "gate_proj.weight"], weights[prefix + "up_proj.weight"] = both.chunk(2)
            else:
                weights[prefix + "down_proj.weight"] = both


def save(model, folder, plant, apart, as_published):
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {c: i for i, c in enumerate(letters + [f"<{i}>" for i in range(VOCAB - len(letters))])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    if as_published:
        model.save_pretrained(folder)
        return
    config, weights = model.config.to_dict(), dict(model.state_dict())
    if apart:
        take_experts_apart(weights)
    if plant:
        plant(config, weights)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)
    if model.config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    weights = {k: v.contiguous() for k, v in weights.items()}
    save_file(weights, os.path.join(folder, "model.safetensors"), {"format": "pt"})


def expected(model, ids):
    """Greedy tokens, and all log-probabilities at each."""
    ids, steps = list(ids), []
    with torch.no_grad():
        for _ in range(ANSWER):
            steps.append(torch.log_softmax(model(torch.tensor([ids])).logits[0, -1], -1))
            ids.append(int(steps[-1].argmax()))
    return ids[-ANSWER:], steps


def got(folder, ids, context):
    device = ("--device", "cuda") if CUDA else ("--activations", "f32")
    server = Server("-m", folder, "-t", "2", *device, "--kv-type", "f32",
                    "-np", "1", "-b", "32", "-c", str(context))
    try:
        reply = server.post("/completion", {"prompt": ids, "n_predict": ANSWER, "temperature": 0,
                                            "n_probs": TOP, "ignore_eos": True})
        return json.loads(reply.body)["completion_probabilities"]
    finally:
        problem = server.stop()
        if problem:
            sys.exit(problem)


def compare(name, family, more, plant=None):
    more = dict(more)
    context, by_layer = more.pop("context", None), more.pop("by_layer", {})
    torch.manual_seed(sum(name.encode()))
    model = make(family, more, by_layer)
    ids = torch.randint(0, VOCAB - 1, (PROMPT,)).tolist()
    with tempfile.TemporaryDirectory() as folder:
        path = folder
        if "GGUF" in name:
            path = os.path.join(folder, "model.gguf")
            kept = quantise(model) if "nvfp4" in name else {}
            biases = {k: v for k, v in model.state_dict().items() if plant and k.endswith("bias")}
            if plant:
                plant(kept, biases)
            save_gguf(model, family, path, by_layer, kept, biases)
        else:
            save(model, folder, plant, "apart" in name, "as published" in name)
        steps = got(path, ids, context or 128)
    tokens, laws = expected(model, ids)
    worst, n = 0.0, 0
    for step, token, law in zip(steps, tokens, laws):
        for entry in step["top_logprobs"]:
            worst = max(worst, abs(entry["logprob"] - float(law[entry["id"]])))
            n += 1
        if step["id"] != token:
            two = law.topk(2).values
            if float(two[0] - two[1]) > TOLERANCE:
                return f"token {step['id']}, expected {token}", worst, n
            break  # a near tie: from here on the texts differ
    return (None if worst < TOLERANCE else "too far off"), worst, n


def main():
    failed = 0
    for name, family, more in [c for c in CASES + GGUF_CASES if "by_layer" in c[2] or not CUDA]:
        problem, worst, n = compare(name, family, more)
        failed += problem is not None or n == 0
        print(f"{name}: {n} log-probabilities, at most {worst:.2g} off{': ' + problem if problem else ''}")
    for (name, family, more), plant in () if CUDA else PLANTED:
        problem, worst, n = compare(name, family, more, plant)
        failed += problem is None
        print(f"{name}, {plant.__name__}: {worst:.2g} off: {problem or 'NOT CAUGHT'}")
    sys.exit(failed > 0)


main()
