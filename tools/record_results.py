"""Put the figures of finished runs into the metafiles and pages."""
import argparse
import json
import os.path as osp
import re
from glob import glob
from typing import Any, Dict, Iterator, List, Tuple

from mmengine.fileio import dump, load

from mmseg_incremental.engine import load_method
from mmseg_incremental.engine.cli import exit_on_bad_input
from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.evaluation import load_results, summary_row

ROOT = osp.dirname(osp.dirname(osp.abspath(__file__)))
METRICS = ('base', 'new', 'all', 'average', 'base (no bg)', 'all (no bg)',
           'average (no bg)', 'forgetting')
COSTS = ('Minutes', 'Memory (MB)')
# What a page has around a table; the name of a config takes its rows only.
PLACE = re.compile(
    r'(<!-- results(?: (\S+))? -->\n).*?(<!-- end of results -->\n)', re.S)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write the results of complete runs into '
        'configs/METHOD/metafile.yml, and from there into the tables of the '
        'pages that have a place for them')
    parser.add_argument(
        'config', help='the config of the runs, below the root of this folder')
    parser.add_argument(
        'runs', nargs='*', metavar='WORK', help='folders of the runs')
    parser.add_argument(
        '--data', default='', help='what was trained and evaluated on')
    return parser.parse_args()


def collection_folder(method: str) -> str:
    """The folder of a method, or of the one that its name begins with."""
    words = method.split('_')
    for count in range(len(words), 0, -1):
        folder = osp.join(ROOT, 'configs', '_'.join(words[:count]))
        if osp.isfile(osp.join(folder, 'README.md')):
            return folder
    raise IncrementalConfigError(
        f'method {method!r} has no folder in configs; add '
        f'configs/{words[0]}/README.md.')


def flatten(node: Any, prefix: str = '') -> Iterator[Tuple[str, Any]]:
    """Walk through the values of nested dicts and lists."""
    items = node.items() if isinstance(node, dict) else (
        enumerate(node) if isinstance(node, (list, tuple)) else None)
    if items is None:
        yield prefix[1:], node
        return
    for key, value in items:
        yield from flatten(value, f'{prefix}.{key}')


def changed_parts(parts: dict) -> str:
    """What a run's method has in another way than the method's file."""
    shipped = dict(flatten(load_method(parts['name'])))
    trained = dict(flatten(parts))
    return ' '.join(f'{key}={trained.get(key)}'
                    for key in {**shipped, **trained}
                    if shipped.get(key) != trained.get(key))


def model_entry(config: str, data: str, work_dir: str) -> Dict[str, Any]:
    """What a metafile says of a run."""
    results = load_results(work_dir)
    if not results['complete']:
        raise IncrementalConfigError(
            f'{work_dir} is not complete; finish it with --resume.')
    with open(osp.join(work_dir, 'run.json'), encoding='utf-8') as file:
        options = changed_parts(json.load(file)['method_parts'])
    row = summary_row(results)
    later = results['steps'][1:] or results['steps']
    seconds = [step['train_seconds'] or 0 for step in later]
    memory = [step.get('peak_memory_mb') or 0 for step in later]
    stem = osp.splitext(osp.basename(config))[0]
    name = '_'.join([results['method'], stem, *options.split()])
    return {
        'Name':
        name,
        'In Collection':
        osp.basename(collection_folder(results['method'])),
        'Config':
        config,
        'Metadata': {
            'Method': results['method'],
            'Options': options,
            'Training Data': data or results['dataset'],
            'Minutes': round(sum(seconds) / 60, 1),
            'Memory (MB)': round(max(memory)) or None,
        },
        'Results': [{
            'Task': 'Class-Incremental Semantic Segmentation',
            'Dataset': f'{results["dataset"]} {results["task"]} '
            f'{results["setting"]}',
            'Metrics': {
                name: round(row[name], 2)
                for name in METRICS if row[name] is not None
            }
        }]
    }


def save_entry(entry: Dict[str, Any]) -> None:
    """Put an entry into its metafile, in the place of one of that name."""
    folder = osp.join(ROOT, 'configs', entry['In Collection'])
    path = osp.join(folder, 'metafile.yml')
    title, paper = read_head(osp.join(folder, 'README.md'))
    content = load(path) if osp.isfile(path) else {'Models': []}
    content['Collections'] = [{
        'Name':
        entry['In Collection'],
        'Paper':
        dict(zip(('Title', 'URL'), paper)) or None,
        'README':
        f'configs/{entry["In Collection"]}/README.md'
    }]
    models = [m for m in content['Models'] if m['Name'] != entry['Name']]
    models.append(entry)
    dump(
        dict(
            Collections=content['Collections'],
            Models=sorted(models, key=lambda model: model['Name'])),
        path,
        sort_keys=False)


def read_head(readme: str) -> Tuple[str, Tuple[str, ...]]:
    """Title of a method's page, and title and address of its paper."""
    with open(readme, encoding='utf-8') as file:
        text = file.read()
    paper = re.search(r'^> \[(.*)\]\((.*)\)$', text, flags=re.M)
    return text.splitlines()[0][2:], paper.groups() if paper else ()


def results_rows(models: List[dict], titles: Tuple[str, ...]) -> str:
    """A table in Markdown, a row a run."""
    rows = [[*titles, *METRICS, *(cost.lower() for cost in COSTS)]]
    rows.append(['---'] * len(rows[0]))
    for model in models:
        method = model['Metadata']
        result, = model['Results']
        cells = dict(
            Config=f'`{model["Config"]}`',
            Task=result['Dataset'].partition(' ')[2],
            Method=' '.join(
                filter(None, (f'`{method["Method"]}`', method['Options']))))
        figures = [result['Metrics'].get(name) for name in METRICS]
        rows.append([
            *(cells[title] for title in titles),
            *('-' if f is None else f'{f:.2f}' for f in figures),
            *(str(method[cost] or '-') for cost in COSTS)
        ])
    return ''.join(f'| {" | ".join(row)} |\n' for row in rows)


def write_tables() -> None:
    """Bring the tables of all pages and the index up to date."""
    files = sorted(glob(osp.join(ROOT, 'configs', '*', 'metafile.yml')))
    every = [model for path in files for model in load(path)['Models']]
    every.sort(key=lambda model: -model['Results'][0]['Metrics']['all'])
    for path in [
            osp.join(ROOT, 'REPRODUCIBILITY.md'),
            *(osp.join(osp.dirname(file), 'README.md') for file in files)
    ]:
        collection = osp.basename(osp.dirname(path))

        def fill(match: 're.Match') -> str:
            first, config, last = match.groups()
            if config is None:
                models = [m for m in every if m['In Collection'] == collection]
                models.sort(key=lambda model: model['Name'])
                table = results_rows(models, ('Method', 'Config', 'Task'))
            else:
                models = [
                    m for m in every
                    if osp.basename(m['Config']) == f'{config}.py'
                ]
                table = results_rows(models, ('Method', ))
            return f'{first}\n{table}\n{last}'

        with open(path, encoding='utf-8') as file:
            text = file.read()
        with open(path, 'w', encoding='utf-8') as file:
            file.write(PLACE.sub(fill, text))
    dump({'Import': [osp.relpath(path, ROOT) for path in files]},
         osp.join(ROOT, 'model-index.yml'))


@exit_on_bad_input
def main() -> None:
    args = parse_args()
    for work_dir in args.runs:
        save_entry(model_entry(args.config, args.data, work_dir))
    write_tables()


if __name__ == '__main__':
    main()
