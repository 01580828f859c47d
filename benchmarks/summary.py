"""What is demanded of the package, from the tables of the other benchmarks."""
import re
from typing import Dict, List, NamedTuple, Optional, Tuple

from common import HALF, STOCK, markdown_table

# First cells of a row.
Row = Tuple[str, str]
Tables = Dict[str, List[Dict[str, str]]]
HEADER = ('what', 'at most', 'here', 'published approach', 'reference', 'met')


class Demand(NamedTuple):
    """A number of one of the tables, and what it may be.

    Attributes:
        what (str): What is demanded.
        limit (float): The largest number that will do.
        table (str): Name of the benchmark.
        row (tuple[str, str]): First cells of the row.
        column (str): Title of the column.
        published (str, optional): Second cell of the row of the published
            codes' approach. Defaults to None, not measured.
        reference (str, optional): Second cell of a row to compare with.
            Defaults to None.
    """

    what: str
    limit: float
    table: str
    row: Row
    column: str
    published: Optional[str] = None
    reference: Optional[str] = None


def losses(classes: str, stride: str, column: str, limit: float) -> Demand:
    """A demand on the losses alone."""
    return Demand(
        f'losses, {classes} classes, logits at {stride}: {column}', limit,
        'losses', (f'{classes}, {stride}', 'fused losses'), column,
        'published approach',
        'cross entropy, softmax of the teacher' if stride == '1/1' else None)


def iteration(model: str,
              classes: str,
              limit: float,
              side: str = 'MiB') -> Demand:
    """A demand on an iteration; the published codes have the plain teacher."""
    reference = side.replace('MiB', 'networks alone')
    return Demand(f'iteration, {model}, {classes}: {side}', limit,
                  'iterations', (f'{model}, {classes}', side),
                  'to MMSegmentation',
                  'MiB, readable losses and plain teacher', reference)


MODELS = ('MobileNetV2-ASPP', 'DeepLabV3+ ResNet-50', 'SegFormer-B0')
FEW, MANY = '21 (16 old)', '151 (101 old)'
TIME, MEMORY = (f'{kind} to cross entropy alone'
                for kind in ('time', 'memory'))
DEMANDS = [
    losses(MANY, '1/8', TIME, 0.45),
    losses(MANY, '1/8', MEMORY, 0.15),
    losses(FEW, '1/8', TIME, 0.85),
    losses(FEW, '1/8', MEMORY, 0.40),
    losses(MANY, '1/1', TIME, 1.20),
    losses(FEW, '1/1', TIME,
           1.20), *(iteration(model, FEW, 1.12) for model in MODELS),
    *(iteration(model, MANY, 1.00) for model in MODELS),
    *(iteration(model, FEW, 1.06, f'MiB, {HALF}') for model in MODELS),
    Demand('class index of the masks, time to decoding them', 1.15, 'data',
           ('12,031 masks', 'class index, first start'), 'to the first side'),
    Demand('class index, second start, s', 0.3, 'data',
           ('12,031 masks', 'class index, second start'), 'time'),
    Demand('mapping of 512 x 512 labels, ms', 0.15, 'data',
           ('mask of 512 x 512', 'table, mapping alone'), 'time',
           'published approach, mapping alone'),
    Demand('a step beside iterations and evaluation, s', 2.0, 'sequence',
           ('rest of a step', 'mib'), 'time', None, STOCK),
    Demand('evaluation, time to its forward passes', 1.10, 'sequence',
           ('evaluation of an image', 'all'), 'to the first side', None,
           'inputs and waiting alone'),
    Demand(
        'later steps of 10-1 without evaluation, calculated: time to plain '
        'iterations', 1.25, 'sequence', ('10 steps of 160 iterations', 'mib'),
        'to the first side')
]


def read_tables(text: str) -> Tables:
    """Read the tables of a page.

    Args:
        text (str): The page, with a comment before and after what each
            benchmark has written.

    Returns:
        dict[str, list[dict[str, str]]]: By benchmark, the rows of its first
        table by the titles of the columns.
    """
    tables = {}
    for name, content in re.findall(
            r'<!-- (\w+) -->\n(.*?)<!-- end of \1 -->', text, flags=re.S):
        lines = re.search(r'(?:^\|.*\n)+', content, flags=re.M)
        if lines is None:
            continue
        header, _, *rows = ([cell.strip() for cell in line.split('|')[1:-1]]
                            for line in lines.group().splitlines())
        tables[name] = [dict(zip(header, row)) for row in rows]
    return tables


def look_up(tables: Tables, table: str, row: Row,
            column: str) -> Optional[float]:
    """Find a number.

    Args:
        tables (dict): What :func:`read_tables` returned.
        table (str): Name of the benchmark.
        row (tuple[str, str]): First cells of the row.
        column (str): Title of the column.

    Returns:
        float, optional: The number without its unit; None if there is none.
    """
    for cells in tables.get(table, []):
        if tuple(cells.values())[:2] == row and cells.get(column):
            return float(cells[column].split()[0])
    return None


def judge(demand: Demand, tables: Tables) -> List[str]:
    """The row of a demand.

    Args:
        demand (Demand): The demand.
        tables (dict): What :func:`read_tables` returned.

    Returns:
        list[str]: Cells of the row, '-' where a number is missing.
    """
    names = (demand.row[1], demand.published, demand.reference)
    here, published, reference = (None if name is None else look_up(
        tables, demand.table, (demand.row[0], name), demand.column)
                                  for name in names)
    met = '-'
    if here is not None:
        met = 'yes' if here <= demand.limit else 'no'
    return [
        demand.what, f'{demand.limit:.2f}',
        *('-' if number is None else f'{number:.2f}'
          for number in (here, published, reference)), met
    ]


def summarize(text: str) -> str:
    """The table of all demands.

    Args:
        text (str): The page with the tables of the benchmarks.

    Returns:
        str: The table in Markdown.
    """
    tables = read_tables(text)
    rows = [judge(demand, tables) for demand in DEMANDS]
    return markdown_table(HEADER, rows) + '\n'
