"""Cleaning of English and Chinese sentences by the course's rules."""

import re


def clean_en(text: str) -> str:
    """Without text in parentheses and without hyphens, punctuation marks as words of their own."""
    text = re.sub(r"\([^()]*\)", "", text).replace("-", "")
    return " ".join(re.sub(r'([.,;!?()"])', r" \1 ", text).split())


def clean_zh(text: str) -> str:
    """In half-width forms, without text in parentheses, spaces, dashes and underscores, punctuation marks set apart."""
    text = "".join(chr(ord(c) - 0xFEE0) if "！" <= c <= "～" else c for c in text.replace("\u3000", " "))
    text = re.sub(r"\([^()]*\)", "", text)
    text = re.sub(r"[\s—_]", "", text).translate(str.maketrans("“”", '""'))
    return " ".join(re.sub(r'([。,;!?()"~「」])', r" \1 ", text).split())


def is_kept(en: str, zh: str) -> bool:
    """Whether a cleaned pair is kept: 1 to 1000 English words and Chinese characters, in a ratio of at most 9."""
    words, characters = len(en.split()), len(zh)
    return min(words, characters) >= 1 and max(words, characters) <= min(1000, 9 * min(words, characters))
