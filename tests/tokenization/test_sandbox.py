from __future__ import annotations

import time

import pytest

from lt_trainer.tokenization import sandbox
from lt_trainer.tokenization.sandbox import render


def test_a_template_writes_what_it_is_given() -> None:
    source = "{% for m in messages %}<{{ m.role }}>{{ m['content'] | trim }}{{ eos_token }}{% endfor %}"
    messages = [{"role": "user", "content": " hi "}, {"role": "assistant", "content": "ho"}]
    assert render(source, {"messages": messages, "eos_token": "</s>"}) == ("<user>hi</s><assistant>ho</s>", [])


def test_parts_inside_generation_are_noted() -> None:
    source = "{% for m in messages %}[{% generation %}{{ m }}{% endgeneration %}]{% endfor %}"
    text, spans = render(source, {"messages": ["ab", "c"]})
    assert text == "[ab][c]"
    assert [text[start:end] for start, end in spans] == ["ab", "c"]


def test_what_public_templates_use_works() -> None:
    source = (
        "{%- set ns = namespace(found=false) %}{% for i in range(3) -%}{% if i == 1 %}{% continue %}{% endif %}"
        "{% set ns.found = true %}{{ i ~ '-' ~ loop.index0 }}{{ ',' if not loop.last }}{% endfor %}"
        "{{ ns.found }}{{ {'a': '<b>'} | tojson }}{{ strftime_now('%Y') | length }}"
        "{% macro twice(x) %}{{ x * 2 }}{% endmacro %}{{ twice('ab') }}{{ 'a b'.split(' ')[1] }}"
        "{{ ['x', 'y'] | join('+') }}{{ messages | selectattr('role', 'equalto', 'u') | list | length }}"
        "{{ '%02d' % 7 }}{{ 'a-b'.replace('-', '_') }}{{ 'q' | upper }}"
    )
    text, _ = render(source, {"messages": [{"role": "u"}, {"role": "v"}]})
    assert text == '0-0,2-2True{"a": "<b>"}4ababbx+y107a_bQ'


def test_a_template_may_refuse_a_chat() -> None:
    with pytest.raises(ValueError, match="TemplateError: roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}", {})


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ (1).__class__ }}{{ lipsum.__globals__['os'] }}",
        "{{ self.__init__.__globals__ }}",
        "{% include 'x' %}",
        "{{ '{0.__class__.__mro__}'.format('') }}",
        "{% for x in",
    ],
)
def test_python_is_out_of_reach(source: str) -> None:
    with pytest.raises(ValueError, match="the chat template cannot be applied"):
        render(source, {"messages": [1]})


DOUBLED = "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = VALUE %}{% endfor %}"
ENDLESS = {
    "a loop in a loop": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a macro that calls itself twice": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}"
    ),
    "a macro without an end": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "a repeated text": "{{ 'a' * 10 ** 12 }}",
    "a repeated list": "{{ ([1] * 999999999) | length }}",
    "a sum that doubles": DOUBLED.replace("VALUE", "n.x + n.x"),
    "a text that doubles": DOUBLED.replace("VALUE", "n.x ~ n.x"),
    "a join that doubles": DOUBLED.replace("VALUE", "[n.x, n.x] | join"),
    "a replacement": "{% set x = 'a' * 9999 %}{{ x.replace('a', x).replace('a', x) }}",
    "a filter that replaces": "{% set x = 'a' * 9999 %}{{ x | replace('a', x) | replace('a', x) }}",
    "a power": "{{ 9 ** (9 ** 9) }}",
    "a product": "{% set n = namespace(x=9) %}{% for i in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "a wide column": "{{ 'a' | center(10 ** 9) }}",
    "a wide text": "{{ 'a'.ljust(10 ** 9) }}",
    "a wide number": "{{ '%999999999d' % 1 }}",
    "a wide format": "{{ '{:>999999999}'.format(1) }}",
    "a wide filter": "{{ '%999999999d' | format(1) }}",
    "a long range": "{{ range(10 ** 9) | list | length }}",
    "much output": "{% set x = 'a' * 9999999 %}{% for i in range(999) %}{{ x }}{% endfor %}",
    "a long template": " " * (sandbox.MAX_TEMPLATE + 1),
}


@pytest.mark.parametrize("source", ENDLESS.values(), ids=list(ENDLESS))
def test_a_template_without_end_is_stopped(source: str) -> None:
    start = time.process_time()
    with pytest.raises(ValueError, match="the chat template cannot be applied"):
        render(source, {})
    assert time.process_time() - start < 10  # seconds
