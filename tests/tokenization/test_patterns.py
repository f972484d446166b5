from __future__ import annotations

import pytest
from tokenizers import Regex, pre_tokenizers

from lt_trainer.tokenization.patterns import MAX_CHARACTERS, problem_of

PUBLIC = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama3": r"(?i:'s|'t|'re|'ve)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}]*[\p{Ll}\p{Lm}]+(?i:'s|'t)?|\p{N}{1,3}|\s*[\r\n]+|\s+(?!\S)",
    "bloom": r" ?[^(\s|[.,!?…])]+",
    "albert": r" {2,}",
    "digits": r"\p{N}{1,3}(?=(?:\p{N}{3})*\b)",
    "deepseek": r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+",
}


@pytest.mark.parametrize("name", PUBLIC)
def test_patterns_of_public_tokenizers_are_fine(name: str) -> None:
    assert problem_of(PUBLIC[name]) is None


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(?:a*)*b",
        "(a|aa)+$",
        "((a|b))+c",
        "(?:x(a+)y?)+z",
        "(?i:a{1,3})+b",
        "(a?){30}a{30}",
        r"(\[+)*x",
        "([]a]+)+b",
    ],
)
def test_a_repeated_choice_is_refused(pattern: str) -> None:
    assert "repeats a choice" in str(problem_of(pattern))


@pytest.mark.parametrize(
    "pattern",
    [
        "a+b*c?",
        "(ab){3}",
        "(a|b)",
        "(a|b)?",
        "(a+)?",
        "([a|b])+",
        "([+*])+",
        r"(\+\*\|)+",
        "(a{3})*",
        "{a|b}",
        r"(\p{L})+",
        "",
    ],
)
def test_what_repeats_no_choice_is_fine(pattern: str) -> None:
    assert problem_of(pattern) is None


def test_a_pattern_without_end_is_refused() -> None:
    assert "expected at most" in str(problem_of("a" * (MAX_CHARACTERS + 1)))


@pytest.mark.parametrize("pattern", [r"(a+)+$", r"(a|aa)+$"])
def test_what_is_refused_is_refused_with_a_reason(pattern: str) -> None:
    """The engine gives up on a text of sixty letters, with a panic that no `except Exception` catches."""
    with pytest.raises(BaseException, match="retry-limit-in-match") as raised:
        pre_tokenizers.Split(Regex(pattern), "isolated").pre_tokenize_str("a" * 60 + "b")
    assert not isinstance(raised.value, Exception)
