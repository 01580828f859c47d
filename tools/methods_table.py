"""Write what methods are made of: docs/methods.md and their own pages."""
import inspect
import os.path as osp
import re
from typing import Any, Dict, Iterator, Tuple

from mmseg.registry import MODELS

from mmseg_incremental.engine import load_method
from mmseg_incremental.engine.config import method_files
from mmseg_incremental.engine.metafile import collection_of
from mmseg_incremental.engine.method_config import METHOD_KEYS
from mmseg_incremental.errors import IncrementalConfigError

ROOT = osp.dirname(osp.dirname(osp.abspath(__file__)))
HEADER = """# Methods

Written by `python tools/methods_table.py` from the files in
`configs/_base_/methods`; a method is used by `--method NAME`. What the parts
mean is in [configs/README.md](../configs/README.md#methods).

"""
PLACE = re.compile(r'(<!-- config -->\n).*?(<!-- end of config -->\n)', re.S)
# What the package sets, and names of items in the log.
NO_OPTIONS = ('num_old', 'num_seen', 'loss_name')


def load_methods() -> Dict[str, dict]:
    """The shipped methods by name."""
    return {name: load_method(name) for name in method_files()}


def describe(value: Any) -> str:
    """One part of a method in a cell: types, and what they are given."""
    if isinstance(value, (list, tuple)):
        return '<br>'.join(map(describe, value))
    if not isinstance(value, dict):
        return 'yes' if value is True else str(value)
    arguments = ', '.join(f'{k}={v}' for k, v in value.items() if k != 'type')
    return f'{value["type"]}({arguments})' if arguments else value['type']


def methods_page() -> str:
    """The page, with a row a method and a column a part that it has."""
    methods = load_methods()
    parts = [
        key for key in METHOD_KEYS if key != 'name' and any(
            method.get(key) for method in methods.values())
    ]
    rows = [['method', *(part.replace('_', ' ') for part in parts)],
            ['---'] * (len(parts) + 1)]
    rows += [[
        f'`{name}`', *(describe(method.get(part) or '') for part in parts)
    ] for name, method in methods.items()]
    return HEADER + to_table(rows)


def to_table(rows: list) -> str:
    """A table in Markdown."""
    return ''.join(f'| {" | ".join(row)} |\n' for row in rows)


def options(key: str, value: Any) -> Iterator[Tuple[str, str]]:
    """Keys of --cfg-options and their values, defaults of classes too."""
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from options(f'{key}.{index}', item)
    elif isinstance(value, dict):
        yield key, f'`{value["type"]}`'
        arguments = inspect.signature(MODELS.get(value['type'])).parameters
        for name, argument in arguments.items():
            if name not in NO_OPTIONS:
                chosen = value.get(name, argument.default)
                yield f'{key}.{name}', f'`{chosen}`'
    else:
        yield key, f'`{value}`'


def config_table(methods: Dict[str, dict]) -> str:
    """The options of the methods of one page."""
    rows = [['method', 'option', 'value'], ['---'] * 3]
    for name, method in methods.items():
        rows += [[f'`{name}`', f'`{key}`', value]
                 for part, content in method.items() if part != 'name'
                 for key, value in options(f'method.{part}', content)]
    return to_table(rows)


def fill_pages(root: str) -> None:
    """Write the tables of options of all methods' pages anew."""
    pages = {}
    for name, method in load_methods().items():
        try:
            pages.setdefault(collection_of(name, root), {})[name] = method
        except IncrementalConfigError:
            # Such as importances, which is no method of its own.
            continue
    for collection, methods in pages.items():
        path = osp.join(root, 'configs', collection, 'README.md')
        with open(path, encoding='utf-8') as file:
            text = file.read()
        table = config_table(methods)
        with open(path, 'w', encoding='utf-8') as file:
            file.write(PLACE.sub(rf'\1\n{table}\n\2', text))


def main() -> None:
    path = osp.join(ROOT, 'docs', 'methods.md')
    with open(path, 'w', encoding='utf-8') as file:
        file.write(methods_page())
    fill_pages(ROOT)


if __name__ == '__main__':
    main()
