"""Write docs/methods.md: what each method is made of."""
import os.path as osp
from glob import glob
from typing import Any

from mmseg_incremental.engine import load_method
from mmseg_incremental.engine.method_config import METHOD_KEYS
from mmseg_incremental.host import configs_root

PAGE = osp.join(osp.dirname(osp.dirname(osp.abspath(__file__))), 'docs')
HEADER = """# Methods

Written by `python tools/methods_table.py` from the files in
`configs/_base_/methods`; a method is used by `--method NAME`. What the parts
mean is in [configs/README.md](../configs/README.md#methods).

"""


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
    pattern = osp.join(configs_root(), '_base_', 'methods', '*.py')
    names = [osp.splitext(osp.basename(p))[0] for p in sorted(glob(pattern))]
    methods = [load_method(name) for name in names]
    parts = [
        key for key in METHOD_KEYS
        if key != 'name' and any(method.get(key) for method in methods)
    ]
    rows = [['method', *(part.replace('_', ' ') for part in parts)],
            ['---'] * (len(parts) + 1)]
    rows += [[
        f'`{name}`', *(describe(method.get(part) or '') for part in parts)
    ] for name, method in zip(names, methods)]
    return HEADER + ''.join(f'| {" | ".join(row)} |\n' for row in rows)


def main() -> None:
    with open(osp.join(PAGE, 'methods.md'), 'w', encoding='utf-8') as file:
        file.write(methods_page())


if __name__ == '__main__':
    main()
