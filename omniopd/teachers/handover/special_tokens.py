"""The spellings by which tokenizers mark turns, and whether a text contains one.

A server that gets a string may read "<|im_end|>" in a student's text as the end of a turn. Whose tokenizer it runs is
not known, so the spellings of all families count. Knows no conversation.
"""

from __future__ import annotations

import re

FAMILIES: dict[str, tuple[str, ...]] = {
    "ChatML (Qwen and others)": ("<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|endoftext|>", "<|vision_start|>"),
    "Llama 3 and 4": (
        "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>",
        "<|python_tag|>", "<|header_start|>", "<|header_end|>", "<|eot|>",
    ),
    "Llama 2 and Mistral": (
        "<s>", "</s>", "<unk>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]",
        "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]",
        "[TOOL_CONTENT]", "[ARGS]", "[CALL_ID]", "[IMG]", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]",
        "[SUFFIX]", "[THINK]", "[/THINK]",
    ),
    "Gemma": (
        "<bos>", "<eos>", "<pad>", "<mask>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>",
        "<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|think|>",
    ),
    "DeepSeek": (
        "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜tool▁calls▁begin｜>",
        "<｜tool▁outputs▁begin｜>", "<｜fim▁begin｜>",
    ),
    "GPT-OSS (harmony)": (
        "<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>", "<|call|>",
        "<|startoftext|>", "<|endofprompt|>",
    ),
    "Phi and Granite": (
        "<|system|>", "<|user|>", "<|assistant|>", "<|start_of_role|>", "<|end_of_role|>",
    ),
    "Command": (
        "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<BOS_TOKEN>",
    ),
    "Claude before the Messages API": ("\n\nHuman:", "\n\nAssistant:"),
}  # fmt: skip

# Every token in bars, known by name or not: each family keeps hundreds in reserve.
_BARRED = re.compile(r"<[|｜][^<>|｜\s]{1,60}[|｜]>")
_NAMED = re.compile("|".join(sorted((re.escape(t) for f in FAMILIES.values() for t in f), key=len, reverse=True)))


def spelled(text: str) -> set[str]:
    """All spellings of special tokens in a text."""
    return {match.group() for pattern in (_NAMED, _BARRED) for match in pattern.finditer(text)}


def spelled_special(text: str) -> str | None:
    """The first spelling of a special token in a text, or None."""
    found = [match for match in (_NAMED.search(text), _BARRED.search(text)) if match]
    return min(found, key=lambda match: match.start()).group() if found else None
