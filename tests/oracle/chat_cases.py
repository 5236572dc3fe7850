"""Templates and conversations for check_chat.py: every construct, and what goes wrong with it."""

# Each line is a template of its own, rendered with VARIABLES.
EXPRESSIONS = r"""
{{ 1 }}|{{ -1 }}|{{ +1 }}|{{ 1_000 }}|{{ 0x1F }}|{{ 0b101 }}|{{ 0o17 }}|{{ 1.5 }}|{{ 1e3 }}|{{ 2.5e-7 }}
{{ 1.0 }} {{ 100.0 }} {{ 1e16 }} {{ 1e15 }} {{ 123456789.125 }} {{ 0.1 + 0.2 }} {{ 1e-5 }} {{ 0.0001 }} {{ 1/3 }} {{ -0.0 }} {{ 1e300*1e10 }}
{{ 7 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 2 ** 0.5 }}
{{ 1 + 2 * 3 - 4 / 2 }} {{ (1 + 2) * 3 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ 1 ~ 2 * 3 }} {{ (1 + 1) ~ (2 + 2) }}
{{ 'ab' * 3 }} {{ 3 * 'ab' }} {{ [1, 2] * 2 }} {{ (1,) * 3 }} {{ 'x' * -1 }} {{ [0] * 0 }}
{{ 'a' 'b' "c" }} {{ 'it''s' }} {{ "a\tb\\n\n\x41\u00e9\U0001F600\101" }} {{ 'q\'s' }} {{ "\d \/" }}
{{ true }} {{ True }} {{ false }} {{ none }} {{ None }} {{ not true }} {{ true and 0 }} {{ 0 or 'x' }} {{ '' and 1 }} {{ 1 and 2 or 3 }} {{ not not 1 }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ (1,) == (1,) }} {{ [1] == (1,) }} {{ none == false }} {{ 1 != 2 }} {{ 3 >= 3 <= 4 }}
{{ 'b' in 'abc' }} {{ 'x' not in 'abc' }} {{ 2 in [1, 2] }} {{ 'k' in d }} {{ 3 in (1, 2) }} {{ '' in '' }} {{ 1 in nums }} {{ not 1 in [2] }}
{{ 'yes' if 1 else 'no' }} {{ 'yes' if 0 else 'no' }} [{{ 'yes' if 0 }}] {{ 1 if 0 else 2 if 0 else 3 }} {{ ('x' if 0) is defined }}
{{ [1, 'a', none, true, 1.5, [2], (3,), {'k': 'v'}] }} {{ () }} {{ (1,) }} {{ 1, 2 }} {{ {} }} {{ [] }} {{ {'a': 1, 'b': {'c': [1]}} }} {{ {1: 2, none: 3, (1, 2): 4} }} {{ {1: 'a', true: 'b', 1.0: 'c'} }}
{{ ["it's", 'say "hi"', 'both \' "', 'tab\t', 'é', '\x00\x1f', 'emoji 😀', '\\', '\u200b', '\xa0', '\u3000', '\xad'] }}
{{ [1, 2, 3,] }} {{ (1, 2,) }} {{ {'a': 1,} }} {{ [[1, 2], [3]][0][1] }}
{{ s[0] }} {{ s[-1] }} {{ s[1:3] }} {{ s[:2] }} {{ s[2:] }} {{ s[::-1] }} {{ s[::2] }} {{ s[-3:-1] }} {{ s[10:] }}|{{ s[3:1] }}|{{ s[-100:2] }} {{ s[::-2] }} {{ s[4:0:-1] }}
{{ nums[0] }} {{ nums[-1] }} {{ nums[1:] }} {{ nums[:-1] }} {{ nums[::-1] }} {{ nums[::2] }} {{ nums[5:1:-2] }} {{ nums[99:] }} {{ (1,2,3)[1:] }} [{{ nums[99] }}] {{ nums[true] }} {{ nums[-5:-1:1] }}
{{ u[0] }} {{ u[-1] }} {{ u[1:3] }} {{ u[::-1] }} {{ u|length }} {{ u|upper }} {{ u|lower }} {{ u|capitalize }} {{ u|title }} {{ u.find('ß') }} {{ u|list }}
{{ nums['a'] }} {{ nums[1.0] }} {{ s['upper']() }} {{ d['items'] is defined }} {{ d.k }} {{ d['k'] }} {{ d.missing }}|{{ d['missing'] }}|{{ d.get('missing') }} {{ d.get('missing', 3) }} {{ d.nested.x }} {{ d.nested['y'][0] }}
{{ nums.0 }} {{ nums.1 }} {{ [[1,2]].0.1 }} {{ none.x is defined }} {{ (5).x }}
{{ undefined_name }}|{{ undefined_name is defined }}|{{ undefined_name is undefined }}|{{ undefined_name or 'x' }}|{{ not undefined_name }}|{{ undefined_name == other_undefined }}|{{ undefined_name ~ 'x' }}|{{ undefined_name|length }}|{{ undefined_name|list }}
{{ undefined_name|default('d') }} {{ undefined_name|d }}|{{ ''|default('d') }}|{{ ''|default('d', true) }} {{ none|default('d') }} {{ none|default('d', boolean=true) }} {{ 0|d(5, true) }} {{ d.missing|default('m') }} {{ undefined_name|default(none) }}
{{ 'x' in undefined_name }} {{ undefined_name in [1] }} {{ undefined_name|join }}|{{ undefined_name|trim }}|{{ undefined_name|upper }}|{{ undefined_name|first }}|{{ undefined_name|last }}|{{ undefined_name|string }}|{{ undefined_name|replace('a','b') }}|{{ undefined_name|items|list }}|{{ undefined_name|map('upper')|list }}|{{ undefined_name|select|list }}|{{ [undefined_name] }}
{{ s.nope }}|{{ s.upper is defined }}
{{ nums.append is defined }} {{ d.pop is defined }}
{{ range(5)|list }} {{ range(2, 5)|list }} {{ range(10, 0, -3)|list }} {{ range(3) }} {{ range(1, 9, 2) }} {{ range(5)|length }} {{ range(5)[2] }} {{ range(5)[-1] }} {{ 3 in range(5) }} {{ range(0)|list }} {{ range(3) == range(0, 3) }} {{ range(5)|last }} {{ range(4)|sum }}
{{ dict(a=1, b=2) }} {{ dict({'a': 1}, b=2) }} {{ dict([('x', 1), ['y', 2]]) }} {{ dict(**{'q': 1}) }} {{ dict() }}
{{ namespace(a=1).a }} {{ namespace({'b': 2}).b }} {{ namespace().x is defined }} {{ namespace(a=1)['a'] }} {{ namespace(a=1) is mapping }}
{{ strftime_now('%Y-%m-%d') }} {{ strftime_now('%d %b %Y, %B %A %H:%M') }} {{ strftime_now('') }} {{ strftime_now('%%') }}
{{ s.upper() }} {{ 'ABC'.lower() }} {{ 'hello wORLD'.title() }} {{ "they're bill's".title() }} {{ 'hELLO'.capitalize() }} {{ 'aBc'.swapcase() }} {{ 'ABC'.casefold() }}
[{{ '  a b  '.strip() }}] [{{ '  a '.lstrip() }}] [{{ ' a  '.rstrip() }}] [{{ 'xxaxyx'.strip('xy') }}] [{{ 'abcab'.lstrip('ba') }}] [{{ 'abc'.rstrip('') }}] [{{ '\n\t\x0b a \u3000\xa0'.strip() }}] [{{ 'é é'.strip('é') }}]
{{ 'a,b,,c'.split(',') }} {{ ' a  b c '.split() }} {{ 'a b c'.split(' ', 1) }} {{ ' a  b  c '.split(none, 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b  c '.rsplit(maxsplit=1) }} {{ ''.split() }} {{ ''.split(',') }} {{ 'abc'.split('x') }} {{ 'a<think>b'.split('<think>')[-1] }} {{ 'aXXbXXc'.split('XX') }} {{ 'a b'.split(maxsplit=0) }}
{{ 'a\nb\r\nc\rd\x0be'.splitlines() }} {{ 'a\nb\n'.splitlines(true) }} {{ ''.splitlines() }}
{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith('bc') }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.startswith('b', 1) }} {{ 'abc'.endswith('b', 0, 2) }} {{ ''.startswith('') }} {{ 'a'.startswith('abc') }}
{{ 'aXbXc'.replace('X', '-') }} {{ 'aXbXc'.replace('X', '-', 1) }} {{ 'abc'.replace('', '-') }} {{ 'abc'.replace('b', '') }} {{ 'aaa'.replace('aa', 'b') }} {{ 'é'.replace('', 'x') }} {{ ''.replace('', 'x') }} {{ 'abc'.replace('', '-', 2) }} {{ 'ab'.replace('x', 'y', 0) }}
{{ 'a-b-c'.find('-') }} {{ 'abc'.find('x') }} {{ 'a-b-c'.rfind('-') }} {{ 'a-b-c'.index('b') }} {{ 'aaa'.count('a') }} {{ 'aaaa'.count('aa') }} {{ 'abc'.count('') }} {{ 'éa'.find('a') }} {{ 'a-b-c'.find('-', 2) }} {{ 'abcabc'.rindex('b') }} {{ 'abcabc'.rfind('abc') }} {{ 'abc'.find('') }} {{ 'abc'.rfind('') }}
{{ ', '.join(['a', 'b']) }} {{ ''.join(('x', 'y')) }} {{ '-'.join('abc') }} {{ ','.join({'a': 1, 'b': 2}) }} {{ ','.join([]) }}
{{ '12'.isdigit() }} {{ ''.isdigit() }} {{ 'a1'.isalnum() }} {{ 'ab'.isalpha() }} {{ ' \t'.isspace() }} {{ 'AB'.isupper() }} {{ 'ab1'.islower() }} {{ '1'.isupper() }} {{ 'Ab'.islower() }} {{ '1.5'.isdigit() }}
{{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.py'.removesuffix('.py') }} {{ 'abc'.removeprefix('x') }} {{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('=') }} {{ 'abc'.rpartition('=') }}
{{ '7'.zfill(3) }} {{ '-7'.zfill(4) }} [{{ 'a'.ljust(3) }}] [{{ 'a'.rjust(3, '*') }}] [{{ 'ab'.center(5) }}] [{{ 'a'.center(4) }}] [{{ 'abc'.center(6, '-') }}]
{{ '{} {}'.format(1, 'a') }} {{ '{0}{1}{0}'.format('x', 'y') }} {{ '{a} {b.k} {c[0]} {b[k]}'.format(a=1, b=d, c=nums) }} {{ '{{}}'.format() }} {{ '{:>5}|{:<5}|{:^5}|{:*^7}'.format('a', 'b', 'c', 'd') }} {{ '{:05d} {:+d} {:x} {:#x} {:b} {:,}'.format(42, 42, 255, 255, 5, 1234567) }} {{ '{:.2f} {:8.3f} {:e} {:g} {:%}'.format(3.14159, 2.5, 12345.678, 0.00001, 0.25) }} {{ '{!r} {!s}'.format('a', 'b') }} {{ '{}'.format(none) }} {{ '{:.3}'.format('abcdef') }} {{ '{:.3}'.format(1234567.0) }} {{ '{}'.format(1.0) }} {{ '{:d}'.format(true) }}
{{ '%s and %d' % ('a', 5) }} {{ '%s' % 'x' }} {{ '%5.2f|%-5s|%05d|%+d|%x|%X|%o|%%' % (3.14159, 'ab', 42, 7, 255, 255, 8) }} {{ '%(a)s' % {'a': 1} }} {{ '%r' % 'q' }} {{ '%s' % none }} {{ '%s' % [1, 2] }} {{ '%5s|%.2s' % ('a', 'xyz') }} {{ '%e %g' % (12345.678, 0.5) }} {{ '%i' % 3.9 }} {{ '%*d' % (5, 42) }}
{{ "%s-%s"|format('a', 1) }} {{ "%(x)s"|format(x=3) }}
{{ d.keys() }} {{ d.values() }} {{ d.items() }} {{ d.keys()|list }} {{ d.items()|list }} {{ d|list }} {{ d|length }} {{ d.items()|length }} {{ d.keys() is iterable }} {{ d.keys() is sequence }} {{ 'k' in d.keys() }} {{ d.copy() == d }} {{ [1,2,1].count(1) }} {{ [1,2].index(2) }} {{ (1,2).index(1) }}
{{ d.items()[0] }}
{{ d|items|list }} {{ {}|items|list }}
{{ '  a '|trim }}| {{ 'xax'|trim('x') }} {{ 5|trim }} {{ none|trim }} {{ 'abc'|length }} {{ 'abc'|count }} {{ nums|length }} {{ 'aBc'|upper }} {{ 'aBc'|lower }} {{ 'hello world-foo (bar) [x] {y} <z>'|title }} {{ 'hELLO wORLD'|capitalize }} {{ 5|upper }}
{{ [1, 2, 3]|join(', ') }} {{ [1, none, 'a', 1.5]|join }} {{ users|join(', ', attribute='name') }} {{ 'abc'|join('-') }} {{ d|join(',') }} {{ [1,2]|join(d='+') }} {{ [[1], {'a': 2}]|join(' ') }}
{{ nums|first }} {{ nums|last }} {{ 'abc'|first }} {{ 'abc'|last }} {{ []|first }}|{{ []|last }}|{{ d|first }} {{ ''|first is defined }}
{{ users|map(attribute='name')|list }} {{ users|map(attribute='addr.city', default='none')|list }} {{ ['a', 'b']|map('upper')|list }} {{ [1.5, 2.5]|map('int')|join(',') }} {{ ['a-b']|map('replace', '-', '+')|list }} {{ users|map(attribute='tags.0')|list }} {{ [[3,1],[2]]|map('sort')|list }} {{ []|map('upper')|list }} {{ [' a ']|map('trim')|first }}
{{ [0, 1, '', 'a', none]|select|list }} {{ nums|select('odd')|list }} {{ nums|select('gt', 2)|list }} {{ nums|select('divisibleby', 2)|list }} {{ nums|reject('odd')|list }} {{ [0, 1]|reject|list }} {{ ['a', 1]|select('string')|list }} {{ nums|select('in', [1, 3])|list }} {{ nums|select('==', 2)|list }}
{{ users|selectattr('age', 'gt', 30)|map(attribute='name')|list }} {{ users|selectattr('active')|map(attribute='name')|list }} {{ users|rejectattr('active')|map(attribute='name')|list }} {{ users|selectattr('name', 'equalto', 'Bo')|list }} {{ users|selectattr('addr', 'defined')|list|length }} {{ users|rejectattr('name', 'in', ['Bo'])|map(attribute='name')|first }}
{{ 'yes' if [1]|select('gt', 5) else 'no' }} {{ (nums|map('string')) is iterable }} {{ (nums|map('string')) is sequence }} {{ (nums|map('string')) is defined }} {{ 2 in nums|select('odd') }} {{ nums|select('odd')|first }}
{{ [3, 1, 2]|sort }} {{ [3, 1, 2]|sort(reverse=true) }} {{ ['b', 'A', 'c']|sort }} {{ ['b', 'A', 'c']|sort(case_sensitive=true) }} {{ users|sort(attribute='age')|map(attribute='name')|list }} {{ users|sort(attribute='active,name')|map(attribute='name')|list }} {{ 'cab'|sort }} {{ d|sort }} {{ [(2, 'a'), (1, 'b'), (1, 'a')]|sort }} {{ users|sort(true, attribute='active')|map(attribute='name')|list }}
{{ {'b': 2, 'A': 1, 'c': 0}|dictsort }} {{ {'b': 2, 'A': 1}|dictsort(true) }} {{ {'b': 2, 'a': 1, 'c': 0}|dictsort(false, 'value') }} {{ {'b': 2, 'a': 1}|dictsort(reverse=true) }} {% for k, v in {'z': 1, 'y': 2}|dictsort %}{{ k }}={{ v }};{% endfor %}
{{ ['a', 'A', 'b', 'a']|unique|list }} {{ ['a', 'A']|unique(true)|list }} {{ users|unique(attribute='active')|map(attribute='name')|list }} {{ [1, 1.0, true, 2]|unique|list }}
{{ [3, 1, 2]|min }} {{ [3, 1, 2]|max }} {{ ['b', 'A']|min }} {{ ['b', 'A']|min(case_sensitive=true) }} {{ (users|max(attribute='age')).name }} [{{ []|min }}] {{ [1, 2.5]|max }} {{ 'abc'|max }}
{{ [1, 2, 3]|sum }} {{ [1.5, 2]|sum }} {{ users|sum(attribute='age') }} {{ [1]|sum(start=10) }} {{ []|sum }} {{ [[1], [2]]|sum(start=[]) }}
{{ [1, 2]|reverse|list }} {{ 'abc'|reverse }} {{ d|reverse|list }} {{ range(3)|reverse|list }} {{ (nums|map('string')|reverse)|length }}
{{ [1, 2, 3, 4, 5]|batch(2)|list }} {{ [1, 2, 3]|batch(2, 'x')|list }} {{ [1, 2, 3, 4, 5, 6, 7]|slice(3)|list }} {{ [1, 2, 3]|slice(2, 0)|list }} {{ []|batch(3)|list }}
{{ 'abc'|list }} {{ (1, 2)|list }} {{ d|list }} {{ 'é😀'|list }} {{ ''|list }}
{{ '42'|int }} {{ '4.7'|int }} {{ 'x'|int }} {{ 'x'|int(7) }} {{ '1f'|int(base=16) }} {{ '0x1f'|int(0, 16) }} {{ 3.9|int }} {{ -3.9|int }} {{ true|int }} {{ none|int }} {{ ' 5 '|int }} {{ '1_000'|int }} {{ ''|int }} {{ [1]|int }} {{ '1e3'|int }} {{ 'inf'|int }} {{ '-5'|int }} {{ '+5'|int }} {{ '0b11'|int(base=2) }} {{ '0o7'|int(base=8) }} {{ '--5'|int }}
{{ '1.5'|float }} {{ 'x'|float }} {{ 'x'|float(2.5) }} {{ 3|float }} {{ '1e3'|float }} {{ none|float }} {{ 'inf'|float }} {{ '-inf'|float }} {{ 'nan'|float }} {{ '0x10'|float }} {{ ' 2 '|float }}
{{ 42.55|round }} {{ 42.55|round(1, 'floor') }} {{ 42.55|round(1, 'ceil') }} {{ 2.5|round }} {{ 3.5|round }} {{ 5|round }} {{ 2.675|round(2) }} {{ 1234.5|round(-2) }} {{ 0.5|round|int }} {{ -2.5|round }} {{ 42.1|round(method='ceil') }} {{ 7|round(1, 'floor') }}
{{ -5|abs }} {{ -5.5|abs }} {{ 5|abs }} {{ true|abs }}
{{ 5|string }} {{ none|string }} {{ [1]|string }} {{ 5|string ~ 5 }} {{ true|string|length }}
{{ 'a\nb\n\nc'|indent }}| {{ 'a\nb'|indent(2) }} {{ 'a\nb'|indent(2, true) }} {{ 'a\n\nb'|indent(2, blank=true) }} {{ 'a\nb'|indent('>> ') }} {{ 'a\nb'|indent(width=3, first=True) }} {{ ''|indent }}| {{ '\n'|indent(2) }}| {{ 'a\n'|indent }}|
[{{ 'ab'|center(6) }}] {{ 'ab'|center|length }}
{{ '<a href="x">\'&'|e }} {{ '<'|escape }} {{ '<'|e|e }} {{ '<'|safe }} {{ '<b>'|safe + '<i>' }} {{ '<i>' + '<b>'|safe }} {{ ('<b>'|safe) ~ '<i>' }} {{ '<b>'|safe|e }} {{ ('<b>'|safe).upper() + '<' }} {{ ('<b>'|safe)[0] + '<' }} {{ '<'|e is escaped }} {{ ('%s'|safe) % '<' }} {{ ('{}'|safe).format('<') }} {{ ('a'|safe).replace('a', '<') }} {{ ['<b>'|safe] }} {{ ('<b>'|safe)|trim + '<' }} {{ ('<'|safe)|replace('<', '>') + '<' }} {{ ('-'|safe).join(['<', '>']) }} {{ ('a b'|safe).split()[0] + '<' }} {{ ('<'|safe)|tojson }} {{ ('<'|safe) == '<' }} {{ ('a'|safe) * 2 + '<' }}
{{ 'a-b'|replace('-', '+') }} {{ 'aaa'|replace('a', 'b', 2) }} {{ 121|replace(1, 3) }} {{ 'ab'|replace('', '-') }}
{{ ('x'|nope) if false else 'fine' }} {{ 'a' if true else ('x'|nope) }}
{% if false %}{{ 'x'|nope }}{{ 'x' is nope }}{% endif %}fine
{{ d|tojson }} {{ nums|tojson }} {{ 'é<>&\'"\\/\n\t\r\b\f\x01\x7f\u2028😀'|tojson }} {{ 'é😀'|tojson(ensure_ascii=true) }} {{ none|tojson }} {{ true|tojson }} {{ 1.0|tojson }} {{ 1e20|tojson }} {{ (1, 2)|tojson }} {{ {1: 2, none: 3, true: 4, 1.5: 5}|tojson }} {{ []|tojson }} {{ {}|tojson }} {{ 'a'|tojson|length }}
{{ {'b': [1, {'c': []}], 'a': {}, 'd': [[], 1]}|tojson(indent=2) }} {{ {'b': 1, 'a': 2}|tojson(sort_keys=true) }} {{ {'b': 1, 'a': [2, 3]}|tojson(separators=(',', ':')) }} {{ [1, 2]|tojson(indent='--') }} {{ [1]|tojson(indent=0) }} {{ {'a': [1]}|tojson(indent=4, separators=[', ', '=']) }} {{ [1e300*1e300]|tojson }} {{ [1]|tojson(indent=-1) }} {{ [[1]]|tojson(indent=true) }} {{ {'a':1}|tojson(false, 1) }}
{{ s is string }} {{ 1 is string }} {{ 1 is number }} {{ 1.5 is number }} {{ true is number }} {{ '1' is number }} {{ 1 is integer }} {{ true is integer }} {{ 1.0 is float }} {{ true is boolean }} {{ 1 is boolean }} {{ none is none }} {{ 0 is none }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ 0 is false }} {{ d is mapping }} {{ nums is mapping }} {{ namespace() is iterable }}
{{ nums is iterable }} {{ s is iterable }} {{ d is iterable }} {{ 5 is iterable }} {{ none is iterable }} {{ undefined_name is iterable }} {{ nums is sequence }} {{ s is sequence }} {{ d is sequence }} {{ 5 is sequence }} {{ (1,) is sequence }} {{ undefined_name is sequence }} {{ range(2) is sequence }} {{ range is callable }} {{ s is callable }} {{ s.upper is callable }} {{ undefined_name is callable }} {{ range(2) is iterable }}
{{ 3 is odd }} {{ 3 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 1 is eq 1 }} {{ 1 is equalto(2) }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 2 is le 2 }} {{ 3 is gt 2 }} {{ 3 is ge 3 }} {{ 'a' is in 'abc' }} {{ 1 is in [1] }} {{ 1 is not in [1] }} {{ 'ABC' is upper }} {{ 'abc' is lower }} {{ 'upper' is filter }} {{ 'nope' is filter }} {{ 'odd' is test }} {{ none is sameas none }} {{ 1 is sameas true }} {{ nums is sameas nums }} {{ 3 is greaterthan 2 }} {{ 2 is lessthan 3 }}
{{ undefined_name is none }} {{ undefined_name is string }} {{ undefined_name is not defined }} {{ d.k is defined and d.k }}
{{ not s is string }} {{ s is not string }} {{ not (s is string) or true }} {{ 1 if s is string else 2 }} {{ s is string and nums is iterable }} {{ 5 is number | string }} {{ -1 is number }} {{ 1 + 1 is number }}
{{ s|upper|lower|title }} {{ (s ~ '!')|upper }} {{ s ~ '!'|upper }} {{ -1|abs }} {{ (-1)|abs }} {{ [1, 2]|first + 1 }} {{ 1 + '2'|int }} {{ not s|length }} {{ 2 ** 2|string|length }} {{ s|upper() }} {{ s|length > 3 }} {{ s|replace('h','j')|first }}
{{ joiner() is callable }}{% set j = joiner(' | ') %}{{ j() }}a{{ j() }}b{{ j() }}c{% set c = cycler('x', 'y') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.current }}
{{ (1,2,3)[0] }} {{ ((1,2),3)[0][1] }} {{ (((5))) }} {{ [(1, 2), 3] }} {{ 1, }} {{ {'a': (1, 2)}['a'][1] }}
{{ 'a' if d else 'b' }} {{ 'a' if {} else 'b' }} {{ 'a' if [] else 'b' }} {{ 'a' if '' else 'b' }} {{ 'a' if 0.0 else 'b' }} {{ 'a' if namespace() else 'b' }} {{ 'a' if range(0) else 'b' }} {{ 'a' if {}.items() else 'b' }} {{ 'a' if ' ' else 'b' }}
{{ [1, 2, 3][1:] + [4] }} {{ (1, 2) + (3,) }} {{ 'a' + 'b' ~ 1 ~ none ~ 1.5 ~ [1] ~ true }} {{ "" ~ undefined_name ~ "" }}
{{ 9223372036854775807 }} {{ 9223372036854775806 + 1 }} {{ -9223372036854775807 - 1 }}
{{ 1 if true }} {{ range(3)|join }} {{ [range(2)] }} {{ {'a': range(2)} }} {{ nums|string|length }}
{{ d['k'] ~ d["nested"]["x"] }} {{ d.get("nested").get("x") }} {{ d.get('nope', {}).get('x', 'y') }} {{ (d.nope or {}).x }} {{ d.nested.y|length }} {{ d.nested.items()|list }} {{ d.get(key='k') if false else '' }}
{{ '%.3f' % 2.0005 }} {{ '%g' % 1e10 }} {{ '%s' % 1.0 }} {{ 1.1 * 3 }} {{ 1e22 }} {{ 1.5e-10 }} {{ 5e-324 }} {{ 1.7976931348623157e308 }} {{ 100000000000000000.0 }} {{ 12345678901234567.0 }} {{ 0.1 }} {{ 1/7 }} {{ 3.0 * 2 }} {{ 10 ** 20.0 }}
{{ 'ÀÉÎõü ñ ÿ Ωμέγα Привет ёЁ ıſ ĀāŁł'|upper }} {{ 'ÀÉÎÕÜ Ñ Ÿ ΩΜΈΓΑ ПРИВЕТ Ё ĀŁ'|lower }} {{ 'éa'|capitalize }} {{ 'пРИВЕТ мИР'|title }}
"""

# Each of these makes jinja2 raise.
BAD_EXPRESSIONS = r"""
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ 1.0 % 0 }}
{{ 'a' + 1 }}
{{ 1 + none }}
{{ [1] + (2,) }}
{{ 1 < 'a' }}
{{ none < 1 }}
{{ 1 in 'abc' }}
{{ 1 in 5 }}
{{ [] in d }}
{{ ('x' if 0) + 'a' }}
{{ {[]: 1} }}
{{ nums[1:2:0] }}
{{ nums['a':2] }}
{{ d[1:] }}
{{ d.get('x')[1:] }}
{{ undefined_name.x }}
{{ undefined_name['x'] }}
{{ undefined_name + 1 }}
{{ 1 + undefined_name }}
{{ undefined_name > 1 }}
{{ -undefined_name }}
{{ undefined_name() }}
{{ undefined_name|int }}
{{ undefined_name|tojson }}
{{ undefined_name|abs }}
{{ undefined_name in 'abc' }}
{{ d.missing.x }}
{{ nums[99].x }}
{{ s.nope() }}
{{ 5() }}
{{ none() }}
{{ d.__class__ }}|{{ s.__len__ }}|{{ nums.__class__.__mro__ }}
{{ d.pop('k') }}
{{ nums.append(1) }}
{{ d.update({'a': 1}) }}
{{ raise_exception('words of ' ~ 'the template') }}
{{ raise_exception() }}
{{ range(1000000) }}
{{ range(1, 2, 0) }}
{{ range('a') }}
{{ namespace(_a=1) }}
{{ 'abc'.split('') }}
{{ 'abc'.startswith(1) }}
{{ 'abc'.index('x') }}
{{ ','.join([1]) }}
{{ '{}'.format() }}
{{ '{'.format(1) }}
{{ '}'.format(1) }}
{{ '{:d}'.format('a') }}
{{ '{x}'.format(1) }}
{{ '%d' % 'a' }}
{{ '%s %s' % 'a' }}
{{ '%s' % (1, 2) }}
{{ '%z' % 1 }}
{{ [1].index(5) }}
{{ [1]|items|list }}
{{ none|length }}
{{ 5|length }}
{{ 5|join }}
{{ [1]|map('nope')|list }}
{{ [1]|map|list }}
{{ [1]|select('nope')|list }}
{{ (nums|select('odd'))|length }}
{{ nums|map('string')|last }}
{{ [1, 'a']|sort }}
{{ [1]|dictsort }}
{{ {'a': 1}|dictsort(by='x') }}
{{ ['a']|sum }}
{{ (nums|reverse)|length }}
{{ 5|reverse }}
{{ 5|list }}
{{ none|list }}
{{ 'a'|round }}
{{ 'a'|abs }}
{{ 5|indent }}
{{ 'x'|nope }}
{{ 'x' is nope }}
{% if true %}{{ 'x'|nope }}{% endif %}
{% if false %}{% for i in [1] %}{{ i|nope }}{% endfor %}{% endif %}
{{ {(1, 2): 3}|tojson }}
{{ nums|map('string')|tojson }}
{{ d.items()|tojson }}
{{ range(3)|tojson }}
{{ [undefined_name]|tojson }}
{{ {'b': 1, 2: 3}|tojson(sort_keys=true) }}
{{ 'a' is odd }}
{{ 1 is divisibleby 0 }}
{{ 1 is defined is true }}
{{ 1 + 1 ~ 2 + 2 }}
{{ users|selectattr('addr.city', 'defined')|list|length }}
"""

# Whole templates: statements and white space.
TEMPLATES = [
    "a\nb\n", "a\nb\n\n", "a\r\nb\rc\r\n", "", "\n", "\n\n", "{{ 1 }}\n", "{{ 1 }}\n\n{{ 2 }}\n",
    "{% if 1 %}\nx\n{% endif %}\ny", "  {% if 1 %}  \n  x\n  {% endif %}  \ny",
    "a {% if 1 %} b {% endif %} c",
    "a\n  {%- if 1 -%}  \n  b\n  {%- endif -%}\n c", "a\n  {%+ if 1 +%}\n  b\n  {%+ endif +%}\n c",
    "a {#- c -#} b", "a\n  {# c #}\nb", "a\n  {#- c #}\nb", "a\n  {# c -#}\n\n b", "a {# c +#}\nb",
    "x{# multi\nline #}y", "{##}a{# #}\nb", "{#-#}a", "{#--#} a",
    "a  {{- ' b ' -}}  c", "a\n {{ 1 }}\n {{- 2 }}\n {{ 3 -}}\n d", "{{- 1 -}}", "  {{ 1 }}",
    "{{+ 1 }}", "x\n{{-1}}", "{{ 5 -}} 3", "{{ {'a': {'b': 1}} }}", "{{ '}}' }} {{ '%}' }}",
    "{% set x = '%}' %}{{ x }}", "{{ {} }}",
    "{% raw %}{{ x }} {% if %}{% endraw %} b", "  {% raw %}\n {{ x }}\n  {% endraw %}\nb",
    "a {%- raw -%}  {{ x }}  {%- endraw -%}  b", "{% raw %}a\n{% endraw %}\n\nb",
    "{%raw%}{%endraw%}", "a\n  {% raw %} x {%- endraw %} y", "{% raw -%}\n x{% endraw +%}\ny",
    "\t{% if 1 %}\t\nx{% endif %}", "x {% if 1 %}\n{% endif %} y",
    "{% if 1 %}{% endif %}\n{% if 1 %}{% endif %}\nz", "a\n\n  {% if 1 %}b{% endif %}\n\n",
    "{% if 1 %} {% endif %} \n", "\u3000{%- if 1 %}x{% endif -%}\u00a0y",
    "a\u2028  {% if 1 %}b{% endif %}",
    "{% if 0 %}a{% elif 0 %}b{% elif 1 %}c{% else %}d{% endif %}",
    "{% if 0 %}a{% else %}b{% endif %}", "{% if 0 %}a{% endif %}", "{% if 1, %}a{% endif %}",
    "{% if 1: %}a{% endif %}", "{% if not s %}a{% elif s == 'hello' and nums %}b{% endif %}",
    "{% if 0 %}{% if 1 %}{% endif %}{% else %}x{% if 1 %}y{% endif %}{% endif %}",
    "{% if 0 %}{% else %}{% if 0 %}a{% else %}b{% endif %}{% endif %}",
    "{% for i in nums %}{{ i }},{% endfor %}", "{% for i in [] %}x{% else %}empty{% endfor %}",
    "{% for c in s %}{{ c }}-{% endfor %}", "{% for k in d %}{{ k }},{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for a, b in ['xy', [1, 2]] %}{{ a }}{{ b }}{% endfor %}",
    "{% for i in undefined_name %}x{% else %}e{% endfor %}",
    "{% for i in nums %}{{ loop.index }}/{{ loop.index0 }}/{{ loop.first }}/{{ loop.last }}/{{ loop.length }}/{{ loop.revindex }}/{{ loop.revindex0 }}/{{ loop.previtem }}/{{ loop.nextitem }}/{{ loop.depth }}{{ loop.depth0 }};{% endfor %}",
    "{% for i in nums|select('odd') %}{{ loop.last }}{{ loop.length }}{{ loop.nextitem }}{{ i }};{% endfor %}",
    "{% for i in nums if i is odd %}{{ loop.index }}{{ i }}{{ loop.last }}{{ loop.length }};{% endfor %}",
    "{% for i in nums if i > 99 %}x{% else %}none{% endfor %}",
    "{% for i in nums if loop %}x{% endfor %}",
    "{% for a, b in [(1, 2), (3, 4)] if b > 2 %}{{ a }}{{ b }}{% endfor %}",
    "{% for i in nums %}{{ loop.cycle('a', 'b') }}{{ loop.changed(i is odd) }} {% endfor %}",
    "{% for i in nums %}{% for j in [1, 2] %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}",
    "{% for i in nums %}{% set outer = loop %}{% for j in [1, 2] %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}",
    "{% for i in nums %}{% if loop.nextitem is defined %}{{ loop.nextitem }}{% endif %}{% if loop.previtem is defined %}{{ loop.previtem }}{% endif %};{% endfor %}",
    "{{ loop is defined }}", "{% for i in nums %}{{ loop|length }}{% endfor %}",
    "{% for i in nums %}{{ loop['index'] }}{{ loop.nope }}{% endfor %}",
    "{% for i in nums %}{% endfor %}{{ i }}{{ loop }}",
    "{% for i in nums %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for i in nums %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}",
    "{% for i in nums %}{% break %}{% else %}else{% endfor %}",
    "{% for i in nums %}{% continue %}{% else %}else{% endfor %}",
    "{% for i in nums %}{% if i == 2 %}{% break %}{% endif %}{% else %}else{% endfor %}",
    "{% for i in nums %}{% for j in nums %}{% if j == 2 %}{% break %}{% endif %}{{ i }}{{ j }} {% endfor %}{% endfor %}",
    "{% for x in tree recursive %}{{ x.v }}{% if x.c %}({{ loop(x.c) }}){% endif %}{{ loop.depth }}{% endfor %}",
    "{% set x = 1 %}{{ x }}{% set x = x + 1 %}{{ x }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set a, b = [1, 2] %}{{ b }}", "{% set (a, b) = (1, 2) %}{{ a }}",
    "{% set x = 1, 2 %}{{ x }}", "{% set x = 1 if 0 else 2 %}{{ x }}",
    "{% set x %}a{{ 1 }}b{% endset %}[{{ x }}]",
    "{% set x | upper | trim %} abc {% endset %}[{{ x }}]",
    "{% set x %}\n  a\n{% endset %}[{{ x }}]",
    "{% for i in nums %}{% set x = i %}{% endfor %}[{{ x }}]",
    "{% set x = 0 %}{% for i in nums %}{% set x = x + i %}{{ x }},{% endfor %}{{ x }}",
    "{% if 1 %}{% set x = 5 %}{% endif %}{{ x }}",
    "{% set ns = namespace(n=0) %}{% for i in nums %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
    "{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a }}{{ ns.b }}",
    "{% set ns = namespace(x='') %}{% set ns.x %}block{% endset %}{{ ns.x }}",
    "{% set x = 1 %}{% set y %}{% set x = 2 %}{{ x }}{% endset %}{{ x }}{{ y }}",
    "{% set x = 1 %}{% with x = 2, y = x %}{{ x }}{{ y }}{% set x = 9 %}{% endwith %}{{ x }}",
    "{% with %}a{% set q = 1 %}{% endwith %}{{ q }}",
    "{% with a, b = (1, 2) %}{{ a }}{{ b }}{% endwith %}",
    "{% for m in messages %}{% if loop.first %}{% set sys = m.role %}{% endif %}[{{ sys }}]{% endfor %}",
    "{% for x in nums %}{{ x }}{% set x = x * 2 %}{{ x }} {% endfor %}",
    "{% set ns = namespace(f=none) %}{% for i in nums if ns.f != i - 1 %}{{ i }}{% set ns.f = i %}{% endfor %}",
    "{% for i in nums if i != ns_last %}{{ i }}{% endfor %}",
    "{% for i in [1] %}{% set s = 'inner' %}{{ s }}{% endfor %}{{ s }}",
    "{% set loop_var = 3 %}{% for loop_var in [1, 2] %}{{ loop_var }}{% endfor %}{{ loop_var }}",
    "{% macro m(a, b=2, c='x') %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(1, c='y') }}{{ m(b=5, a=4) }}{{ m() }}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}",
    "{% macro m(a) %}{{ a }}{{ varargs|length }}{% endmacro %}{{ m(1, 2, 3) }}",
    "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}",
    "{% macro m(n) %}{{ n }}{% if n > 0 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(5) }}",
    "{% macro m() %}  x\n{% endmacro %}[{{ m() }}]{{ m()|trim }}{{ m() | length }}",
    "{% macro m() %}{{ later }}{% endmacro %}{% set later = 5 %}{{ m() }}",
    "{% macro m() %}{% set s = 'in' %}{{ s }}{% endmacro %}{{ m() }}{{ s }}",
    "{% for i in nums %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}",
    "{% macro m(x) %}{{ x }}{% endmacro %}{% for i in nums %}{{ m(i) }}{% endfor %}",
    "{% macro a() %}A{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}",
    "{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}",
    "{% macro m() %}{{ loop is defined }}{% endmacro %}{% for i in [1] %}{{ m() }}{% endfor %}",
    "{% macro m(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(**{'a': 3, 'b': 4}) }}{{ m(1, *[2]) }}{{ m.name }}",
    "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}",
    "{% if 1 %}{% macro m() %}x{% endmacro %}{% endif %}{{ m() }}",
    "{% macro m(s) %}{{ s|upper }}{% endmacro %}{{ ['a']|map('upper')|first }}{{ m(s='b') ~ 'c' }}{{ m is callable }}{{ m is defined }}",
    "{% macro m(t) %}<{{ t }}>{{ caller() }}</{{ t }}>{% endmacro %}{% call m('b') %}body{{ s }}{% endcall %}",
    "{% macro m() %}{% for i in nums %}{{ caller(i) }}{% endfor %}{% endmacro %}{% call(x) m() %}[{{ x }}]{% endcall %}",
    "{% filter upper %}abc{{ s }}{% endfilter %}",
    "{% filter replace('a', 'b')|upper %}aaa{% endfilter %}",
    "{% filter trim %}\n x \n{% endfilter %}|", "{% filter indent(2) %}a\nb{% endfilter %}",
    "{% filter upper %}{% set q = 'x' %}{{ q }}{% endfilter %}{{ q }}",
    "{% for i in nums %}{% filter upper %}a{% if i == 2 %}{% break %}{% endif %}{% endfilter %}{% endfor %}",
    "{% for i in nums %}{% set x %}a{% if i == 2 %}{% break %}{% endif %}{% endset %}{{ x }}{% endfor %}",
    "{% generation %}a{{ s }}{% endgeneration %}",
    "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "{% generation %}{% set gg = 1 %}{% endgeneration %}{{ gg }}", "{% print 1, s %}",
    "{% print %}",
    "{{ 1.e5 }}", "{% for i in nums recursive %}{{ i }}{% endfor %}", "{{ '\\\n' }}",
    "{{ 'a\nb' }}", "{{ 'a\r\nb' }}",
    "{{ messages[0]['role'] + ': ' + messages[-1].content }}",
    "{% for m in messages[1:] %}{{ m.role }}{% endfor %}",
    "{{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|join('; ') }}",
    "{{ messages|length - 1 }}",
    "{% set m = messages|selectattr('role', '==', 'system')|list %}{{ m|length }}{{ m[0].content if m }}",
    "{{ messages|tojson }}", "{{ messages }}", "{{ messages[0] }}",
    "{{ messages[::-1]|map(attribute='role')|list }}", "{{ messages[0].get('tool_calls') }}",
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ 'odd' }}{% endif %}{% endfor %}",
    "{% set it = nums|map('string') %}{{ it|join }}{{ it|join }}",
    "{% set it = nums|map('string') %}{% for i in it %}{{ i }}{% break %}{% endfor %}{{ it|list }}",
    "{% set it = nums|select('odd') %}{{ it|first }}{{ it|list }}",
    "{% set it = [1,2,3]|reverse %}{{ 2 in it }}{{ it|list }}",
    "{% set a = nums|map('int') %}{% set b = a %}{{ b|first }}{{ a|first }}",
    "{% set x = 'a' %}{% for i in range(5) %}{% set x = x ~ i %}{% endfor %}{{ x }}",
    "{% set ns = namespace(t='') %}{% for i in range(50) %}{% set ns.t = ns.t + i|string + ',' %}{% endfor %}{{ ns.t }}",
    "{% set a = 'x' ~ s %}{% set b = a ~ '1' %}{% set c = a ~ '2' %}{{ a }}{{ b }}{{ c }}{{ a + 'z' + a }}",
    "{% set a = s + '' + s[1:] %}{% set b = a + 'q' %}{% set c = a[:-1] + 'r' %}{{ a }}|{{ b }}|{{ c }}",
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>\n{{ m.content|trim }}{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
]

# Each of these makes jinja2 raise.
BAD_TEMPLATES = [
    "{% for i in none %}{% endfor %}", "{% for i in 5 %}{% endfor %}",
    "{% for a, b in [(1, 2, 3)] %}{% endfor %}", "{% for a, b in [(1,)] %}{% endfor %}",
    "{% for a, b in [1] %}{% endfor %}",
    "{% break %}", "{% for i in nums %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}",
    "{% for x in nums %}{{ loop(nums) }}{% endfor %}",
    "{% set a, b = 1 %}{{ a }}", "{% set a = b = 1 %}", "{% set true = 1 %}", "{% set 5 = 1 %}",
    "{% set x.y = 1 %}", "{% set x = {} %}{% set x.y = 1 %}",
    "{% set ns = namespace() %}{% set ns._a = 1 %}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(x=2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}", "{% macro m(a=1, b) %}{% endmacro %}",
    "{% macro m(*args) %}{% endmacro %}", "{{ m() }}{% macro m() %}x{% endmacro %}",
    "{% macro m() %}no{% endmacro %}{% call m() %}x{% endcall %}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}", "{% call 5 %}{% endcall %}",
    "{% macro o() %}{% call i() %}{{ caller() }}{% endcall %}{% endmacro %}{% macro i() %}({{ caller() }}){% endmacro %}{% call o() %}x{% endcall %}",
    "{% if 1 %}", "{% endif %}", "{% for i in nums %}", "{% nope %}", "{% if %}{% endif %}",
    "{{ }}", "{{ 1 2 }}", "{{ (1 }}", "{{ 1) }}", "{{ [1 }}", "{{ 'a }}", "{{ a. }}", "{{ a| }}",
    "{% set %}", "{% for in x %}{% endfor %}", "{% for x %}{% endfor %}", "{{ 1", "{% if 1", "{# a",
    "{% raw %} x", "{{ ! }}", "{{ a ? b }}", "{{ 1 is }}", "{{ x = 1 }}", "{{ f(a=1, 2) }}",
    "{{ f(**a, *b) }}", "{{ a if }}", "{{ not }}", "{{ 1 + }}", "{{ {1} }}", "{{ {'a' 1} }}",
    "{{ 1__0 }}", "{{ 0_1 }}", "{{ .5 }}", "{{ a.1.b }}", "{{ '\\ud800' }}", "{{ '\\xg' }}",
    "{% else %}", "{% elif 1 %}", "{% if 1 %}{% else %}{% else %}{% endif %}", "{% include 'x' %}",
    "{% extends 'x' %}", "{% do 1 %}", "{{ a is b is c }}", "{{ @ }}", "{%%}", "{% set x = %}",
    "{% macro %}{% endmacro %}", "{% macro m %}{% endmacro %}", "{{ [1, 2 3] }}", "{{ d['a' }}",
    "{% filter %}{% endfilter %}", "{% set x = 1 y %}", "{{ a ; b }}", "{% if 1 %}{% endfor %}",
]

VARIABLES = {
    "s": "hello", "u": "Grüße, Ünïcode ß 😀", "nums": [1, 2, 3, 4, 5],
    "d": {"k": "v", "nested": {"x": 1, "y": [10, 20]}},
    "users": [
        {"name": "Al", "age": 41, "active": True, "addr": {"city": "Ulm"}, "tags": ["a", "b"]},
        {"name": "Bo", "age": 29, "active": False, "tags": []},
        {"name": "Cy", "age": 35, "active": True, "addr": {"city": "Rom"}, "tags": ["c"]},
    ],
    "tree": [
        {"v": "a", "c": [{"v": "b", "c": []}, {"v": "c", "c": [{"v": "d", "c": []}]}]},
        {"v": "e", "c": []},
    ],
    "messages": [
        {"role": "system", "content": " Be brief. "},
        {"role": "user", "content": "Hi <b>&</b>\n"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Why?"},
    ],
    "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>",
}


def good():
    return EXPRESSIONS.strip().split("\n") + TEMPLATES


def bad():
    return BAD_EXPRESSIONS.strip().split("\n") + BAD_TEMPLATES


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city, with \"quotes\" & <angles>",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name of the city"},
                "unit": {"type": "string", "description": "Of degrees", "default": "celsius",
                         "enum": ["celsius", "fahrenheit"]},
                "days": {"type": "array", "description": "Which", "items": {"type": "integer"}},
            },
            "required": ["city"],
        },
    },
}
SYSTEM = {"role": "system", "content": "  You are terse.\nAlways. "}
USER = {"role": "user", "content": "Hello, wörld! 你好 <|im_end|> {{ x }}"}
TURNS = [
    USER,
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHi."},
    {"role": "user", "content": "Bye\n"},
]
REASONED = [
    USER,
    {"role": "assistant", "content": "Hi.", "reasoning_content": "hm", "thinking": "hm"},
    USER,
]


def parts(*texts):
    return [{"type": "text", "text": text} for text in texts]


CHATS = {
    "user": [USER],
    "system and user": [SYSTEM, USER],
    "turns": TURNS,
    "system and turns": [SYSTEM] + TURNS,
    "ends with assistant": TURNS[:2],
    "parts": [
        {"role": "user", "content": parts("Hello")},
        {"role": "assistant", "content": parts("Hi")},
        {"role": "user", "content": parts("Again", "!")},
    ],
    "empty": [],
}


def called(arguments):
    function = {"name": "get_weather", "arguments": arguments}
    call = {"id": "call00001", "type": "function", "function": function}
    return [
        SYSTEM,
        {"role": "user", "content": "Weather in Köln?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call00001", "name": "get_weather", "content": '{"t": 21}'},
        {"role": "assistant", "content": "It is 21 degrees."},
        {"role": "user", "content": "And tomorrow?"},
    ]


def variables(messages, **more):
    """What apply_chat_template passes when nobody says otherwise."""
    return dict({"messages": messages, "add_generation_prompt": True, "bos_token": "<s>",
                 "eos_token": "</s>", "tools": None, "documents": None}, **more)


def conversations():
    """(title, variables)"""
    for title, messages in CHATS.items():
        yield title, variables(messages)
        yield f"{title}, no prompt", variables(messages, add_generation_prompt=False)
    bare = variables(TURNS)
    del bare["bos_token"], bare["eos_token"]
    yield "no tokens", bare
    yield "thinking on", variables(TURNS, enable_thinking=True, thinking=True)
    yield "thinking off", variables(TURNS, enable_thinking=False, thinking=False)
    yield "reasoning", variables(REASONED)
    yield "documents", variables([USER], documents=[{"title": "T", "text": "Some text."}])
    yield "tools offered", variables([SYSTEM, USER], tools=[WEATHER, WEATHER])
    yield "tool called", variables(called({"city": "Köln", "days": [1, 2]}), tools=[WEATHER])
    yield "tool called with text", variables(called('{"city": "Köln"}'), tools=[WEATHER])
    yield "functions", variables([SYSTEM, USER], tools=[WEATHER], functions="[]", datetime="now")
