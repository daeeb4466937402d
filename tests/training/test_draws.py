"""Whatever a model's generation_config.json says, every path that samples draws from softmax(logits / temperature)."""

import json
from collections import Counter, defaultdict
from functools import lru_cache
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from scipy.stats import chisquare
from transformers import GenerationConfig
from trl.trainer import distillation_trainer

from omniopd import evaluate
from omniopd.errors import ConfigError
from omniopd.models.generating import SPECIAL_IDS
from omniopd.models.loading import load_model
from omniopd.models.sampling import sample
from omniopd.models.text.chat import prompt_ids
from omniopd.models.text.token_text import decode, decode_whole
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.training.arguments import OmniOPDConfig
from omniopd.training.baselines.grpo import GraderTrainer, GRPOConfig
from omniopd.training.baselines.white_box import WhiteBoxTrainer
from omniopd.training.trainer import OmniOPDTrainer
from omniopd.training.trl.seeding import seed_global_generators
from tests.builders import prompt, request, tiny_model, tiny_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
TOKENIZER, ASKED, DRAWS = tiny_tokenizer(), prompt(), 2048
PREFIX = prompt_ids(TOKENIZER, ASKED.messages)
ENDS = [2, int(tiny_model()(torch.tensor([PREFIX])).logits[0, -1].argmax())]  # the second one only by the file

# One value per key that would bend a draw, where a key can; every other key of the class gets a plain one.
TWISTS = {
    "do_sample": False, "num_beams": 2, "use_cache": False, "temperature": 0.05, "top_k": 1, "top_p": 0.1, "min_p": 0.9,
    "top_h": 0.1, "typical_p": 0.1, "epsilon_cutoff": 0.1, "eta_cutoff": 0.5, "repetition_penalty": 3.0,
    "encoder_repetition_penalty": 3.0, "length_penalty": 3.0, "no_repeat_ngram_size": 1, "renormalize_logits": True,
    "bad_words_ids": [[i] for i in range(10, 250)], "forced_bos_token_id": 5, "forced_eos_token_id": 2,
    "remove_invalid_values": True, "exponential_decay_length_penalty": [1, 9.0], "suppress_tokens": list(range(9, 250)),
    "begin_suppress_tokens": list(range(9, 250)), "sequence_bias": [[[5], 50.0]], "token_healing": True,
    "guidance_scale": 5.0, "watermarking_config": {"greenlist_ratio": 0.1, "bias": 20.0}, "max_length": 3,
    "max_new_tokens": 1, "min_length": 90, "min_new_tokens": 8, "early_stopping": True, "max_time": 1e-9,
    "stop_strings": ["a", "e"], "cache_implementation": "static", "cache_config": {"nbits": 4}, "max_cache_len": 64,
    "num_return_sequences": 2, "output_attentions": True, "output_hidden_states": True, "output_scores": True,
    "output_logits": True, "return_dict_in_generate": True, "encoder_no_repeat_ngram_size": 1,
    "decoder_start_token_id": 5, "num_assistant_tokens_schedule": "constant", "prompt_lookup_num_tokens": 3,
    "speculation_type": "dflash", "compile_config": {"mode": "default"}, "penalty_alpha": 0.6, "dola_layers": "low",
    "diversity_penalty": 1.0, "num_beam_groups": 2, "constraints": None, "force_words_ids": [[5]],
    "assistant_ensemble_weight": 0.5, "continuous_batching_config": None, "low_memory": True, "use_mtp": True,
    "a_key_of_next_year": 3,
}  # fmt: skip
KEYS = sorted({*GenerationConfig().to_dict(), *TWISTS} - {*SPECIAL_IDS, "transformers_version", "_from_model_config"})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The tiny student, whose generation_config.json bends draws in many ways at once."""
    folder = tmp_path_factory.mktemp("bent")
    tiny_model().save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    file = folder / "generation_config.json"
    bent = {"do_sample": True, "min_p": 0.5, "top_k": 3, "top_p": 0.2, "repetition_penalty": 2.0}
    bent |= {"suppress_tokens": list(range(9, 150)), "sequence_bias": [[[5], 9.0]]}
    file.write_text(json.dumps(bent | {"eos_token_id": ENDS}))
    return folder


@lru_cache(maxsize=2)
def law(model, temperature):
    """P of every pair of first two tokens (an end token alone), in float64 and by hand: the first token's row of the
    matrix holds the second's."""
    model = load_model(str(model), "float64", "cpu")
    with torch.no_grad():
        first = (model(torch.tensor([PREFIX])).logits[0, -1] / temperature).softmax(-1)
        rows = torch.tensor([[*PREFIX, token] for token in range(len(first))])
        second = (model(rows).logits[:, -1] / temperature).softmax(-1)
    pairs = {(a,): float(first[a]) for a in ENDS}
    others = [a for a in range(len(first)) if a not in ENDS]
    return pairs | {(a, b): float(first[a] * second[a, b]) for a in others for b in range(len(first))}


def agreement(drawn, expected):
    """p-value of Pearson's test; cells that are expected fewer than 5 times are taken together."""
    counted, total = Counter(drawn), len(drawn)
    assert set(counted) <= set(expected)
    often = [cell for cell, share in expected.items() if share * total >= 5]
    seen = [counted[cell] for cell in often]
    wanted = [expected[cell] * total for cell in often]
    return chisquare([*seen, total - sum(seen)], [*wanted, total - sum(wanted)]).pvalue


def rows(count):
    return Dataset.from_list([{"prompt": list(ASKED.messages), "id": "p", "answer": "5"}] * count)


def usual(folder, count=4, **more):
    return {
        "output_dir": str(folder), "per_device_train_batch_size": count, "gradient_accumulation_steps": 1,
        "max_steps": 1, "max_completion_length": 2, "save_strategy": "no", "report_to": "none", "use_cpu": True,
        "disable_tqdm": True, "gradient_checkpointing": False, "bf16": False, **more,
    }  # fmt: skip


def trainer_of(kind, checkpoint, folder, peft=None, **more):
    """A trainer of each kind, before its first step."""
    model = load_model(str(checkpoint), device="cpu")
    if kind == "grpo":
        args = GRPOConfig(**usual(folder, num_generations=2, top_p=1.0, top_k=0, **more))
        return GraderTrainer(
            model=model, reward_funcs=[lambda completion_ids, **_: [0.0] * len(completion_ids)], args=args,
            train_dataset=rows(4), processing_class=TOKENIZER, peft_config=peft,
        )  # fmt: skip
    off = more.get("temperature", 1.0) != 1.0
    args = OmniOPDConfig(**usual(folder, forks=1, samples=1, chunk_tokens=1, allow_off_policy=off, **more))
    if kind == "white_box":
        return WhiteBoxTrainer(model, load_model(str(checkpoint), device="cpu"), args, rows(4), TOKENIZER)
    return OmniOPDTrainer(
        model, ScriptedTeacher(["a"]), args, rows(4), processing_class=TOKENIZER, peft_config=peft
    )


def by_trainer(kind):
    def draw(checkpoint, folder, temperature):
        return rollouts(trainer_of(kind, checkpoint, folder, temperature=temperature), DRAWS)

    return draw


def rollouts(trainer, count):
    seed_global_generators("sampling", 0, 0)
    groups = (2,) if isinstance(trainer, GraderTrainer) else ()
    found = trainer._generate_single_turn([PREFIX] * count, None, {}, *groups)
    return [tuple(ids) for ids in (found[0] if groups else found)]


def by_sample(checkpoint, folder, temperature):
    model = load_model(str(checkpoint), device="cpu")
    return [tuple(r.token_ids.tolist()) for r in sample(model, TOKENIZER, [ASKED], 2, temperature, samples=DRAWS)]


def by_evaluation(checkpoint, folder, temperature):
    heard = []
    task = SimpleNamespace(name="heard", prompts=lambda *_: [ASKED], grade=lambda _, text: bool(heard.append(text)))
    model = load_model(str(checkpoint), device="cpu")
    evaluate(model, TOKENIZER, task, samples=DRAWS, temperature=temperature, max_tokens=2)
    return heard


def by_local_teacher(checkpoint, folder, temperature):
    teacher = LocalTeacher(load_model(str(checkpoint), device="cpu"), TOKENIZER, temperature=temperature)
    return list(teacher.continue_from([request("", DRAWS, 2, of=ASKED)])[0].texts)


def of_texts(expected, write):
    """The law of what `write` makes of the tokens."""
    texts = defaultdict(float)
    for ids, share in expected.items():
        texts[write(ids)] += share
    return texts


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize(
    ("draw", "write"),
    [
        (by_trainer("omniopd"), None),
        (by_trainer("white_box"), None),
        (by_trainer("grpo"), None),
        (by_sample, None),
        (by_evaluation, lambda ids: decode(TOKENIZER, ids)),
        (by_local_teacher, lambda ids: decode_whole(TOKENIZER, PREFIX, ids)),
    ],
    ids=["omniopd", "white_box", "grpo", "sample", "evaluate", "local teacher"],
)
def test_draws_follow_the_softmax_whatever_the_file_says(checkpoint, tmp_path, draw, write, temperature):
    expected, drawn = law(checkpoint, temperature), draw(checkpoint, tmp_path, temperature)
    if write is not None:
        expected = of_texts(expected, write)
    assert agreement(drawn, expected) > 1e-4


@pytest.mark.parametrize("kind", ["omniopd", "grpo", "adapter"])
def test_no_key_of_a_generation_config_changes_a_draw(tmp_path, kind):
    """Every key that the class knows, and one that it does not, one at a time: the same seed, the same tokens."""
    tiny_model().save_pretrained(tmp_path)
    peft = LoraConfig(r=2, target_modules=["q_proj"]) if kind == "adapter" else None
    trainer = trainer_of(kind, tmp_path, tmp_path, peft)
    bare = trainer.model.get_base_model() if peft else trainer.model
    plain = rollouts(trainer, 8)
    assert len(set(plain)) > 1
    for key in KEYS:
        kept = bare.generation_config
        bare.generation_config = twisted = GenerationConfig(**kept.to_dict())
        setattr(twisted, key, TWISTS.get(key, 1))
        assert rollouts(trainer, 8) == plain, key
        assert bare.generation_config is twisted, "what a checkpoint saves"
        bare.generation_config = kept


def test_end_tokens_of_the_file_keep_their_meaning(checkpoint, tmp_path):
    trainer = trainer_of("omniopd", checkpoint, tmp_path)
    assert trainer.eos_token_ids == ENDS
    drawn = by_trainer("omniopd")(checkpoint, tmp_path, 1.0)
    assert any(ids[0] == ENDS[1] for ids in drawn)
    assert all(len(ids) == 1 for ids in drawn if ids[0] in ENDS)


def test_sampling_by_hand_is_refused_by_name(checkpoint, tmp_path):
    with pytest.raises(ConfigError, match=r"generation_kwargs is \{'typical_p': 0.2\}"):
        trainer_of("omniopd", checkpoint, tmp_path, generation_kwargs={"typical_p": 0.2})


def test_vllm_is_told_every_setting_and_nothing_of_the_file(checkpoint, tmp_path, monkeypatch):
    """vLLM is not installed here: what TRL hands to its client is held against the softmax's own settings."""
    told = {}

    class Client:
        def __init__(self, **given):
            told.update(given)

    monkeypatch.setattr(distillation_trainer, "is_vllm_available", lambda: True)
    monkeypatch.setattr(distillation_trainer, "VLLMGeneration", Client)
    trainer_of("omniopd", checkpoint, tmp_path, use_vllm=True)
    sampling = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0}
    assert {name: told[name] for name in sampling} == sampling
    assert told["generation_kwargs"] is None
    assert told["structured_outputs_regex"] is None
    assert told["max_completion_length"] == 2
