#!/usr/bin/env python3
"""Families of models against Hugging Face transformers in float32: tiny random folders, some as
GGUF files too, the same greedy tokens, and the log-probabilities of the 20 best at each. Prompts are
longer than what rope scaling calls the original context, than windows, and than a chunk of a prompt.

usage: test_families.py SPECD      ($SPECD_FAMILIES_PYTHON has torch and transformers)
"""
import json
import os
import sys
import tempfile

import oracle

try:
    import torch
    import transformers
    from gguf import GGUFWriter, MODEL_ARCH_NAMES, get_tensor_name_map
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
except ImportError as e:
    oracle.skip(e)

Server = oracle.specd_server(sys.argv[1])

VOCAB, PROMPT, ANSWER, TOP = 300, 90, 12, 20
TOLERANCE = 2e-4  # of a log-probability, where sums in another order are 1e-5 off

YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32}
PLAIN = {"rope_type": "default", "rope_theta": 1e4}


TWO_TABLES = {"full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
              "sliding_attention": PLAIN}


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
    case("qwen2, yarn", "Qwen2", YARN),
    case("qwen3, yarn", "Qwen3", YARN, head_dim=24),
    case("smollm3", "SmolLM3", no_rope_layers=[1, 1, 0], pad_token_id=0),
    case(PHI3, "Phi3",
         {**PLAIN, "partial_rotary_factor": 0.75}, pad_token_id=0),
    case("llama, biases", "Llama", attention_bias=True, mlp_bias=True),
    case("granite", "Granite", **GRANITE),
    case("granite, biases", "Granite", attention_bias=True, mlp_bias=True, **GRANITE),
    case("olmo2", "Olmo2", pad_token_id=0),
    case("olmo2, biases", "Olmo2", pad_token_id=0, attention_bias=True),
    case("gemma3", "Gemma3", TWO_TABLES, num_hidden_layers=7, head_dim=32, query_pre_attn_scalar=24,
         sliding_window=8),
]
# As GGUF files, which cannot say everything that folders can.
GGUF_CASES = [
    case("llama, biases, GGUF", "Llama", attention_bias=True, mlp_bias=True),
    case("granite, GGUF", "Granite", attention_bias=True, mlp_bias=True, **GRANITE),
    case("olmo2, GGUF", "Olmo2", pad_token_id=0),
    case("gemma3, GGUF", "Gemma3", TWO_TABLES, num_hidden_layers=7, head_dim=32, query_pre_attn_scalar=32,
         sliding_window=8),
]
# Of a family, the architecture; and of a configuration, what the file says beside sizes.
GGUF = {
    "Llama": ("llama", lambda c: {}),
    "Granite": ("granite", lambda c: {
        "embedding_scale": c.embedding_multiplier, "residual_scale": c.residual_multiplier,
        "attention.scale": c.attention_multiplier, "logit_scale": c.logits_scaling}),
    "Olmo2": ("olmo2", lambda c: {}),
    "Gemma3": ("gemma3", lambda c: {
        "attention.key_length": c.head_dim, "attention.value_length": c.head_dim,
        "attention.sliding_window": c.sliding_window, "rope.freq_base": 1e6, "rope.scaling.type": "linear",
        "rope.scaling.factor": 8.0}),
}


PAIRS = ("llama", "granite")  # whose files have the elements that rotate together side by side


def named(name):
    return next(c for c in CASES if c[0] == name)


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


PLANTED = [(named("smollm3"), all_rotate), (named("llama"), other_base), (named(PHI3), gate_for_up),
           (named("llama, yarn"), other_factor)]
PLANTED += [(named("gemma3"), plant) for plant in (gate_is_up, other_window, other_pattern, one_base)]


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


PLANTED += [(named("granite"), plant) for plant in
            (no_residual, other_logits, other_scores, other_embedding, gate_is_up, other_base)]
PLANTED += [(named("olmo2"), plant) for plant in (norms_exchanged, gate_is_up, other_base)]


def make(family, more):
    gemma = family == "Gemma3"
    sizes = dict(
        vocab_size=VOCAB, hidden_size=64, intermediate_size=96, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
        tie_word_embeddings=gemma, bos_token_id=None, eos_token_id=VOCAB - 1)
    config = getattr(transformers, family + ("TextConfig" if gemma else "Config"))(**{**sizes, **more})
    model = getattr(transformers, family + "ForCausalLM")._from_config(
        config, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() == 2:
                p.normal_(0, 1 if "embed" in name else p.shape[1] ** -0.5)
            elif name.endswith("bias"):
                p.normal_(0, 0.3)
            else:
                p.normal_(0 if gemma else 1, 0.2)
        if gemma:
            model.model.norm.weight.sub_(0.6)  # of a tied output: laws that are not sharp
        else:
            model.lm_head.weight.mul_(3)
    return model


def save_gguf(model, family, path):
    """As the family's converter writes it: names, and norms as what multiplies."""
    config, (arch, more) = model.config, GGUF[family]
    writer = GGUFWriter(path, arch)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    for key, value in more(config).items():
        {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}[type(value)](f"{arch}.{key}", value)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"<{i}>" for i in range(VOCAB)])
    writer.add_token_scores([-float(i) for i in range(VOCAB)])
    writer.add_token_types([1] * VOCAB)
    writer.add_add_bos_token(False)
    kind = next(k for k, name in MODEL_ARCH_NAMES.items() if name == arch)
    names = get_tensor_name_map(kind, config.num_hidden_layers)
    for name, values in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = values + 1 if "norm" in name and family == "Gemma3" else values
        if arch in PAIRS and ("q_proj" in name or "k_proj" in name):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            values = values.reshape(heads, 2, -1, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), values.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def save(model, folder, plant):
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {c: i for i, c in enumerate(letters + [f"<{i}>" for i in range(VOCAB - len(letters))])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    config, weights = model.config.to_dict(), dict(model.state_dict())
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


def got(folder, ids):
    server = Server("-m", folder, "-t", "2", "--activations", "f32", "--kv-type", "f32",
                    "-np", "1", "-b", "32")
    try:
        reply = server.post("/completion", {"prompt": ids, "n_predict": ANSWER, "temperature": 0,
                                            "n_probs": TOP, "ignore_eos": True})
        return json.loads(reply.body)["completion_probabilities"]
    finally:
        problem = server.stop()
        if problem:
            sys.exit(problem)


def compare(name, family, more, plant=None):
    torch.manual_seed(sum(name.encode()))
    model = make(family, more)
    ids = torch.randint(0, VOCAB - 1, (PROMPT,)).tolist()
    with tempfile.TemporaryDirectory() as folder:
        path = folder
        if "GGUF" in name:
            path = os.path.join(folder, "model.gguf")
            save_gguf(model, family, path)
        else:
            save(model, folder, plant)
        steps = got(path, ids)
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
    for name, family, more in CASES + GGUF_CASES:
        problem, worst, n = compare(name, family, more)
        failed += problem is not None or n == 0
        print(f"{name}: {n} log-probabilities, at most {worst:.2g} off{': ' + problem if problem else ''}")
    for (name, family, more), plant in PLANTED:
        problem, worst, n = compare(name, family, more, plant)
        failed += problem is None
        print(f"{name}, {plant.__name__}: {worst:.2g} off: {problem or 'NOT CAUGHT'}")
    sys.exit(failed > 0)


main()
