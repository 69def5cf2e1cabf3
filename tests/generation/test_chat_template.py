"""Laws of chat templates: those of models give what transformers gives, and none takes more than its bounds."""

from __future__ import annotations

from typing import Any

import pytest

from sharedllm_cli.errors import ModelError
from sharedllm_cli.generation import chat_template
from sharedllm_cli.generation.chat_template import rendered

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "When {{ 1 }} <b>?"},
    {"role": "assistant", "content": "At nine."},
    {"role": "user", "content": "Why?"},
]
VARIABLES = {"messages": MESSAGES, "add_generation_prompt": True, "bos_token": "<s>", "tools": None}
FORMS = [
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m.content | trim }} {% endfor %}",
    "{%- for m in messages %}\n{{- '<|im_start|>' + m['role'] + '\\n' + m.content ~ '<|im_end|>' }}\n{%- endfor %}",
    "{% set ns = namespace(n=0) %}{% for m in messages if m.role != 'system' %}{% set ns.n = ns.n + 1 %}"
    "{{ ns.n }}:{{ m | tojson(indent=2) }}{% if loop.last and add_generation_prompt %}>{% endif %}{% endfor %}",
    "{% macro turn(m) %}<{{ m.role.upper() }}>{{ caller() }}{% endmacro %}"
    "{% for m in messages %}{% call turn(m) %}{{ m['content'].replace('e', 'E').split(' ') | join('_') }}"
    "{% endcall %}"
    "{% if loop.index == 3 %}{% break %}{% endif %}{% endfor %}",
    "{% set x %}{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}"
    "{% endfor %}{% endset %}{{ x }}",
    "{{ messages | map(attribute='role') | join(', ') }} {{ messages[1:] | length }} {{ '%s-%05.1f' % ('a', 2.5) }}"
    " {{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list }}"
    " {{ 'a\nb' | indent(2) }}",
]
ENDLESS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "{% block a %}{{ self.a() }}{{ self.a() }}{% endblock %}",
    "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x %}{{ [ns.x] * 2 }}{% endset %}{% endfor %}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}"
    "{{ ns.x | upper }}",
    "{% set ns = namespace(x=9) %}{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "{{ 'ab' * 10000000000 }}",
    "{{ [1] * 10000000000 }}",
    "{{ 9 ** (9 ** (9 ** 9)) }}",
    "{{ '%9999999999d' % 1 }}",
    "{{ '%*d' % (9999999999, 1) }}",
    "{{ '{:9999999999}'.format(1) }}",
    "{{ 'a'.ljust(9999999999) }}",
    "{{ 'a' | center(9999999999) }}",
    "{{ 'a\nb' | indent(9999999999) }}",
    "{{ messages | tojson(indent=9999999999) }}",
    "{{ ('a' * 90000).replace('a', 'a' * 90000) }}",
    "{{ ('a' * 90000) | replace('a', 'a' * 90000) }}",
    "{{ ('a' * 90000).join(range(90000) | map('string')) }}",
    "{{ range(90000) | join('a' * 90000) }}",
    "{% for i in range(90000) %}{{ 'a' * 90000 }}{% endfor %}",
    "{{ range(99999999999) }}",
    "{{ lipsum(n=99999999) }}",
    "{% for x in [1] recursive %}{{ loop([1, 1]) }}{{ loop([1, 1]) }}{% endfor %}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{#" + "x" * (1 << 20) + "#}",
]


@pytest.mark.parametrize("form", FORMS)
def test_a_template_gives_what_transformers_gives(form: str, byte_tokenizer: Any) -> None:
    byte_tokenizer.bos_token = "<s>"
    theirs = byte_tokenizer.apply_chat_template(
        MESSAGES, chat_template=form, tokenize=False, add_generation_prompt=True, tools=None
    )
    assert rendered(form, VARIABLES) == theirs


@pytest.mark.parametrize("form", ENDLESS, ids=range(len(ENDLESS)))
def test_a_template_that_takes_too_much_is_refused(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "LONGEST", 100_000)
    with pytest.raises(ModelError, match="chat template"):
        rendered(form, VARIABLES)


def test_a_template_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "MOST_SECONDS", -1.0)
    with pytest.raises(ModelError, match="takes too long"):
        rendered(FORMS[0], VARIABLES)


@pytest.mark.parametrize(
    "form", ["{{ messages.__class__.__mro__ }}", "{{ ''.__class__.__mro__ }}", "{{ x.__globals__ }}"]
)
def test_a_template_does_not_reach_python(form: str) -> None:
    with pytest.raises(ModelError, match="chat template"):
        rendered(form, VARIABLES)


def test_each_rendering_has_steps_of_its_own() -> None:
    form = "{% for i in range(60000) %}{% endfor %}done"
    assert [rendered(form, VARIABLES) for _ in range(3)] == ["done"] * 3
